"""Rows of a straight line through parameter space: its points, and the barriers between its ends."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.keys import NO_BATCH_NORM, OWN_STATISTICS
from transferscope.study.columns import Column

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from transferscope.context.context import Context
    from transferscope.data.spec import Split
    from transferscope.methods.landscape.landscape import LandscapePoint

__all__ = [
    "LINE_COLUMNS",
    "QUANTITIES",
    "barrier_rows",
    "clusters_of",
    "line_notes",
    "own_row",
    "point_rows",
    "way_rows",
]

QUANTITIES: tuple[Literal["loss", "error"], ...] = ("loss", "error")
_ENOUGH_POINTS = 25
_AS = "as its value, or fewer than two examples or groups"
_NOT_A_POINT = "not finite, or a barrier row"
_NOT_A_BARRIER = "not a barrier row, or a loss between the ends is not finite"

LINE_COLUMNS = {
    "split": Column(str, "train or test"),
    "batch_norm": Column(str, "recompute, interpolate, no batch norm; own statistics: a network as it was trained"),
    "examples": Column(int, "images evaluated", "count"),
    "alpha": Column(float, "position on the line; of the largest gap for a barrier", null="a barrier that is null"),
    "loss": Column(float, "mean loss", "nat", "row", _NOT_A_POINT),
    "loss_se": Column(float, "its standard error over examples or groups", "nat", "row", _AS),
    "error": Column(float, "share of wrong labels", "1", "row", "a barrier row"),
    "error_se": Column(float, "its standard error", "1", "row", _AS),
    "metric": Column(float, "the study's metric", "metric", "row", "undefined, or a barrier row"),
    "loss_change": Column(float, "loss less that at α = 0", "nat", "row", f"{_NOT_A_POINT}, or own statistics"),
    "loss_change_se": Column(float, "its standard error, paired by example", "nat", "row", _AS),
    "error_change": Column(float, "error less that at α = 0", "1", "row", "a barrier row, or own statistics"),
    "error_change_se": Column(float, "its standard error, paired by example", "1", "row", _AS),
    "quantity": Column(str, "of a barrier: loss or error", null="not a barrier row"),
    "baseline": Column(str, "of a barrier: linear or mean", null="not a barrier row"),
    "barrier": Column(float, "largest gap over α in [0, 1], at least 0", "nat or 1", "row", _NOT_A_BARRIER),
    "barrier_se": Column(
        float, "standard error of the gap at that α, paired by example", "nat or 1", "row", f"{_NOT_A_BARRIER}; {_AS}"
    ),
    "low": Column(float, "lower 95 % limit, over examples or groups", "nat or 1", "row", f"{_NOT_A_BARRIER}; {_AS}"),
    "high": Column(float, "upper 95 % limit, over examples or groups", "nat or 1", "row", f"{_NOT_A_BARRIER}; {_AS}"),
    "simultaneous_low": Column(float, "as low, for the whole family at once (Bonferroni)", "nat or 1", "row", "as low"),
    "simultaneous_high": Column(float, "as high, for the whole family", "nat or 1", "row", "as high"),
    "n_comparisons": Column(int, "limits that hold at once", "count", null="not a barrier row"),
    "n": Column(int, "examples, or groups of them, that the limits rest on", "count", null="as barrier"),
    "midpoint_gap": Column(float, "signed gap at α = ½", "nat or 1", "row", "as barrier, or no ½ in the grid"),
    "smallest_gap": Column(
        float, "smallest gap over the straight line: a better middle is negative", "nat or 1", "row", "as barrier"
    ),
}
"""The columns that :func:`point_rows` and :func:`barrier_rows` fill."""


def point_rows(
    alphas: Sequence[float], points: "Sequence[LandscapePoint]", clusters: "npt.ArrayLike | None"
) -> Iterator[dict[str, Any]]:
    """A row for each α: loss, error, metric, and how far the first two are from those at α = 0.

    Args:
        alphas: 0 among them.
        points: one for each α, of one split.
        clusters: group of each example, or None.
    """
    import numpy as np

    from transferscope.measures.standard_error import standard_error

    start = points[list(alphas).index(0.0)]
    for alpha, point in zip(alphas, points, strict=True):
        row: dict[str, Any] = {"examples": len(point.losses), "alpha": alpha, "metric": point.metric}
        for quantity in QUANTITIES:
            values = _values(point, quantity)
            with np.errstate(invalid="ignore"):  # ∞ − ∞ is no change that could be named: a null
                change = values - _values(start, quantity)
                row |= {
                    quantity: _finite(float(values.mean())),
                    f"{quantity}_se": _finite(standard_error(values, clusters)),
                    f"{quantity}_change": _finite(float(change.mean())),
                    f"{quantity}_change_se": _finite(standard_error(change, clusters)),
                }
        yield row


def barrier_rows(
    alphas: Sequence[float],
    points: "Sequence[LandscapePoint]",
    clusters: "npt.ArrayLike | None",
    family: int,
) -> Iterator[dict[str, Any]]:
    """A row for loss and error, against both baselines.

    Args:
        alphas: 0 and 1 among them.
        points: one for each α, of one split.
        clusters: group of each example, or None.
        family: how many limits of this kind are to hold at once.
    """
    import numpy as np

    from transferscope.measures.families import bonferroni_confidence
    from transferscope.methods.landscape.barrier import barrier_of, values_of

    inside = [0 <= alpha <= 1 for alpha in alphas]
    for quantity in QUANTITIES:
        values = values_of(points, quantity)
        known = bool(np.isfinite(values[inside]).all())
        single, together = (
            barrier_of(alphas, points, quantity, clusters, confidence=confidence) if known else None
            for confidence in (0.95, bonferroni_confidence(family))
        )
        for baseline in ("linear", "mean"):
            row: dict[str, Any] = {
                "examples": values.shape[1],
                "quantity": quantity,
                "baseline": baseline,
                "n_comparisons": family,
            }
            if single is not None and together is not None:
                height, wide = (
                    (single.linear, together.linear) if baseline == "linear" else (single.mean, together.mean)
                )
                row |= {
                    "alpha": height.alpha,
                    "barrier": height.value,
                    "barrier_se": height.standard_error,
                    "low": height.interval.low,
                    "high": height.interval.high,
                    "simultaneous_low": wide.interval.low,
                    "simultaneous_high": wide.interval.high,
                    "n": height.interval.n,
                    "midpoint_gap": single.midpoint_gap,
                    "smallest_gap": single.minimum_gap,
                }
            yield row


def way_rows(
    positions: Sequence[float],
    lengths: Sequence[float],
    points: "Sequence[LandscapePoint]",
    clusters: "npt.ArrayLike | None",
    family: int,
) -> Iterator[dict[str, Any]]:
    """The points and the barriers of one way, each with its ``level`` and with ``l2``: how far one has come.

    Args:
        positions: ascending from 0 to 1.
        lengths: of the way from its first end to each of them.
        points: one for each of them, of one split.
        clusters: group of each example, or None.
        family: as in :func:`barrier_rows`.
    """
    for length, row in zip(lengths, point_rows(positions, points, clusters), strict=True):
        yield {"level": "point", "l2": length, **row}
    for row in barrier_rows(positions, points, clusters, family):
        yield {"level": "barrier", "l2": lengths[-1], **row}


def own_row(point: "LandscapePoint", clusters: "npt.ArrayLike | None") -> dict[str, Any]:
    """A network with its own batch-norm statistics: no point of a way, so that nothing changed along one.

    Args:
        point: of one split.
        clusters: group of each example, or None.
    """
    (row,) = point_rows((0.0,), (point,), clusters)
    changes = dict.fromkeys(f"{quantity}_change{error}" for quantity in QUANTITIES for error in ("", "_se"))
    return {**row, **changes, "level": "own", "batch_norm": OWN_STATISTICS}


def clusters_of(context: "Context", limits: "Mapping[Split, int | None]") -> "dict[str, npt.NDArray[Any] | None]":
    """The group of each image that a line is evaluated on, by split; None where the data has no groups.

    Args:
        context: of the study.
        limits: how many images of each split, as in ``context.batches``.
    """
    import numpy as np

    groups = context.images().groups
    return {
        split: None if groups is None else np.asarray(groups)[context.indices(split, limit)]
        for split, limit in limits.items()
    }


def line_notes(table: pl.DataFrame, batch_norm: str, images: int, points: int) -> tuple[str, ...]:
    """What a reader of barriers must know: what was done about batch norm, and how fine the grid is.

    Args:
        table: with a column ``batch_norm``.
        batch_norm: ``recompute`` or ``interpolate``, the setting.
        images: that statistics are recomputed on.
        points: on each line.
    """
    notes = []
    if NO_BATCH_NORM not in table["batch_norm"].unique():
        notes.append(
            f"batch-norm statistics recomputed at every point on the same {images} training images (or all, if fewer), "
            "ends included; the networks with their own statistics are listed apart"
            if batch_norm == "recompute"
            else "batch-norm statistics were interpolated, not recomputed: these barriers are artefacts"
        )
    if points < _ENOUGH_POINTS:
        notes.append(f"{points} points on each line: a narrow barrier may be missed")
    notes.append("the largest of noisy values is biased upward: small barriers are found where there is none")
    return tuple(notes)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _values(point: "LandscapePoint", quantity: Literal["loss", "error"]) -> "npt.NDArray[np.float64]":
    return point.losses if quantity == "loss" else point.errors
