"""Variances moderated over a family, number by number, the inverse of the trigamma function by bisection."""

import math
from collections.abc import Sequence

from scipy import optimize, special, stats


def prior(variances: Sequence[float], degrees: int) -> tuple[float, float]:
    """s₀² and d₀, by the mean and variance of e = log s² − ψ(d/2) + log(d/2) (Smyth 2004, section 6.2)."""
    e = [math.log(value) - float(special.digamma(degrees / 2)) + math.log(degrees / 2) for value in variances]
    mean = sum(e) / len(e)
    excess = sum((value - mean) ** 2 for value in e) / (len(e) - 1) - float(special.polygamma(1, degrees / 2))
    if excess <= 0:
        return sum(variances) / len(variances), math.inf
    logarithm = optimize.brentq(lambda x: math.log(special.polygamma(1, math.exp(x)) / excess), -40, 40, xtol=1e-14)
    half = math.exp(logarithm)
    return math.exp(mean + float(special.digamma(half)) - math.log(half)), 2 * half


def moderate(variances: Sequence[float], degrees: int, scale: float, d0: float) -> list[float]:
    """Each variance as the mean of itself and s₀², weighted by degrees of freedom."""
    if math.isinf(d0):
        return [scale for _ in variances]
    return [(d0 * scale + degrees * value) / (d0 + degrees) for value in variances]


def half_widths(values: Sequence[Sequence[float]], confidence: float) -> list[float]:
    """Of the mean over seeds of each module; ``values`` has one row for each seed."""
    seeds, modules = len(values), len(values[0])
    variances = []
    for module in range(modules):
        column = [row[module] for row in values]
        mean = sum(column) / seeds
        variances.append(sum((value - mean) ** 2 for value in column) / (seeds - 1))
    scale, d0 = prior(variances, seeds - 1)
    t = float(stats.t.ppf((1 + confidence) / 2, min(d0 + seeds - 1, modules * (seeds - 1))))
    return [t * math.sqrt(value / seeds) for value in moderate(variances, seeds - 1, scale, d0)]
