"""The key of a unit's result."""

from transferscope.analyses.contract import AbstractAnalysis, Unit
from transferscope.context.bound import BoundStudy
from transferscope.frozen import content_key

__all__ = ["unit_key"]


def unit_key(analysis: AbstractAnalysis, unit: Unit, study: BoundStudy) -> str:
    """The key of a unit's result: the analysis, its networks, the target data and how it is evaluated.

    Args:
        analysis: with its version and settings.
        unit: the piece of work.
        study: gives data and metric.
    """
    return content_key(
        {
            "analysis": analysis.identity(),
            "unit": unit.identity(),
            "data": study.data.identity(),
            "metric": study.metric,
            "memory_format": study.memory_format,
            "batch": study.settings.compute.evaluation_batch,
        }
    )
