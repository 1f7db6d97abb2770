"""Analyses of networks trained at the learning rate that was chosen for their variant."""

from collections.abc import Iterable

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate import LearningRate
from transferscope.analyses.variants import BoundStudy
from transferscope.specs import NetworkSpec

__all__ = ["AbstractTuned"]


class AbstractTuned(AbstractAnalysis):
    """An analysis whose networks are those of its units, at the rate that was chosen for each variant."""

    def needs(self, study: BoundStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate."""
        return (LearningRate(),)

    def networks(self, study: BoundStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """All that are measured; the starts among them need no training."""
        return [member.spec for unit in self.units(study, evidence) for member in unit.members]
