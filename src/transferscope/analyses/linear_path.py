"""The straight line between two networks: loss, error and metric along it, and its barriers."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.errors import LoaderError, MeasureError
from transferscope.measures.barriers import Barrier, barrier
from transferscope.measures.metrics import correct, metric, per_example_loss
from transferscope.networks.batchnorm import has_batch_norm, recompute
from transferscope.networks.evaluate import (
    check_deterministic,
    check_network_deterministic,
    in_format,
    logits,
    resolve_device,
)

__all__ = ["BatchNormPolicy", "LinearPath", "PathPoint", "alpha_grid", "linear_path"]

BatchNormPolicy = Literal["recompute", "interpolate"]
Batches = Iterable[tuple[Tensor, Tensor]]


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
class PathPoint:
    """A split's examples at one α.

    Attributes:
        losses: ``examples``, loss of each in nats; infinite where the network's logits are not finite.
        errors: ``examples``, share of wrong labels of each: 0 or 1 for a single label.
        metric: of the split; None where it is undefined.
    """

    losses: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    metric: float | None


@dataclass(frozen=True)
class LinearPath:
    """What was measured on a line θ(α) = (1−α)θ₁ + αθ₂.

    Attributes:
        alphas: ascending; 0 is the first network.
        distance: ‖θ₁ − θ₂‖₂ over all parameters, buffers left out.
        batch_norm: ``recompute`` (running statistics estimated anew at every point, ends included),
            ``interpolate`` (statistics interpolated like weights: barriers of networks with batch norm are
            artefacts then), or ``no batch norm``.
        points: by split, one for each α.
        own: by split, the two networks with their own running statistics.
    """

    alphas: tuple[float, ...]
    distance: float
    batch_norm: str
    points: Mapping[str, tuple[PathPoint, ...]]
    own: Mapping[str, tuple[PathPoint, PathPoint]]

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
        batch_norm: ``recompute``, or ``interpolate`` to switch it off, which the result says.
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
    if not data:
        raise MeasureError("a path needs data", expected="at least one split", got="none")
    _check_alike(a, b)
    normed = has_batch_norm(a)
    policy = batch_norm if normed else "no batch norm"
    if policy == "recompute" and recompute_on is None:
        raise MeasureError(
            "the networks have batch norm, but there is nothing to recompute its statistics on",
            expected="recompute_on: batches of training images",
            hint="or switch it off with batch_norm='interpolate': the result then says so",
        )
    for batches in (*data.values(), *([recompute_on] if recompute_on is not None else [])):
        check_deterministic(batches)
    where = resolve_device(device)
    point = copy.deepcopy(a).to(where).eval()
    if memory_format == "channels_last":
        point = point.to(memory_format=torch.channels_last)
    line = _Line(point, a, b)
    check_network_deterministic(point, in_format(_some_images(data).to(where), memory_format))

    def evaluate() -> dict[str, PathPoint]:
        measured = {}
        for split, batches in data.items():
            values, labels = logits(point, batches, where, memory_format=memory_format)
            measured[split] = _point(values, labels, metric_name)
        return measured

    own: dict[str, list[PathPoint]] = {split: [] for split in data}
    for end in (0.0, 1.0):
        line.move(end)
        for split, value in evaluate().items():
            own[split].append(value)
    points: dict[str, list[PathPoint]] = {split: [] for split in data}
    for index, alpha in enumerate(grid):
        line.move(alpha)
        if policy == "recompute" and recompute_on is not None:
            recompute(point, recompute_on, memory_format=memory_format)
        for split, value in evaluate().items():
            points[split].append(value)
        if on_point is not None:
            on_point(index + 1, len(grid))
    return LinearPath(
        alphas=grid,
        distance=line.distance,
        batch_norm=policy,
        points={split: tuple(values) for split, values in points.items()},
        own={split: (values[0], values[1]) for split, values in own.items()},
    )


class _Line:
    """A network that can be put anywhere on the line, in place: no tensor is allocated per point."""

    def __init__(self, point: nn.Module, a: nn.Module, b: nn.Module) -> None:
        first, second = dict(a.named_parameters()), dict(b.named_parameters())
        self.moving: list[tuple[Tensor, Tensor, Tensor]] = []
        self.copied: list[tuple[Tensor, Tensor, Tensor]] = []
        tensors_a, tensors_b = _tensors(a), _tensors(b)
        for name, target in _tensors(point).items():
            # empty_like keeps the memory format of the network, so that no point pays for a conversion.
            ends = [torch.empty_like(target).copy_(side[name].detach()) for side in (tensors_a, tensors_b)]
            (self.moving if target.is_floating_point() else self.copied).append((target, ends[0], ends[1]))
        self.distance = float(
            np.sqrt(
                sum(
                    float((first[name].detach().cpu().double() - second[name].detach().cpu().double()).square().sum())
                    for name in first
                )
            )
        )

    @torch.no_grad()
    def move(self, alpha: float) -> None:
        """Put the network at α; at 0 and 1 every tensor is copied bit for bit."""
        for target, first, second in self.moving:
            if alpha == 0:
                target.copy_(first)
            elif alpha == 1:
                target.copy_(second)
            else:
                torch.lerp(first, second, alpha, out=target.detach())
        for target, first, second in self.copied:
            target.copy_(second if alpha == 1 else first)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _check_alike(a: nn.Module, b: nn.Module) -> None:
    first, second = _tensors(a), _tensors(b)
    apart = sorted(
        name
        for name in first.keys() | second.keys()
        if name not in first
        or name not in second
        or first[name].shape != second[name].shape
        or first[name].dtype != second[name].dtype
    )
    if apart:
        raise MeasureError(
            "there is no straight line between these networks: their parameters or buffers differ",
            expected="two networks of one architecture with heads of one size",
            got=", ".join(apart[:5]) + (" ..." if len(apart) > 5 else ""),
        )


def _some_images(data: Mapping[str, Batches]) -> Tensor:
    for images, _ in next(iter(data.values())):
        return images
    raise LoaderError("the loader gives no batch", expected="at least one batch", got="none")


def _point(values: Tensor, labels: Tensor, metric_name: str) -> PathPoint:
    task: Literal["single", "multi"] = "single" if labels.ndim == 1 else "multi"
    right = correct(values, labels).double()
    errors = 1 - (right if right.ndim == 1 else right.mean(dim=1))
    # Far outside [0, 1] a network may overflow: the loss of these examples has no bound, the others keep theirs.
    finite = torch.isfinite(values).all(dim=1)
    losses = torch.full((len(values),), math.inf, dtype=torch.float64)
    if bool(finite.any()):
        losses[finite] = per_example_loss(values[finite], labels[finite], task)
    return PathPoint(
        losses=losses.numpy(),
        errors=errors.numpy(),
        metric=metric(values, labels, metric_name),
    )
