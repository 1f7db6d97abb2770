"""Mean squared canonical correlation and orthogonal Procrustes: two relatives of linear CKA, as checks of it.

Both need all examples at once and fewer features than examples, so feature maps are pooled first. Features are centred
and decomposed once, ``X = U S V'``; a pair of decompositions then costs one small product.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors
from transferscope.measures.grams import flat_and_scaled, power_of_two

__all__ = [
    "Cca",
    "Decomposition",
    "canonical_correlation",
    "decompose",
    "mean_squared_cca",
    "procrustes_distance",
    "procrustes_of",
    "procrustes_similarity",
]


@dataclass(frozen=True)
class Decomposition:
    """Centred features as an orthonormal basis over the examples and the weights of its directions.

    Attributes:
        basis: ``examples rank``, float64, orthonormal columns, each of sum 0.
        scales: ``rank``, float64, positive, descending: singular values.
    """

    basis: Tensor
    scales: Tensor

    @property
    def examples(self) -> int:
        """Count the examples."""
        return int(self.basis.shape[0])

    @property
    def rank(self) -> int:
        """Directions above rounding errors."""
        return int(self.basis.shape[1])


@dataclass(frozen=True)
class Cca:
    """What :func:`canonical_correlation` gives.

    Attributes:
        value: in [0, 1]; None where a side spans all directions the examples allow: it is 1 then, whatever the features
            are.
        chance: what independent normal features of these ranks give on average, (larger rank) / (examples − 1).
        directions: how many canonical correlations were averaged: the smaller rank.
    """

    value: float | None
    chance: float
    directions: int


@of_tensors
def decompose(features: Tensor) -> Decomposition | None:
    """Centre features over the examples and take their singular value decomposition, in float64.

    Args:
        features: ``examples ...``, floating point; everything after the first axis is flattened.

    Returns:
        None where the features are the same for all examples, up to the rounding of their type.

    Raises:
        MeasureError: fewer than 2 examples, not floating point, or not finite.

    >>> decompose(torch.tensor([[1.0, 5.0], [3.0, 5.0]])).scales.round(decimals=6).tolist()
    [1.414214]
    """
    enough = features.dim() >= 2 and features.shape[0] >= 2 and features.numel()
    if not enough or not features.is_floating_point():
        raise MeasureError(
            "these features cannot be decomposed",
            expected="a floating-point tensor, examples first, with at least two axes, two examples and a feature",
            got=f"{features.dtype} of shape {tuple(features.shape)}",
        )
    flat, scale = flat_and_scaled(features)
    mean = flat.mean(0)
    basis, scales, _ = torch.linalg.svd(flat - mean, full_matrices=False)
    examples, width = flat.shape
    own, fine = torch.finfo(features.dtype).eps, torch.finfo(torch.float32).eps
    floor = min(own, fine) * (max(examples, width) * float(scales[0]) + math.sqrt(examples) * float(mean.norm()))
    if own > fine:
        # Rounding to fewer digits than sums have is another matter for each number: the largest singular value of a
        # table of such errors, at most eps²·x²/4 in variance, is at most about this (Latała 2005).
        errors = own / math.sqrt(3) * flat.square().mean(0).sqrt()
        floor += math.sqrt(examples) * float(errors.max()) + float(errors.norm())
    # Centring takes one direction away; what is left of it is rounding.
    rank = min(int((scales > floor).sum()), examples - 1)
    return Decomposition(basis[:, :rank].contiguous(), scales[:rank] / scale) if rank else None


@checked
def canonical_correlation(a: Decomposition, b: Decomposition) -> Cca:
    """Mean of the squared canonical correlations of two decompositions: ``‖U_a' U_b‖_F² / min(rank_a, rank_b)``.

    Args:
        a: of the first features.
        b: of the second, same examples in the same order.

    Raises:
        MeasureError: different numbers of examples.
    """
    _check_pair(a, b)
    fewer, more = sorted((a.rank, b.rank))
    free = a.examples - 1
    value = None if more >= free else min(1.0, float((a.basis.T @ b.basis).square().sum()) / fewer)
    return Cca(value, min(1.0, more / free), fewer)


@of_tensors
def mean_squared_cca(a: Tensor, b: Tensor) -> float | None:
    """Mean squared canonical correlation, R²_CCA of Kornblith et al. (2019, table 1): centred, over all examples.

    Invariant to every invertible linear map, scale and offset of either side, so it sees subspaces and not how much
    variance lies where: directions of noise count as much as any. It grows with width over examples even between
    independent features (:attr:`Cca.chance`).

    Args:
        a: ``examples ...``.
        b: ``examples ...``, same examples in the same order.

    Returns:
        In [0, 1]; None where one side is the same for all examples, or spans all they allow.

    Raises:
        MeasureError: as :func:`decompose`, or different numbers of examples.

    >>> x = torch.linspace(0, 1, 12)[:, None] ** torch.tensor([1.0, 2.0])
    >>> mixed = x @ torch.tensor([[3.0, 1.0], [0.0, 0.5]])
    >>> round(mean_squared_cca(x, mixed), 9), mean_squared_cca(x, x * 0 + 1) is None
    (1.0, True)
    """
    first, second = decompose(a), decompose(b)
    _check_examples(a, b)
    return None if first is None or second is None else canonical_correlation(first, second).value


@checked
def procrustes_of(a: Decomposition, b: Decomposition) -> float:
    """:func:`procrustes_similarity` of two decompositions: ``‖S_a U_a' U_b S_b‖_* / (‖S_a‖ ‖S_b‖)``.

    Args:
        a: of the first features.
        b: of the second, same examples in the same order.

    Raises:
        MeasureError: different numbers of examples.
    """
    _check_pair(a, b)
    first, second = (each.scales * power_of_two(each.scales) for each in (a, b))
    product = first[:, None] * (a.basis.T @ b.basis) * second
    return min(1.0, float(torch.linalg.svdvals(product).sum() / (first.norm() * second.norm())))


@of_tensors
def procrustes_similarity(a: Tensor, b: Tensor) -> float | None:
    """How well one set of features is turned into the other: ``‖A'B‖_*``, A and B centred and of Frobenius norm 1.

    Invariant to orthogonal maps, isotropic scale and offset of either; not to general linear maps. Unlike CKA it is 1
    only for features that are equal up to those maps, and above 0 for independent ones.

    Args:
        a: ``examples ...``.
        b: ``examples ...``, same examples in the same order; it may have another width (zeros are added).

    Returns:
        In [0, 1]; None where one side is the same for all examples.

    Raises:
        MeasureError: as :func:`decompose`, or different numbers of examples.

    Reference: Schönemann (1966); Ding, Denain & Steinhardt (2021), arXiv 2108.01661, eq. 2.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 3.0]])
    >>> round(procrustes_similarity(x, -2 * x.flip(1) + 7), 9)
    1.0
    """
    first, second = decompose(a), decompose(b)
    _check_examples(a, b)
    return None if first is None or second is None else procrustes_of(first, second)


@of_tensors
def procrustes_distance(a: Tensor, b: Tensor) -> float | None:
    """``min_R ‖A − B R‖_F`` over orthogonal R, A and B centred and of Frobenius norm 1: ``√(2 − 2·similarity)``.

    A metric between shapes: symmetric, 0 for equal ones, with the triangle inequality.

    Args:
        a: ``examples ...``.
        b: ``examples ...``, same examples in the same order.

    Returns:
        In [0, √2]; None where one side is the same for all examples.

    Raises:
        MeasureError: as :func:`procrustes_similarity`.

    >>> procrustes_distance(torch.eye(4)[:, :1], torch.eye(4)[:, :1])
    0.0
    """
    similarity = procrustes_similarity(a, b)
    return None if similarity is None else math.sqrt(max(0.0, 2 - 2 * similarity))


def _check_examples(a: Tensor, b: Tensor) -> None:
    if a.shape[0] != b.shape[0]:
        raise _different(a.shape[0], b.shape[0])


def _check_pair(a: Decomposition, b: Decomposition) -> None:
    if a.examples != b.examples:
        raise _different(a.examples, b.examples)


def _different(a: int, b: int) -> MeasureError:
    return MeasureError(
        "a similarity compares features of the same examples", expected="equal first axes", got=f"{a} and {b} examples"
    )
