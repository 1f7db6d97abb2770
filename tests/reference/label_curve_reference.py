"""Literal versions of curves of labels: one size, one formula, one equation at a time."""

import math
from collections.abc import Sequence

from scipy.optimize import brentq


def power(n: float, a: float, b: float, c: float = 0.0) -> float:
    return a * n**-b + c


def rectified(n: float, big_b: float, d: float, beta: float, e: float) -> float:
    """Lin et al. 2024: B / (D + n^β) + E."""
    return big_b / (d + n**beta) + e


def m4(n: float, limit: float, start: float, alpha: float, beta: float, c: float) -> float:
    """Alabdulmohsin et al. 2022: (ε − ε∞) / (ε0 − ε)^α = β n^−c, solved for ε."""

    def wrong(error: float) -> float:
        return (error - limit) / (start - error) ** alpha - beta * n**-c

    return float(brentq(wrong, limit, start - 1e-13, xtol=1e-15))


def multipliers(sizes: Sequence[float], better: Sequence[float], worse: Sequence[float]) -> list[float | str]:
    """n'/n with worse(n') = better(n), by going through the segments, power laws, of a decreasing curve one by one."""
    found: list[float | str] = []
    for n, error in zip(sizes, better, strict=True):
        if error < worse[-1]:
            found.append(">")
            continue
        if error > worse[0]:
            found.append("<")
            continue
        for k in range(len(sizes) - 1):
            if worse[k] >= error >= worse[k + 1]:
                share = math.log(worse[k] / error) / math.log(worse[k] / worse[k + 1])
                log_n = math.log(sizes[k]) + share * (math.log(sizes[k + 1]) - math.log(sizes[k]))
                found.append(math.exp(log_n) / n)
                break
    return found
