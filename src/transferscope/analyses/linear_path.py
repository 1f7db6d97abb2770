"""The straight line between two networks: loss, error and metric along it, and its barriers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from transferscope.analyses.landscape import Batches, BatchNormPolicy, Landscape, LandscapePoint
from transferscope.errors import MeasureError
from transferscope.measures.barriers import Barrier, barrier

__all__ = ["LinearPath", "alpha_grid", "linear_path"]


def alpha_grid(points: int = 25, extrapolate: float = 0.5, outer: int = 6) -> tuple[float, ...]:
    """Values of α: ``points`` from 0 to 1, both included, and ``outer`` more on either side.

    Args:
        points: at least 2; a reported barrier needs 25 or a refinement.
        extrapolate: how far beyond either end; 0 for not at all.
        outer: points beyond each end.

    Raises:
        MeasureError: fewer than 2 points, or a negative number.

    >>> alpha_grid(3, 0.5, 1)
    (-0.5, 0.0, 0.5, 1.0, 1.5)
    """
    if points < 2 or extrapolate < 0 or outer < 0:
        raise MeasureError(
            "no grid of α can be made of these numbers",
            expected="at least 2 points (the ends), extrapolate and outer of at least 0",
            got=f"points {points}, extrapolate {extrapolate:g}, outer {outer}",
        )
    if extrapolate == 0:
        outer = 0
    inner = [index / (points - 1) for index in range(points)]
    before = [-extrapolate * (outer - index) / outer for index in range(outer)]
    after = [1 + extrapolate * (index + 1) / outer for index in range(outer)]
    return (*before, *inner, *after)


@dataclass(frozen=True)
class LinearPath:
    """What was measured on a line θ(α) = (1−α)θ₁ + αθ₂.

    Attributes:
        alphas: ascending; 0 is the first network.
        distance: ‖θ₁ − θ₂‖₂ over all parameters, buffers left out.
        batch_norm: ``recompute`` (running statistics estimated anew at every point, ends included),
            ``interpolate`` (statistics interpolated like weights) or ``none`` (those of the first network everywhere):
            barriers of networks with batch norm are artefacts then; or ``no batch norm``.
        points: by split, one for each α.
        own: by split, the two networks with their own running statistics.
    """

    alphas: tuple[float, ...]
    distance: float
    batch_norm: str
    points: Mapping[str, tuple[LandscapePoint, ...]]
    own: Mapping[str, tuple[LandscapePoint, LandscapePoint]]

    def barrier(self, split: str, quantity: Literal["loss", "error"], clusters: npt.ArrayLike | None = None) -> Barrier:
        """Barrier of loss or error on one split, against both baselines; see :func:`measures.barriers.barrier`.

        Raises:
            MeasureError: α = 0 or 1 is not in the grid, or a value in [0, 1] is not finite.
        """
        return barrier(self.alphas, self.values(split, quantity), clusters=clusters)

    def values(self, split: str, quantity: Literal["loss", "error"]) -> npt.NDArray[np.float64]:
        """``points examples`` losses or errors of one split."""
        return np.stack([point.losses if quantity == "loss" else point.errors for point in self.points[split]])


def linear_path(
    a: nn.Module,
    b: nn.Module,
    data: Mapping[str, Batches],
    *,
    recompute_on: Batches | None = None,
    batch_norm: BatchNormPolicy = "recompute",
    alphas: Sequence[float] | None = None,
    metric_name: str = "top1",
    device: str | torch.device = "auto",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
    on_point: Callable[[int, int], None] | None = None,
) -> LinearPath:
    """Evaluate the straight line between two networks of one architecture.

    At α = 0 and 1 all tensors are copied bit for bit: without recomputation the values there are those of the
    networks themselves. With batch norm the running statistics are estimated anew at every point on the same
    batches, ends included; the ends with their own statistics are listed apart.

    Args:
        a: α = 0. Left as it is.
        b: α = 1. Left as it is.
        data: loaders by split; each must give the same batches twice.
        recompute_on: batches of *training* images for the running statistics; needed where there is batch norm.
        batch_norm: ``recompute``, or ``interpolate`` or ``none`` to switch it off, which the result says.
        alphas: where to evaluate; :func:`alpha_grid` by default.
        metric_name: ``top1``, ``top5`` or ``auc``.
        device: where to compute.
        memory_format: of weights and images.
        on_point: told how many points are done, of how many.

    Raises:
        MeasureError: the networks have different parameters or buffers, or there is nothing to recompute batch norm
            on.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the networks give other outputs for the same images (dropout that ignores the mode).

    Reference: Neyshabur et al. 2020, Sec. 3.4 and Fig. 4; Frankle et al. 2020.
    """
    grid = tuple(float(alpha) for alpha in (alphas if alphas is not None else alpha_grid()))
    if not grid or not all(map(math.isfinite, grid)) or list(grid) != sorted(set(grid)):
        raise MeasureError("alphas must ascend, each once", expected="for example alpha_grid()", got=str(grid))
    land = Landscape(
        (a, b),
        data,
        recompute_on=recompute_on,
        batch_norm=batch_norm,
        metric_name=metric_name,
        device=device,
        memory_format=memory_format,
    )
    own: dict[str, list[LandscapePoint]] = {split: [] for split in data}
    for end in (0.0, 1.0):
        land.combine((1 - end, end))
        for split, value in land.evaluate(own_statistics=True).items():
            own[split].append(value)
    points: dict[str, list[LandscapePoint]] = {split: [] for split in data}
    for index, alpha in enumerate(grid):
        land.combine((1 - alpha, alpha))
        for split, value in land.evaluate().items():
            points[split].append(value)
        if on_point is not None:
            on_point(index + 1, len(grid))
    return LinearPath(
        alphas=grid,
        distance=land.distance(),
        batch_norm=land.policy,
        points={split: tuple(values) for split, values in points.items()},
        own={split: (values[0], values[1]) for split, values in own.items()},
    )
