"""Analyses of networks trained at the learning rate that was chosen for their variant: network by network, or pairs."""

import abc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate, choose
from transferscope.analyses.pairs import pairs_of
from transferscope.context.resolved_study import BASELINES, TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column, schema

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = [
    "NETWORK",
    "PAIR",
    "SIDES",
    "AbstractTuned",
    "NetworkAnalysis",
    "Pair",
    "PairAnalysis",
    "chosen_rate",
    "finite",
    "tuned_member",
    "tuned_members",
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


class AbstractTuned(AbstractAnalysis):
    """An analysis whose networks are those of its units, at the rate that was chosen for each variant."""

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """Each variant's learning rate."""
        return (LearningRate(),)

    def networks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """All that are measured; the starts among them need no training."""
        return [member.spec for task in self.tasks(study, evidence) for member in task.members]


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
        rows = [
            {"network": member.label, "variant": member.variant, "seed": member.seed, **row}
            for member in finite(task, context)
            for row in self.rows(member, context)
        ]
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))


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
        seeds = study.seeds[: getattr(self, "max_seeds", None)]
        yield Task(members=tuple(tuned_member(study, variant, s, evidence) for variant in TRAINED for s in seeds))

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
        return MeasureResult(pl.DataFrame(rows, schema=schema(self.columns)))


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
