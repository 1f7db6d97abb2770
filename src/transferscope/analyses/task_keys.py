"""The key of a unit's result."""

from transferscope.analyses.contract import AbstractAnalysis, Task
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.frozen import content_key

__all__ = ["task_key"]


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
