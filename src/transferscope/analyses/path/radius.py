"""Loss at equal ℓ2 distance from the ends of lines of different length."""

import polars as pl

from transferscope.analyses.barrier_estimates import over_pairs
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.path_pairs import KINDS
from transferscope.keys import OWN_STATISTICS

__all__ = ["RISE", "radius_estimates"]

RISE = Quantity(
    "loss_rise", "rise of the loss within ℓ2 {radius:.3g} of the ends of {pair} ({split}, {batch_norm})", "nat"
)
"""How far the loss has risen at one common distance from the ends, ``radius``."""


def radius_estimates(table: pl.DataFrame, policy: str) -> list[Estimate]:
    """How far the test loss has risen at one common ℓ2 distance from the ends, for each kind of pair.

    The radius is half of the shortest line. On each line both ends are looked at, values between evaluated points are
    on the straight line between them. Empty unless there are lines of two kinds, of runs that differ.

    Args:
        table: of ``path``.
        policy: batch norm, in words.
    """
    points = table.filter(
        (pl.col("level") == "point")
        & (pl.col("role") == "pair")
        & (pl.col("moves") == "all")
        & (pl.col("split") == "test")
        & (pl.col("batch_norm") != OWN_STATISTICS)
        & pl.col("alpha").is_between(0, 1)
        & ~pl.col("pair").is_in([kind.label for kind in KINDS.values() if kind.second == "epoch"])
    ).sort("alpha")
    lengths = points.filter(pl.col("alpha") == 1)
    radius = min(lengths["l2"].to_list(), default=0.0) / 2
    if lengths["pair"].n_unique() < 2 or radius == 0:
        return []
    found = []
    for (pair,), lines in points.group_by(["pair"], maintain_order=True):
        rises = [
            {"seed_a": one, "seed_b": two, "rise": _rise(line, radius)}
            for (one, two), line in lines.group_by(["seed_a", "seed_b"], maintain_order=True)
        ]
        rows = pl.DataFrame(rises, schema_overrides={"rise": pl.Float64})
        note = "mean of both ends; half of the shortest line"
        at = {"pair": str(pair), "radius": radius, "split": "test", "batch_norm": policy}
        found.append(over_pairs(RISE, rows, "rise", note, **at))
    return found


def _rise(line: pl.DataFrame, radius: float) -> float | None:
    import numpy as np

    if line["loss"].null_count():
        return None
    place, loss = line["l2"].to_numpy(), line["loss"].to_numpy()
    near, far = np.interp([radius, place[-1] - radius], place, loss)
    return float((near - loss[0] + far - loss[-1]) / 2)
