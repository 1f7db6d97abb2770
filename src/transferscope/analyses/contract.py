"""The one contract of an analysis: settings that know their networks, units, measurement and verdict."""

import abc
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from transferscope.analyses.estimates import COLUMNS, Estimate, Quantity, estimated, spoken
from transferscope.errors import AnalysisError
from transferscope.frozen import Frozen
from transferscope.specs import NetworkSpec

if TYPE_CHECKING:
    from transferscope.analyses.evidence import Evidence
    from transferscope.analyses.other_source import OtherSource
    from transferscope.analyses.variants import BoundStudy
    from transferscope.data.sources import DataSource
    from transferscope.data.spec import SplitSettings
    from transferscope.running.context import Context
    from transferscope.study import Study

__all__ = [
    "AbstractAnalysis",
    "Column",
    "Measured",
    "Member",
    "Summary",
    "Unit",
    "checked",
    "checked_summary",
    "schema",
]


@dataclass(frozen=True)
class Column:
    """One declared column of a table.

    Attributes:
        dtype: ``str``, ``int``, ``float`` or ``bool``.
        meaning: one line for a reader.
        unit: ``1`` for ratios, ``count``, ``nat`` for losses, ``metric`` for the study's metric in [0, 1], ...
        measured_on: the split its values come from; ``test`` columns are hidden from decisions. ``row`` says
            that the column named ``split`` tells, row by row.
        null: what a null means; None if there never is one.
    """

    dtype: type
    meaning: str
    unit: str = "1"
    measured_on: Literal["train", "validation", "test", "row"] | None = None
    null: str | None = None


class Member(Frozen):
    """A network in its role.

    Attributes:
        variant: ``RI``, ``P``, ``RI_T``, ``P_T`` or a variant of a later analysis.
        seed: of the network.
        spec: the network.
    """

    variant: str
    seed: int
    spec: NetworkSpec

    @property
    def label(self) -> str:
        """As shown: ``P-T[0]``."""
        return f"{self.variant.replace('_', '-')}[{self.seed}]"


class Unit(Frozen):
    """The smallest piece of work that is stored: independent of all others, as large as sharing demands.

    Attributes:
        members: the networks, in order.
        settings: what else the measurement needs to know (JSON values).
    """

    members: tuple[Member, ...]
    settings: dict[str, Any] = Field(default_factory=dict)

    def identity(self) -> Any:
        """As of :class:`Frozen`, networks by their key."""
        return {
            "members": [[member.variant, member.seed, member.spec.key] for member in self.members],
            "settings": self.settings,
        }


@dataclass(frozen=True)
class Measured:
    """What a unit gives: rows of the analysis's table, and named files."""

    table: pl.DataFrame
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """The few numbers of an analysis, and one sentence.

    Attributes:
        verdict: one sentence that names the interval it rests on, or says "undecided".
        estimates: every number, under its key, with its interval.
        notes: what a reader must know (diverged runs, RI-T still improving, settings off).
        facts: what verdict and notes say, by key, for what is decided by it: sentences are for readers alone.
    """

    verdict: str
    estimates: tuple[Estimate, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class AbstractAnalysis(Frozen, abc.ABC):
    """An analysis is its settings: frozen, without state.

    A subclass is final. ``networks`` and ``units`` are called once its needs are finished, and again after each
    round, with its own rows so far in ``evidence``, until they name nothing new: so a grid can be extended, and an
    advice decided in one round is proved in the next. Both see validation data only.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    reference: ClassVar[str]
    version: ClassVar[int]
    columns: ClassVar[Mapping[str, Column]]
    quantities: ClassVar[tuple[Quantity, ...]] = ()

    def data_sources(self, study: "Study") -> "Iterable[tuple[DataSource, SplitSettings]]":
        """Data sets beside the target that it looks at, decoded at the target's size before anything is done.

        An analysis that needs another one passes on what that one names.
        """
        return ()

    def other_sources(self, study: "Study") -> "Iterable[OtherSource]":
        """Pre-trained networks beside the source's that its networks start from, looked up before anything is done."""
        return ()

    def needs(self, study: "BoundStudy") -> "Iterable[AbstractAnalysis]":
        """Analyses finished before this one is expanded."""
        return ()

    def misfit(self, study: "Study") -> str | None:
        """Which of its settings do not fit those of the study; None if all do. Asked before anything is done."""
        return None

    def inapplicable(self, study: "BoundStudy") -> str | None:
        """Why this study cannot have this analysis; None if it can."""
        return None

    @abc.abstractmethod
    def networks(self, study: "BoundStudy", evidence: "Evidence") -> Iterable[NetworkSpec]:
        """The networks that must exist before the units are measured."""

    @abc.abstractmethod
    def units(self, study: "BoundStudy", evidence: "Evidence") -> Iterable[Unit]:
        """Independent pieces of work."""

    @abc.abstractmethod
    def measure(self, unit: Unit, context: "Context") -> Measured:
        """Measure one unit; weights, data and randomness come from ``context`` alone."""

    def supposed(self, study: "BoundStudy") -> pl.DataFrame:
        """A table as it may come out, from which a plan expands the rounds that wait for it; empty by default."""
        return pl.DataFrame([], schema=schema(self.columns))

    def further(self, study: "BoundStudy") -> int:
        """At most so many trainings beyond those that the first expansion names."""
        return 0

    def images(self, unit: Unit, study: "BoundStudy") -> int:
        """How many images the unit sends forward through a network, for the plan's estimate of time."""
        return 0

    def summarise(self, table: pl.DataFrame, evidence: "Evidence") -> Summary:
        """Every declared quantity that has a column, in words as the verdict; analyses that decide more override it."""
        estimates = estimated(table, self.quantities)
        said = "; ".join(f"{item.name} {spoken(item)}" for item in estimates if item.value is not None)
        return Summary(f"{self.title}: {said or 'nothing is defined'}.", tuple(estimates))

    def identity(self) -> Any:
        """As of :class:`Frozen`, with the analysis's name and version."""
        return {"analysis": self.name, "version": self.version, **super().identity()}


_DTYPES: dict[type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
}


def schema(columns: Mapping[str, Column]) -> dict[str, pl.DataType]:
    """The polars schema of declared columns: what an empty table, or rows with missing values, are built with."""
    return {name: _DTYPES[column.dtype] for name, column in columns.items()}


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
        if not _fits(table.schema[name], dtype):
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
            raise AnalysisError(f"column {name!r} of {analysis.name!r} holds a null but declares none")
    return table


def _fits(found: pl.DataType, declared: pl.DataType) -> bool:
    """Whether a cast loses nothing: numbers to wider ones, and columns of nulls alone."""
    if found == pl.Null() or found == declared:
        return True
    if declared == pl.Float64():
        return found.is_numeric()
    return declared == pl.Int64() and found.is_integer()


def checked_summary(analysis: AbstractAnalysis, summary: Summary) -> Summary:
    """``summary``, whose estimates stand under declared quantities, each at its own coordinates, finite and in order.

    Raises:
        AnalysisError: one does not.
    """
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
