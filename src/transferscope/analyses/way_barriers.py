"""Barriers of ways between pairs of networks, out of a table: judged, and as numbers. No torch here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from transferscope.analyses.contract import Number
from transferscope.analyses.pairs import pairs_interval

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = ["Judged", "basis", "judge", "of_way", "over_pairs"]


@dataclass(frozen=True)
class Judged:
    """The error barrier of one way for all pairs of a variant (test, mean baseline), and what it means.

    Attributes:
        interval: of three pairs or more, of their mean; of fewer, the largest of them with the lowest lower and the
            highest upper limit over examples. None where a value on the way is not finite.
        word: ``stable``, ``unstable`` or ``undecided``, by the rule of paths.
        pairs: how many.
    """

    interval: "Interval | None"
    word: Literal["stable", "unstable", "undecided"]
    pairs: int

    @property
    def height(self) -> str:
        """In points, with limits, as said in a verdict."""
        if self.interval is None or self.interval.value is None:
            return "an error on the way is not finite"
        found = f"error barrier {100 * self.interval.value:.1f} points{' (the larger of two)' * (self.pairs == 2)}"
        if self.interval.low is None or self.interval.high is None:
            return f"{found}, without limits"
        return f"{found}, 95 % limits {100 * self.interval.low:.1f} to {100 * self.interval.high:.1f}"


def judge(rows: pl.DataFrame) -> Judged:
    """One way, by the barrier rows of the test error against the mean of the ends.

    Args:
        rows: one for each pair of a variant.
    """
    from transferscope.measures.barriers import stability
    from transferscope.measures.intervals import Interval

    values = rows["barrier"].drop_nulls().to_list()
    if len(values) < len(rows):
        return Judged(None, "undecided", len(rows))
    if len(values) >= 3:
        interval = pairs_interval(values)
    else:
        # Of two pairs the worst is judged: "joined" is said of both, and so is "not joined".
        lows, highs = rows["low"].to_list(), rows["high"].to_list()
        low, high = (None, None) if None in lows or None in highs else (min(lows), max(highs))
        interval = Interval(max(values), low, high, min(rows["n"].to_list()), "examples")
    return Judged(interval, stability(interval), len(values))


def of_way(rows: pl.DataFrame, way: str, split: str, quantity: str) -> pl.DataFrame:
    """The barrier rows of one way.

    Args:
        rows: of one kind of pair and one baseline.
        way: as in the column of that name.
        split: train or test.
        quantity: loss or error.
    """
    return rows.filter((pl.col("way") == way) & (pl.col("split") == split) & (pl.col("quantity") == quantity))


def basis(judged: Judged, rows: pl.DataFrame) -> str:
    """What a verdict on some pairs rests on.

    Args:
        judged: the verdict.
        rows: of one way, on the split that was judged.
    """
    if judged.pairs >= 3:
        return f"over {judged.pairs} disjoint pairs of seeds"
    examples = rows["examples"][0]
    return f"from {examples} test examples, for {'this pair' if judged.pairs == 1 else 'these pairs'} of networks"


def over_pairs(name: str, rows: pl.DataFrame, unit: str) -> Number:
    """The barrier over independent pairs; of one pair with its limits over examples.

    Args:
        name: of the number.
        rows: one for each pair.
        unit: of the barrier.
    """
    values = rows["barrier"].drop_nulls().to_list()
    if len(values) < len(rows):
        # The pairs that are left would be a selection: those without the worst of barriers.
        note = f"not finite for {len(rows) - len(values)} of {len(rows)} pairs of networks"
        return Number(name, None, n=len(rows), unit=unit, note=note)
    if len(values) == 1:
        row = rows.row(0, named=True)
        basis: Literal["examples"] | None = None if row["low"] is None else "examples"
        return Number(name, row["barrier"], row["low"], row["high"], basis, row["n"], unit, "one pair")
    interval = pairs_interval(values)
    return Number(name, interval.value, interval.low, interval.high, interval.basis, interval.n, unit, interval.note)
