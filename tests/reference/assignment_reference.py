"""Literal versions: every permutation tried, correlation by its definition."""

from itertools import permutations

import numpy as np


def best_total(similarity: np.ndarray) -> float:
    """The largest Σ_k similarity[k, π(k)]."""
    count = len(similarity)
    return max(sum(similarity[k, order[k]] for k in range(count)) for order in permutations(range(count)))


def best_wholes_total(inner: list[np.ndarray], outer: np.ndarray) -> float:
    """The largest total over permutations of wholes and, within each pair of them, of units."""
    count = len(outer)
    return max(
        sum(outer[k, order[k]] + sum(best_total(similarity[k, order[k]]) for similarity in inner) for k in range(count))
        for order in permutations(range(count))
    )


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson correlation of every column of one with every column of the other; 0 where one is constant."""
    found = np.zeros((first.shape[1], second.shape[1]))
    for i, one in enumerate(first.T):
        for j, two in enumerate(second.T):
            a, b = one - one.mean(), two - two.mean()
            scale = np.sqrt((a**2).sum() * (b**2).sum())
            found[i, j] = (a * b).sum() / scale if scale > 0 else 0.0
    return found
