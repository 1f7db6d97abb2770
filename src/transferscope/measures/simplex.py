"""The set between some networks: points of it, the way out of it, and whether it is what it seems.

A point of the convex hull of k networks is its k weights (barycentric coordinates), at least 0 with sum 1. For two
networks the hull is the segment between them.
"""

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError

__all__ = [
    "affine_rank",
    "half_normal_quadrature",
    "outward",
    "rim",
    "segment_quadrature",
    "simplex_draws",
    "squared_lengths",
]

Array = npt.NDArray[np.float64]

_SAME_LENGTH = 1e-4
_FAR = 14.0


def segment_quadrature(points: int) -> tuple[Array, Array]:
    """Simpson's rule on [0, 1]: equally spaced α, both ends included, and their weights.

    Exact for cubics; the ends are among the points, so that a barrier can be read off the same evaluations.

    Args:
        points: odd, at least 3.

    Returns:
        α and weights with sum 1, ``points`` each.

    >>> [values.tolist() for values in segment_quadrature(3)]
    [[0.0, 0.5, 1.0], [0.16666666666666666, 0.6666666666666666, 0.16666666666666666]]
    """
    if points < 3 or points % 2 == 0:
        raise MeasureError("Simpson's rule needs an odd number of points", expected="3, 5, 7, ...", got=str(points))
    weights = np.where(np.arange(points) % 2 == 1, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return np.linspace(0.0, 1.0, points), weights / (3 * (points - 1))


def half_normal_quadrature(nodes: int) -> tuple[Array, Array]:
    """Gauss quadrature for |z|, z ~ N(0, 1): E g(|z|) ≈ Σ weights·g(nodes).

    Exact for polynomials up to the degree 2·nodes − 1.

    Args:
        nodes: 1 to 16.

    Returns:
        Nodes, ascending, and weights with sum 1.

    >>> nodes, weights = half_normal_quadrature(3)
    >>> round(float(weights @ nodes) ** 2 * np.pi, 9), round(float(weights @ nodes**2), 9)
    (2.0, 1.0)
    """
    if not 1 <= nodes <= 16:
        raise MeasureError("a half-normal quadrature has 1 to 16 nodes", expected="1 to 16", got=str(nodes))
    # Stieltjes' procedure: the recurrence of the orthogonal polynomials, with the density on a fine Gauss grid.
    grid, mass = np.polynomial.legendre.leggauss(200)
    grid = (grid + 1) * _FAR / 2
    mass = mass * np.exp(-(grid**2) / 2)
    mass /= mass.sum()
    before, now = np.zeros_like(grid), np.ones_like(grid)
    diagonal: list[float] = []
    beside: list[float] = []
    norm = 1.0
    for _ in range(nodes):
        middle = float(mass @ (grid * now**2)) / norm
        ahead = (grid - middle) * now - (beside[-1] ** 2 if beside else 0.0) * before
        diagonal.append(middle)
        before, now, last = now, ahead, norm
        norm = float(mass @ now**2)
        beside.append((norm / last) ** 0.5)
    matrix = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    values, vectors = np.linalg.eigh(matrix)
    return values, vectors[0] ** 2


def simplex_draws(draws: int, corners: int, generator: np.random.Generator) -> Array:
    """Uniform points of a simplex: Dirichlet(1, …, 1) weights, ``draws corners``.

    Uniform in the hull of networks only where these are affinely independent (:func:`affine_rank`).
    """
    return generator.dirichlet(np.ones(corners), size=draws)


def rim(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Where the ray from w1 through w2 leaves the simplex: f = w1 + ã(w2 − w1).

    ã = min over j with b2_j < b1_j of b1_j/(b1_j − b2_j), the largest that keeps all weights at least 0.

    Args:
        first: weights b1 of w1, ``... corners``.
        second: weights b2 of w2.

    Returns:
        Weights of f: at least one is exactly 0.

    Reference: Neyshabur et al. (2020), Def. 3.1.

    >>> rim([0.2, 0.3, 0.5], [0.1, 0.4, 0.5]).round(12).tolist()
    [0.0, 0.5, 0.5]
    """
    b1, b2 = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    falls = b2 < b1
    if not falls.any(axis=-1).all():
        raise MeasureError("a ray needs two different points", expected="w1 ≠ w2, weights with sum 1", got="w1 = w2")
    reach = np.divide(b1, b1 - b2, out=np.full_like(b1, np.inf), where=falls)
    nearest = reach.argmin(axis=-1)[..., None]
    found = b1 + np.take_along_axis(reach, nearest, axis=-1) * (b2 - b1)
    # What rounding leaves of the weight that ends the ray, and of those that are 0 in both, is no weight.
    found = np.maximum(found, 0.0)
    np.put_along_axis(found, nearest, 0.0, axis=-1)
    sums: Array = found / found.sum(axis=-1, keepdims=True)
    return sums


def squared_lengths(changes: npt.ArrayLike, squared_distances: npt.ArrayLike) -> Array:
    """‖Σ_j c_j θ_j‖² for changes of weights c with sum 0: −½ cᵀ D c, D the squared distances of the networks.

    Args:
        changes: ``... corners``.
        squared_distances: ``corners corners``, ‖θ_i − θ_j‖².

    >>> float(squared_lengths([1.0, -1.0], [[0.0, 9.0], [9.0, 0.0]]))
    9.0
    """
    c, table = np.asarray(changes, dtype=np.float64), np.asarray(squared_distances, dtype=np.float64)
    found: Array = np.maximum(-0.5 * np.einsum("...i,ij,...j->...", c, table, c), 0.0)
    return found


def outward(first: npt.ArrayLike, end: npt.ArrayLike, squared_distances: npt.ArrayLike) -> Array:
    """The unit step (f − w1)/‖f − w1‖ as a change of weights: adding t times it to f goes t beyond the rim, in ℓ2.

    Args:
        first: weights of w1, ``... corners``.
        squared_distances: ``corners corners``, ‖θ_i − θ_j‖².
    """
    change = np.asarray(end, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    length = np.sqrt(squared_lengths(change, squared_distances))
    if not (length > 0).all():
        raise MeasureError("the way out has no direction", expected="f ≠ w1", got="a point of the rim itself")
    found: Array = change / length[..., None]
    return found


def affine_rank(squared_distances: npt.ArrayLike, tolerance: float = _SAME_LENGTH) -> int:
    """How many dimensions the hull of k networks has: k − 1 unless one lies in the span of the others.

    Invariant to moving, turning and scaling all networks together, and to their order.

    Args:
        squared_distances: ``corners corners``, ‖θ_i − θ_j‖².

    Returns:
        0 for equal networks, at most k − 1.

    >>> affine_rank([[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]])  # 0, 1, 2 on one line
    1
    """
    table = np.asarray(squared_distances, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise MeasureError("distances are a square table", expected="'corners corners'", got=str(table.shape))
    centring = np.eye(len(table)) - 1 / len(table)
    # Gower's matrix: its eigenvalues are the squared singular values of the centred networks.
    values = np.linalg.eigvalsh(-0.5 * centring @ table @ centring)
    largest = float(values.max(initial=0.0))
    return int((values > max(tolerance**2 * largest, np.finfo(np.float64).tiny)).sum()) if largest > 0 else 0
