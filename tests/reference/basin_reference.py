"""The (ε, δ) test as it is defined, point by point and loop by loop."""

import math
from collections.abc import Callable

import numpy as np


def simplex_exit(b1: list[float], b2: list[float]) -> list[float]:
    """The last point of the ray from b1 through b2 with all weights at least 0, by bisection."""
    low, high = 0.0, 1.0
    while all(x + high * (y - x) >= 0 for x, y in zip(b1, b2, strict=True)):
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if all(x + middle * (y - x) >= 0 for x, y in zip(b1, b2, strict=True)):
            low = middle
        else:
            high = middle
    return [x + low * (y - x) for x, y in zip(b1, b2, strict=True)]


def sampled(
    loss: Callable[[np.ndarray], float], corners: np.ndarray, delta: float, draws: int, seed: int
) -> tuple[float, float, float, float]:
    """μ, ε and both left sides by plain sampling of Def. 3.1; corners are ``corners parameters``."""
    rng = np.random.default_rng(seed)
    k, n = corners.shape

    def uniform() -> np.ndarray:
        sticks = rng.exponential(size=k)
        return sticks / sticks.sum()

    inside = [loss(uniform() @ corners) for _ in range(draws)]
    mu = sum(inside) / draws
    epsilon = sum(abs(value - mu) for value in inside) / draws
    noise = outward = 0.0
    for _ in range(draws):
        b1, b2 = uniform(), uniform()
        f = np.array(simplex_exit(list(b1), list(b2))) @ corners
        w1 = b1 @ corners
        noise += loss(f + rng.normal(0, delta / math.sqrt(n), n)) / draws
        outward += loss(f + abs(rng.normal(0, delta)) * (f - w1) / np.linalg.norm(f - w1)) / draws
    return mu, epsilon, noise - mu, outward - mu


def smallest_delta(deltas: list[float], noise: list[float], outward: list[float], height: float) -> float | None:
    """The smallest δ such that both left sides are at least ``height`` at it and at every larger one."""
    found = None
    for delta, first, second in sorted(zip(deltas, noise, outward, strict=True), reverse=True):
        if first < height or second < height:
            break
        found = delta
    return found
