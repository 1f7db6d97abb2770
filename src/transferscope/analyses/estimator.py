"""The one estimator: declared quantities over the seeds, or pairs of seeds, of a table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from transferscope.analyses.estimates import Coordinate, Estimate, Quantity
from transferscope.errors import AnalysisError

if TYPE_CHECKING:
    from transferscope.bounds import Bounds
    from transferscope.measures.interval import Interval

__all__ = ["Unit", "estimated", "over_seeds", "units"]


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
