"""Intervals, each with what it speaks of: training in general (seeds), or these networks (examples)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.bootstrap import Statistic, bootstrap_draws, weighted_mean
from transferscope.measures.families import bonferroni, bonferroni_confidence, holm
from transferscope.measures.metrics import weighted_auc

__all__ = [
    "Basis",
    "Interval",
    "Noninferiority",
    "auc_difference_interval",
    "bonferroni",
    "bonferroni_confidence",
    "bootstrap_interval",
    "fieller",
    "holm",
    "mean_difference_interval",
    "noninferior",
    "paired_seeds_interval",
    "seed_pairs_interval",
    "seeds_interval",
    "seeds_p_value",
]

Basis = Literal["seeds", "examples", "range"]

_UNDEFINED_SHARE = 0.05
_FEW_UNITS = 20


@dataclass(frozen=True)
class Interval:
    """A number and where it may lie.

    Attributes:
        value: the number; None where it is not defined, ``note`` says why.
        low: lower end; None where there is no interval.
        high: upper end.
        n: how many seeds, examples or groups of examples it rests on.
        basis: ``seeds``: a claim about training in general; ``examples``: about these trained networks;
            ``range``: no interval, the smaller and larger of two values; None: one value.
        confidence: two-sided; each end alone is a one-sided limit of confidence (1 + confidence) / 2.
        note: what a reader must know.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    basis: Basis | None
    confidence: float = 0.95
    note: str = ""


def seeds_interval(values: Sequence[float] | npt.NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean over seeds.

    mean ± t_{n−1} · s/√n. The half-width over s is 8.98, 2.48, 1.59, 1.24 for n = 2 … 5; with two seeds that
    is useless and only their range is given, with one seed nothing. Seeds are never bootstrapped.

    Shifts and scales with the values; not invariant to repeating them.

    Args:
        values: ``seeds``, finite.
        confidence: in (0, 1).

    Returns:
        Basis ``seeds`` for n ≥ 3, ``range`` for n = 2, None for n = 1.

    Raises:
        MeasureError: no value, a value that is not finite, or a confidence outside (0, 1).

    Reference: Student (1908), "The probable error of a mean".

    >>> interval = seeds_interval([0.70, 0.72, 0.74])
    >>> round(interval.low, 4), round(interval.high, 4), interval.basis
    (0.6703, 0.7697, 'seeds')
    """
    data = _finite("values", values)
    _check_confidence(confidence)
    n, mean = len(data), float(data.mean())
    if n == 1:
        return Interval(mean, None, None, 1, None, confidence, "one seed: no interval")
    if n == 2:
        note = "two seeds: their range, not an interval"
        return Interval(mean, float(data.min()), float(data.max()), 2, "range", confidence, note)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(data.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, "seeds", confidence)


def paired_seeds_interval(
    a: Sequence[float] | npt.NDArray[np.float64],
    b: Sequence[float] | npt.NDArray[np.float64],
    confidence: float = 0.95,
) -> Interval:
    """Interval of the mean difference a − b over seeds that pair (same head, data order, subset,
    augmentation).

    Args:
        a: ``seeds``.
        b: ``seeds``, in the same order.
        confidence: in (0, 1).

    Returns:
        As :func:`seeds_interval` of the differences; not changed by what a seed adds to both.

    Raises:
        MeasureError: ``a`` and ``b`` differ in length, or as :func:`seeds_interval`.
    """
    return seeds_interval(_differences(a, b), confidence)


def seeds_p_value(
    a: Sequence[float] | npt.NDArray[np.float64], b: Sequence[float] | npt.NDArray[np.float64]
) -> float | None:
    """Two-sided p of Student's paired t test that a − b has mean 0, for :func:`holm`.

    Returns:
        In [0, 1]; None below three seeds. Differences that are all equal give 0, or 1 if they are all 0.

    Raises:
        MeasureError: as :func:`paired_seeds_interval`.
    """
    data = _finite("values", _differences(a, b))
    if len(data) < 3:
        return None
    mean, error = float(data.mean()), float(data.std(ddof=1)) / math.sqrt(len(data))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean / error), len(data) - 1))


def seed_pairs_interval(pairs: Mapping[tuple[int, int], float], confidence: float = 0.95) -> Interval:
    """Interval of the mean of a statistic of pairs of networks (CKA, barrier, κ), where the unit is the seed.

    Leave one seed out: with θ₍ᵢ₎ the mean over the pairs without seed i, the standard error is
    √((k−1)/k · Σᵢ (θ₍ᵢ₎ − mean)²), and t has k − 1 degrees of freedom. Pairs that share a network are not
    independent, so dividing by √(number of pairs) would be far too narrow. For the mean over all pairs the
    jackknife is slightly too wide, never too narrow, in expectation (Efron & Stein 1981).
    If each seed pairs with itself only it is exactly :func:`seeds_interval`.

    Args:
        pairs: the statistic by (seed of the first network, seed of the second).
        confidence: in (0, 1).

    Returns:
        ``n`` counts seeds. Basis ``seeds`` for three seeds or more, ``range`` (over pairs) for two seeds with
        several pairs, else None. With three seeds or more that cannot be left out one by one (leaving one out
        leaves no pair) there is no interval, and ``note`` says so.

    Raises:
        MeasureError: no pair, or a value that is not finite.
    """
    values = _finite("pairs", list(pairs.values()))
    _check_confidence(confidence)
    seeds = sorted({seed for pair in pairs for seed in pair})
    mean, k = float(values.mean()), len(seeds)
    if k < 3:
        if len(values) == 1:
            return Interval(mean, None, None, k, None, confidence, "one pair: no interval")
        note = f"{k} seeds: the range of their pairs, not an interval"
        return Interval(mean, float(values.min()), float(values.max()), k, "range", confidence, note)
    without = [[value for pair, value in pairs.items() if seed not in pair] for seed in seeds]
    if not all(without):
        note = "every pair shares a seed: leaving it out leaves nothing"
        return Interval(mean, None, None, k, None, confidence, note)
    left_out = np.array([np.mean(rest) for rest in without])
    error = math.sqrt((k - 1) / k * float(((left_out - left_out.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + confidence) / 2, k - 1)) * error
    return Interval(mean, mean - half, mean + half, k, "seeds", confidence)


def bootstrap_interval(
    statistic: Statistic,
    arrays: Sequence[npt.ArrayLike],
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap over examples: it speaks for these trained networks only.

    Paired by construction: one draw of examples serves all arrays, so a statistic of two networks compares
    them on the same resample. Percentile limits are slightly too narrow for few examples.

    Args:
        statistic: ``(weights [draws examples], *arrays) -> [draws]``, NaN where a draw leaves it undefined.
        arrays: what it reads; the first axis of each is the examples.
        clusters: ``examples``, the patient or group of each example: whole groups are drawn.
        draws: how many resamples.
        seed: of the draws; the same seed gives the same interval.
        confidence: in (0, 1).

    Returns:
        Basis ``examples``; ``n`` counts examples, or groups. No interval for a single unit, or where more
        than 5 % of the draws leave the statistic undefined (fewer are left out, and ``note`` counts them).
        Value None where the statistic is not defined for the examples themselves.

    Raises:
        MeasureError: arrays of different length, no examples, or a confidence outside (0, 1).

    Reference: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13.
    """
    _check_confidence(confidence)
    value, drawn = bootstrap_draws(statistic, arrays, clusters, draws, seed)
    units = len(np.asarray(arrays[0])) if clusters is None else len(np.unique(np.asarray(clusters)))
    unit = "examples" if clusters is None else "groups"
    if not math.isfinite(value):
        return Interval(None, None, None, units, None, confidence, "not defined for these examples")
    bare = Interval(value, None, None, units, None, confidence)
    if units < 2:
        return replace(bare, note=f"one of {unit}: no interval")
    kept = drawn[np.isfinite(drawn)]
    lost = draws - len(kept)
    if lost > _UNDEFINED_SHARE * draws:
        return replace(bare, note=f"not defined in {lost} of {draws} resamples: no interval")
    low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    notes = []
    if lost:
        notes.append(f"not defined in {lost} of {draws} resamples, left out")
    if units < _FEW_UNITS:
        notes.append(f"only {units} {unit}: the interval is rough")
    if low == high:
        notes.append("every resample gave the same value: the width says nothing")
    return Interval(value, float(low), float(high), units, "examples", confidence, "; ".join(notes))


def mean_difference_interval(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Paired bootstrap over examples of mean(a) − mean(b), each averaged over its seeds first.

    For correctness this is the difference of the mean accuracies; for per-example losses that of the mean
    losses.

    Args:
        a: ``seeds examples`` or ``examples``.
        b: as ``a``; the number of seeds may differ, the examples may not.
        clusters: ``examples``, the group of each example.
        draws: how many resamples.
        seed: of the draws.
        confidence: in (0, 1).

    Returns:
        As :func:`bootstrap_interval`.

    Raises:
        MeasureError: ``a`` and ``b`` speak of different numbers of examples.
    """
    mean_a = np.atleast_2d(np.asarray(a, dtype=np.float64)).mean(axis=0)
    mean_b = np.atleast_2d(np.asarray(b, dtype=np.float64)).mean(axis=0)
    if mean_a.shape != mean_b.shape:
        raise MeasureError("a and b speak of different examples", expected=str(mean_a.shape), got=str(mean_b.shape))
    return bootstrap_interval(weighted_mean, [mean_a - mean_b], clusters, draws, seed, confidence)


def auc_difference_interval(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    labels: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Paired bootstrap over examples of the difference of mean AUC, a − b.

    In each resample the AUC of every seed and label is averaged: over the labels that have both classes among
    the examples, then over seeds. It is not the AUC of averaged scores, which would be that of an ensemble.

    Args:
        a: ``seeds examples labels`` scores (or ``examples labels`` of one seed).
        b: as ``a``; the number of seeds may differ.
        labels: ``examples labels`` of 0 and 1.
        clusters: ``examples``, the group of each example.
        draws: how many resamples; the cost is that of draws × examples × labels × seeds additions.
        seed: of the draws.
        confidence: in (0, 1).

    Returns:
        As :func:`bootstrap_interval`; value None if no label has both classes.

    Raises:
        MeasureError: shapes that do not fit, or a score that is NaN.
    """
    positive = np.asarray(labels) == 1
    sides = []
    for name, side in (("a", a), ("b", b)):
        scores = np.asarray(side, dtype=np.float64)
        scores = scores[None] if scores.ndim == 2 else scores
        if positive.ndim != 2 or scores.shape[1:] != positive.shape:
            raise MeasureError(
                f"scores {name} and labels do not fit",
                expected="scores 'seeds examples labels', labels 'examples labels'",
                got=f"scores {scores.shape}, labels {positive.shape}",
            )
        if np.isnan(scores).any():
            raise MeasureError(f"a score of {name} is NaN", expected="numbers that can be ranked")
        sides.append(scores.transpose(1, 0, 2))
    both = np.flatnonzero(positive.any(axis=0) & ~positive.all(axis=0))

    def mean_auc(
        weights: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        total = np.zeros(len(weights))
        for network in range(scores.shape[1]):
            for label in both:
                total += weighted_auc(scores[:, network, label], truth[:, label], weights)
        result: npt.NDArray[np.float64] = total / (scores.shape[1] * len(both))
        return result

    def difference(
        weights: npt.NDArray[np.float64],
        first: npt.NDArray[np.float64],
        second: npt.NDArray[np.float64],
        truth: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float64]:
        if not len(both):
            return np.full(len(weights), np.nan)
        return mean_auc(weights, first, truth) - mean_auc(weights, second, truth)

    return bootstrap_interval(difference, [*sides, positive], clusters, draws, seed, confidence)


@dataclass(frozen=True)
class Noninferiority:
    """Whether something was kept, by equivalence and not by absence of significance.

    Attributes:
        verdict: ``kept``: the upper limit of the loss is below the margin; ``lost``: the lower limit is above
            it; else ``undecided``.
        loss: reference − candidate, larger is worse.
        margin: the largest loss that counts as nothing.
    """

    verdict: Literal["kept", "lost", "undecided"]
    loss: Interval
    margin: float


def noninferior(loss: Interval, margin: float = 0.005) -> Noninferiority:
    """ "Kept", "negligible", "as good as": the upper one-sided 95 % limit of the loss is below a margin.

    The ends of a two-sided 90 % interval are one-sided 95 % limits, so the loss is to be given with
    ``confidence=0.90`` (for m statements at once: ``bonferroni_confidence(m, 0.90)``). A range of two seeds,
    or no interval, leaves it undecided.

    Args:
        loss: reference − candidate, in the unit of ``margin``, with a confidence of at least 0.90.
        margin: above 0; 0.005 is half a point of a metric in [0, 1].

    Returns:
        The verdict with what it rests on.

    Raises:
        MeasureError: the margin is not positive, or the confidence is below 0.90.

    >>> noninferior(seeds_interval([0.001, 0.002, 0.0], confidence=0.90)).verdict
    'kept'
    """
    if not margin > 0:
        raise MeasureError("a margin must be positive", expected="for example 0.005", got=str(margin))
    if loss.confidence < 0.90 - 1e-12:
        raise MeasureError(
            "the one-sided limits of this interval are below 95 %",
            expected="an interval of confidence 0.90 or more",
            got=str(loss.confidence),
        )
    verdict: Literal["kept", "lost", "undecided"] = "undecided"
    if loss.basis in ("seeds", "examples") and loss.low is not None and loss.high is not None:
        if loss.high < margin:
            verdict = "kept"
        elif loss.low > margin:
            verdict = "lost"
    return Noninferiority(verdict, loss, margin)


def fieller(
    numerators: Sequence[float] | npt.NDArray[np.float64],
    denominators: Sequence[float] | npt.NDArray[np.float64],
    confidence: float = 0.95,
) -> Interval:
    """Fieller's interval of a ratio of two means over paired seeds, unclipped.

    With means a, b, their estimated variances and covariance v_a, v_b, c and t of n − 1 degrees of freedom,
    the limits are the roots ρ of (a − ρb)² = t²(v_a − 2ρc + ρ²v_b): exactly the ratios that a paired t test
    of numerator − ρ·denominator does not reject. They are finite only where the interval of b excludes 0;
    else the ratio is a named null.

    Invariant to a common scale of both, scales with the numerators.

    Args:
        numerators: ``seeds``, for example A_control − A_RIT.
        denominators: ``seeds``, for example A_PT − A_RIT.
        confidence: in (0, 1).

    Returns:
        The ratio of the means. n = 2: the range of the two ratios; n = 1: the ratio alone; in both cases null
        unless the denominators are on one side of 0.

    Raises:
        MeasureError: different lengths, no value, a value that is not finite, or a confidence outside (0, 1).

    Reference: Fieller (1954), "Some problems in interval estimation".

    >>> interval = fieller([0.1, 0.12, 0.11], [0.2, 0.22, 0.21])
    >>> round(interval.value, 4), interval.low < interval.value < interval.high
    (0.5238, True)
    """
    _differences(numerators, denominators)
    _check_confidence(confidence)
    above, below = _finite("numerators", numerators), _finite("denominators", denominators)
    n = len(above)
    null = Interval(None, None, None, n, None, confidence)
    a, b = float(above.mean()), float(below.mean())
    if n < 3:
        if below.min() <= 0 <= below.max():
            return replace(null, note="the denominators are not on one side of 0")
        if n == 1:
            return Interval(a / b, None, None, 1, None, confidence, "one seed: no interval")
        ratios = above / below
        note = "two seeds: their range, not an interval"
        return Interval(a / b, float(ratios.min()), float(ratios.max()), 2, "range", confidence, note)
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


def _finite(what: str, values: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
        raise MeasureError(
            f"{what} must be finite numbers",
            expected="at least one, all finite",
            got=str(data.tolist()),
            hint="leave out diverged seeds, and say so",
        )
    return data


def _differences(
    a: Sequence[float] | npt.NDArray[np.float64], b: Sequence[float] | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise MeasureError(
            "paired seeds need one value of each side",
            expected="two sequences of the same length, in the same order of seeds",
            got=f"lengths {len(first)} and {len(second)}",
        )
    difference: npt.NDArray[np.float64] = first - second
    return difference


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise MeasureError("a confidence is a share", expected="in (0, 1), for example 0.95", got=str(confidence))
