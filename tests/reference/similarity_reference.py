"""Similarities of features in float64, as their definitions say: slow, literal, independent of the package."""

import itertools

import numpy as np

from tests.reference.cka_reference import hsic1


def centred(features: np.ndarray) -> np.ndarray:
    flat = features.reshape(len(features), -1).astype(np.float64)
    return flat - flat.mean(0)


def rbf(features: np.ndarray, bandwidth: float = 1.0) -> np.ndarray:
    n = len(features)
    flat = features.reshape(n, -1).astype(np.float64)
    squares = np.array([[np.sum((x - y) ** 2) for y in flat] for x in flat])
    median = np.median([squares[i, j] for i in range(n) for j in range(i + 1, n)])
    return np.exp(-squares / (2 * bandwidth**2 * median))


def rbf_cka(batches_a, batches_b, bandwidth: float = 1.0) -> float:
    ab = aa = bb = 0.0
    for a, b in zip(batches_a, batches_b, strict=True):
        K, L = rbf(a, bandwidth), rbf(b, bandwidth)
        ab, aa, bb = ab + len(a) * hsic1(K, L), aa + len(a) * hsic1(K, K), bb + len(a) * hsic1(L, L)
    return ab / np.sqrt(aa * bb)


def mean_squared_cca(a: np.ndarray, b: np.ndarray, centre: bool = True) -> float:
    """By the eigenvalues of Σaa⁻¹ Σab Σbb⁻¹ Σba."""
    x, y = (centred(a), centred(b)) if centre else (a, b)
    inverse = np.linalg.inv
    product = inverse(x.T @ x) @ (x.T @ y) @ inverse(y.T @ y) @ (y.T @ x)
    return float(np.trace(product)) / min(x.shape[1], y.shape[1])


def procrustes(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Distance after the best rotation, by making that rotation; and the similarity."""
    x, y = centred(a), centred(b)
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(side, ((0, 0), (0, width - side.shape[1]))) for side in (x, y))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    u, _, vt = np.linalg.svd(y.T @ x)
    rotated = y @ (u @ vt)
    return float(np.linalg.norm(x - rotated)), float(np.sum(x * rotated))


def ranks(values: list[float]) -> np.ndarray:
    return np.array([(sum(y < x for y in values) + 1 + sum(y <= x for y in values)) / 2 for x in values])


def spearman(a: list[float], b: list[float]) -> float:
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def rsa(a: np.ndarray, b: np.ndarray, kind: str) -> float:
    def apart(x, y):
        return float(np.linalg.norm(x - y)) if kind == "euclidean" else float(1 - np.corrcoef(x, y)[0, 1])

    pairs = list(itertools.combinations(range(len(a)), 2))
    return spearman([apart(a[i], a[j]) for i, j in pairs], [apart(b[i], b[j]) for i, j in pairs])


def kendall(a: list[float], b: list[float]) -> float:
    pairs = list(itertools.combinations(range(len(a)), 2))
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in pairs]
    both = sum(x * y for x, y in signs)
    return float(both / np.sqrt(sum(x != 0 for x, _ in signs) * sum(y != 0 for _, y in signs)))


def best_matching(correlation: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """Over all one-to-one matchings of a square table, by trying each."""
    width = len(correlation)
    return max(
        (float(sum(correlation[i, j] for i, j in enumerate(order))), order)
        for order in itertools.permutations(range(width))
    )
