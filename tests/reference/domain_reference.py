"""Distances of domains as their definitions say: slow, literal, independent of the package."""

import numpy as np
import scipy.linalg
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    mean_a, mean_b = a.mean(0), b.mean(0)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b)
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a + covariance_b - 2 * np.real(root)))


def kernel(a: np.ndarray, b: np.ndarray) -> float:
    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within_a = [k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    within_b = [k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    between = [k(x, y) for x in a for y in b]
    return float(np.mean(within_a) + np.mean(within_b) - 2 * np.mean(between))


def proxy_a(train_a: np.ndarray, train_b: np.ndarray, test_a: np.ndarray, test_b: np.ndarray, penalty: float) -> float:
    both = np.concatenate([train_a, train_b])
    labels = np.repeat([0, 1], [len(train_a), len(train_b)])
    scaler = StandardScaler().fit(both)
    # One weight vector w in place of two, ±w/2: half the penalty.
    model = LogisticRegression(C=2 / (len(both) * penalty), tol=1e-10, max_iter=10_000)
    model.fit(scaler.transform(both), labels)
    wrong_a = (model.predict(scaler.transform(test_a)) != 0).mean()
    wrong_b = (model.predict(scaler.transform(test_b)) != 1).mean()
    return float(2 * (1 - 2 * min((wrong_a + wrong_b) / 2, 0.5)))


def moments(image: np.ndarray) -> np.ndarray:
    """``moments channels`` of an image ``channels height width``."""
    rows = []
    for channel in image:
        values = [float(value) for value in channel.ravel()]
        mean = sum(values) / len(values)
        second = sum((value - mean) ** 2 for value in values) / len(values)
        third = sum((value - mean) ** 3 for value in values) / len(values)
        rows.append([mean, second**0.5, float(np.cbrt(third))])
    return np.array(rows).T


def slope(image: np.ndarray) -> float:
    """Radial power spectrum of an image ``channels side side`` by a literal Fourier sum."""
    side = image.shape[-1]
    grey = image.mean(0) - image.mean()
    hann = np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / side) for i in range(side)])
    windowed = grey * hann[:, None] * hann[None, :]
    place = np.arange(side)
    rings: dict[int, list[float]] = {}
    for u in range(-(side // 2), side - side // 2):
        for v in range(-(side // 2), side - side // 2):
            phase = np.exp(-2j * np.pi * (u * place[:, None] + v * place[None, :]) / side)
            radius = round(float(np.hypot(u, v)))
            if 1 <= radius <= side // 2:
                rings.setdefault(radius, []).append(abs((windowed * phase).sum()) ** 2)
    radii = sorted(rings)
    return float(np.polyfit(np.log(radii), np.log([np.mean(rings[radius]) for radius in radii]), 1)[0])
