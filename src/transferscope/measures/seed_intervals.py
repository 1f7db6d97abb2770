"""Intervals over seeds: of training in general. Never a bootstrap."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays
from transferscope.measures.interval import Bounds, Interval, check_confidence, equal, finite, within

__all__ = [
    "fieller",
    "leave_one_out_interval",
    "paired_seeds_interval",
    "seed_pairs_interval",
    "seeds_interval",
    "seeds_p_value",
]


@of_arrays
def seeds_interval(
    values: Sequence[float] | npt.NDArray[np.float64],
    confidence: float = 0.95,
    bounds: Bounds | None = None,
    scale: float | None = None,
) -> Interval:
    """Student's t interval of the mean over seeds.

    mean ± t_{n−1} · s/√n. The half-width over s is 8.98, 2.48, 1.59, 1.24 for n = 2 … 5; with two seeds that is useless
    and only their range is given, with one seed nothing. Seeds are never bootstrapped.

    Shifts and scales with the values; not invariant to repeating them.

    Args:
        values: ``seeds``, finite.
        bounds: what the mean can be at all, (0, 1) for an accuracy: t of few seeds reaches beyond, and the limits are
            clipped, which leaves the coverage as it is (see :func:`within`). None where it has no bounds, as an
            unbiased CKA.
        scale: largest of the numbers that the values are differences of, whose rounding they carry; None for values
            that are none.

    Returns:
        Basis ``seeds`` for n ≥ 3, ``range`` for n = 2, None for n = 1. Equal values, whose interval would have no
        width, prove nothing (they are shares of few examples, or not of chance at all): they have the flag
        ``no_spread`` and no interval.

    Raises:
        MeasureError: no value, a value that is not finite, a confidence outside (0, 1), or a mean outside the bounds.

    Reference: Student (1908), "The probable error of a mean".

    >>> interval = seeds_interval([0.70, 0.72, 0.74])
    >>> round(interval.low, 4), round(interval.high, 4), interval.basis
    (0.6703, 0.7697, 'seeds')
    """
    data = finite("values", values)
    check_confidence(confidence)
    n, mean = len(data), float(data.mean())
    if n == 1:
        return Interval(mean, None, None, 1, None, confidence, "one seed: no interval", ("too_few_seeds",))
    if n == 2:
        note = "two seeds: their range, not an interval"
        return Interval(mean, float(data.min()), float(data.max()), 2, "range", confidence, note, ("too_few_seeds",))
    if equal(data, scale):
        return within(_no_spread(mean, n, confidence), bounds)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(data.std(ddof=1)) / math.sqrt(n)
    return within(Interval(mean, mean - half, mean + half, n, "seeds", confidence), bounds)


@of_arrays
def paired_seeds_interval(
    a: Sequence[float] | npt.NDArray[np.float64],
    b: Sequence[float] | npt.NDArray[np.float64],
    confidence: float = 0.95,
    bounds: Bounds | None = None,
) -> Interval:
    """Interval of the mean difference a − b over seeds that pair (same head, data order, subset, augmentation).

    Args:
        a: ``seeds``.
        b: ``seeds``, in the same order.
        bounds: of the difference, (−1, 1) for one of accuracies; see :func:`seeds_interval`.

    Returns:
        As :func:`seeds_interval` of the differences; not changed by what a seed adds to both.

    Raises:
        MeasureError: ``a`` and ``b`` differ in length, or as :func:`seeds_interval`.
    """
    return seeds_interval(_differences(a, b), confidence, bounds, _largest(a, b))


@of_arrays
def seeds_p_value(
    a: Sequence[float] | npt.NDArray[np.float64], b: Sequence[float] | npt.NDArray[np.float64]
) -> float | None:
    """Two-sided p of Student's paired t test that a − b has mean 0, for :func:`holm`.

    Returns:
        In [0, 1]; None below three seeds, and for differences that are all equal: no spread proves nothing.

    Raises:
        MeasureError: as :func:`paired_seeds_interval`.
    """
    data = finite("values", _differences(a, b))
    if len(data) < 3 or equal(data, _largest(a, b)):
        return None
    mean, error = float(data.mean()), float(data.std(ddof=1)) / math.sqrt(len(data))
    return float(2 * stats.t.sf(abs(mean / error), len(data) - 1))


@checked
def seed_pairs_interval(
    pairs: Mapping[tuple[int, int], float],
    confidence: float = 0.95,
    bounds: Bounds | None = None,
    scale: float | None = None,
) -> Interval:
    """Interval of the mean of a statistic of pairs of networks (CKA, barrier, κ), where the unit is the seed.

    Leave one seed out: with θ₍ᵢ₎ the mean over the pairs without seed i, the standard error is √((k−1)/k · Σᵢ (θ₍ᵢ₎ −
    mean)²), and t has k − 1 degrees of freedom. Pairs that share a network are not independent, so dividing by √(number
    of pairs) would be far too narrow. For the mean over all pairs the jackknife is slightly too wide, never too narrow,
    in expectation (Efron & Stein 1981). If each seed pairs with itself only it is exactly :func:`seeds_interval`.

    Args:
        pairs: the statistic by (seed of the first network, seed of the second).
        bounds: of the statistic; see :func:`seeds_interval`.
        scale: see :func:`seeds_interval`.

    Returns:
        ``n`` counts seeds. Basis ``seeds`` for three seeds or more, ``range`` (over pairs) for two seeds with several
        pairs, else None. Equal values, and values whose mean is the same whichever seed is left out, have the flag
        ``no_spread`` and no interval, as in :func:`seeds_interval`. With three seeds or more that cannot be left out
        one by one (leaving one out leaves no pair) there is no interval, and ``note`` says so.

    Raises:
        MeasureError: no pair, a value that is not finite, or a mean outside the bounds.
    """
    values = finite("pairs", list(pairs.values()))
    check_confidence(confidence)
    seeds = sorted({seed for pair in pairs for seed in pair})
    mean, k = float(values.mean()), len(seeds)
    if k < 3:
        if len(values) == 1:
            return Interval(mean, None, None, k, None, confidence, "one pair: no interval", ("too_few_seeds",))
        note = f"{k} seeds: the range of their pairs, not an interval"
        low, high = float(values.min()), float(values.max())
        return Interval(mean, low, high, k, "range", confidence, note, ("too_few_seeds",))
    if equal(values, scale):
        return within(_no_spread(mean, k, confidence), bounds)
    without = [[value for pair, value in pairs.items() if seed not in pair] for seed in seeds]
    if not all(without):
        note = "every pair shares a seed: leaving it out leaves nothing"
        return Interval(mean, None, None, k, None, confidence, note)
    left_out = np.array([np.mean(rest) for rest in without])
    if equal(left_out, float(np.abs(values).max()) if scale is None else scale):
        return within(_no_spread(mean, k, confidence), bounds)
    error = math.sqrt((k - 1) / k * float(((left_out - left_out.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + confidence) / 2, k - 1)) * error
    return within(Interval(mean, mean - half, mean + half, k, "seeds", confidence), bounds)


@of_arrays
def leave_one_out_interval(
    value: float,
    left_out: Sequence[float] | npt.NDArray[np.float64],
    confidence: float = 0.95,
    bounds: Bounds | None = None,
    scale: float | None = None,
) -> Interval:
    """Interval of a statistic of all seeds together, by what it is without each of them.

    The jackknife: with θ₍ᵢ₎ the statistic without seed i of k, the standard error is √((k−1)/k · Σᵢ (θ₍ᵢ₎ − mean)²),
    and t has k − 1 degrees of freedom. For the mean over seeds it is exactly :func:`seeds_interval`.

    Args:
        value: of all seeds.
        left_out: without each seed in turn.
        bounds: of the statistic; see :func:`seeds_interval`.
        scale: see :func:`seeds_interval`.

    Returns:
        Basis ``seeds`` for three seeds or more, else no interval, as where leaving one out changes nothing (flag
        ``no_spread``).

    Raises:
        MeasureError: no value, a value that is not finite, or one outside the bounds.

    Reference: Tukey (1958), "Bias and confidence in not-quite large samples"; Efron & Stein (1981).

    >>> found, whole = leave_one_out_interval(0.72, [0.73, 0.72, 0.71]), seeds_interval([0.70, 0.72, 0.74])
    >>> abs(found.low - whole.low) < 1e-12
    True
    """
    without = finite("left_out", left_out)
    check_confidence(confidence)
    k, whole = len(without), float(finite("value", [value])[0])
    if k < 3:
        note = "fewer than three seeds: no interval"
        return Interval(whole, None, None, k, None, confidence, note, ("too_few_seeds",))
    if equal(without, scale):
        return within(_no_spread(whole, k, confidence), bounds)
    error = math.sqrt((k - 1) / k * float(((without - without.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + confidence) / 2, k - 1)) * error
    return within(Interval(whole, whole - half, whole + half, k, "seeds", confidence), bounds)


@of_arrays
def fieller(
    numerators: Sequence[float] | npt.NDArray[np.float64],
    denominators: Sequence[float] | npt.NDArray[np.float64],
    confidence: float = 0.95,
    scale: float | None = None,
) -> Interval:
    """Fieller's interval of a ratio of two means over paired seeds, unclipped.

    With means a, b, their estimated variances and covariance v_a, v_b, c and t of n − 1 degrees of freedom, the limits
    are the roots ρ of (a − ρb)² = t²(v_a − 2ρc + ρ²v_b): exactly the ratios that a paired t test of numerator −
    ρ·denominator does not reject. They are finite only where the interval of b excludes 0; else the ratio is a named
    null.

    Invariant to a common scale of both, scales with the numerators.

    Args:
        numerators: ``seeds``, for example A_control − A_RIT.
        denominators: ``seeds``, for example A_PT − A_RIT.
        scale: largest of the numbers that both are differences of, whose rounding they carry; None for others.

    Returns:
        The ratio of the means. n = 2: the range of the two ratios; n = 1: the ratio alone; in both cases null unless
        the denominators are on one side of 0. Equal ratios have the flag ``no_spread`` and no interval.

    Raises:
        MeasureError: different lengths, no value, a value that is not finite, or a confidence outside (0, 1).

    Reference: Fieller (1954), "Some problems in interval estimation".

    >>> interval = fieller([0.1, 0.12, 0.11], [0.2, 0.22, 0.21])
    >>> round(interval.value, 4), interval.low < interval.value < interval.high
    (0.5238, True)
    """
    _differences(numerators, denominators)
    check_confidence(confidence)
    above, below = finite("numerators", numerators), finite("denominators", denominators)
    n = len(above)
    null = Interval(None, None, None, n, None, confidence)
    a, b = float(above.mean()), float(below.mean())
    if n < 3:
        if below.min() <= 0 <= below.max():
            return replace(null, note="the denominators are not on one side of 0")
        if n == 1:
            return Interval(a / b, None, None, 1, None, confidence, "one seed: no interval", ("too_few_seeds",))
        ratios = above / below
        note = "two seeds: their range, not an interval"
        low, high = float(ratios.min()), float(ratios.max())
        return Interval(a / b, low, high, 2, "range", confidence, note, ("too_few_seeds",))
    if below.min() > 0 or below.max() < 0:
        ratios = above / below
        size = None if scale is None else scale * float(((1 + np.abs(ratios)) / np.abs(below)).max())
        if equal(ratios, size):
            return _no_spread(a / b, n, confidence)
    covariance = np.cov(above, below) / n
    squared = float(stats.t.ppf((1 + confidence) / 2, n - 1)) ** 2
    leading = b * b - squared * float(covariance[1, 1])
    if leading <= 0:
        return replace(null, note="the interval of the denominator spans 0")
    middle = a * b - squared * float(covariance[0, 1])
    last = a * a - squared * float(covariance[0, 0])
    # Never negative in exact arithmetic once leading > 0.
    root = math.sqrt(max(0.0, middle * middle - leading * last))
    return Interval(a / b, (middle - root) / leading, (middle + root) / leading, n, "seeds", confidence)


def _largest(*sides: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """The largest size among the numbers of both sides; 0 where there is none."""
    return max((abs(float(value)) for side in sides for value in side), default=0.0)


def _no_spread(mean: float, n: int, confidence: float) -> Interval:
    note = "equal for all seeds: no spread, which proves nothing"
    return Interval(mean, None, None, n, None, confidence, note, ("no_spread",))


def _differences(
    a: Sequence[float] | npt.NDArray[np.float64], b: Sequence[float] | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise MeasureError(
            "paired seeds need one value of each side",
            expected="two sequences of the same length, in the same order of seeds",
            got=f"shapes {first.shape} and {second.shape}",
        )
    difference: npt.NDArray[np.float64] = first - second
    return difference
