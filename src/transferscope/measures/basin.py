"""The (ε, δ) test of a basin, from losses or errors measured within a set and around it."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays
from transferscope.measures.intervals import Interval
from transferscope.measures.standard_error import standard_error

__all__ = ["Basin", "Estimate", "Radius", "basin", "delta_grid", "rise"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean, with the two errors it has.

    Attributes:
        value: infinite where the loss of an example is not finite.
        draw_error: standard error over the draws of points and noise, for these networks and these examples; 0 where
            the points are a quadrature; None for a single draw.
        example_error: standard error over examples (or groups), for these networks and these draws; None without
            examples.
    """

    value: float
    draw_error: float | None
    example_error: float | None

    @property
    def error(self) -> float | None:
        """Both together, for these networks: what another sample of examples and other draws would change.

        None where one of the two is unknown. Nothing is said about other trainings.
        """
        if self.draw_error is None or self.example_error is None:
            return None
        return math.hypot(self.draw_error, self.example_error)


@dataclass(frozen=True)
class Radius:
    """From which δ on both conditions hold.

    Attributes:
        value: the smallest δ of the grid from which both hold at every larger one; None if they do not at the largest.
        below: the next smaller δ of the grid, at which one does not hold: the grid leaves the place between open; None
            where ``value`` is None or 0.
        low: the largest δ at which one fails by more than its error, or 0: below lies no δ that agrees with the data.
        high: the smallest δ from which both hold by more than their error; None if there is none, or no error.
        reason: why ``value`` is None; empty otherwise.
    """

    value: float | None
    below: float | None
    low: float | None
    high: float | None
    reason: str


@dataclass(frozen=True)
class Basin:
    """What the test found for one set and one quantity.

    Attributes:
        mean: μ, the mean over the set.
        epsilon: ε = E|ℓ(w) − μ|, the smallest with which condition (1) holds. Every set has one.
        deltas: noise scales tested, 0 first.
        noise: left side of condition (2) at each, E[ℓ(f + ν)] − μ.
        outward: left side of condition (3) at each, E[ℓ(f + |ν|·(f − w1)/‖f − w1‖)] − μ.
        delta: from where both are at least 2ε.
        tau: a fixed threshold in place of 2ε.
        delta_tau: from where both are at least ``tau``: comparable between sets of different ε.
        resolved: whether 2ε is at least twice its standard error: without that there is no verdict. None without one.
    """

    mean: Estimate
    epsilon: Estimate
    deltas: tuple[float, ...]
    noise: tuple[Estimate, ...]
    outward: tuple[Estimate, ...]
    delta: Radius
    tau: float
    delta_tau: Radius
    resolved: bool | None


@checked
def delta_grid(span: float, smallest: float = 1 / 16, largest: float = 4.0, per_doubling: int = 1) -> tuple[float, ...]:
    """0, and noise scales from ``smallest·span`` to ``largest·span``, ``per_doubling`` to each factor of 2.

    Args:
        span: a length of the set, such as the distance of two solutions.
        smallest: share of the span, above 0.
        largest: share of the span; the last scale is the first that reaches it.
        per_doubling: at least 1.

    Raises:
        MeasureError: numbers that make no ascending grid.

    >>> delta_grid(2.0, 0.5, 4.0)
    (0.0, 1.0, 2.0, 4.0, 8.0)
    """
    if not (math.isfinite(span) and span > 0 and 0 < smallest < largest < math.inf and per_doubling >= 1):
        raise MeasureError(
            "no grid of δ can be made of these numbers",
            expected="span > 0, 0 < smallest < largest, per_doubling of at least 1",
            got=f"span {span:g}, smallest {smallest:g}, largest {largest:g}, per_doubling {per_doubling}",
        )
    steps = math.ceil(per_doubling * math.log2(largest / smallest) - 1e-9)
    return (0.0, *(span * smallest * 2 ** (step / per_doubling) for step in range(steps + 1)))


@of_arrays
def basin(
    interior: npt.ArrayLike,
    noise: npt.ArrayLike,
    outward: npt.ArrayLike,
    deltas: npt.ArrayLike,
    *,
    interior_weights: npt.ArrayLike | None = None,
    outward_weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    tau: float = 0.02,
    confidence: float = 0.95,
) -> Basin:
    """Whether, and from which δ on, a set S is an (ε, δ)-basin of ℓ.

    With U_S uniform on S and μ = E_{w~U_S} ℓ(w), for every larger δ of the grid as well:

    (1) E|ℓ(w) − μ| ≤ ε, (2) E[ℓ(f + ν)] − μ ≥ 2ε for ν ~ N(0, (δ²/n)·I_n), (3) E[ℓ(f + |ν|·(f − w1)/‖f − w1‖)] − μ ≥ 2ε
    for ν ~ N(0, δ²), where f = w1 + ã(w2 − w1) is where the ray from w1 through w2 leaves S, w1, w2 ~ U_S.

    δ is not a width: a flatter floor has a smaller ε and so a smaller δ. Any S has some ε, so that the result alone
    does not make S one basin: there must be no barrier in it either.

    Errors are linearised: ε moves with ℓ by Σ weights·sign(ℓ − μ)·(dℓ − dμ). Errors over draws and over examples are
    added in squares, as for independent samples of both. Draws of a condition at one δ are compared with μ and ε of the
    same examples.

    Invariant to a constant added to ℓ, to the order of examples, draws and points, and (but for ``delta_tau``) to a
    positive factor on ℓ. Not invariant to the scale of the parameters: δ is a length.

    Args:
        interior: ``points`` or ``points examples``: ℓ at points of S, finite.
        noise: ``deltas draws`` or ``deltas draws examples``: ℓ at f + ν, the same draws scaled by δ; may be infinite.
        outward: as ``noise``, for condition (3).
        deltas: ascending, 0 first.
        interior_weights: ``points``, with sum 1, of a quadrature; None for independent uniform draws.
        outward_weights: as ``interior_weights``, for the draws of ``outward``.
        clusters: ``examples``, the group of each.
        tau: a fixed threshold.
        confidence: of ``low`` and ``high`` of a radius, at each δ on its own.

    Returns:
        The test's quantities; a radius that does not exist has its reason.

    Raises:
        MeasureError: shapes that do not fit, NaN, a value of the interior that is not finite, or a grid of δ without 0.

    Reference: Neyshabur et al. (2020), "What is being transferred in transfer learning?", Def. 3.1.

    >>> found = basin([1.0, 0.0, 1.0], [[1.0], [4.0]], [[1.0], [9.0]], [0.0, 2.0], interior_weights=[1/6, 2/3, 1/6])
    >>> round(found.mean.value, 6), round(found.epsilon.value, 6), found.delta.value
    (0.333333, 0.444444, 2.0)
    """
    grid = _grid(deltas)
    if not 0 < confidence < 1:
        raise MeasureError("a confidence is a share", expected="in (0, 1), for example 0.95", got=str(confidence))
    if not (math.isfinite(tau) and tau > 0):
        raise MeasureError("τ is a height above the mean", expected="a number above 0", got=str(tau))
    within, per_example = _table(interior, "interior", 1)
    sides = [_table(noise, "noise", 2), _table(outward, "outward", 2)]
    if not np.isfinite(within).all():
        raise MeasureError(
            "a value within the set is not finite",
            expected="finite losses or errors",
            hint="such a set has no mean: report that it is none",
        )
    for name, (values, examples) in zip(("noise", "outward"), sides, strict=True):
        if examples != per_example or values.shape[0] != len(grid) or values.shape[2] != within.shape[1]:
            raise MeasureError(
                f"{name!r} does not fit the grid of δ or the examples",
                expected=f"{len(grid)} deltas, {within.shape[1] if per_example else 'no'} examples",
                got=f"{values.shape if examples else values.shape[:2]}",
            )
    if clusters is not None and not per_example:
        raise MeasureError("clusters need per-example values", expected="values with an axis of examples")
    own = _Interior(within, _weights(interior_weights, len(within), "interior"), clusters if per_example else None)
    shares = [None, _weights(outward_weights, sides[1][0].shape[1], "outward")]
    heights, over_two, over_tau = [], [], []
    for (values, _), weights in zip(sides, shares, strict=True):
        lefts, margins, higher = zip(*(own.side(row, weights, per_example, tau) for row in values), strict=True)
        heights.append(lefts)
        over_two.append(margins)
        over_tau.append(higher)
    epsilon = own.epsilon(per_example)
    deviation = float(stats.norm.isf((1 - confidence) / 2))
    return Basin(
        mean=own.mean(per_example),
        epsilon=epsilon,
        deltas=tuple(grid.tolist()),
        noise=heights[0],
        outward=heights[1],
        delta=_radius(grid, over_two, deviation),
        tau=tau,
        delta_tau=_radius(grid, over_tau, deviation),
        resolved=None if epsilon.error is None else epsilon.value >= 2 * epsilon.error,
    )


def rise(
    values: npt.ArrayLike, corners: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, confidence: float = 0.95
) -> Interval:
    """How far ℓ rises within a set above the mean of its corners: the barrier, mean baseline, of a segment or a hull.

    max over points of ℓ − mean over corners of ℓ, at least 0 with the limits of
    :func:`~transferscope.measures.barriers.barrier`: the largest of the pointwise upper limits, and the largest of the
    lower limits that hold for all points at once.

    Args:
        values: ``points examples``, the corners among them.

    Returns:
        The height; without limits below two examples or groups.

    >>> rise([[0.0, 1.0], [1.0, 2.0], [0.0, 0.0]], [0, 2]).value
    1.25
    """
    table, per_example = _table(values, "values", 1)
    rows = np.asarray(corners, dtype=np.intp)
    if not per_example or not np.isfinite(table).all() or not rows.size:
        raise MeasureError("a rise needs points and corners", expected="finite 'points examples'", got=str(table.shape))
    gaps = table - table[rows].mean(axis=0)
    heights = gaps.mean(axis=1)
    value = max(0.0, float(heights.max()))
    errors = [standard_error(row, clusters) for row in gaps]
    units = table.shape[1] if clusters is None else len(np.unique(np.asarray(clusters)))
    if units < 2:
        return Interval(value, None, None, units, None, confidence, "one of examples or groups: no interval")
    spread = np.array(errors, dtype=np.float64)
    tail = (1 - confidence) / 2
    high = float((heights + stats.t.isf(tail, units - 1) * spread).max())
    low = float((heights - stats.t.isf(tail / len(table), units - 1) * spread).max())
    return Interval(value, max(0.0, low), max(value, high), units, "examples", confidence)


class _Interior:
    """μ and ε, with what each point and each example adds to them."""

    def __init__(self, values: Array, weights: Array | None, clusters: npt.ArrayLike | None) -> None:
        self.clusters = clusters
        self.drawn = weights is None
        shares = np.full(len(values), 1 / len(values)) if weights is None else weights
        self.points = values.mean(axis=1)
        self.mu = float(shares @ self.points)
        signs = np.sign(self.points - self.mu)
        self.spread = float(shares @ np.abs(self.points - self.mu))
        # By example: their means are μ and ε. By point: what one more draw like it would add, by the delta method.
        self.mean_by_example = shares @ values
        self.spread_by_example = (shares * signs) @ (values - self.mean_by_example)
        self.spread_by_point = np.abs(self.points - self.mu) - float(shares @ signs) * (self.points - self.mu)

    def mean(self, per_example: bool) -> Estimate:
        return Estimate(self.mu, self._over_points(self.points), self._over_examples(self.mean_by_example, per_example))

    def epsilon(self, per_example: bool) -> Estimate:
        return Estimate(
            self.spread,
            self._over_points(self.spread_by_point),
            self._over_examples(self.spread_by_example, per_example),
        )

    def side(
        self, values: Array, weights: Array | None, per_example: bool, tau: float
    ) -> tuple[Estimate, Estimate, Estimate]:
        """The left side of a condition at one δ, what it is above 2ε, and above τ; ``values`` is ``draws examples``."""
        shares = np.full(len(values), 1 / len(values)) if weights is None else weights
        by_draw = values.mean(axis=1)
        height = float(shares @ by_draw) - self.mu
        if not math.isfinite(height):
            unknown = Estimate(math.inf, None, None)
            return unknown, unknown, unknown
        own = 0.0 if weights is not None else _error(by_draw)
        by_example = shares @ values - self.mean_by_example
        left = Estimate(
            height, _joined(own, self._over_points(self.points)), self._over_examples(by_example, per_example)
        )
        margin = Estimate(
            height - 2 * self.spread,
            _joined(own, self._over_points(self.points + 2 * self.spread_by_point)),
            self._over_examples(by_example - 2 * self.spread_by_example, per_example),
        )
        return left, margin, Estimate(height - tau, left.draw_error, left.example_error)

    def _over_points(self, values: Array) -> float | None:
        return _error(values) if self.drawn else 0.0

    def _over_examples(self, values: Array, per_example: bool) -> float | None:
        return standard_error(values, self.clusters) if per_example else None


def _joined(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else math.hypot(first, second)


def _error(values: Array) -> float | None:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None


def _radius(grid: Array, conditions: list[tuple[Estimate, ...]], deviation: float) -> Radius:
    found = [_from(conditions, sign * deviation) for sign in (0, 1, -1)]
    index, early, late = found
    known = all(estimate.error is not None or math.isinf(estimate.value) for row in conditions for estimate in row)
    low = (0.0 if early == 0 else float(grid[early - 1])) if known else None
    high = float(grid[late]) if known and late < len(grid) else None
    if index == len(grid):
        names = ("(2), noise in all directions", "(3), the way out")
        failed = [name for name, row in zip(names, conditions, strict=True) if row[-1].value < 0]
        reason = f"at the largest δ tested, {grid[-1]:.4g}, condition {' and '.join(failed)} does not hold"
        return Radius(None, None, low, high, reason)
    return Radius(float(grid[index]), float(grid[index - 1]) if index else None, low, high, "")


def _from(conditions: list[tuple[Estimate, ...]], deviations: float) -> int:
    """The index from which all conditions hold to the end, each moved by so many of its errors."""
    holds = [
        all(estimate.value + (deviations * (estimate.error or 0.0)) >= 0 for estimate in both)
        for both in zip(*conditions, strict=True)
    ]
    failing = [index for index, held in enumerate(holds) if not held]
    return failing[-1] + 1 if failing else 0


def _grid(deltas: npt.ArrayLike) -> Array:
    grid = np.asarray(deltas, dtype=np.float64)
    if grid.ndim != 1 or not len(grid) or grid[0] != 0 or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
        raise MeasureError(
            "the grid of δ must ascend from 0", expected="0 first, each once, finite", got=str(grid.tolist())
        )
    return grid


def _table(values: npt.ArrayLike, name: str, axes: int) -> tuple[Array, bool]:
    """Values with an axis of examples (of one where there is none), and whether it was given."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim not in (axes, axes + 1) or not table.size:
        words = "points" if axes == 1 else "deltas draws"
        raise MeasureError(f"{name!r} has no values", expected=f"'{words}' or '{words} examples'", got=str(table.shape))
    if np.isnan(table).any():
        raise MeasureError(f"{name!r} holds NaN", expected="numbers, infinite ones where a loss is not finite")
    per_example = table.ndim == axes + 1
    return (table if per_example else table[..., None]), per_example


def _weights(given: npt.ArrayLike | None, count: int, name: str) -> Array | None:
    if given is None:
        return None
    weights = np.asarray(given, dtype=np.float64)
    if weights.shape != (count,) or not np.isclose(weights.sum(), 1.0) or not (weights > 0).all():
        raise MeasureError(
            f"the weights of {name!r} are no quadrature", expected=f"{count} above 0 with sum 1", got=str(weights)
        )
    return weights
