"""The verdict on trained curves: whether the ends are joined by one, and what the straight line between them says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.line_rows import line_notes
from transferscope.analyses.pairs import pairs_interval
from transferscope.analyses.variants import shown

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = ["Judged", "judge", "summary"]

_CURVE = {
    "stable": "joined by a curve of low loss",
    "unstable": "not joined by the curve that was trained",
    "undecided": "undecided whether the trained curve joins them",
}
_LINE = {"stable": "linearly connected", "unstable": "separated by a barrier", "undecided": "undecided"}


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


def summary(table: pl.DataFrame, variants: Sequence[str], batch_norm_images: int, points: int) -> Summary:
    """Numbers and verdict of ``curve``.

    Args:
        table: in the declared columns of the analysis.
        variants: its setting.
        batch_norm_images: its setting.
        points: its setting.
    """
    numbers: list[Number] = []
    words: list[str] = []
    barriers = table.filter((pl.col("level") == "barrier") & (pl.col("baseline") == "mean"))
    for variant in variants:
        pair = f"{shown(variant)}/{shown(variant)}"
        rows = barriers.filter(pl.col("pair") == pair)
        if rows.is_empty():
            words.append(f"{pair} not measured (an end or the curve's training diverged, or fewer than two seeds)")
            continue
        curve, line = (judge(_of(rows, way, "test", "error")) for way in ("curve", "line"))
        words.append(
            f"{pair} {_CURVE[curve.word]}: {curve.height}; on the straight line {_LINE[line.word]}: {line.height} "
            f"({_basis(curve, rows)})"
        )
        numbers += [
            _over_pairs(
                f"{quantity} barrier along the {way} of {pair} ({split}, mean baseline)",
                _of(rows, way, split, quantity),
                "1" if quantity == "error" else "nat",
            )
            for quantity in ("error", "loss")
            for split in ("train", "test")
            for way in ("curve", "line")
        ]
        numbers.append(_detour(pair, _of(rows, "curve", "test", "error")))
    return Summary("; ".join(words) + ".", tuple(numbers), _notes(table, batch_norm_images, points))


def _of(rows: pl.DataFrame, way: str, split: str, quantity: str) -> pl.DataFrame:
    return rows.filter((pl.col("way") == way) & (pl.col("split") == split) & (pl.col("quantity") == quantity))


def _basis(judged: Judged, rows: pl.DataFrame) -> str:
    if judged.pairs >= 3:
        return f"over {judged.pairs} disjoint pairs of seeds"
    examples = _of(rows, "curve", "test", "error")["examples"][0]
    return f"from {examples} test examples, for {'this pair' if judged.pairs == 1 else 'these pairs'} of networks"


def _over_pairs(name: str, rows: pl.DataFrame, unit: str) -> Number:
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


def _detour(pair: str, rows: pl.DataFrame) -> Number:
    name = f"length of the curve of {pair} over the distance of its ends"
    apart = rows.filter(pl.col("distance") > 0)
    if len(apart) < len(rows):
        return Number(name, None, n=len(rows), note="the ends of a pair are one and the same network")
    interval = pairs_interval((rows["l2"] / rows["distance"]).to_list())
    return Number(name, interval.value, interval.low, interval.high, interval.basis, interval.n, "1", interval.note)


def _notes(table: pl.DataFrame, batch_norm_images: int, points: int) -> tuple[str, ...]:
    trained = table.select("pair", "shape", "learning_rate", "epochs").unique(maintain_order=True)
    said = [
        f"{pair}: bend of a {'Bézier curve' if shape == 'bezier' else 'chain of two straight pieces'} trained for "
        f"{epochs} epochs at rate {rate:g}"
        for pair, shape, rate, epochs in trained.iter_rows()
    ]
    return (
        "a way counts as joining its ends where the upper 95 % limit of the test error's barrier over the mean of the "
        "ends is below 2 points; barriers over the straight line between their values are in the table",
        "a curve of low loss makes no linear connection: that is judged on the straight line",
        "the bend was trained to lower the loss, the straight line was not: a curve that does not join its ends does "
        "not show that no curve does",
        *said,
        *line_notes(table, "recompute", batch_norm_images, points),
    )
