"""Paths between two solutions: the points on the line, and how high the barrier between its ends is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError, nearest
from transferscope.measures.arguments import group_numbers, of_arrays, of_tensors
from transferscope.measures.intervals import Interval
from transferscope.measures.mixing import mix
from transferscope.measures.standard_error import standard_error

__all__ = ["Barrier", "Height", "barrier", "interpolate", "stability"]


@dataclass(frozen=True)
class Height:
    """The barrier against one baseline.

    Attributes:
        value: the height, at least 0.
        interval: the same with its limits over examples, where per-example values were given.
        alpha: where the maximum lies.
        standard_error: of the height at ``alpha``, paired over examples, as if ``alpha`` had been fixed beforehand;
            None without per-example values.
    """

    value: float
    interval: Interval
    alpha: float
    standard_error: float | None


@dataclass(frozen=True)
class Barrier:
    """What lies between two networks on α ∈ [0, 1].

    Attributes:
        linear: against (1−α)·L₁ + α·L₂; 0 for every convex loss.
        mean: against (L₁+L₂)/2; at least \\|L₁−L₂\\|/2, even without a hill in between.
        first: L₁, the value at α = 0.
        second: L₂, the value at α = 1.
        midpoint_gap: L(½) − (L₁+L₂)/2, signed: negative is a better middle, which no barrier shows; None if ½ is not in
            the grid.
        minimum_gap: the smallest L(α) − (1−α)L₁ − αL₂, at most 0.
        minimum_alpha: where.
        points: grid points in [0, 1].
    """

    linear: Height
    mean: Height
    first: float
    second: float
    midpoint_gap: float | None
    minimum_gap: float
    minimum_alpha: float
    points: int


@of_arrays
def barrier(
    alphas: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    family: int | None = None,
    one_network: bool = False,
) -> Barrier:
    """Height of the loss or error between two networks, against both baselines.

    max over α ∈ [0, 1] of L(α) − b(α), with b linear = (1−α)L₁ + αL₂ or mean = (L₁+L₂)/2; both are at least 0, as the
    gap at one of the ends is. Points outside [0, 1] are ignored: extrapolation is no part of a barrier.

    The maximum of noisy values is biased upward, the more so the finer the grid: a small barrier is found where there
    is none. The limits allow for that. The upper one is the largest over α of the pointwise upper limits (it covers
    whatever α the true maximum is at); the lower one is the largest of the pointwise lower limits with Bonferroni's
    confidence over the points, at least 0. The paired error at one α is that of the mean over examples of L_i(α) −
    b_i(α), b_i from the ends of the same example. Where all examples differ alike at a point between the ends (none of
    them, say) there is no spread to take an error from: the limits of an error are then as far away as a share of n
    examples of which none was seen may be, 1 − p^(1/n) at one-sided p, so that few examples never show that there is no
    barrier.

    Invariant to a constant added to all values, to reversing the path, and to the order of the points; scales with the
    values. Not invariant to a constant added to one end.

    Args:
        alphas: ``points``, each once, with 0 and 1 among them; 25 or more in [0, 1] for a reported barrier.
        values: ``points`` means, or ``points examples`` losses or errors (0 and 1) of each example.
        clusters: ``examples``, the group of each: errors are then between groups.
        confidence: of the limits, two-sided.
        family: how many points the lower limit allows for, at least those in [0, 1]: where points were chosen by what
            others showed, those they were chosen from. None for the points in [0, 1].
        one_network: all points are one and the same network: that no example differs is no chance then.

    Returns:
        The barrier; without limits unless ``values`` has examples (at least two, in at least two groups).

    Raises:
        MeasureError: an end is missing, a point twice, shapes that do not fit, a value in [0, 1] that is not finite,
            clusters without examples, or a confidence outside (0, 1).

    Reference: Frankle et al. (2020), "Linear mode connectivity and the lottery ticket hypothesis" (mean baseline);
    Entezari et al. (2022), "The role of permutation invariance in linear mode connectivity" (linear baseline); Clopper
    & Pearson (1934), for no successes.

    >>> found = barrier([0.0, 0.5, 1.0], [1.0, 3.0, 2.0])
    >>> found.linear.value, found.mean.value, found.linear.alpha, found.midpoint_gap
    (1.5, 1.5, 0.5, 1.5)
    """
    alpha, table, per_example = _grid(alphas, values)
    if not 0 < confidence < 1:
        raise MeasureError("a confidence is a share", expected="in (0, 1), for example 0.95", got=str(confidence))
    groups = _groups(clusters, table.shape[1], per_example)
    tests = max(len(alpha), family or 0)
    shares = not one_network and bool(table.min() >= 0 and table.max() <= 1)
    ends = table[[0, -1]]
    weights = np.stack([1 - alpha, alpha], axis=1)
    linear = table - weights @ ends
    linear[[0, -1]] = 0.0  # exactly, not to rounding
    mean = table - ends.mean(axis=0)
    gap = linear.mean(axis=1)
    middle = np.flatnonzero(alpha == 0.5)
    lowest = int(gap.argmin())
    return Barrier(
        linear=_height(alpha, linear, groups, confidence, tests, shares=shares),
        mean=_height(alpha, mean, groups, confidence, tests, shares=shares),
        first=float(table[0].mean()),
        second=float(table[-1].mean()),
        midpoint_gap=float(mean[middle[0]].mean()) if len(middle) else None,
        minimum_gap=float(gap[lowest]),
        minimum_alpha=float(alpha[lowest]),
        points=len(alpha),
    )


@checked
def stability(error_barrier: Interval, limit: float = 0.02) -> Literal["stable", "unstable", "undecided"]:
    """Whether two networks are linearly connected, by the mean-baseline barrier of their *error*.

    ``stable``: the upper limit is below ``limit``; ``unstable``: the lower limit is at or above it; else, and wherever
    there are no limits, ``undecided``.

    Args:
        error_barrier: ``barrier(alphas, errors).mean.interval``, or an interval of such barriers over seeds, of
            confidence 0.90 or more (each end is then a 95 % limit or better).
        limit: 0.02 is two points of error.

    Returns:
        The verdict.

    Raises:
        MeasureError: the confidence is below 0.90.

    Reference: Frankle et al. (2020), section 2 (stability, 2 %).

    >>> stability(Interval(0.001, 0.0, 0.01, 500, "examples"))
    'stable'
    """
    if error_barrier.confidence < 0.90 - 1e-12:
        raise MeasureError(
            "the limits of this barrier are below 95 %",
            expected="an interval of confidence 0.90 or more",
            got=str(error_barrier.confidence),
        )
    if error_barrier.basis not in ("seeds", "examples") or error_barrier.low is None or error_barrier.high is None:
        return "undecided"
    if error_barrier.high < limit:
        return "stable"
    return "unstable" if error_barrier.low >= limit else "undecided"


@of_tensors
def interpolate(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], alpha: float, names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """The point θ(α) = (1−α)θ_a + αθ_b of the line through two states; α outside [0, 1] extrapolates.

    At α = 0 and α = 1 tensors are copied bit for bit, all of them. Elsewhere floating point tensors are interpolated
    (in float32 at least) and others (counters) are copied from ``a``. A tensor that is equal in both stays exactly as
    it is. Running statistics of batch norm are interpolated like the rest: they must be recomputed before the point is
    evaluated, or the path has artefacts.

    Args:
        a: tensors by name: α = 0.
        b: the same names and shapes: α = 1; moved to the device of ``a``.
        alpha: where on the line.
        names: interpolate only these, keep the rest of ``a`` (one module at a time).

    Returns:
        New tensors in the dtype and on the device of ``a``; nothing is shared with ``a`` or ``b``.

    Raises:
        MeasureError: names, shapes or dtypes differ, ``names`` holds an unknown one, or α is not finite.

    >>> interpolate({"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}, 0.25)
    {'w': tensor([1.])}
    """
    if not np.isfinite(alpha):
        raise MeasureError("α must be finite", expected="0 for the first network, 1 for the second", got=str(alpha))
    apart = set(a) ^ set(b)
    if apart:
        name = min(apart)
        raise MeasureError(
            f"{name!r} is only in the {'first' if name in a else 'second'} network",
            expected="two networks of one architecture",
            hint=nearest(name, b if name in a else a),
        )
    unknown = sorted(set(names or ()) - set(a))
    if unknown:
        raise MeasureError(f"there is no parameter {unknown[0]!r}", hint=nearest(unknown[0], a))
    moved = set(a) if names is None else set(names)
    return {name: _between(name, a[name], b[name], alpha if name in moved else 0.0) for name in a}


def _between(name: str, first: Tensor, second: Tensor, alpha: float) -> Tensor:
    if first.shape != second.shape or first.dtype != second.dtype:
        raise MeasureError(
            f"{name!r} differs in shape or type",
            expected=f"{tuple(first.shape)} {first.dtype}",
            got=f"{tuple(second.shape)} {second.dtype}",
            hint="interpolate trunks only: name the parameters that both share",
        )
    first, second = first.detach(), second.detach().to(first.device)
    half = first.dtype in (torch.float16, torch.bfloat16)
    ends = (first.float(), second.float()) if half else (first, second)
    between = torch.empty_like(ends[0])
    mix(between, ends, (1 - alpha, alpha))
    return between.to(first.dtype)


def _grid(
    alphas: npt.ArrayLike, values: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], bool]:
    alpha, table = np.asarray(alphas, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if alpha.ndim != 1 or table.ndim not in (1, 2) or len(table) != len(alpha) or not table.size:
        raise MeasureError(
            "a path needs a value for each α",
            expected="alphas 'points', values 'points' or 'points examples'",
            got=f"alphas {alpha.shape}, values {table.shape}",
        )
    inside = np.flatnonzero((alpha >= 0) & (alpha <= 1))
    inside = inside[np.argsort(alpha[inside])]
    alpha, per_example = alpha[inside], table.ndim == 2
    table = table[inside] if per_example else table[inside][:, None]
    for end in (0.0, 1.0):
        if end not in alpha:
            raise MeasureError(
                f"α = {end:g} is not in the grid",
                expected="both ends, 0 and 1",
                got=", ".join(f"{point:g}" for point in alpha) or "no point in [0, 1]",
                hint="evaluate the networks themselves as well",
            )
    if len(np.unique(alpha)) < len(alpha):
        raise MeasureError("an α is in the grid twice", expected="each point once", got=str(alpha.tolist()))
    bad = alpha[~np.isfinite(table).all(axis=1)]
    if len(bad):
        raise MeasureError(
            f"the value at α = {bad[0]:g} is not finite",
            expected="finite losses or errors",
            hint="no barrier can be given; report the point as diverged",
        )
    return alpha, table, per_example


def _groups(clusters: npt.ArrayLike | None, examples: int, per_example: bool) -> npt.NDArray[np.intp] | None:
    """The group of each example (each its own without clusters); None without per-example values."""
    if not per_example:
        if clusters is not None:
            raise MeasureError("clusters need per-example values", expected="values of shape 'points examples'")
        return None
    return np.arange(examples) if clusters is None else group_numbers(clusters, examples)


def _height(
    alpha: npt.NDArray[np.float64],
    gaps: npt.NDArray[np.float64],
    groups: npt.NDArray[np.intp] | None,
    confidence: float,
    tests: int,
    *,
    shares: bool,
) -> Height:
    gap = gaps.mean(axis=1)
    top = int(gap.argmax())
    value, where = max(0.0, float(gap[top])), float(alpha[top])
    units = 0 if groups is None else int(groups.max()) + 1
    if groups is None or units < 2:
        note = "one value for each point: no interval" if groups is None else "one of examples or groups: no interval"
        return Height(value, Interval(value, None, None, units, None, confidence, note), where, None)
    error = np.array([standard_error(row, groups) for row in gaps], dtype=np.float64)
    tail = (1 - confidence) / 2
    # At the ends the gap is what it is; between them no spread means that none of few examples showed any.
    alike = (error == 0) & (alpha > 0) & (alpha < 1) & shares

    def reach(tail: float) -> npt.NDArray[np.float64]:
        return np.where(alike, 1 - tail ** (1 / units), stats.t.isf(tail, units - 1) * error)

    upper = gap + reach(tail)
    high = float(np.where(alike, np.minimum(upper, 1.0), upper).max())
    low = float((gap - reach(tail / tests)).max())
    interval = Interval(value, max(0.0, low), max(value, high), units, "examples", confidence)
    return Height(value, interval, where, float(error[top]))
