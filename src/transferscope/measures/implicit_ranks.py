"""Stable and effective rank of a matrix that is only multiplied with: for matrices too large to be decomposed.

The largest singular values come from a block Krylov space; what they leave, from stochastic Lanczos quadrature with
random probes. How far off both may be is part of the result.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from transferscope.errors import MeasureError

__all__ = ["RankEstimate", "Ranks", "implicit_ranks", "ranks_of_values"]

_BLOCK = 16  # vectors multiplied with at once
_KRYLOV = 4  # products for the largest values
_LANCZOS = 12  # products for the rest
_ROUNDING = 1e-4  # of products in single precision, relative to the effective rank
_CONVERGED = 0.01  # a residual of that share of its value: error in the value about the square of it


@dataclass(frozen=True)
class RankEstimate:
    """A rank, and within what limits it lies; equal to the value where it is exact.

    Attributes:
        value: the estimate.
        low: lower limit.
        high: upper limit.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranks:
    """How many directions a matrix has.

    Attributes:
        stable: ‖·‖_F² / σ₁².
        effective: exp(H(σ/Σσ)), H the entropy.
        largest: σ₁.
        probes: random vectors that it rests on; 0 where all singular values are known.
    """

    stable: RankEstimate
    effective: RankEstimate
    largest: float
    probes: int


def ranks_of_values(values: Tensor) -> Ranks | None:
    """The ranks of a matrix whose singular values are known; None where all are 0.

    Args:
        values: singular values, not in order.

    Example:
        >>> found = ranks_of_values(torch.tensor([2.0, 2.0]))
        >>> found.stable.value, round(found.effective.value, 9)
        (2.0, 2.0)
    """
    values = values.double()
    largest = float(values.max()) if values.numel() else 0.0
    if largest == 0:
        return None
    scaled = values / largest
    stable = float((scaled**2).sum())
    effective = math.exp(float(torch.special.entr(scaled / scaled.sum()).sum()))
    return Ranks(RankEstimate(stable, stable, stable), RankEstimate(effective, effective, effective), largest, 0)


def implicit_ranks(product: Callable[[Tensor], Tensor], side: int, frobenius: float, seed: int = 0) -> Ranks | None:
    """The ranks of a matrix W of which only V ↦ Wᵀ(WV) is known, W being no wider than high.

    16 products with 16 vectors each. Singular values of the leading 64-dimensional block Krylov space whose residual is
    below 1 % are taken as they are; Σσ and Σσ ln σ of what is orthogonal to them are estimated by Lanczos quadrature
    from 16 random probes.

    Args:
        product: float32 ``side vectors`` to the same.
        side: of the matrix, the smaller one: with the larger, values that are 0 by shape alone blur the small ones.
        frobenius: ‖W‖_F, known exactly.
        seed: of the random vectors.

    Returns:
        Limits of the effective rank: 95 % by Student's t over jackknifed probes, and beyond that half of what the rules
        of Gauss and of Gauss and Radau, between which Σσ lies, are apart. Those of the stable rank: from the Ritz value
        (never above σ₁²) to that and its residual. None where the matrix is 0.

    Raises:
        MeasureError: a matrix or product that is not finite.

    Reference: Musco & Musco (2015), "Randomized block Krylov methods"; Ubaru, Chen & Saad (2017), "Fast estimation of
    tr(f(A)) via stochastic Lanczos quadrature"; Meyer et al. (2021), Hutch++, for taking the largest out first.
    """
    if not math.isfinite(frobenius):
        raise MeasureError("a matrix that is not finite has no rank", expected="finite values", got=str(frobenius))
    if frobenius == 0:
        return None
    generator = torch.Generator().manual_seed(seed)
    operator = _Scaled(product, frobenius)
    values, vectors, residual = _leading(operator, side, generator)
    top = float(values[0])
    keep = values[: vectors.shape[1]]
    sums = _sums(keep.clamp(min=0.0).sqrt())
    if vectors.shape[1] >= side:
        effective = _effective(*sums)
        limits = RankEstimate(effective, effective * (1 - _ROUNDING), effective * (1 + _ROUNDING))
        probes = 0
    else:
        gauss, radau, seen = _quadrature(operator, vectors, generator)
        limits, probes, top = _limits(sums, gauss, radau, side), _BLOCK, max(top, seen)
    # The norm is 1 here, and no rank is below 1.
    stable = RankEstimate(max(1.0, 1 / top), max(1.0, 1 / (top + residual)), max(1.0, 1 / top))
    return Ranks(stable, limits, frobenius * math.sqrt(top), probes)


class _Scaled:
    """Products with WᵀW/‖W‖_F² in double precision around single precision."""

    def __init__(self, product: Callable[[Tensor], Tensor], frobenius: float) -> None:
        self._product, self._frobenius = product, frobenius

    def __call__(self, vectors: Tensor) -> Tensor:
        found = self._product(vectors.float()).double() / self._frobenius / self._frobenius
        if not bool(found.isfinite().all()):
            raise MeasureError("a product with the matrix is not finite", expected="finite values")
        return found


def _leading(operator: _Scaled, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Ritz values, descending; the vectors of those that have converged; the residual of the first."""
    block = min(_BLOCK, side)
    vectors = torch.randn(side, block, generator=generator, dtype=torch.float64)
    basis: list[Tensor] = []
    images: list[Tensor] = []
    for _ in range(_KRYLOV):
        if sum(one.shape[1] for one in basis) + block > side:
            break
        vectors = _orthonormal(vectors, basis)
        basis.append(vectors)
        images.append(vectors := operator(vectors))
    space, image = torch.cat(basis, 1), torch.cat(images, 1)
    inner = space.T @ image
    values, rotation = torch.linalg.eigh((inner + inner.T) / 2)
    values, rotation = values.flip(0), rotation.flip(1)
    ritz = space @ rotation
    residuals = (image @ rotation - ritz * values).norm(dim=0)
    good = (residuals <= _CONVERGED * values).cumprod(0).bool()
    return values, ritz[:, : int(good.sum())], float(residuals[0])


def _orthonormal(vectors: Tensor, basis: list[Tensor]) -> Tensor:
    for _ in range(2):  # once leaves what rounding left
        for one in basis:
            vectors = vectors - one @ (one.T @ vectors)
        vectors = torch.linalg.qr(vectors).Q
    return vectors


def _quadrature(operator: _Scaled, deflated: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Σσ and Σσ ln σ of what is orthogonal to the deflated vectors, probe by probe, by two rules.

    Returns:
        By Gauss's rule, whose Σσ is never too small, and by Gauss and Radau's with a node at 0, whose Σσ is never too
        large, ``probes 2`` each; and the largest value of WᵀW/‖W‖_F² that was met.
    """
    signs = torch.randint(0, 2, (deflated.shape[0], _BLOCK), generator=generator).double() * 2 - 1
    vectors = signs - deflated @ (deflated.T @ signs)
    weights = vectors.square().sum(0)
    vectors = vectors / weights.sqrt()
    history, diagonal, beside = [vectors], [], []
    for _ in range(min(_LANCZOS, deflated.shape[0] - deflated.shape[1])):
        image = operator(history[-1])
        image = image - deflated @ (deflated.T @ image)
        diagonal.append((history[-1] * image).sum(0))
        for _ in range(2):
            for one in history:
                image = image - one * (one * image).sum(0)
            image = image - deflated @ (deflated.T @ image)
        size = image.norm(dim=0)
        beside.append(size)
        # Where a probe's space is exhausted nothing is left to divide; what follows has weight 0.
        history.append(image / size.clamp(min=1e-300))
    alpha, beta = torch.stack(diagonal, 1), torch.stack(beside, 1)
    gauss, top = _rule(alpha, beta[:, :-1], weights)
    radau, _ = _rule(torch.cat([alpha, _closing(alpha, beta)], 1), beta, weights)
    return gauss, radau, top


def _closing(alpha: Tensor, beta: Tensor) -> Tensor:
    """What makes the next tridiagonal matrix singular: one of its nodes is then 0."""
    pivot = alpha[:, 0]
    for step in range(1, alpha.shape[1]):
        pivot = alpha[:, step] - beta[:, step - 1].square() / pivot.clamp(min=1e-300)
    return (beta[:, -1].square() / pivot.clamp(min=1e-300))[:, None]


def _rule(alpha: Tensor, beta: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    off = torch.diag_embed(beta, 1)
    nodes, vectors = torch.linalg.eigh(torch.diag_embed(alpha) + off + off.transpose(1, 2))
    sigma = nodes.clamp(min=0.0).sqrt()
    shares = vectors[:, 0].square() * weights[:, None]
    both = torch.stack([(shares * sigma).sum(1), (shares * torch.special.xlogy(sigma, sigma)).sum(1)], 1)
    return both, float(nodes.max())


def _sums(sigma: Tensor) -> Tensor:
    return torch.stack([sigma.sum(), torch.special.xlogy(sigma, sigma).sum()])


def _effective(total: Tensor | float, entropy: Tensor | float) -> float:
    """From Σσ and Σσ ln σ."""
    total, entropy = float(total), float(entropy)
    return total * math.exp(-entropy / total)


def _limits(known: Tensor, gauss: Tensor, radau: Tensor, side: int) -> RankEstimate:
    both = (gauss + radau) / 2
    value = _effective(*(known + both.mean(0)))
    count = len(both)
    without = torch.tensor([_effective(*(known + (both.sum(0) - one) / (count - 1))) for one in both])
    deviation = math.sqrt((count - 1) / count * float((without - without.mean()).square().sum()))
    rules = abs(_effective(*(known + gauss.mean(0))) - _effective(*(known + radau.mean(0)))) / 2
    half = float(stats.t.ppf(0.975, count - 1)) * deviation + rules + _ROUNDING * value
    value = min(max(1.0, value), float(side))
    return RankEstimate(value, max(1.0, value - half), min(float(side), value + half))
