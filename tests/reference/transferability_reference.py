"""LogME, H-score, LEEP and NCE as their papers write them: whole matrices, loops over examples."""

import math
from itertools import product

import numpy as np


def logme(features: np.ndarray, targets: np.ndarray) -> float:
    """The fixed point of α and β with matrices of ``features features``, then the log evidence, per example."""
    # It reaches a stationary point; from several starts the highest is the maximum.
    starts = (1e-4, 1e-2, 1.0, 1e2, 1e4)
    return float(np.mean([max(_fixed_point(features, y, start) for start in starts) for y in targets.T])) / len(
        features
    )


def _fixed_point(features: np.ndarray, y: np.ndarray, alpha: float) -> float:
    n, width = features.shape
    beta = 1.0
    for _ in range(20_000):
        matrix = alpha * np.eye(width) + beta * features.T @ features
        inverse = np.linalg.inv(matrix)
        mean = beta * inverse @ features.T @ y
        gamma = width - alpha * np.trace(inverse)
        before = alpha / beta
        alpha, beta = gamma / (mean @ mean), (n - gamma) / np.square(y - features @ mean).sum()
        if abs(alpha / beta / before - 1) < 1e-9 or not 1e-7 < alpha / beta < 1e7:
            break
    matrix = alpha * np.eye(width) + beta * features.T @ features
    mean = beta * np.linalg.solve(matrix, features.T @ y)
    return float(
        width / 2 * math.log(alpha)
        + n / 2 * math.log(beta)
        - n / 2 * math.log(2 * math.pi)
        - beta / 2 * np.square(y - features @ mean).sum()
        - alpha / 2 * (mean @ mean)
        - 0.5 * np.linalg.slogdet(matrix)[1]
    )


def h_score(features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Covariances of ``features features``, shrunk after Ledoit and Wolf by the sum over examples."""
    n, width = features.shape
    centred = features - features.mean(0)
    covariance = centred.T @ centred / n
    level = np.trace(covariance) / width
    target = level * np.eye(width)
    spread = np.square(covariance - target).sum()
    noise = sum(np.square(np.outer(x, x) - covariance).sum() for x in centred) / n**2
    shrinkage = min(1.0, noise / spread)
    means = np.zeros_like(centred)
    for kind in np.unique(labels):
        means[labels == kind] = centred[labels == kind].mean(0)
    shrunk = (1 - shrinkage) * covariance + shrinkage * target
    return float(np.trace(np.linalg.inv(shrunk) @ ((1 - shrinkage) * means.T @ means / n))), float(shrinkage)


def leep(theta: np.ndarray, labels: np.ndarray) -> float:
    """By the definition, pair of classes by pair."""
    n, sources = theta.shape
    kinds = sorted(set(labels.tolist()))
    joint = {
        (y, z): sum(theta[i, z] for i in range(n) if labels[i] == y) / n for y, z in product(kinds, range(sources))
    }
    column = {z: sum(joint[y, z] for y in kinds) for z in range(sources)}
    total = 0.0
    for i in range(n):
        y = labels[i]
        total += math.log(sum(joint[y, z] / column[z] * theta[i, z] for z in range(sources) if column[z] > 0))
    return total / n


def nce(sources: np.ndarray, labels: np.ndarray) -> float:
    """By the definition, example by example."""
    n = len(labels)
    total = 0.0
    for z, y in zip(sources, labels, strict=True):
        both = sum((sources == z) & (labels == y)) / n
        total += math.log(both / (sum(sources == z) / n)) / n
    return total
