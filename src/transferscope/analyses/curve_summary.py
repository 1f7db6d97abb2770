"""The verdict on trained curves: whether the ends are joined by one, and what the straight line between them says."""

from collections.abc import Sequence

import polars as pl

from transferscope.analyses.contract import Number, Summary
from transferscope.analyses.line_rows import line_notes
from transferscope.analyses.pairs import pairs_interval
from transferscope.analyses.way_barriers import CONNECTED, basis, height, judge, of_way, over_pairs, pairs_of_variants
from transferscope.keys import barrier_key

__all__ = ["summary"]

_CURVE = {
    "stable": "joined by a curve of low loss",
    "unstable": "not joined by the curve that was trained",
    "undecided": "undecided whether the trained curve joins them",
}


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
    for pair, rows in pairs_of_variants(table, variants):
        if rows.is_empty():
            words.append(f"{pair} not measured (an end or the curve's training diverged, or fewer than two seeds)")
            continue
        curve, line = (judge(of_way(rows, way, "test", "error")) for way in ("curve", "line"))
        words.append(
            f"{pair} {_CURVE[curve.word]}: {height(curve)}; on the straight line {CONNECTED[line.word]}: "
            f"{height(line)} ({basis(curve, of_way(rows, 'curve', 'test', 'error'))})"
        )
        numbers += [
            over_pairs(
                f"{quantity} barrier along the {way} of {pair} ({split}, mean baseline)",
                of_way(rows, way, split, quantity),
                "1" if quantity == "error" else "nat",
            ).keyed(barrier_key(quantity, split, "mean"), pair, way)
            for quantity in ("error", "loss")
            for split in ("train", "test")
            for way in ("curve", "line")
        ]
        numbers.append(_detour(pair, of_way(rows, "curve", "test", "error")))
    return Summary("; ".join(words) + ".", tuple(numbers), _notes(table, batch_norm_images, points))


def _detour(pair: str, rows: pl.DataFrame) -> Number:
    from transferscope.measures.intervals import MAGNITUDE

    name = f"length of the curve of {pair} over the distance of its ends"
    apart = rows.filter(pl.col("distance") > 0)
    if len(apart) < len(rows):
        return Number(name, None, n=len(rows), note="the ends of a pair are one and the same network")
    return Number.of(name, pairs_interval((rows["l2"] / rows["distance"]).to_list(), MAGNITUDE))


def _notes(table: pl.DataFrame, batch_norm_images: int, points: int) -> tuple[str, ...]:
    trained = table.select("pair", "shape", "learning_rate", "epochs").unique(maintain_order=True)
    said = [
        f"{pair}: bend of a {'Bézier curve' if shape == 'bezier' else 'chain of two straight pieces'} trained for "
        f"{epochs} epochs at rate {rate:.3g}"
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
