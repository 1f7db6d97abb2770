"""Numbers of an analysis, each under its key: what is declared of them, and what is known of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.errors import AnalysisError
from transferscope.keys import shown

if TYPE_CHECKING:
    from transferscope.bounds import Bounds, Flag
    from transferscope.measures.interval import Interval

__all__ = ["COLUMNS", "Contrast", "Coordinate", "Estimate", "Quantity", "frame"]

Coordinate = str | int | float

COLUMNS: Mapping[str, pl.DataType] = {
    "value": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(),
    "simultaneous_low": pl.Float64(), "simultaneous_high": pl.Float64(),
    "basis": pl.String(), "n": pl.Int64(), "n_comparisons": pl.Int64(), "unit": pl.String(),
    "verdict": pl.String(), "flags": pl.String(), "name": pl.String(), "note": pl.String(),
}  # fmt: skip
"""Of the table of estimates, after ``analysis``, ``quantity`` and the coordinates."""


@dataclass(frozen=True)
class Estimate:
    """One number of a study, with where it may lie.

    Attributes:
        quantity: key of what it is, declared by the analysis.
        at: its coordinates: of which variant, pair, module, split, ...
        value: None where it is not defined; ``note`` then says why.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end.
        basis: what the interval speaks of: ``seeds`` (training in general), ``examples`` (these trained networks),
            ``range`` (two seeds: smallest and largest), or None.
        n: how many seeds or examples.
        unit: as in a column.
        name: what it is, in words, made from key and coordinates.
        note: what a reader must know.
        simultaneous_low: as ``low``, of limits that hold for all of a family at once.
        simultaneous_high: as ``high``.
        n_comparisons: size of that family; None where there is none.
        verdict: what is decided by it; None where nothing is.
        flags: what is wrong with it, by key.
    """

    quantity: str
    at: Mapping[str, Coordinate]
    value: float | None
    low: float | None = None
    high: float | None = None
    basis: Literal["seeds", "examples", "range"] | None = None
    n: int | None = None
    unit: str = "1"
    name: str = ""
    note: str = ""
    simultaneous_low: float | None = None
    simultaneous_high: float | None = None
    n_comparisons: int | None = None
    verdict: str | None = None
    flags: "tuple[Flag, ...]" = ()

    def row(self) -> dict[str, Any]:
        """One row of the table of estimates: the coordinates as columns, the flags joined."""
        return {
            "quantity": self.quantity,
            **{name: str(value) for name, value in self.at.items()},
            **{name: getattr(self, name) for name in COLUMNS if name != "flags"},
            "flags": " ".join(self.flags),
        }


@dataclass(frozen=True)
class Contrast:
    """A difference of two values of one coordinate, paired by what is left: seed by seed, pair of seeds by pair; a
    pair of seeds for which there are only values of each seed is compared with their mean.

    Attributes:
        on: the coordinate, for example ``variant``.
        of: its value in the minuend.
        minus: its value in the subtrahend.
    """

    on: str
    of: Coordinate
    minus: Coordinate


@dataclass(frozen=True)
class Quantity:
    """What an analysis estimates, declared beside its columns.

    One with a ``column`` is estimated by :mod:`~transferscope.analyses.estimator` from the rows of the table; the unit
    of independence follows from the columns: ``seed`` gives Student's interval over seeds, ``seed_a, seed_b`` the
    interval that leaves one seed out of all measured pairs. One without is made by the analysis, with :meth:`of`.

    Attributes:
        key: unique within the analysis, but for contrasts of one kind; never a sentence.
        words: what a reader sees, coordinates in braces.
        unit: of the value, as in a column.
        bounds: what the value can be at all; None where it has none.
        column: of the table.
        where: which rows; all where None.
        by: coordinates: one estimate for each of their combinations.
        contrast: a difference of two of them in place of each.
        family: those of ``by`` over which the simultaneous limits hold at once.
        labels: by coordinate, what a reader sees in place of a value.

    Raises:
        AnalysisError: ``family`` or ``contrast`` names a coordinate that is not in ``by``.
    """

    key: str
    words: str
    unit: str = "1"
    bounds: "Bounds | None" = None
    column: str = ""
    where: pl.Expr | None = None
    by: tuple[str, ...] = ()
    contrast: Contrast | None = None
    family: tuple[str, ...] = ()
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        contrasted = () if self.contrast is None else (self.contrast.on,)
        if unknown := [name for name in (*self.family, *contrasted) if name not in self.by]:
            raise AnalysisError(
                f"the quantity {self.key!r} has no coordinate {unknown[0]!r} to make a family or a contrast of",
                expected=", ".join(self.by) or "coordinates, named in by",
                got=", ".join(unknown),
            )

    def of(
        self,
        interval: "Interval",
        *notes: str | None,
        simultaneous: "Interval | None" = None,
        n_comparisons: int | None = None,
        verdict: str | None = None,
        flags: "Iterable[Flag]" = (),
        **at: Coordinate,
    ) -> Estimate:
        """The estimate an interval is of, at its coordinates.

        Args:
            interval: value, limits, basis, n and flags; its note comes first.
            notes: what else a reader must know; empty ones are left out.
            simultaneous: limits that hold for the whole family at once.
            n_comparisons: size of that family.
            verdict: what is decided by it.
            flags: more of them.
            at: the coordinates named in ``words``, and further ones.

        Raises:
            AnalysisError: a coordinate that ``words`` names is missing.
        """
        place: dict[str, Any] = at
        return self.at_row(
            vars(interval), interval.note, *notes, simultaneous=simultaneous, n_comparisons=n_comparisons,
            verdict=verdict, flags=(*interval.flags, *flags), **place,
        )  # fmt: skip

    def at_row(
        self,
        row: Mapping[str, Any],
        *notes: str | None,
        simultaneous: "Interval | None" = None,
        n_comparisons: int | None = None,
        verdict: str | None = None,
        flags: "Iterable[Flag]" = (),
        unit: str | None = None,
        **at: Coordinate,
    ) -> Estimate:
        """The estimate that a row of a table holds, as :meth:`of`.

        Args:
            row: with ``value, low, high, basis, n``; ``simultaneous_low`` and ``simultaneous_high`` where it has them.
            notes: what a reader must know; empty ones are left out.
            simultaneous: as in :meth:`of`.
            n_comparisons: as in :meth:`of`.
            verdict: as in :meth:`of`.
            flags: as in :meth:`of`.
            unit: where it is not that of the quantity.
            at: the coordinates.
        """
        together = simultaneous is not None and simultaneous.low is not None
        return Estimate(
            self.key, at, row["value"], row["low"], row["high"], row["basis"], row["n"], unit or self.unit,
            self.named(at), "; ".join(filter(None, notes)),
            simultaneous.low if simultaneous is not None and together else row.get("simultaneous_low"),
            simultaneous.high if simultaneous is not None and together else row.get("simultaneous_high"),
            n_comparisons, verdict, tuple(dict.fromkeys(flags)),
        )  # fmt: skip

    def number(self, value: float | None, n: int | None, *notes: str | None, **more: Any) -> Estimate:
        """The estimate of a number that has no interval.

        Args:
            value: None where it is not defined.
            n: how many seeds or examples it rests on.
            notes: what a reader must know; empty ones are left out.
            more: of :meth:`at_row`, coordinates among them.
        """
        return self.at_row({"value": value, "low": None, "high": None, "basis": None, "n": n}, *notes, **more)

    def undefined(self, note: str, n: int | None = None, flags: "Iterable[Flag]" = (), **at: Any) -> Estimate:
        """The estimate of what is not defined: why, also by key, and how many seeds or examples there were."""
        return self.number(None, n, note, flags=flags, **at)

    def named(self, at: Mapping[str, Coordinate]) -> str:
        """The quantity at its coordinates, in words."""
        words = {
            name: self.labels.get(name, {}).get(str(value), shown(str(value)) if name in _VARIANTS else value)
            for name, value in at.items()
        }
        try:
            return self.words.format_map(words)
        except KeyError as error:
            raise AnalysisError(
                f"an estimate of {self.key!r} lacks a coordinate that its words name",
                expected=self.words,
                got=", ".join(at) or "no coordinate",
                hint=f"give it {error.args[0]}",
            ) from None


_VARIANTS = frozenset({"variant", "rival"})
"""Coordinates whose values are variants, shown with hyphens."""


def frame(estimates: Mapping[str, Sequence[Estimate]]) -> pl.DataFrame:
    """The one table of a study's numbers: a row for each.

    Args:
        estimates: by the name of their analysis in the study.

    Returns:
        Columns ``analysis, quantity``, every coordinate (text, null where a quantity has it not), and :data:`COLUMNS`.
    """
    rows = [{"analysis": slug, **item.row()} for slug, items in estimates.items() for item in items]
    coordinates = dict.fromkeys(name for items in estimates.values() for item in items for name in item.at)
    names = {name: pl.String() for name in ("analysis", "quantity", *coordinates)}
    return pl.DataFrame(rows, schema={**names, **COLUMNS})
