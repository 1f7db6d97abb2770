"""Analyses of networks trained at the learning rate that was chosen for their variant: network by network, or pairs.

A start other than those of P-T and RI-T has a search of its own, equal to theirs. The rows of its runs have ``level``
tuning; a table that holds them has the columns ``variant, seed, learning_rate, split, value, n, diverged, note`` and
:data:`SEARCH_COLUMNS`.
"""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import run_columns
from transferscope.analyses.learning_rate.analysis import (
    LearningRate,
    choose,
    chosen,
    next_grid,
    validation_error,
)
from transferscope.analyses.pairs import pairs_of
from transferscope.context.resolved_study import BASELINES, TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.frozen import Frozen
from transferscope.keys import shown
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = [
    "NETWORK",
    "PAIR",
    "SEARCH_COLUMNS",
    "SIDES",
    "AbstractTuned",
    "NetworkAnalysis",
    "OnSeeds",
    "Pair",
    "PairAnalysis",
    "SetAnalysis",
    "at_edge",
    "chosen_rate",
    "finite",
    "named",
    "searched",
    "tried_rates",
    "tuned_member",
    "tuned_members",
    "tuning_row",
    "tuning_tasks",
]

NETWORK: Mapping[str, Column] = {
    "network": Column(str, "the network"),
    "variant": Column(str, "its variant"),
    "seed": Column(int, "its seed", "count"),
}
"""Columns that every row of a :class:`NetworkAnalysis` has."""

SIDES: Mapping[str, Column] = {
    "a": Column(str, "first network"),
    "variant_a": Column(str, "its variant"),
    "seed_a": Column(int, "its seed", "count"),
    "b": Column(str, "second network"),
    "variant_b": Column(str, "its variant"),
    "seed_b": Column(int, "its seed", "count"),
}
"""Columns of two networks."""

PAIR: Mapping[str, Column] = {"pair": Column(str, "which variants"), **SIDES}
"""Columns that every row of a :class:`PairAnalysis` has."""


SEARCH_COLUMNS = {
    "loss": Column(float, "validation loss at the end of a tuning run", "nat", "validation",
                   "not a tuning run, or diverged"),
    "validation_error": Column(float, "standard error of the value of a tuning run over validation images",
                               "metric", "validation",
                               "not a tuning run, training.rate_rule is best, undefined or diverged"),
}  # fmt: skip
"""Columns of the runs of a search, beside those of all runs."""


class OnSeeds(Frozen):
    """Settings of an analysis of some of the report seeds.

    Attributes:
        max_seeds: at most so many seeds of each variant; None for all.
    """

    max_seeds: int | None = Field(default=None, ge=1)


class AbstractTuned(AbstractAnalysis):
    """An analysis of networks at the rate that was chosen for each variant."""

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate."""
        return (LearningRate(),)

    def seeds(self, study: ResolvedStudy) -> tuple[int, ...]:
        """The report seeds, at most ``max_seeds`` where that is a setting."""
        return study.seeds[: getattr(self, "max_seeds", None)]

    def members(
        self, study: ResolvedStudy, evidence: Evidence, variants: Iterable[str] = TRAINED, once: Iterable[str] = ()
    ) -> tuple[StudyNetwork, ...]:
        """Networks of the first seed, of the variants ``once``; then those of all seeds, variant by variant."""
        seeds = self.seeds(study)
        asked = [*((name, seeds[0]) for name in once), *((name, seed) for name in variants for seed in seeds)]
        return tuple(tuned_member(study, name, seed, evidence) for name, seed in asked)


class NetworkAnalysis(AbstractTuned):
    """An analysis of one network at a time: one unit for each, so that they are measured side by side.

    A subclass declares ``columns = {**NETWORK, ...}`` and overrides :meth:`rows`; networks that diverged are left out.

    Attributes:
        variants: whose networks; the two trained ones by default.
    """

    variants: ClassVar[tuple[str, ...]] = TRAINED

    @abc.abstractmethod
    def rows(self, member: StudyNetwork, context: "Context") -> Iterable[Mapping[str, Any]]:
        """The rows of one network, without the columns :data:`NETWORK`; columns that are absent are null."""

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each network."""
        for member in tuned_members(study, evidence, self.variants):
            yield Task(members=(member,))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """The rows of the network."""
        return self.measured(
            {**named(member), **row} for member in finite(task, context) for row in self.rows(member, context)
        )


@dataclass(frozen=True)
class Pair:
    """Two networks that are compared.

    Attributes:
        first: ``a`` in the table.
        second: ``b`` in the table.
        a: what :meth:`PairAnalysis.read` gave for the first.
        b: for the second.
    """

    first: StudyNetwork
    second: StudyNetwork
    a: Any = None
    b: Any = None

    @property
    def columns(self) -> dict[str, Any]:
        """The values of the columns :data:`PAIR`."""
        a, b = self.first, self.second
        return {
            "pair": f"{shown(a.variant)}/{shown(b.variant)}",
            "a": a.label, "variant_a": a.variant, "seed_a": a.seed,
            "b": b.label, "variant_b": b.variant, "seed_b": b.seed,
        }  # fmt: skip


class PairAnalysis(AbstractTuned):
    """An analysis of pairs of networks: one unit, in which each network is read once.

    A subclass declares ``columns = {**PAIR, ...}`` and overrides :meth:`rows`; networks that diverged are left out.
    """

    @abc.abstractmethod
    def rows(self, pair: Pair, context: "Context") -> Iterable[Mapping[str, Any]]:
        """The rows of one pair, without the columns :data:`PAIR`; columns that are absent are null."""

    def read(self, member: StudyNetwork, context: "Context") -> Any:
        """What is kept of a network for all of its pairs: ``pair.a``, ``pair.b``; nothing by default."""
        return None

    def pairs(self, members: Iterable[StudyNetwork]) -> Iterable[tuple[StudyNetwork, StudyNetwork]]:
        """All pairs within a variant, and P-T with RI-T of the same seed."""
        return pairs_of(members)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One: every network is read once."""
        yield Task(members=self.members(study, evidence))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """The rows of all pairs."""
        kept: dict[str, Any] = {}
        rows: list[dict[str, Any]] = []
        for first, second in self.pairs(finite(task, context)):
            for member in (first, second):
                if member.label not in kept:
                    kept[member.label] = self.read(member, context)
            pair = Pair(first, second, kept[first.label], kept[second.label])
            rows += [{**pair.columns, **row} for row in self.rows(pair, context)]
        return self.measured(rows)


class SetAnalysis(AbstractTuned):
    """An analysis of sets of networks, each measured as a whole: none where one of them diverged.

    A subclass names the sets by ``units`` and overrides :meth:`rows`.
    """

    @abc.abstractmethod
    def rows(self, task: Task, context: "Context") -> Iterable[Mapping[str, Any]]:
        """The rows of one set, of which no network diverged; columns that are absent are null."""

    def files(self, task: Task, table: pl.DataFrame) -> Mapping[str, bytes]:
        """Named files made from the rows of a set; none by default."""
        return {}

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """The rows of the set, and its files."""
        if any(context.diverged(member.spec) for member in task.members):
            return self.measured()
        table = self.measured(self.rows(task, context)).table
        return MeasureResult(table, self.files(task, table))


def named(member: StudyNetwork) -> dict[str, Any]:
    """The values of the columns :data:`NETWORK`."""
    return {"network": member.label, "variant": member.variant, "seed": member.seed}


def finite(task: Task, context: "Context") -> list[StudyNetwork]:
    """The networks of a unit that have not diverged."""
    return [member for member in task.members if not context.diverged(member.spec)]


def chosen_rate(variant: str, evidence: Evidence) -> float:
    """The rate that the analysis ``learning_rate`` chose for a variant on validation data."""
    return choose(evidence.table(LearningRate()), variant)


def tuned_member(study: ResolvedStudy, variant: str, seed: int, evidence: Evidence) -> StudyNetwork:
    """RI, P, RI-T, P-T or RI-T-long of one seed, at its variant's chosen rate."""
    if variant in BASELINES:
        return StudyNetwork(variant=variant, seed=seed, spec=study.untrained(variant, seed))
    origin, epochs = variant, None
    if variant == "RI_T_long":
        origin, epochs = "RI_T", study.settings.training.plateau_epochs
    rate = chosen_rate(origin, evidence)
    return StudyNetwork(variant=variant, seed=seed, spec=study.trained(origin, seed, rate, epochs))


def tuned_members(
    study: ResolvedStudy, evidence: Evidence, variants: tuple[str, ...] = (*BASELINES, *TRAINED)
) -> Iterator[StudyNetwork]:
    """The networks of all report seeds, variant by variant."""
    for variant in variants:
        for seed in study.seeds:
            yield tuned_member(study, variant, seed, evidence)


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
