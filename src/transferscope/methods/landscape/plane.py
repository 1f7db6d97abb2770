"""Loss and error on a plane: through three networks, or along two random directions around one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import nn

from transferscope.errors import MeasureError
from transferscope.frozen import derive_seed
from transferscope.measures.plane import coarse_to_fine, triangle, weights_at
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.networks.directions import OneDimensional, direction_norm, filter_normalised
from transferscope.networks.given import takes_networks
from transferscope.readable import readable

__all__ = ["Mark", "Plane", "plane_around", "plane_through"]

Array: TypeAlias = npt.NDArray[np.float64]
_QUANTITIES = 2
"""Loss and error, in this order for every split."""


@dataclass(frozen=True)
class Mark:
    """A network on a plane.

    Attributes:
        x: coordinate, in ℓ2.
        y: coordinate, in ℓ2.
        points: by split, batch norm by the plane's policy.
        own: by split, with its own running statistics.
    """

    x: float
    y: float
    points: Mapping[str, LandscapePoint]
    own: Mapping[str, LandscapePoint]


@readable
@dataclass(frozen=True)
class Plane:
    """Means over examples on a square grid of a plane.

    Attributes:
        x: ``columns``, coordinates in ℓ2, ascending.
        y: ``rows``, coordinates in ℓ2, ascending.
        loss: by split, ``rows columns``; infinite where that of an example is.
        error: by split, ``rows columns``.
        level: ``rows columns``, 0 for the coarsest grid.
        interpolated: ``rows columns``, whether a point is the mean of its neighbours one level up, not evaluated.
        marks: the networks: three, or the one at the centre.
        cosine: between the two axes: 0 through networks, near 0 for random directions of many parameters.
        batch_norm: ``recompute``, ``interpolate``, ``none`` or ``no batch norm``.
    """

    x: Array
    y: Array
    loss: Mapping[str, Array]
    error: Mapping[str, Array]
    level: npt.NDArray[np.int64]
    interpolated: npt.NDArray[np.bool_]
    marks: tuple[Mark, ...]
    cosine: float
    batch_norm: str


@takes_networks("networks")
def plane_through(
    networks: Sequence[nn.Module],
    data: Mapping[str, Batches],
    evaluation: Evaluation = Evaluation(),
    *,
    resolution: int = 17,
    margin: float = 0.25,
    tolerance: float = 0.02,
    on_point: Callable[[int], None] | None = None,
) -> Plane:
    """The plane through three networks: θ_1 at the origin, θ_2 on the x axis, θ_3 above it; distances are kept.

    At the networks themselves every tensor is copied bit for bit. Elsewhere a point is the affine combination of the
    three; its running statistics follow ``batch_norm``.

    Args:
        networks: three, of one architecture, with heads of one size. Left as they are.
        data: loaders by split; each must give the same batches twice.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        resolution: points a side: odd, at least 5.
        margin: around the triangle on all sides, as a share of the longer of its width and height.
        tolerance: a finer grid is evaluated where interpolation from the coarser one was off by more, in error or
            in 1 − exp(−loss), on any split. See :func:`measures.plane.coarse_to_fine`.
        on_point: told how many grid points are done.

    Raises:
        MeasureError: not three networks, networks that differ in parameters, that are the same or lie on one line.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the networks give other outputs for the same images.

    Reference: Garipov et al. 2018 (arXiv 1802.10026), Sec. 3 and Fig. 1; Neyshabur et al. 2020, Fig. 4.
    """
    if len(networks) != 3:
        raise MeasureError("a plane goes through three networks", expected="three", got=str(len(networks)))
    if not margin >= 0:
        raise MeasureError("a margin is a share", expected="at least 0", got=str(margin))
    land = Landscape(networks, data, evaluation)
    corners = triangle([[land.distance(a, b) for b in range(3)] for a in range(3)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    air = margin * float((high - low).max())
    x, y = (np.linspace(low[axis] - air, high[axis] + air, resolution) for axis in (0, 1))

    def go(place: tuple[float, float]) -> None:
        land.combine(weights_at(place, corners).tolist())

    marks = tuple(
        _mark(land, [float(other == network) for other in range(3)], right, up)
        for network, (right, up) in enumerate(corners.tolist())
    )
    return _measured(land, go, x, y, tolerance, marks, 0.0, on_point)


@takes_networks("network")
def plane_around(
    network: nn.Module,
    data: Mapping[str, Batches],
    evaluation: Evaluation = Evaluation(),
    *,
    seed: int = 0,
    reach: float = 1.0,
    one_dimensional: OneDimensional = "zero",
    resolution: int = 17,
    tolerance: float = 0.02,
    on_point: Callable[[int], None] | None = None,
) -> Plane:
    """The plane of two random filter-normalised directions around a network, which is its centre.

    Two networks of one architecture get the same draws for the same seed, each scaled to its own filters. Axes are in
    ℓ2 along each direction. The directions are not made orthogonal, which would undo their normalisation: the result
    has their cosine.

    Args:
        network: left as it is.
        data: loaders by split; each must give the same batches twice.
        seed: of both directions.
        reach: how far along each direction to either side, in units of the direction (which is as long as the
            network's weights).
        one_dimensional: biases and parameters of norms stay (``zero``), or are one filter each (``normalise``).
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        resolution: as in :func:`plane_through`.
        tolerance: as in :func:`plane_through`.
        on_point: as in :func:`plane_through`.

    Raises:
        MeasureError: nothing to move, or a reach that is not above 0.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the network gives other outputs for the same images.

    Reference: Li et al. 2018, "Visualizing the loss landscape of neural nets", Sec. 4.
    """
    if not (np.isfinite(reach) and reach > 0):
        raise MeasureError("a plane reaches somewhere", expected="a reach above 0", got=str(reach))
    land = Landscape((network,), data, evaluation)
    land.combine((1.0,))
    directions = [
        filter_normalised(land.parameters, derive_seed(seed, "plane", axis), one_dimensional) for axis in (0, 1)
    ]
    lengths = [direction_norm(direction.values()) for direction in directions]
    product = sum(
        float((value.cpu().double() * directions[1][name].cpu().double()).sum())
        for name, value in directions[0].items()
    )

    def go(place: tuple[float, float]) -> None:
        land.combine((1.0,))
        for direction, length, step in zip(directions, lengths, place, strict=True):
            if step != 0:
                land.shift(direction, step / length)

    x, y = (np.linspace(-reach * length, reach * length, resolution) for length in lengths)
    mark = _mark(land, [1.0], 0.0, 0.0)
    return _measured(land, go, x, y, tolerance, (mark,), product / (lengths[0] * lengths[1]), on_point)


def _mark(land: Landscape, weights: Sequence[float], x: float, y: float) -> Mark:
    land.combine(weights)
    own = land.evaluate(own_statistics=True)
    return Mark(x, y, land.evaluate(), own)


def _measured(
    land: Landscape,
    go: Callable[[tuple[float, float]], None],
    x: Array,
    y: Array,
    tolerance: float,
    marks: tuple[Mark, ...],
    cosine: float,
    on_point: Callable[[int], None] | None,
) -> Plane:
    done = 0

    def evaluate(row: int, column: int) -> list[float]:
        nonlocal done
        go((float(x[column]), float(y[row])))
        found = land.evaluate()
        done += 1
        if on_point is not None:
            on_point(done)
        return [float(part.mean()) for split in land.splits for part in (found[split].losses, found[split].errors)]

    surface = coarse_to_fine(evaluate, len(x), tolerance, _judged)
    tables: dict[str, Any] = {
        split: surface.values[:, :, _QUANTITIES * place : _QUANTITIES * (place + 1)]
        for place, split in enumerate(land.splits)
    }
    return Plane(
        x=x,
        y=y,
        loss={split: table[:, :, 0] for split, table in tables.items()},
        error={split: table[:, :, 1] for split, table in tables.items()},
        level=surface.level,
        interpolated=surface.interpolated,
        marks=marks,
        cosine=cosine,
        batch_norm=land.policy,
    )


def _judged(values: Array) -> Array:
    """Loss as 1 − exp(−loss), so that high places far off, and infinite ones, count no more than an error does."""
    found = values.copy()
    found[..., ::_QUANTITIES] = 1 - np.exp(-found[..., ::_QUANTITIES])
    return found
