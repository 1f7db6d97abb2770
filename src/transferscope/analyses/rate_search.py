"""A search over learning rates for networks of another start, equal to the search of P-T and RI-T.

The rows of its runs have ``level`` tuning; a table that holds them has the columns ``variant, seed, learning_rate,
split, value, n, diverged, note`` and :data:`SEARCH_COLUMNS`.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from transferscope.analyses.contract import Task
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import run_columns
from transferscope.analyses.learning_rate.analysis import LearningRate, chosen, next_grid, validation_error
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["SEARCH_COLUMNS", "at_edge", "searched", "tried_rates", "tuning_row", "tuning_tasks"]

SEARCH_COLUMNS = {
    "loss": Column(float, "validation loss at the end of a tuning run", "nat", "validation",
                   "not a tuning run, or diverged"),
    "validation_error": Column(float, "standard error of the value of a tuning run over validation images",
                               "metric", "validation",
                               "not a tuning run, training.rate_rule is best, undefined or diverged"),
}  # fmt: skip


def searched(table: pl.DataFrame, variant: str) -> pl.DataFrame:
    """The tuning runs of a variant in the columns of ``learning_rate``."""
    own = (pl.col("level") == "tuning") & (pl.col("split") == "validation") & (pl.col("variant") == variant)
    return table.filter(own).select(
        "variant", "learning_rate", "diverged", "validation_error", validation_metric="value", validation_loss="loss"
    )


def tried_rates(study: ResolvedStudy, evidence: Evidence, tried: pl.DataFrame) -> list[float]:
    """The rates that P-T and RI-T searched; where the best of ``tried`` lies at an edge, the next one as well.

    Args:
        study: with the grid's settings.
        evidence: with the table of ``learning_rate``.
        tried: the variant's runs so far, as :func:`searched` gives them.
    """
    if tried.is_empty():
        return sorted(evidence.table(LearningRate())["learning_rate"].unique().to_list())
    return next_grid(tried, study.settings.training, tried["variant"].unique().to_list())


def tuning_tasks(
    study: ResolvedStudy,
    variant: str,
    grid: list[float],
    trained: Callable[[int, float, int | None], NetworkSpec],
) -> Iterator[Task]:
    """One for each tuning run.

    Args:
        study: with the tuning seeds and epochs.
        variant: that is searched for.
        grid: of rates.
        trained: gives the network of a seed, a rate and a number of epochs.
    """
    for rate in grid:
        for seed in study.settings.training.tuning_seeds:
            spec = trained(seed, rate, study.settings.training.tuning_epochs)
            rule = study.settings.training.rate_rule
            member = StudyNetwork(variant=variant, seed=seed, spec=spec)
            yield Task(members=(member,), settings={"level": "tuning", "rate_rule": rule})


def tuning_row(task: Task, context: "Context") -> dict[str, Any]:
    """The end of one tuning run."""
    (member,) = task.members
    assert member.spec.recipe is not None
    last = context.history(member.spec).row(-1, named=True)
    lost = last["diverged"]
    return {
        "variant": member.variant,
        "seed": member.seed,
        "learning_rate": member.spec.recipe.learning_rate,
        "level": "tuning",
        "split": "validation",
        "loss": None if lost else last["validation_loss"],
        "validation_error": None if lost else validation_error(last["validation_metric"], task, context),
        **run_columns(None if lost else last["validation_metric"], lost),
    }


def at_edge(table: pl.DataFrame, variant: str) -> bool:
    """Whether the best rate of a variant lies at an end of the grid."""
    rows = searched(table, variant)
    if rows.is_empty():
        return False
    tried = rows["learning_rate"]
    return tried.n_unique() > 1 and chosen(rows, variant).best in (tried.min(), tried.max())
