"""Largest eigenvalues and trace of a symmetric matrix that is known by its products with vectors alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from transferscope.errors import MeasureError

__all__ = ["Eigenpairs", "Trace", "hutchinson_trace", "top_eigenpairs"]

Vector: TypeAlias = npt.NDArray[Any]
Product = Callable[[Vector], npt.ArrayLike]

# How far uᵀAv and vᵀAu may be apart, as a share of their usual size.
_ASYMMETRY = {"float32": 1e-2, "float64": 1e-6}
# Lanczos estimates errors; a residual computed anew may be a little larger.
_SLACK = 10.0
_ROUNDING = 1000.0


@dataclass(frozen=True)
class Eigenpairs:
    """The largest eigenvalues found, and how good they are.

    Attributes:
        values: largest first; fewer than asked where the search ended before they converged.
        vectors: ``size values``, orthonormal columns.
        residuals: ‖Av − λv‖₂ of each: an eigenvalue lies within that distance of λ.
    """

    values: tuple[float, ...]
    vectors: Vector
    residuals: tuple[float, ...]
    converged: bool
    products: int


@dataclass(frozen=True)
class Trace:
    """An unbiased estimate of a trace."""

    value: float
    standard_error: float
    probes: int
    products: int


def top_eigenpairs(
    product: Product,
    size: int,
    count: int,
    *,
    tolerance: float = 1e-3,
    most_products: int = 500,
    precision: Literal["float32", "float64"] = "float64",
    seed: int = 0,
) -> Eigenpairs:
    """The ``count`` algebraically largest eigenvalues, by implicitly restarted Lanczos (ARPACK).

    Lanczos ends where the estimated error of each value is below ``tolerance`` times it; the residuals returned are
    computed anew, and they decide on ``converged``, rounding apart. That A is symmetric is probed with two random
    vectors: of another matrix neither values nor residuals would mean anything.

    Values are Rayleigh quotients vᵀAv. Lanczos may overlook copies of an eigenvalue. A matrix no larger than the first
    set of Lanczos vectors is built and solved whole.

    Not changed by a permutation or rotation of the space, up to the tolerance. Adding c·I adds c to every value.

    Args:
        count: eigenvalues asked for, at most ``size``.
        tolerance: relative, in (0, 1).
        most_products: about where to give up.
        precision: of the Lanczos vectors: max(10, 2·count + 4) of them are held, each ``size`` numbers.

    Reference: Lehoucq, Sorensen & Yang (1998), "ARPACK users' guide".

    >>> pairs = top_eigenpairs(lambda v: np.arange(50.0) * v, 50, 2, tolerance=1e-8)
    >>> [round(value, 6) for value in pairs.values], pairs.converged
    ([49.0, 48.0], True)
    """
    if not (1 <= count <= size and 0 < tolerance < 1 and most_products >= 1):
        raise MeasureError(
            "these eigenvalues cannot be asked for",
            expected=f"1 to {size} of them, a tolerance in (0, 1), at least one product",
            got=f"count {count}, tolerance {tolerance:g}, most_products {most_products}",
        )
    counted = _Counted(product, size)
    # Half of what SciPy takes: these vectors, each as large as the network, are most of the memory.
    lanczos = min(size, max(2 * count + 4, 10))
    start = np.random.default_rng(seed).standard_normal(size).astype(precision)
    allowed = _ASYMMETRY[precision]
    if size == lanczos:
        matrix = np.stack([counted(row) for row in np.eye(size)], axis=1)
        if float(np.abs(matrix - matrix.T).max()) > allowed * float(np.abs(matrix).max()):
            raise _not_symmetric(float(np.abs(matrix - matrix.T).max()), float(np.abs(matrix).max()))
        _, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return _pairs(counted, vectors[:, ::-1][:, :count], count, tolerance, precision)
    image = counted(start)
    if not image.any():
        # Only the zero matrix has a random vector in its kernel; ARPACK cannot start from there.
        return Eigenpairs((0.0,) * count, np.eye(size, count), (0.0,) * count, True, counted.products)
    other = np.random.default_rng((seed, 1)).standard_normal(size).astype(precision)
    apart = abs(float(other @ image) - float(start @ counted(other)))
    # For random vectors both products are about ‖A‖_F.
    usual = float(np.linalg.norm(image)) * float(np.linalg.norm(other)) / math.sqrt(size)
    if apart > allowed * usual:
        raise _not_symmetric(apart, usual)
    operator = LinearOperator((size, size), matvec=counted, dtype=np.dtype(precision))
    restarts = max(1, (most_products - lanczos) // (lanczos - count))
    try:
        values, vectors = eigsh(operator, k=count, which="LA", v0=start, ncv=lanczos, tol=tolerance, maxiter=restarts)
    except ArpackNoConvergence as stopped:
        # What did converge is still of use; the caller is told.
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
    return _pairs(counted, vectors[:, np.argsort(values)[::-1]], count, tolerance, precision)


def hutchinson_trace(
    product: Product, size: int, probes: int = 30, *, seed: int = 0, pairs: Eigenpairs | None = None
) -> Trace:
    """tr A = Σ_i q_iᵀAq_i + E zᵀ(I−QQᵀ)A(I−QQᵀ)z, for random signs z and any orthonormal Q.

    Unbiased for every Q. With the leading eigenvectors as Q what is left to estimate has a smaller norm, and so a
    smaller error: Hutch++ with the vectors that are there already. Without them it is Hutchinson's estimator.

    Args:
        probes: random vectors, at least 2.

    References: Hutchinson (1989); Meyer, Musco, Musco & Woodruff (2021), "Hutch++", Algorithm 1.

    >>> hutchinson_trace(lambda v: np.array([1.0, 2.0, 4.0]) * v, 3, probes=2)
    Trace(value=7.0, standard_error=0.0, probes=2, products=2)
    """
    if probes < 2:
        raise MeasureError("a trace with its standard error needs probes", expected="at least 2", got=str(probes))
    counted = _Counted(product, size)
    known = np.empty((size, 0)) if pairs is None else pairs.vectors.astype(np.float64, copy=False)
    found = 0.0 if pairs is None else math.fsum(pairs.values)
    random = np.random.default_rng(seed)
    samples = np.empty(probes)
    for index in range(probes):
        signs = random.integers(0, 2, size) * 2.0 - 1
        left = signs - known @ (known.T @ signs)
        samples[index] = left @ counted(left)
    error = float(samples.std(ddof=1)) / math.sqrt(probes)
    return Trace(found + float(samples.mean()), error, probes, counted.products)


class _Counted:
    """A product that counts its calls and refuses what is no vector of numbers."""

    def __init__(self, product: Product, size: int) -> None:
        self.product, self.size, self.products = product, size, 0
        self.norm = 0.0  # the largest ‖Av‖/‖v‖ seen: at most ‖A‖

    def __call__(self, vector: Vector) -> Vector:
        self.products += 1
        found = np.asarray(self.product(vector.reshape(-1)), dtype=np.float64)
        if found.shape != (self.size,) or not np.isfinite(found).all():
            raise MeasureError(
                "a product with the matrix is not a vector of finite numbers",
                expected=f"{self.size} finite numbers",
                got=str(found.shape) if found.shape != (self.size,) else "NaN or infinite values",
            )
        length = float(np.linalg.norm(vector))
        self.norm = max(self.norm, float(np.linalg.norm(found)) / length if length else 0.0)
        return found


def _pairs(
    product: _Counted, vectors: Vector, asked: int, tolerance: float, precision: Literal["float32", "float64"]
) -> Eigenpairs:
    images = [product(vector) for vector in vectors.T]
    values = [float(vector @ image) for vector, image in zip(vectors.T, images, strict=True)]
    residuals = [
        float(np.linalg.norm(image - value * vector))
        for value, vector, image in zip(values, vectors.T, images, strict=True)
    ]
    rounding = _ROUNDING * float(np.finfo(precision).eps) * product.norm
    kept = all(r <= _SLACK * tolerance * abs(v) + rounding for v, r in zip(values, residuals, strict=True))
    return Eigenpairs(tuple(values), vectors, tuple(residuals), len(values) == asked and kept, product.products)


def _not_symmetric(apart: float, usual: float) -> MeasureError:
    return MeasureError(
        "the products are not those of a symmetric matrix",
        expected="uᵀAv = vᵀAu for all u and v",
        got=f"a difference of {apart:.2g}, where such products are about {usual:.2g}",
        hint="of a Hessian: an operation has a wrong second derivative (a backward written by hand; torch's fused "
        "weight norm); write it in plain operations, or leave the Hessian out",
    )
