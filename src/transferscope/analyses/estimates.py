"""Numbers of an analysis, each under its key: declared, estimated over seeds, and put into words in one place."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.errors import AnalysisError
from transferscope.keys import shown

if TYPE_CHECKING:
    from transferscope.bounds import Bounds, Flag
    from transferscope.measures.interval import Interval

__all__ = [
    "COLUMNS",
    "Contrast",
    "Estimate",
    "Quantity",
    "estimated",
    "frame",
    "in_turn",
    "over_seeds",
    "spoken",
    "units",
]

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

    One with a ``column`` is estimated by :func:`estimated` from the rows of the table; the unit of independence
    follows from the columns: ``seed`` gives Student's interval over seeds, ``seed_a, seed_b`` the interval that
    leaves one seed out of all measured pairs. One without is made by the analysis, with :meth:`of`.

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

    def undefined(self, note: str, n: int | None = None, flags: "Iterable[Flag]" = (), **at: Coordinate) -> Estimate:
        """The estimate of what is not defined.

        Args:
            note: why.
            n: how many seeds or examples there were.
            flags: why, by key.
            at: the coordinates.
        """
        none = {"value": None, "low": None, "high": None, "basis": None, "n": n}
        place: dict[str, Any] = at
        return self.at_row(none, note, flags=flags, **place)

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


def estimated(table: pl.DataFrame, quantities: Iterable[Quantity]) -> list[Estimate]:
    """Every declared quantity that has a column, over the seeds or pairs of seeds of the table.

    A row is one network (``seed``) or one pair of networks (``seed_a, seed_b``); several rows of the same are first
    averaged, for example over modules. A combination of coordinates of which a row is null is not defined: what is
    left would be a selection. One of which all rows are null has no estimate. Every other one counts in its family.

    Args:
        table: with the quantities' columns and coordinates.
        quantities: declared ones; those without a column are left to the analysis.

    Raises:
        AnalysisError: a row that counts has no seed, or lacks a coordinate.
    """
    return [estimate for quantity in quantities if quantity.column for estimate in _estimates(table, quantity)]


def _estimates(table: pl.DataFrame, quantity: Quantity) -> Iterator[Estimate]:
    from transferscope.measures.families import bonferroni_confidence

    found = list(_by(table if quantity.where is None else table.filter(quantity.where), quantity))
    fixed = [name for name in quantity.by if name not in quantity.family]
    sizes = Counter(tuple(at[name] for name in fixed) for at, _, _ in found)
    for at, values, scale in found:
        known = {unit: value for unit, value in values.items() if value is not None}
        if len(known) < len(values):
            why = f"not defined for {len(values) - len(known)} of {len(values)}"
            seeds = {seed for unit in values for seed in unit}
            yield quantity.undefined(why, len(seeds), ("incomplete",), **at)
            continue
        alone = over_seeds(known, bounds=quantity.bounds, scale=scale)
        if not quantity.family:
            yield quantity.of(alone, **at)
            continue
        size = sizes[tuple(at[name] for name in fixed)]
        together = over_seeds(known, bonferroni_confidence(size), quantity.bounds, scale)
        # Two seeds have a range, of no confidence at all.
        simultaneous = together if together.basis == "seeds" else None
        yield quantity.of(alone, simultaneous=simultaneous, n_comparisons=size, **at)


Unit = tuple[int, int]
"""The seeds of a pair of networks; twice the same of one network."""


Values = dict[Unit, float | None]


def _by(rows: pl.DataFrame, quantity: Quantity) -> Iterator[tuple[dict[str, Any], Values, float | None]]:
    """Coordinates, values, and the scale whose rounding they carry where they are differences."""
    parts: dict[tuple[Coordinate, ...], Values] = {}
    groups = rows.group_by(quantity.by, maintain_order=True) if quantity.by else [((), rows)]
    for at, part in groups:
        values = units(part, quantity.column)
        if all(value is None for value in values.values()):
            continue
        if None in at:
            raise AnalysisError(
                f"a row that {quantity.key!r} is estimated from lacks a coordinate",
                expected=", ".join(quantity.by),
                got=str(at),
            )
        parts[at] = values
    contrast = quantity.contrast
    if contrast is None:
        yield from ((dict(zip(quantity.by, at, strict=True)), values, None) for at, values in parts.items())
        return
    place = quantity.by.index(contrast.on)
    for at, values in parts.items():
        other = parts.get((*at[:place], contrast.minus, *at[place + 1 :]))
        if at[place] != contrast.of or other is None:
            continue
        common = {unit: against for unit in values if (against := _against(other, unit))}
        if common:
            sizes = [abs(value or 0.0) for unit, against in common.items() for value in (values[unit], *against)]
            differences = {unit: _minus(values[unit], *against) for unit, against in common.items()}
            yield {**dict(zip(quantity.by, at, strict=True)), "rival": contrast.minus}, differences, max(sizes)


def _against(other: Mapping[Unit, float | None], unit: Unit) -> list[float | None]:
    """What a pair of seeds is compared with: the same pair; else what each of both seeds has for itself."""
    each = [unit] if unit in other else [(seed, seed) for seed in unit]
    return [other[pair] for pair in each if pair in other] if all(pair in other for pair in each) else []


def _minus(value: float | None, *others: float | None) -> float | None:
    known = [other for other in others if other is not None]
    return None if value is None or len(known) < len(others) else value - sum(known) / len(known)


def units(rows: pl.DataFrame, column: str) -> dict[Unit, float | None]:
    """The values of a column by what is independent: the seed, or both seeds of a pair; means where there are several.

    P is one network for all seeds: a pair with it counts under the seed of the other. Rows that all speak of no
    seed, as of a set of networks of every seed, are one unit, of which there is no interval.

    Args:
        rows: with ``seed``, or with ``seed_a, seed_b``.
        column: whose mean is taken; null where any value is.

    Raises:
        AnalysisError: the rows have no seeds, or some of them have and others have not.
    """
    if "seed" in rows.columns:
        a = b = pl.col("seed")
    elif {"seed_a", "seed_b"} <= set(rows.columns):
        a, b = pl.col("seed_a"), pl.col("seed_b")
        if {"variant_a", "variant_b"} <= set(rows.columns):
            a, b = (
                pl.when(pl.col("variant_a") == "P").then(b).otherwise(a),
                pl.when(pl.col("variant_b") == "P").then(a).otherwise(b),
            )
    else:
        raise AnalysisError(
            "nothing tells which rows are independent",
            expected="a column seed, or seed_a and seed_b",
            got=", ".join(rows.columns),
        )
    some, every = rows.select((a.is_null() | b.is_null()).any(), b=(a.is_null() & b.is_null()).all()).row(0)
    if some and not every:
        raise AnalysisError(
            f"a row whose {column!r} is to be estimated speaks of no seed",
            expected="rows of one network or pair each",
            hint="leave rows of all seeds out by the quantity's where",
        )
    value = pl.when(pl.col(column).null_count() > 0).then(None).otherwise(pl.col(column).mean())
    means = rows.group_by(pl.min_horizontal(a, b).alias("a"), pl.max_horizontal(a, b).alias("b"), maintain_order=True)
    return {(first or 0, second or 0): mean for first, second, mean in means.agg(value.alias("mean")).iter_rows()}


def over_seeds(
    values: Mapping[Unit, float],
    confidence: float = 0.95,
    bounds: "Bounds | None" = None,
    scale: float | None = None,
) -> "Interval":
    """The interval over the seeds of networks or of pairs of networks, leaving one seed out.

    Of single networks, and of pairs that share a seed with themselves alone, it is exactly Student's.

    Args:
        values: by the seeds of a pair; of one network twice the same.
        confidence: in (0, 1).
        bounds: of the value.
        scale: largest of the numbers that the values are differences of; None for values that are none.
    """
    from transferscope.measures.intervals import seed_pairs_interval, seeds_interval

    if all(a == b for a, b in values):
        return seeds_interval(list(values.values()), confidence, bounds, scale)
    found = seed_pairs_interval(values, confidence, bounds, scale)
    note = found.note or f"n counts seeds, of {len(values)} pairs, leaving one seed out"
    return replace(found, note=note)


def spoken(item: Estimate) -> str:
    """Value and limits in words: ``0.523 (95 % interval over 3 seeds 0.41 to 0.63)``; a range, or the value alone.

    >>> spoken(Estimate("a", {}, 0.5234, 0.41, 0.63, "seeds", 3))
    '0.523 (95 % interval over 3 seeds 0.410 to 0.630)'
    >>> spoken(Estimate("a", {}, None, note="one network"))
    'not defined (one network)'
    """
    if item.value is None:
        return f"not defined ({item.note})" if item.note else "not defined"
    if item.low is None or item.high is None:
        return f"{item.value:.3g}"
    what = {
        "seeds": f"95 % interval over {item.n} seeds",
        "examples": f"95 % interval over {item.n} test examples",
        "range": f"range of {item.n} seeds",
        None: "limits",
    }[item.basis]
    value, low, high = _alike(item.value, item.low, item.high)
    return f"{value} ({what} {low} to {high})"


def _alike(*values: float) -> list[str]:
    """Numbers with as many digits after the point as the largest needs for three; powers of ten where that is many."""
    largest = max(abs(value) for value in values)
    places = 2 - math.floor(math.log10(largest)) if largest else 0
    return [f"{value:.{max(0, places)}f}" if -4 <= places <= 5 else f"{value:.3g}" for value in values]


def in_turn(items: Sequence[Estimate]) -> str:
    """Values one after the other, as along training, the last one with its limits.

    >>> in_turn([Estimate("a", {}, 0.25), Estimate("a", {}, 0.5234, 0.41, 0.63, "seeds", 3)])
    '0.25 → 0.523 (95 % interval over 3 seeds 0.410 to 0.630)'
    """
    *before, last = items
    return " → ".join([*(spoken(replace(item, low=None, high=None)) for item in before), spoken(last)])


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
