"""The (ε, δ) test of a basin between networks: the segment of two, or the convex hull of more."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.errors import MeasureError
from transferscope.frozen import derive_seed
from transferscope.measures.basin import Basin, basin, delta_grid, rise
from transferscope.measures.intervals import Interval
from transferscope.measures.simplex import (
    affine_rank,
    half_normal_quadrature,
    outward,
    rim,
    segment_quadrature,
    simplex_draws,
)
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.networks.given import takes_networks
from transferscope.readable import readable

Array: TypeAlias = npt.NDArray[np.float64]
Quantity: TypeAlias = Literal["loss", "error"]
Points: TypeAlias = dict[tuple[str, Quantity], list[Array]]
"""By split and quantity: for every evaluated point its examples."""

_QUANTITIES: tuple[Quantity, ...] = ("loss", "error")


@readable
@dataclass(frozen=True)
class NetworkBasin:
    """The test of one set of networks.

    Attributes:
        distances: ``corners corners``, ‖θ_i − θ_j‖₂ over all parameters, buffers left out.
        draws: of noise (segment), or of points, ways out and noise (hull).
        rise: by split and quantity, the largest height within the set above the mean of its corners: the barrier with
            the mean baseline; None as ``found``.
    """

    shape: Literal["segment", "hull"]
    distances: Array
    parameters: int
    batch_norm: str
    points: int
    draws: int
    found: Mapping[str, Mapping[Quantity, Basin | None]]
    rise: Mapping[str, Mapping[Quantity, Interval | None]]

    @property
    def span(self) -> float:
        """Mean distance between the networks: what δ is set beside."""
        corners = len(self.distances)
        return float(self.distances.sum()) / (corners * (corners - 1))


@dataclass(frozen=True)
class _Set:
    """Where a set is measured, in weights of its corners; everything random is drawn beforehand.

    Attributes:
        inside: ``points corners``; the barrier is read off all of them.
        interior: which of ``inside`` make μ and ε.
        interior_weights: of a quadrature; None for uniform draws.
        rims: ``draws starts corners``: f of every draw; of a segment both ends, which are equally likely.
        exits: ``ways starts corners``: f of every draw of a way out.
        reaches: ``ways`` of |ν|/δ.
        reach_weights: of a quadrature; None where they are drawn.
    """

    inside: Array
    interior: slice
    interior_weights: Array | None
    rims: Array
    exits: Array
    ways: Array
    reaches: Array
    reach_weights: Array | None


@dataclass(frozen=True, kw_only=True)
class BasinGrid:
    """At how many points the set between networks is measured.

    Attributes:
        points: of the quadrature (odd, ends included), or uniform points of the hull, at least 2.
        draws: at least 1; without a second there is no standard error over them.
        nodes: of the quadrature of |ν|, for a segment.
    """

    points: int = 25
    draws: int = 4
    nodes: int = 4


def evaluations(corners: int, grid: BasinGrid, deltas: int) -> int:
    """How many points of parameter space a test evaluates, ``deltas`` counting 0."""
    if corners == 2:
        return grid.points + (deltas - 1) * 2 * (grid.draws + grid.nodes)
    marks = corners + corners * (corners - 1) // 2 + 1
    return marks + grid.points + grid.draws + (deltas - 1) * 2 * grid.draws


@takes_networks("networks")
def basin_networks(
    networks: Sequence[nn.Module],
    data: Mapping[str, Batches],
    evaluation: Evaluation = Evaluation(),
    *,
    grid: BasinGrid = BasinGrid(),
    deltas: Callable[[float], Sequence[float]] = delta_grid,
    tau: float = 0.02,
    seed: int = 0,
    clusters: Mapping[str, npt.ArrayLike | None] | None = None,
    on_point: Callable[[int, int], None] | None = None,
) -> NetworkBasin:
    """Test whether the set between networks is an (ε, δ)-basin of loss and error; see :func:`measures.basin.basin`.

    Of two networks: the segment. μ and ε are a quadrature; f is either end with probability ½, so both are evaluated;
    |ν| of condition (3) is a quadrature as well, which leaves the noise of condition (2) as the only thing drawn. Of
    more: the convex hull, with uniform (Dirichlet) points, ways out and noise all drawn.

    The same draws, scaled, serve every δ. They depend on ``seed``, the number of the draw and the order of the
    parameters alone, and are made on the CPU.

    Args:
        networks: of one architecture, with heads of one size, no one in the span of the others. Left as they are.
        data: loaders by split; each must give the same batches twice.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        grid: at how many points and draws.
        deltas: the grid of δ for the mean distance of the networks; 0 first.
        tau: a fixed threshold beside 2ε, in nats and as a share of wrong labels.
        seed: of all draws.
        clusters: by split, the group of each example; None where each is its own.
        on_point: told how many points are done, of how many.

    Raises:
        MeasureError: fewer than two networks, networks that differ in parameters, that coincide or lie in each other's
            span, or are not finite; or numbers that make no grid.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the networks give other outputs for the same images.

    Reference: Neyshabur et al. 2020, Def. 3.1.
    """
    if len(networks) < 2:
        raise MeasureError("a basin is tested between networks", expected="at least two", got=str(len(networks)))
    points, draws = grid.points, grid.draws
    if draws < 1 or points < 2:
        raise MeasureError("a basin needs points and draws", expected="points ≥ 2, draws ≥ 1", got=f"{points}, {draws}")
    land = Landscape(networks, data, evaluation)
    distances = _distances(land)
    if not np.isfinite(distances).all():
        raise MeasureError("a network has weights that are not finite", expected="finite distances", got="∞ or NaN")
    rank = affine_rank(distances**2)
    if rank < len(networks) - 1:
        raise MeasureError(
            "these networks do not span a set: they coincide, or one lies between or in the span of the others",
            expected=f"{len(networks)} networks that span {len(networks) - 1} dimensions",
            got=f"{rank} dimensions",
            hint="leave out copies, averages and points of one line",
        )
    off = distances[~np.eye(len(distances), dtype=bool)]
    radii = tuple(float(value) for value in deltas(float(off.mean())))
    between = _segment(distances, grid) if len(networks) == 2 else _hull(distances, grid, seed)
    walk = _Walk(land, seed, on_point, evaluations(len(networks), grid, len(radii)))
    inside = walk.at(between.inside)
    start = walk.starts(between, inside)
    noise = walk.noise(between, radii, start)
    out = walk.outward(between, radii, start)
    corners = list(range(len(networks))) if len(networks) > 2 else [0, points - 1]
    found: dict[str, dict[Quantity, Basin | None]] = {split: {} for split in land.splits}
    rises: dict[str, dict[Quantity, Interval | None]] = {split: {} for split in land.splits}
    for (split, quantity), values in inside.items():
        table = np.stack(values)
        groups = None if clusters is None else clusters.get(split)
        finite = bool(np.isfinite(table).all())
        found[split][quantity] = (
            basin(
                table[between.interior],
                noise[split, quantity],
                out[split, quantity],
                radii,
                interior_weights=between.interior_weights,
                outward_weights=between.reach_weights,
                clusters=groups,
                tau=tau,
            )
            if finite
            else None
        )
        rises[split][quantity] = rise(table, corners, clusters=groups) if finite else None
    return NetworkBasin(
        shape="segment" if len(networks) == 2 else "hull",
        distances=distances,
        parameters=walk.size,
        batch_norm=land.policy,
        points=points,
        draws=draws,
        found=found,
        rise=rises,
    )


def _distances(land: Landscape) -> Array:
    corners = len(land.ends)
    table = np.zeros((corners, corners))
    for first in range(corners):
        for second in range(first + 1, corners):
            table[first, second] = table[second, first] = land.distance(first, second)
    return table


def _segment(distances: Array, grid: BasinGrid) -> _Set:
    alphas, weights = segment_quadrature(grid.points)
    reaches, reach_weights = half_normal_quadrature(grid.nodes)
    ends = np.eye(2)
    ways = outward(ends[::-1], ends, distances**2)
    return _Set(
        inside=np.stack([1 - alphas, alphas], axis=1),
        interior=slice(0, grid.points),
        interior_weights=weights,
        rims=np.broadcast_to(ends, (grid.draws, 2, 2)),
        exits=np.broadcast_to(ends, (grid.nodes, 2, 2)),
        ways=np.broadcast_to(ways, (grid.nodes, 2, 2)),
        reaches=reaches,
        reach_weights=reach_weights,
    )


def _hull(distances: Array, grid: BasinGrid, seed: int) -> _Set:
    corners, points, draws = len(distances), grid.points, grid.draws
    generator = np.random.default_rng(derive_seed(seed, "hull"))
    edges = [(np.eye(corners)[i] + np.eye(corners)[j]) / 2 for i in range(corners) for j in range(i)]
    marks = np.stack([*np.eye(corners), *edges, np.full(corners, 1 / corners)])
    uniform = simplex_draws(points, corners, generator)
    first, second = (simplex_draws(draws, corners, generator) for _ in range(2))
    ends = rim(first, second)
    return _Set(
        inside=np.concatenate([marks, uniform]),
        interior=slice(len(marks), len(marks) + points),
        interior_weights=None,
        rims=ends[:, None],
        exits=ends[:, None],
        ways=outward(first, ends, distances**2)[:, None],
        reaches=np.abs(generator.standard_normal(draws)),
        reach_weights=None,
    )


@final
class _Walk:
    """Evaluates points of a landscape, counting them."""

    def __init__(self, land: Landscape, seed: int, on_point: Callable[[int, int], None] | None, total: int) -> None:
        self._land = land
        self._seed = seed
        self._on_point = on_point
        self._done, self._total = 0, total
        self.size = sum(parameter.numel() for parameter in land.parameters.values())

    def at(self, places: Array) -> Points:
        """Every place, in order."""
        measured = [self._evaluate(place) for place in places]
        return {
            (split, quantity): [_values(point[split], quantity) for point in measured]
            for split in self._land.splits
            for quantity in _QUANTITIES
        }

    def starts(self, between: _Set, inside: Points) -> Points:
        """ℓ(f) of every draw, which is both conditions' left side at δ = 0; the ends of a segment are known."""
        if between.interior_weights is None:
            return self.at(between.rims[:, 0])
        return {key: [(values[0] + values[-1]) / 2] for key, values in inside.items()}

    def noise(self, between: _Set, grid: Sequence[float], start: Points) -> dict[tuple[str, Quantity], Array]:
        """``deltas draws examples`` of ℓ(f + ν), averaged over the starts of a draw."""

        rows = []
        for draw, begin in enumerate(between.rims):
            direction = dict(self._normal(draw))
            scales = [delta / math.sqrt(self.size) for delta in grid[1:]]
            rows.append([self._averaged([(place, direction, scale) for place in begin]) for scale in scales])
        return _stacked(start, rows)

    def outward(self, between: _Set, grid: Sequence[float], start: Points) -> dict[tuple[str, Quantity], Array]:
        """``deltas draws examples`` of ℓ beyond the rim, averaged over the starts of a draw."""
        rows = [
            [
                self._averaged([
                    (place + delta * reach * way, None, 0.0) for place, way in zip(begin, ways, strict=True)
                ])
                for delta in grid[1:]
            ]
            for begin, ways, reach in zip(between.exits, between.ways, between.reaches, strict=True)
        ]  # fmt: skip
        return _stacked(start, rows)

    def _averaged(self, places: list[tuple[Array, Mapping[str, Tensor] | None, float]]) -> Points:
        measured = [self._evaluate(*place) for place in places]
        return {
            (split, quantity): [np.mean([_values(point[split], quantity) for point in measured], axis=0)]
            for split in self._land.splits
            for quantity in _QUANTITIES
        }

    def _evaluate(
        self, weights: Array, direction: Mapping[str, Tensor] | None = None, scale: float = 0.0
    ) -> dict[str, LandscapePoint]:
        self._land.combine(weights.tolist())
        if direction is not None:
            self._land.shift(direction, scale)
        found = self._land.evaluate()
        self._done += 1
        if self._on_point is not None:
            self._on_point(self._done, self._total)
        return found

    def _normal(self, draw: int) -> Iterator[tuple[str, Tensor]]:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "noise", draw))
        for name, parameter in self._land.parameters.items():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            yield name, drawn.to(parameter.device, parameter.dtype)


def _values(point: LandscapePoint, quantity: Quantity) -> Array:
    return point.losses if quantity == "loss" else point.errors


def _stacked(start: Points, rows: list[list[Points]]) -> dict[tuple[str, Quantity], Array]:
    """``deltas draws examples``; at δ = 0 draws that start at one place share its values."""
    return {
        key: np.stack(
            [
                np.stack([values[draw % len(values)], *(at[key][0] for at in points)])
                for draw, points in enumerate(rows)
            ],
            axis=1,
        )
        for key, values in start.items()
    }
