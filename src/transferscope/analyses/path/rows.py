"""Rows of the table of ``path``: the points of a line, its ends with their own statistics, and its barriers."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from transferscope.keys import OWN_STATISTICS
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.methods.landscape.linear_path import LinearPath

__all__ = ["COLUMNS", "QUANTITIES", "rows_of"]

QUANTITIES: tuple[Literal["loss", "error"], ...] = ("loss", "error")
_NO_GAP = "outside [0, 1], own statistics, not finite, or a barrier row"
_POINT = "a point row"
_NO_BARRIER = "a point row, or not finite"
_EVEN = "a point row, or α was given and not refined"
_FLOAT = "a point row, or all points are float32"

COLUMNS: Mapping[str, Column] = {
    "level": Column(str, "point: one α; barrier: the largest gap over α in [0, 1]"),
    "role": Column(str, "pair; ruler: a pair whose answer is known"),
    "pair": Column(str, "which networks"),
    "moves": Column(str, "all, or trunk: the head is that of a everywhere, at α = 1 too"),
    "a": Column(str, "the network at α = 0"),
    "b": Column(str, "the network at α = 1"),
    "seed_a": Column(int, "seed of a", "count"),
    "seed_b": Column(int, "seed of b", "count"),
    "split": Column(str, "train or test"),
    "batch_norm": Column(str, "recompute, interpolate, none, no batch norm, or own statistics (of the ends)"),
    "examples": Column(int, "images evaluated", "count"),
    "alpha": Column(
        float, "position on the line; of the largest gap for a barrier", null="a barrier that is not finite"
    ),
    "l2": Column(float, "distance from a, negative before it (‖θ_a − θ_b‖ for a barrier)", "ℓ2"),
    "loss": Column(float, "mean loss", "nat", "row", "not finite, or a barrier row"),
    "loss_se": Column(float, "its standard error over examples", "nat", "row", "as loss"),
    "error": Column(float, "share of wrong labels", "1", "row", "a barrier row"),
    "error_se": Column(float, "its standard error over examples", "1", "row", "as error"),
    "metric": Column(float, "the study's metric", "metric", "row", "undefined, or a barrier row"),
    "loss_gap": Column(float, "loss above the straight line between the ends", "nat", "row", _NO_GAP),
    "loss_gap_se": Column(float, "standard error, paired by example", "nat", "row", _NO_GAP),
    "loss_gap_mean": Column(float, "loss above the mean of the ends", "nat", "row", _NO_GAP),
    "loss_gap_mean_se": Column(float, "standard error, paired by example", "nat", "row", _NO_GAP),
    "error_gap": Column(float, "error above the straight line between the ends", "1", "row", _NO_GAP),
    "error_gap_se": Column(float, "standard error, paired by example", "1", "row", _NO_GAP),
    "error_gap_mean": Column(float, "error above the mean of the ends", "1", "row", _NO_GAP),
    "error_gap_mean_se": Column(float, "standard error, paired by example", "1", "row", _NO_GAP),
    "quantity": Column(str, "of a barrier: loss or error", null=_POINT),
    "baseline": Column(str, "of a barrier: linear or mean", null=_POINT),
    "barrier": Column(float, "largest gap over α in [0, 1], at least 0", "nat or 1", "row", _NO_BARRIER),
    "barrier_se": Column(
        float, "standard error of the gap at that α, paired by example", "nat or 1", "row", f"{_NO_BARRIER}, or none"
    ),
    "low": Column(float, "lower 95 % limit, over examples or groups", "nat or 1", "row", "a point row, or none"),
    "high": Column(float, "upper 95 % limit, over examples or groups", "nat or 1", "row", "a point row, or none"),
    "n": Column(int, "examples, or groups of them, that the limits rest on", "count", null=_NO_BARRIER),
    "per_l2": Column(
        float, "barrier over ‖θ_a − θ_b‖; not scale-free: quadratic effects grow as its square", "nat or 1 per ℓ2",
        "row", f"{_NO_BARRIER}, or the distance is 0",
    ),
    "midpoint_gap": Column(float, "signed gap at α = ½", "nat or 1", "row", "a point row, or no ½ in the grid"),
    "smallest_gap": Column(float, "smallest gap: a better middle is negative", "nat or 1", "row", _NO_BARRIER),
    "points": Column(int, "values of α in [0, 1] that were evaluated", "count", null=_POINT),
    "equivalent": Column(int, "points of the even grid of the finest spacing", "count", null=_EVEN),
    "search_interval": Column(float, "widest interval beside a maximum of loss or error on a split", "α", null=_EVEN),
    "open": Column(int, "intervals that may hide a higher value, left for want of points", "count", null=_EVEN),
    "recheck_loss": Column(float, "largest difference of a mean loss, bfloat16 to float32", "nat", "row",
                           f"{_FLOAT}, or not finite"),
    "recheck_error": Column(float, "largest difference of a mean error, bfloat16 to float32", "1", "row", _FLOAT),
}  # fmt: skip


def rows_of(path: "LinearPath", split: str, clusters: Any) -> Iterable[dict[str, Any]]:
    """All rows of one split, without the names of the pair.

    Args:
        path: what was measured, α = 0 and 1 among it.
        split: which.
        clusters: group of each example, or None.
    """
    import numpy as np

    from transferscope.measures.standard_error import standard_error

    alphas = np.asarray(path.alphas)
    common = {"level": "point", "examples": len(path.points[split][0].losses)}
    columns: dict[str, list[float | None]] = {}
    for quantity in QUANTITIES:
        # Loss outside [0, 1] may be infinite; what is not finite becomes a null.
        values = path.values(split, quantity)
        columns[quantity] = [_finite(float(row.mean())) for row in values]
        columns[f"{quantity}_se"] = [_finite(standard_error(row, clusters)) for row in values]
        first, second = values[path.alphas.index(0.0)], values[path.alphas.index(1.0)]
        with np.errstate(invalid="ignore"):
            straight = (1 - alphas[:, None]) * first + alphas[:, None] * second
        lines = {"": straight, "_mean": np.broadcast_to((first + second) / 2, values.shape)}
        inside = (alphas >= 0) & (alphas <= 1)
        for suffix, line in lines.items():
            with np.errstate(invalid="ignore"):
                gaps = values - line
            columns[f"{quantity}_gap{suffix}"] = [
                _finite(float(gap.mean())) if within else None for gap, within in zip(gaps, inside, strict=True)
            ]
            columns[f"{quantity}_gap{suffix}_se"] = [
                _finite(standard_error(gap, clusters)) if within else None
                for gap, within in zip(gaps, inside, strict=True)
            ]
    for index, alpha in enumerate(path.alphas):
        yield {
            **common,
            "batch_norm": path.batch_norm,
            "alpha": alpha,
            "l2": alpha * path.distance,
            "metric": path.points[split][index].metric,
            **{name: values[index] for name, values in columns.items()},
        }
    for alpha, end in zip((0.0, 1.0), path.own[split], strict=True):
        yield {
            **common,
            "batch_norm": OWN_STATISTICS,
            "alpha": alpha,
            "l2": alpha * path.distance,
            "metric": end.metric,
            "loss": _finite(float(end.losses.mean())),
            "loss_se": _finite(standard_error(end.losses, clusters)),
            "error": float(end.errors.mean()),
            "error_se": standard_error(end.errors, clusters),
        }
    yield from _barriers(path, split, clusters)


def _barriers(path: "LinearPath", split: str, clusters: Any) -> Iterable[dict[str, Any]]:
    import numpy as np

    inside = [0 <= alpha <= 1 for alpha in path.alphas]
    common: dict[str, Any] = {
        "level": "barrier",
        "batch_norm": path.batch_norm,
        "examples": len(path.points[split][0].losses),
        "l2": path.distance,
        "points": sum(inside),
    }
    if (found := path.resolution) is not None:
        common |= {"equivalent": found.equivalent, "search_interval": found.bracket, "open": found.open}
    if path.recheck is not None:
        common |= {"recheck_loss": _finite(path.recheck.loss), "recheck_error": path.recheck.error}
    for quantity in QUANTITIES:
        values = path.values(split, quantity)
        finite = bool(np.isfinite(values[inside]).all())
        measured = path.barrier(split, quantity, clusters) if finite else None
        for baseline in ("linear", "mean"):
            row: dict[str, Any] = {**common, "quantity": quantity, "baseline": baseline}
            if measured is not None:
                height = measured.linear if baseline == "linear" else measured.mean
                row |= {
                    "alpha": height.alpha,
                    "barrier": height.value,
                    "barrier_se": height.standard_error,
                    "low": height.interval.low,
                    "high": height.interval.high,
                    "n": height.interval.n,
                    "per_l2": height.value / path.distance if path.distance else None,
                    "midpoint_gap": measured.midpoint_gap,
                    "smallest_gap": measured.minimum_gap,
                }
            yield row


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
