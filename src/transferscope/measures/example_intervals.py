"""Intervals over examples: of these trained networks. A paired bootstrap, by groups where they are known."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays
from transferscope.measures.bootstrap import Statistic, bootstrap_draws, weighted_mean
from transferscope.measures.interval import Interval, check_confidence
from transferscope.measures.metrics import weighted_auc

__all__ = ["auc_difference_interval", "bootstrap_interval", "mean_difference_interval"]

_UNDEFINED_SHARE = 0.05
_FEW_UNITS = 20
_ROUNDING = 1e-12
"""Of a sum over examples, relative to its terms: limits as near to each other as that are equal."""


@of_arrays
def bootstrap_interval(
    statistic: Statistic,
    arrays: Sequence[npt.ArrayLike],
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap over examples: it speaks for these trained networks only.

    Paired by construction: one draw of examples serves all arrays, so a statistic of two networks compares them on the
    same resample. Percentile limits are slightly too narrow for few examples.

    Args:
        statistic: ``(weights [draws examples], *arrays) -> [draws]``, NaN where a draw leaves it undefined.
        arrays: what it reads; the first axis of each is the examples.
        clusters: ``examples``, the patient or group of each example: whole groups are drawn.
        draws: how many resamples.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        Basis ``examples``; ``n`` counts examples, or groups. No interval for a single unit, or where more than 5 % of
        the draws leave the statistic undefined (fewer are left out, and ``note`` counts them), or where both limits are
        equal up to rounding (flag ``no_spread``). Value None where the statistic is not defined for the examples
        themselves.

    Raises:
        MeasureError: arrays of different length, no examples, or a confidence outside (0, 1).

    Reference: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13.
    """
    check_confidence(confidence)
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
    if rough := _rough(units, clusters):
        notes.append(rough)
    if high - low <= _ROUNDING * max(abs(low), abs(high), _scale(arrays)):
        notes.append("every resample gave the same value: no spread, which proves nothing")
        return replace(bare, note="; ".join(notes), flags=("no_spread",))
    return Interval(value, float(low), float(high), units, "examples", confidence, "; ".join(notes))


def _scale(arrays: Sequence[npt.ArrayLike]) -> float:
    """The largest of the numbers that a statistic reads."""
    return max(float(np.abs(np.asarray(array, dtype=np.float64)).max(initial=0.0)) for array in arrays)


@of_arrays
def mean_difference_interval(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Paired bootstrap over examples of mean(a) − mean(b), each averaged over its seeds first.

    For correctness this is the difference of the mean accuracies; for per-example losses that of the mean losses.

    Args:
        a: ``seeds examples`` or ``examples``.
        b: as ``a``; the number of seeds may differ, the examples may not.
        clusters: ``examples``, the group of each example.
        draws: how many resamples.
        seed: of the draws.

    Returns:
        As :func:`bootstrap_interval`. Where all examples of [0, 1] differ alike (none of them, say), resampling shows
        no spread at all: the limits then are as far away as a share of n examples of which none was seen may be, 1 −
        ((1 − confidence) / 2)^(1/n), so that few examples never show that two networks are equal.

    Raises:
        MeasureError: ``a`` and ``b`` speak of different numbers of examples.

    Reference: Clopper & Pearson (1934), for no successes; the "rule of three" is its approximation.
    """
    mean_a, mean_b = (_mean_over_seeds(name, side) for name, side in (("a", a), ("b", b)))
    if mean_a.shape != mean_b.shape:
        raise MeasureError("a and b speak of different examples", expected=str(mean_a.shape), got=str(mean_b.shape))
    found = bootstrap_interval(weighted_mean, [mean_a - mean_b], clusters, draws, seed, confidence)
    shares = min(mean_a.min(), mean_b.min()) >= 0 and max(mean_a.max(), mean_b.max()) <= 1
    if found.value is None or "no_spread" not in found.flags or not shares:
        return found
    away = 1 - ((1 - confidence) / 2) ** (1 / found.n)
    low, high = max(-1.0, found.value - away), min(1.0, found.value + away)
    note = f"the {found.n} differ alike: limits of a share of which none was seen"
    rough = _rough(found.n, clusters)
    return Interval(found.value, low, high, found.n, "examples", confidence, "; ".join(filter(None, [rough, note])))


def _mean_over_seeds(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if not rows.size:
        raise MeasureError(
            f"{name} has no values", expected="'seeds examples' or 'examples'", got=f"shape {rows.shape}"
        )
    mean: npt.NDArray[np.float64] = rows.mean(axis=0)
    return mean


def _rough(units: int, clusters: npt.ArrayLike | None) -> str:
    unit = "examples" if clusters is None else "groups"
    return f"only {units} {unit}: the interval is rough" if units < _FEW_UNITS else ""


@of_arrays
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

    In each resample the AUC of every seed and label is averaged: over the labels that have both classes among the
    examples, then over seeds. It is not the AUC of averaged scores, which would be that of an ensemble.

    Args:
        a: ``seeds examples labels`` scores (or ``examples labels`` of one seed).
        b: as ``a``; the number of seeds may differ.
        labels: ``examples labels`` of 0 and 1.
        clusters: ``examples``, the group of each example.
        draws: how many resamples; the cost is that of draws × examples × labels × seeds additions.
        seed: of the draws.

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
        if positive.ndim != 2 or scores.shape[1:] != positive.shape or not len(scores):
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
