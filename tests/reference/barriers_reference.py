"""Barriers and their errors, one point and one example at a time."""

import math


def barriers(alphas: list[float], values: list[float]) -> dict[str, float]:
    path = {alpha: value for alpha, value in zip(alphas, values, strict=True) if 0 <= alpha <= 1}
    first, second = path[0.0], path[1.0]
    linear = {alpha: value - (1 - alpha) * first - alpha * second for alpha, value in path.items()}
    mean = {alpha: value - (first + second) / 2 for alpha, value in path.items()}
    return {"linear": max(linear.values()), "mean": max(mean.values()), "minimum": min(linear.values())}


def gap_error(
    alpha: float, at: list[float], first: list[float], second: list[float], baseline: str, groups: list[int]
) -> float:
    """Standard error of the mean gap at one α, between groups of examples."""
    n = len(at)
    share = alpha if baseline == "linear" else 0.5
    gaps = [at[i] - (1 - share) * first[i] - share * second[i] for i in range(n)]
    centre = sum(gaps) / n
    sums = dict.fromkeys(groups, 0.0)
    for gap, group in zip(gaps, groups, strict=True):
        sums[group] += gap - centre
    k = len(sums)
    return math.sqrt(k / (k - 1) * sum(total**2 for total in sums.values())) / n
