"""The curve between two networks that a third one bends, beside the straight line: loss, error and metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from transferscope.errors import MeasureError
from transferscope.measures.barriers import Barrier
from transferscope.measures.curve_length import curve_lengths
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.barrier import barrier_of
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.networks.curve import curve_weights
from transferscope.networks.given import takes_networks
from transferscope.readable import readable
from transferscope.specs.architecture import CurveShape

__all__ = ["WAYS", "CurvePath", "Way", "curve_path"]

Way = Literal["curve", "line"]
WAYS: tuple[Way, ...] = ("curve", "line")

_Points = Mapping[str, tuple[LandscapePoint, ...]]


@readable
@dataclass(frozen=True)
class CurvePath:
    """What was measured on a curve θ(t) and on the line (1−t)θ₁ + tθ₂ between its ends.

    Attributes:
        shape: ``bezier`` or ``chain``.
        positions: t, ascending from 0, the first network, to 1, the second.
        distance: ‖θ₁ − θ₂‖₂ over all parameters, buffers left out.
        lengths: arc length of the curve from θ₁ to each position.
        batch_norm: ``recompute``: running statistics estimated anew at every point; or ``no batch norm``.
        curve: by split, one for each position.
        line: the same on the straight line; its ends are those of the curve.
        own: by split, the two networks with their own running statistics.
    """

    shape: CurveShape
    positions: tuple[float, ...]
    distance: float
    lengths: tuple[float, ...]
    batch_norm: str
    curve: _Points
    line: _Points
    own: Mapping[str, tuple[LandscapePoint, LandscapePoint]]

    def points(self, split: str, way: Way = "curve") -> tuple[LandscapePoint, ...]:
        """Those of one split on the curve or on the line."""
        return (self.curve if way == "curve" else self.line)[split]

    def barrier(
        self,
        split: str,
        quantity: Literal["loss", "error"],
        way: Way = "curve",
        clusters: npt.ArrayLike | None = None,
    ) -> Barrier:
        """Barrier of loss or error along one way, against both baselines; see :func:`measures.barriers.barrier`.

        The linear baseline runs with t, as along the line.

        Raises:
            MeasureError: a value is not finite.
        """
        return barrier_of(self.positions, self.points(split, way), quantity, clusters)


@takes_networks("a", "b", "bend")
def curve_path(
    a: nn.Module,
    b: nn.Module,
    bend: nn.Module,
    data: Mapping[str, Batches],
    evaluation: Evaluation = Evaluation(),
    *,
    shape: CurveShape = "bezier",
    positions: Sequence[float] | None = None,
    on_point: Callable[[int, int], None] | None = None,
) -> CurvePath:
    """Evaluate a curve between two networks, and the straight line beside it.

    At t = 0 and 1 all tensors are those of the ends, bit for bit. With batch norm the running statistics are estimated
    anew at every point on the same batches, ends included: those of the bend belong to no point of the curve. The ends
    with their own statistics are listed apart.

    A curve of low loss says that its ends are joined by one; it does not say that they lie in one linear basin, which
    is a matter of the straight line.

    Args:
        a: t = 0. Left as it is.
        b: t = 1. Left as it is.
        bend: φ, as trained by :class:`~transferscope.training.curve_midpoint.CurveMidpoint`. Left as it is.
        data: loaders by split; each must give the same batches twice.
        shape: that the bend was trained for: ``bezier`` or ``chain``.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        positions: t, ascending from 0 to 1; 25 evenly spaced ones by default. A chain is kinked at ½.
        on_point: told how many points are done, of how many.

    Raises:
        MeasureError: positions that do not ascend from 0 to 1, networks that differ in parameters or buffers, or
            nothing to recompute batch norm on.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the networks give other outputs for the same images (dropout that ignores the mode).

    Reference: Garipov et al. 2018, "Loss surfaces, mode connectivity, and fast ensembling of DNNs", Sec. 3; Draxler et
    al. 2018, "Essentially no barriers in neural network energy landscape".
    """
    grid = tuple(float(t) for t in (np.linspace(0, 1, 25) if positions is None else positions))
    if len(grid) < 2 or list(grid) != sorted(set(grid)) or grid[0] != 0 or grid[-1] != 1:
        raise MeasureError(
            "positions must ascend from one end of the curve to the other",
            expected="0 first, 1 last, each once",
            got=str(grid),
        )
    if evaluation.batch_norm != "recompute":
        raise MeasureError(
            "running statistics of the bend belong to no point of the curve",
            expected="batch_norm='recompute'",
            got=repr(evaluation.batch_norm),
        )
    land = Landscape((a, b, bend), data, evaluation)
    own: list[dict[str, LandscapePoint]] = []
    found: dict[Way, list[dict[str, LandscapePoint]]] = {"curve": [], "line": []}
    for place, t in enumerate(grid):
        land.combine((1 - t, t, 0.0))
        if t in (0.0, 1.0):
            own.append(land.evaluate(own_statistics=True))
        found["line"].append(land.evaluate())
        if t not in (0.0, 1.0):
            land.combine(curve_weights(shape, t))
            found["curve"].append(land.evaluate())
        else:
            # Both ways have the same ends.
            found["curve"].append(found["line"][-1])
        if on_point is not None:
            on_point(place + 1, len(grid))
    return CurvePath(
        shape=shape,
        positions=grid,
        distance=land.distance(),
        lengths=curve_lengths(shape, grid, land.distance(0, 2), land.distance(2, 1), land.distance()),
        batch_norm=land.policy,
        curve={split: tuple(point[split] for point in found["curve"]) for split in data},
        line={split: tuple(point[split] for point in found["line"]) for split in data},
        own={split: (own[0][split], own[1][split]) for split in data},
    )
