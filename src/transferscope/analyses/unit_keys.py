"""The key of a unit's result, and which units are new: what a round is made of."""

from collections.abc import Collection, Iterable

from transferscope.analyses.contract import AbstractAnalysis, Unit
from transferscope.context.bound import BoundStudy
from transferscope.frozen import content_key

__all__ = ["new_units", "unit_key"]


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


def new_units(
    analysis: AbstractAnalysis, units: Iterable[Unit], study: BoundStudy, known: Collection[str]
) -> dict[str, Unit]:
    """The units that are not known yet, by key, each once; a plan, a run and a reader of results go on until none is.

    Args:
        analysis: whose.
        units: as it names them by the tables so far.
        study: whose.
        known: keys.
    """
    found: dict[str, Unit] = {}
    for unit in units:
        if (key := unit_key(analysis, unit, study)) not in known:
            found.setdefault(key, unit)
    return found
