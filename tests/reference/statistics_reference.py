"""Intervals by resampling one draw at a time, families by definition, ratios by inverting a test."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats


def bootstrap_values(
    statistic: Callable[[list[int]], float],
    examples: int,
    draws: int,
    seed: int,
    clusters: Sequence[object] | None = None,
) -> list[float]:
    """The statistic of explicit lists of drawn indices; the draws are made as the package makes them."""
    groups: list[list[int]] = [[index] for index in range(examples)]
    if clusters is not None:
        groups = [[i for i in range(examples) if clusters[i] == name] for name in sorted(set(clusters))]
    drawn = np.random.default_rng(seed).integers(len(groups), size=(draws, len(groups)))
    return [statistic([index for group in row for index in groups[group]]) for row in drawn]


def holm(p: Sequence[float]) -> list[float]:
    """By the closure of tests: the adjusted value is the smallest level at which stepping down rejects."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    adjusted = [0.0] * len(p)
    for rank, index in enumerate(order):
        adjusted[index] = min(1.0, max((len(p) - step) * p[order[step]] for step in range(rank + 1)))
    return adjusted


def fieller_rejects(numerators: Sequence[float], denominators: Sequence[float], ratio: float, level: float) -> bool:
    """Whether a paired t test rejects that numerator − ratio·denominator has mean 0."""
    differences = [a - ratio * b for a, b in zip(numerators, denominators, strict=True)]
    return bool(stats.ttest_1samp(differences, 0.0).pvalue < level)


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least squares slope and its standard error, by sums."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread = sum((value - mean_x) ** 2 for value in x)
    result = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    residual = sum((b - mean_y - result * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    return result, math.sqrt(residual / (n - 2) / spread)


def leave_one_seed_out(pairs: dict[tuple[int, int], float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean over pairs, and its limits by the jackknife that leaves out one seed with all of its pairs at a time."""
    seeds = sorted({pair[0] for pair in pairs} | {pair[1] for pair in pairs})
    mean = sum(pairs.values()) / len(pairs)
    means = []
    for seed in seeds:
        rest = [value for pair, value in pairs.items() if pair[0] != seed and pair[1] != seed]
        means.append(sum(rest) / len(rest))
    middle = sum(means) / len(means)
    variance = (len(seeds) - 1) / len(seeds) * sum((value - middle) ** 2 for value in means)
    half = float(stats.t.ppf((1 + confidence) / 2, len(seeds) - 1)) * math.sqrt(variance)
    return mean, mean - half, mean + half
