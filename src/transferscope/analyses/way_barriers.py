"""Barriers of lines and curves between pairs of networks, out of a table: judged, and as numbers. No torch here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.analyses.contract import Number
from transferscope.analyses.pairs import interval_of
from transferscope.analyses.rounding import exact
from transferscope.analyses.variants import shown

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = [
    "CONNECTED",
    "Judged",
    "Word",
    "basis",
    "height",
    "judge",
    "of_one",
    "of_way",
    "over_pairs",
    "pairs_of_variants",
    "worst",
]

Word = Literal["stable", "unstable", "undecided"]
"""What :func:`transferscope.measures.barriers.stability` says."""

CONNECTED: Mapping[Word, str] = {
    "stable": "linearly connected",
    "unstable": "separated by a barrier",
    "undecided": "undecided",
}
"""The same of two networks with a straight line between them, as readers see it."""


@dataclass(frozen=True)
class Judged:
    """The error barrier of one way for all pairs of a kind (test, mean baseline), and what it means.

    Attributes:
        interval: of their mean, where the pairs make an interval over seeds; else the largest of them with the lowest
            lower and the highest upper limit over examples. None where a value on the way is not finite.
        word: ``stable``, ``unstable`` or ``undecided``, by the rule of paths.
        pairs: how many.
        over_seeds: whether they make an interval over seeds, which speaks of training in general.
    """

    interval: "Interval | None"
    word: Word
    pairs: int
    over_seeds: bool


def judge(rows: pl.DataFrame) -> Judged:
    """One way, by the barrier rows of the test error against the mean of the ends.

    Args:
        rows: one for each pair of a kind, of which some may share a network.
    """
    from transferscope.measures.barriers import stability
    from transferscope.measures.intervals import MAGNITUDE

    if rows["barrier"].null_count():
        return Judged(None, "undecided", rows.height, over_seeds=rows.height >= 3)
    interval = interval_of(rows, bounds=MAGNITUDE)
    over_seeds = interval.basis == "seeds"
    if not over_seeds:
        interval = worst(rows)
    return Judged(interval, stability(interval), rows.height, over_seeds)


def worst(rows: pl.DataFrame, low: str = "low", high: str = "high") -> "Interval":
    """The largest of barriers, with the lowest lower and the highest upper limit, over examples or groups of them.

    All are judged by it: "connected" is said of each, and so is "separated". Several pairs share their images, so that
    what counts is the smaller number.

    Args:
        rows: none null.
        low: column of lower limits.
        high: column of upper limits.
    """
    from transferscope.measures.intervals import Interval

    lows, highs = rows[low].to_list(), rows[high].to_list()
    low_end, high_end = (None, None) if None in lows or None in highs else (min(lows), max(highs))
    counted = rows["n" if "n" in rows.columns else "examples"].to_list()
    return Interval(max(rows["barrier"].to_list()), low_end, high_end, min(counted), "examples")


def height(
    judged: Judged, *, largest: str = "the larger of two", lost: str = "an error on the way is not finite"
) -> str:
    """A barrier in points, with limits, as said in a verdict.

    Args:
        judged: the barrier.
        largest: of several pairs of which the largest is taken.
        lost: said in its place where it is not known.
    """
    if judged.interval is None or judged.interval.value is None:
        return lost
    several = "" if judged.over_seeds or judged.pairs == 1 else f" ({largest})"
    found = f"error barrier {exact(100 * judged.interval.value):.1f} points{several}"
    if judged.interval.low is None or judged.interval.high is None:
        return f"{found}, without limits"
    return f"{found}, 95 % limits {exact(100 * judged.interval.low):.1f} to {exact(100 * judged.interval.high):.1f}"


def basis(judged: Judged, rows: pl.DataFrame, over_seeds: str = "") -> str:
    """What a verdict on some pairs rests on.

    Args:
        judged: the verdict.
        rows: of one way, on the split that was judged.
        over_seeds: what it rests on where it speaks of training in general; empty for disjoint pairs.
    """
    if judged.over_seeds:
        return over_seeds or f"over {judged.pairs} disjoint pairs of seeds"
    examples = rows["examples"][0]
    return f"from {examples} test examples, for {'this pair' if judged.pairs == 1 else 'these pairs'} of networks"


def pairs_of_variants(table: pl.DataFrame, variants: Iterable[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """The barriers against the mean of the ends, by pair as it is shown (P-T/P-T); no rows where none was measured.

    Args:
        table: of an analysis of ways.
        variants: whose pairs.
    """
    barriers = table.filter((pl.col("level") == "barrier") & (pl.col("baseline") == "mean"))
    for variant in variants:
        pair = f"{shown(variant)}/{shown(variant)}"
        yield pair, barriers.filter(pl.col("pair") == pair)


def of_way(rows: pl.DataFrame, way: str, split: str, quantity: str) -> pl.DataFrame:
    """The barrier rows of one way.

    Args:
        rows: of one kind of pair and one baseline.
        way: as in the column of that name.
        split: train or test.
        quantity: loss or error.
    """
    return rows.filter((pl.col("way") == way) & (pl.col("split") == split) & (pl.col("quantity") == quantity))


def over_pairs(name: str, rows: pl.DataFrame, unit: str) -> Number:
    """The barrier over pairs; of one pair with its limits over examples.

    Args:
        name: of the number.
        rows: one for each pair.
        unit: of the barrier.
    """
    from transferscope.measures.intervals import MAGNITUDE

    if lost := rows["barrier"].null_count():
        # The pairs that are left would be a selection: those without the worst of barriers.
        note = f"not finite for {lost} of {rows.height} pairs of networks"
        return Number(name, None, n=rows.height, unit=unit, note=note)
    if rows.height == 1:
        return of_one(name, rows.row(0, named=True), unit, "one pair")
    return Number.of(name, interval_of(rows, bounds=MAGNITUDE), unit)


def of_one(name: str, row: Mapping[str, Any], unit: str, note: str) -> Number:
    """The barrier of one line, with its limits over examples.

    Args:
        name: of the number.
        row: of the barrier, not null.
        unit: of the barrier.
        note: that it is of one.
    """
    limited = row["low"] is not None
    counted = row["n"] if "n" in row else row["examples"] if limited else 1
    return Number(name, row["barrier"], row["low"], row["high"], "examples" if limited else None, counted, unit, note)
