"""Minibatch CKA in float64, written out as its definition says: slow, literal, independent of the package."""

import numpy as np


def hsic1(K: np.ndarray, L: np.ndarray) -> float:
    n = len(K)
    Kt, Lt = K.copy(), L.copy()
    np.fill_diagonal(Kt, 0.0)
    np.fill_diagonal(Lt, 0.0)
    one = np.ones(n)
    first = np.trace(Kt @ Lt)
    second = (one @ Kt @ one) * (one @ Lt @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ Kt @ Lt @ one)
    return float((first + second - third) / (n * (n - 3)))


def hsic0(K: np.ndarray, L: np.ndarray) -> float:
    n = len(K)
    H = np.eye(n) - 1 / n
    return float(np.trace(K @ H @ L @ H) / (n - 1) ** 2)


def gram(features: np.ndarray) -> np.ndarray:
    """Features are centred per batch, in float64, before the Gram matrix."""
    flat = features.reshape(len(features), -1).astype(np.float64)
    flat = flat - flat.mean(0)
    return flat @ flat.T


def minibatch_cka(batches_a, batches_b, hsic=hsic1) -> float:
    """Batches of features of the same examples; each batch counts with its number of examples."""
    ab = aa = bb = 0.0
    for a, b in zip(batches_a, batches_b, strict=True):
        K, L = gram(a), gram(b)
        ab += len(a) * hsic(K, L)
        aa += len(a) * hsic(K, K)
        bb += len(a) * hsic(L, L)
    return ab / np.sqrt(aa * bb)


def cka_matrix(batches: list[list[np.ndarray]], hsic=hsic1) -> np.ndarray:
    """``batches[b][p]`` are the features of point p in batch b: all pairs, one by one."""
    points = len(batches[0])
    sums = np.zeros((points, points))
    for batch in batches:
        grams = [gram(features) for features in batch]
        for i in range(points):
            for j in range(i, points):
                sums[i, j] += len(batch[0]) * hsic(grams[i], grams[j])
                sums[j, i] = sums[i, j]
    return sums / np.sqrt(np.outer(np.diagonal(sums), np.diagonal(sums)))
