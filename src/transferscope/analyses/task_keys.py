"""The key of a unit's result, and which units are new: what a round is made of."""

from collections.abc import Collection, Iterable

from transferscope.analyses.contract import AbstractAnalysis, Task
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.frozen import content_key

__all__ = ["new_units", "task_key"]


def task_key(analysis: AbstractAnalysis, task: Task, study: ResolvedStudy) -> str:
    """The key of a unit's result: the analysis, its networks, the target data and how it is evaluated.

    Args:
        analysis: with its version and settings.
        task: the piece of work.
        study: gives data and metric.
    """
    return content_key(
        {
            "analysis": analysis.identity(),
            "unit": task.identity(),
            "data": study.data.identity(),
            "metric": study.metric,
            "memory_format": study.memory_format,
            "batch": study.settings.compute.evaluation_batch,
        }
    )


def new_units(
    analysis: AbstractAnalysis, units: Iterable[Task], study: ResolvedStudy, known: Collection[str]
) -> dict[str, Task]:
    """The units that are not known yet, by key, each once; a plan, a run and a reader of results go on until none is.

    Args:
        analysis: whose.
        units: as it names them by the tables so far.
        study: whose.
        known: keys.
    """
    found: dict[str, Task] = {}
    for task in units:
        if (key := task_key(analysis, task, study)) not in known:
            found.setdefault(key, task)
    return found
