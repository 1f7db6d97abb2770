"""Analyses of networks trained at the learning rate that was chosen for their variant."""

from collections.abc import Iterable, Iterator

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate, choose
from transferscope.context.bound import BASELINES, TRAINED, BoundStudy
from transferscope.context.members import Member
from transferscope.specs.network import NetworkSpec

__all__ = ["AbstractTuned", "chosen_rate", "tuned_member", "tuned_members"]


class AbstractTuned(AbstractAnalysis):
    """An analysis whose networks are those of its units, at the rate that was chosen for each variant."""

    def needs(self, study: BoundStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate."""
        return (LearningRate(),)

    def networks(self, study: BoundStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """All that are measured; the starts among them need no training."""
        return [member.spec for unit in self.units(study, evidence) for member in unit.members]


def chosen_rate(variant: str, evidence: Evidence) -> float:
    """The rate that the analysis ``learning_rate`` chose for a variant on validation data."""
    return choose(evidence.table(LearningRate()), variant)


def tuned_member(study: BoundStudy, variant: str, seed: int, evidence: Evidence) -> Member:
    """RI, P, RI-T, P-T or RI-T-long of one seed, at its variant's chosen rate."""
    if variant in BASELINES:
        return Member(variant=variant, seed=seed, spec=study.untrained(variant, seed))
    origin, epochs = variant, None
    if variant == "RI_T_long":
        origin, epochs = "RI_T", study.settings.training.plateau_epochs
    rate = chosen_rate(origin, evidence)
    return Member(variant=variant, seed=seed, spec=study.trained(origin, seed, rate, epochs))


def tuned_members(
    study: BoundStudy, evidence: Evidence, variants: tuple[str, ...] = (*BASELINES, *TRAINED)
) -> Iterator[Member]:
    """The networks of all report seeds, variant by variant."""
    for variant in variants:
        for seed in study.seeds:
            yield tuned_member(study, variant, seed, evidence)
