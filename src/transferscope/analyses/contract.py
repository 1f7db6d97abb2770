"""The one contract of an analysis: settings that know their networks, units, measurement and verdict."""

import abc
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
from pydantic import Field

from transferscope.analyses.estimate_words import spoken
from transferscope.analyses.estimates import COLUMNS, Quantity
from transferscope.analyses.estimator import estimated
from transferscope.analyses.summary import Summary
from transferscope.context.study_network import StudyNetwork
from transferscope.errors import AnalysisError
from transferscope.frozen import Frozen
from transferscope.specs.network import NetworkSpec
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.columns import fits, schema

if TYPE_CHECKING:
    from transferscope.analyses.evidence import Evidence
    from transferscope.context.context import Context
    from transferscope.context.resolved_study import ResolvedStudy

__all__ = ["AbstractAnalysis", "MeasureResult", "Task", "analysis_of", "checked", "checked_files", "checked_summary"]


class Task(Frozen):
    """The smallest piece of work that is stored: independent of all others, as large as sharing demands.

    Attributes:
        members: the networks, in order.
        settings: what else the measurement needs to know (JSON values).
    """

    members: tuple[StudyNetwork, ...]
    settings: dict[str, Any] = Field(default_factory=dict)

    def identity(self) -> Any:
        """As in :class:`Frozen`, networks by their key."""
        return {
            "members": [[member.variant, member.seed, member.spec.key] for member in self.members],
            "settings": self.settings,
        }


@dataclass(frozen=True)
class MeasureResult:
    """What a unit gives: rows of the analysis's table, and named files."""

    table: pl.DataFrame
    files: Mapping[str, bytes] = field(default_factory=dict)


class AbstractAnalysis(AnalysisSettings, abc.ABC):
    """An analysis is its settings: frozen, without state.

    A subclass is final. ``networks`` and ``tasks`` are called once its needs are finished, and again after each
    round, with its own rows so far in ``evidence``, until they name nothing new: so a grid can be extended, and an
    advice decided in one round is proved in the next. Both see validation data only.
    """

    quantities: ClassVar[tuple[Quantity, ...]] = ()
    heads: ClassVar[bool] = False
    """Whether its answer heads the report of a study that asks for nothing else: the four networks are then not run."""

    def needs(self, study: "ResolvedStudy") -> "Iterable[AbstractAnalysis]":
        """Analyses finished before this one is expanded."""
        return ()

    def skip_reason(self, study: "ResolvedStudy") -> str | None:
        """Why this study cannot have this analysis; None if it can."""
        return None

    def networks(self, study: "ResolvedStudy", evidence: "Evidence") -> Iterable[NetworkSpec]:
        """The networks that must exist before the units are measured: by default theirs; a start needs no training."""
        return [member.spec for task in self.tasks(study, evidence) for member in task.members]

    @abc.abstractmethod
    def tasks(self, study: "ResolvedStudy", evidence: "Evidence") -> Iterable[Task]:
        """Independent pieces of work."""

    @abc.abstractmethod
    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Measure one unit; weights, data and randomness come from ``context`` alone."""

    def measured(
        self, rows: Iterable[Mapping[str, Any]] = (), files: Mapping[str, bytes] | None = None
    ) -> MeasureResult:
        """What a unit gives: its rows, in the declared columns, of which those that a row lacks are null."""
        return MeasureResult(pl.DataFrame(list(rows), schema=schema(self.columns)), files or {})

    def example(self, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
        """A table of these rows; declared columns that a row lacks are null, or empty, 0 or False where none may be."""
        filled = {name: column.dtype() for name, column in self.columns.items() if column.null is None}
        return self.measured({**filled, **row} for row in rows).table

    def expected_table(self, study: "ResolvedStudy") -> pl.DataFrame:
        """A table as it may come out, from which a plan expands the rounds that wait for it; empty by default."""
        return self.example(())

    def extra_trainings(self, study: "ResolvedStudy") -> int:
        """At most so many trainings beyond those that the first expansion names."""
        return 0

    def extra_networks(self, study: "ResolvedStudy") -> Iterable[NetworkSpec]:
        """Networks that take as long as those trainings; where fewer are given, the others take as long as the longest
        of the first expansion."""
        return ()

    def forward_passes(self, task: Task, study: "ResolvedStudy") -> int:
        """How many images the unit sends forward through a network, for the plan's estimate of time."""
        return 0

    def summarise(self, table: pl.DataFrame, evidence: "Evidence") -> Summary:
        """Every declared quantity that has a column, in words as the verdict; analyses that decide more override it."""
        estimates = estimated(table, self.quantities)
        said = "; ".join(f"{item.name} {spoken(item)}" for item in estimates if item.value is not None)
        return Summary(f"{self.title}: {said or 'nothing is defined'}.", tuple(estimates))


def analysis_of(settings: AnalysisSettings) -> AbstractAnalysis:
    """The analysis that a study's settings are of.

    Raises:
        AnalysisError: they name a class that measures nothing.
    """
    if not isinstance(settings, AbstractAnalysis):
        raise AnalysisError(
            f"{settings.name!r} is no analysis",
            expected="a class derived from AbstractAnalysis",
            got=type(settings).__qualname__,
        )
    return settings


def checked(analysis: AbstractAnalysis, table: pl.DataFrame) -> pl.DataFrame:
    """``table`` in the declared columns and types.

    Raises:
        AnalysisError: a column is missing, undeclared, of another type, NaN, or null without a reason declared.
    """
    declared = analysis.columns
    if set(table.columns) != set(declared):
        raise AnalysisError(
            f"the table of {analysis.name!r} does not have its declared columns",
            expected=", ".join(declared),
            got=", ".join(table.columns),
        )
    for name, dtype in schema(declared).items():
        if not fits(table.schema[name], dtype):
            raise AnalysisError(
                f"column {name!r} of {analysis.name!r} is of another type than declared",
                expected=str(dtype),
                got=str(table.schema[name]),
            )
    table = table.select(pl.col(name).cast(dtype) for name, dtype in schema(declared).items())
    for name, column in declared.items():
        if column.dtype is float and table[name].is_nan().any():
            raise AnalysisError(f"column {name!r} of {analysis.name!r} holds NaN", hint="use null and say why")
        if column.null is None and table[name].null_count():
            raise AnalysisError(
                f"column {name!r} of {analysis.name!r} holds a null but declares none",
                expected="a value in each row, or Column(nullable=True)",
            )
    return table


def checked_files(analysis: AbstractAnalysis, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """``files``, which are to lie in a folder of their own.

    Raises:
        AnalysisError: a name is none of a file in that folder.
    """
    for name in files:
        if PurePath(name).name != name or name in ("", ".", ".."):
            raise AnalysisError(
                f"{analysis.name!r} gives a file with an unusable name", expected="a plain file name", got=repr(name)
            )
    return files


def checked_summary(analysis: AbstractAnalysis, summary: Summary) -> Summary:
    """``summary``, whose estimates stand under declared quantities, each at its own coordinates, finite and in order.

    Raises:
        AnalysisError: one does not, or something in the summary is nothing that JSON can hold.
    """
    try:
        said = [summary.verdict, *summary.notes, dict(summary.facts), *(dict(item.at) for item in summary.estimates)]
        json.dumps(said, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AnalysisError(
            f"the summary of {analysis.name!r} holds what JSON cannot",
            expected="text, numbers, lists and dictionaries of them",
            got=str(error),
        ) from error
    declared = {quantity.key for quantity in analysis.quantities}
    seen: set[tuple[str, frozenset[tuple[str, Any]]]] = set()
    for item in summary.estimates:
        place = (item.quantity, frozenset(item.at.items()))
        if item.quantity not in declared:
            raise AnalysisError(
                f"an estimate of {analysis.name!r} is of an undeclared quantity",
                expected=", ".join(sorted(declared)) or "quantities, declared on the class",
                got=repr(item.quantity),
            )
        if place in seen:
            raise AnalysisError(
                f"two estimates of {analysis.name!r} stand under one key",
                expected="coordinates that tell them apart",
                got=f"{item.quantity} at {dict(item.at)}",
            )
        seen.add(place)
        if item.quantity and (taken := sorted(_TAKEN & set(item.at))):  # TRANSITIONAL: the empty key has a name
            raise AnalysisError(
                f"a coordinate of the estimate {item.quantity!r} of {analysis.name!r} is named as what every row has",
                expected=f"names other than {', '.join(sorted(_TAKEN))}",
                got=", ".join(taken),
            )
        for low, high in ((item.low, item.high), (item.simultaneous_low, item.simultaneous_high)):
            if not _in_order(low, item.value, high, item.basis):
                raise AnalysisError(
                    f"the estimate {item.quantity!r} of {analysis.name!r} is not a finite number within its interval",
                    got=f"{low} {item.value} {high} at {dict(item.at)}",
                    hint="give None for what is not defined, and say why",
                )
    return summary


_TAKEN = {"analysis", "quantity", *COLUMNS}


def _in_order(low: float | None, value: float | None, high: float | None, basis: str | None) -> bool:
    """Whether these are a value and its interval: both limits or none, finite, and the value within.

    Percentile limits of a statistic that is biased in its resamples may leave its value out.
    """
    numbers = [number for number in (low, value, high) if number is not None]
    if not all(map(math.isfinite, numbers)) or (low is None) != (high is None):
        return False
    if low is None or high is None:
        return True
    reach = 1e-9 * max(1.0, abs(low), abs(high))
    return low <= high and value is not None and (basis == "examples" or low - reach <= value <= high + reach)
