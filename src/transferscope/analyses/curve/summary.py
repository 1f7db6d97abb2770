"""The verdict on trained curves: whether the ends are joined by one, and what the straight line between them says."""

from collections.abc import Mapping

import polars as pl

from transferscope.analyses.barrier_estimates import (
    CONNECTED,
    barrier_quantities,
    barriers,
    deciding,
    height,
    over_pairs,
    pairs_of_variants,
    select,
)
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.path_rows import line_notes
from transferscope.analyses.path_settings import AbstractWays
from transferscope.analyses.summary import Summary
from transferscope.bounds import MAGNITUDE

__all__ = ["QUANTITIES", "summary"]

_BARRIERS = barrier_quantities(
    "%s barrier along the {path} of {pair} ({split}, {baseline} baseline)",
    path={"bezier": "curve", "chain": "curve"},
)
_LENGTH = Quantity("length_ratio", "length of the curve of {pair} over the distance of its ends", "1", MAGNITUDE)
QUANTITIES = (*_BARRIERS.values(), _LENGTH)
"""Of ``curve``: ``path`` is the shape of the trained curve, or ``line``."""

_JOINED: Mapping[str | None, str] = {
    "stable": "joined by a curve of low loss",
    "unstable": "not joined by the curve that was trained",
    "undecided": "undecided whether the trained curve joins them",
}


def summary(table: pl.DataFrame, settings: AbstractWays) -> Summary:
    """Estimates and verdict of ``curve``, from its table and settings."""
    estimates: list[Estimate] = []
    words: list[str] = []
    for pair, rows in pairs_of_variants(table, settings.variants):
        if rows.is_empty():
            words.append(f"{pair} not measured (an end or the curve's training diverged, or fewer than two seeds)")
            continue
        curved, straight = (rows.filter(pl.col("way") == way) for way in ("curve", "line"))
        on_curve = list(barriers(curved, _BARRIERS, pair=pair, path=rows["shape"][0]))
        on_line = list(barriers(straight, _BARRIERS, pair=pair, path="line"))
        curve, line, pairs = deciding(on_curve), deciding(on_line), select(curved)
        words.append(
            f"{pair} {_JOINED[curve.verdict]}: {height(curve, pairs.height)}; on the straight line "
            f"{CONNECTED[line.verdict]}: {height(line, pairs.height)}"
        )
        ratio = pairs.with_columns(ratio=pl.when(pl.col("distance") > 0).then(pl.col("l2") / pl.col("distance")))
        estimates += [*on_curve, *on_line, over_pairs(_LENGTH, ratio, "ratio", pair=pair)]
    return Summary("; ".join(words) + ".", tuple(estimates), _notes(table, settings))


def _notes(table: pl.DataFrame, settings: AbstractWays) -> tuple[str, ...]:
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
        *line_notes(table, "recompute", settings.batch_norm_images, settings.points),
    )
