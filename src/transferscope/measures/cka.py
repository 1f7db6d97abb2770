"""Centred kernel alignment (CKA), linear or RBF, unbiased over minibatches, for all pairs of points at once.

Kornblith et al., "Similarity of Neural Network Representations Revisited" (ICML 2019, arXiv 1905.00414); the unbiased
estimator of Song et al. (JMLR 2012, eq. 5) and its average over minibatches of Nguyen et al. (ICLR 2021, arXiv
2010.15327, eq. 2-3)::

    HSIC1(K, L) = [tr(K~ L~) + (1'K~ 1)(1'L~ 1) / ((n-1)(n-2)) - 2/(n-2) 1'K~ L~ 1] / (n (n-3))
    CKA = sum_b w_b HSIC1(K_b, L_b) / sqrt(sum_b w_b HSIC1(K_b, K_b) * sum_b w_b HSIC1(L_b, L_b))

with K~ = K but a zero diagonal, n >= 4 examples in a batch, and w_b = n_b. Averaged first, divided last. HSIC1 is the
inner product of U-centred Gram matrices (Szekely and Rizzo 2014), so all pairs of a batch are one matrix product and
|CKA| <= 1 holds by Cauchy-Schwarz. A batch counts with its number of examples: without dependence HSIC1 has a standard
deviation of order 1/n, so a short batch adds no more noise than a full one.

The RBF kernel takes the same way: its Gram matrix follows from the linear one, ``|x_i - x_j|^2 = K_ii + K_jj - 2
K_ij``, with the median heuristic for its width (:func:`rbf_grams`), and unbiased HSIC after it.

Why it is exact in float32: see :mod:`transferscope.measures.grams`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import check_axes, of_tensors
from transferscope.measures.grams import (
    BLOCK_BYTES,
    Estimator,
    Kind,
    centred_gram,
    check_grams,
    gram_and_rounding,
    power_of_two,
    rbf_grams,
    smallest_batch,
    u_centred,
)

__all__ = [
    "CkaMatrix",
    "CkaSums",
    "Estimator",
    "Kind",
    "centred_gram",
    "cka_compute",
    "cka_update",
    "hsic1",
    "hsic_pairs",
    "linear_cka",
    "rbf_cka",
    "rbf_grams",
    "smallest_batch",
    "u_centred",
]


@of_tensors
def hsic1(K: Tensor, L: Tensor) -> Tensor:
    """The unbiased Hilbert-Schmidt independence criterion of two Gram matrices, by its defining formula.

    Args:
        K: ``examples examples``, symmetric; its diagonal is not used.
        L: same shape, of the same examples.

    Returns:
        A float64 scalar; 0 in expectation without dependence, so it may be negative.

    Raises:
        MeasureError: not square, of different sizes, or fewer than 4 examples.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [4.0], [8.0]])
        >>> round(hsic1(x @ x.T, x @ x.T).item(), 9)
        52.666666667
    """
    n = check_grams(K, "unbiased")
    if K.dim() != 2:
        raise MeasureError(
            "one Gram matrix at a time", expected="two axes", got=str(tuple(K.shape)), hint="hsic_pairs()"
        )
    if K.shape != L.shape:
        raise MeasureError(
            "two Gram matrices of different examples", expected=str(tuple(K.shape)), got=str(tuple(L.shape))
        )
    K, L = (gram.to(torch.float64, copy=True).fill_diagonal_(0.0) for gram in (K, L))
    rows_k, rows_l = K.sum(-1), L.sum(-1)
    bracket = (K * L).sum() + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows_k @ rows_l)
    return bracket / (n * (n - 3))


@of_tensors
def hsic_pairs(grams: Tensor, kind: Estimator = "unbiased") -> Tensor:
    """HSIC of every pair of Gram matrices of one batch, by one matrix product of the centred, flattened matrices.

    Only rows and columns from the diagonal on are multiplied, in blocks of rows, so extra memory stays near 16 MB.

    Args:
        grams: ``points examples examples``, symmetric, of the same examples.
        kind: ``unbiased`` is :func:`hsic1`; ``biased`` is ``tr(K H L H) / (n-1)^2``.

    Returns:
        ``points points``, float64, symmetric; its diagonal is never negative.

    Raises:
        MeasureError: not square, or too few examples.
    """
    n = check_grams(grams, kind)
    check_axes("grams", grams, None, n, n)
    points = grams.shape[0]
    rows = grams.sum(-1, dtype=torch.float64)
    diagonal = grams.diagonal(dim1=-2, dim2=-1).to(torch.float64)
    if kind == "unbiased":
        rows = rows - diagonal
        total = rows.sum(-1) / ((n - 1) * (n - 2))
        rows, scale = rows / (n - 2), 1 / (n * (n - 3))
    else:
        total = rows.sum(-1) / n**2
        rows, scale = rows / n, 1 / (n - 1) ** 2
    sums = torch.zeros(points, points, dtype=torch.float64, device=grams.device)
    step = max(1, min(math.ceil(n / 4), BLOCK_BYTES // (8 * n * max(1, points))))
    for start in range(0, n, step):
        stop = min(n, start + step)
        block = grams[:, start:stop, start:].to(torch.float64, copy=True)
        block -= rows[:, start:stop, None]
        block -= (rows[:, start:] - total[:, None])[:, None, :]
        # Entries above the diagonal stand for two; those below are left out.
        square = block[:, :, : stop - start]
        own = square.diagonal(dim1=-2, dim2=-1) * (0.0 if kind == "unbiased" else math.sqrt(0.5))
        square.triu_(1)
        square.diagonal(dim1=-2, dim2=-1).copy_(own)
        flat = block.reshape(points, -1)
        sums.addmm_(flat, flat.T, alpha=2.0)
    # The product is symmetric up to rounding; make it so exactly, so that between(a, b) is between(b, a)
    # transposed.
    return (sums + sums.T).mul_(0.5 * scale)


@dataclass(frozen=True)
class CkaSums:
    """What has to be remembered between batches.

    Attributes:
        hsic: ``points points``, float64: HSIC of each pair, weighted by examples and summed over batches.
        noise: ``points``, float64: what rounding alone would have given for the diagonal.
        examples: how many examples were counted.
        batches: how many batches.
        kind: of HSIC.
        bandwidth: of the RBF kernel.
    """

    hsic: Tensor
    noise: Tensor
    examples: int
    batches: int
    kind: Kind
    bandwidth: float = 1.0


@of_tensors
def cka_update(
    sums: CkaSums | None,
    grams: Tensor,
    offsets: Tensor | None = None,
    *,
    kind: Kind = "unbiased",
    feature_dtype: torch.dtype = torch.float32,
    bandwidth: float = 1.0,
) -> CkaSums:
    """Count one batch; nothing is changed in place.

    Args:
        sums: of the batches before, None at the first.
        grams: ``points examples examples`` of this batch, from :func:`centred_gram`.
        offsets: ``points``, the squared norms of the means that were taken off, or ``points 2``, what
            :func:`~transferscope.measures.grams.gram_and_rounding` tells of them; zero where None.
        kind: of HSIC; the same for every batch.
        feature_dtype: in which the features were computed; it sets the level of their rounding errors.
        bandwidth: of the RBF kernel, see :func:`rbf_grams`; the same for every batch.

    Returns:
        New sums.

    Raises:
        MeasureError: too few examples, or other points or another kind than before.
    """
    grams = grams if grams.is_floating_point() else grams.to(torch.float64)
    if kind != "rbf":
        hsic = hsic_pairs(grams, kind)
    examples = int(grams.shape[-1])
    trace = grams.diagonal(dim1=-2, dim2=-1).to(torch.float64).mean(-1)
    noise = 4 * torch.finfo(grams.dtype).eps * trace
    floor = noise
    if offsets is not None:
        squares, spread = offsets.to(torch.float64).expand(2, -1) if offsets.dim() == 1 else offsets.double().unbind(-1)
        coarse, fine = torch.finfo(feature_dtype).eps, torch.finfo(torch.float32).eps
        # Sums in float32 may be off by the same for whole groups of examples, in the order that a kernel takes them.
        noise = floor = noise + (2 * min(coarse, fine)) ** 2 * squares
        if coarse > fine:
            # Rounding the features themselves is another matter for each feature and example. Its variance is at most
            # eps²·m²/4, where all values lie at a tie.
            floor = noise + coarse**2 / 3 * squares
            noise = torch.hypot(noise, coarse**2 / 3 * spread)
    if kind == "rbf":
        check_grams(grams, kind)
        kernels, medians = rbf_grams(grams, bandwidth, floor)
        hsic = hsic_pairs(kernels, "unbiased")
        # What rounding of the linear Gram matrix becomes in the exponent; 1 where the kernel is 1 everywhere.
        noise = torch.where(medians > floor, noise / (bandwidth**2 * medians), 1.0)
    noise = noise**2
    if sums is None:
        return CkaSums(hsic * examples, noise * examples, examples, 1, kind, bandwidth)
    if sums.hsic.shape != hsic.shape or (sums.kind, sums.bandwidth) != (kind, bandwidth):
        raise MeasureError(
            "this batch does not continue the ones before",
            expected=f"{sums.hsic.shape[0]} points, {sums.kind}, bandwidth {sums.bandwidth:g}",
            got=f"{hsic.shape[0]} points, {kind}, bandwidth {bandwidth:g}",
        )
    return CkaSums(
        sums.hsic + hsic * examples,
        sums.noise + noise * examples,
        sums.examples + examples,
        sums.batches + 1,
        kind,
        bandwidth,
    )


@dataclass(frozen=True)
class CkaMatrix:
    """CKA of every pair of points.

    Attributes:
        values: ``points points``, float64, symmetric, in [-1, 1] up to rounding; 0 where ``null``.
        null: ``points points``, bool: CKA is not defined there.
        reasons: per point, why it has none; None where it has.
    """

    values: Tensor
    null: Tensor
    reasons: tuple[str | None, ...]


@checked
def cka_compute(sums: CkaSums) -> CkaMatrix:
    """CKA from what the batches summed up to: averaged first, divided last.

    A point whose self term does not stand out from rounding errors (features that are the same for all examples) or is
    not finite has no CKA: a null with its reason, never NaN.

    Args:
        sums: from :func:`cka_update`.

    Returns:
        On the CPU. Small negative values are kept: the estimator is unbiased, not positive.
    """
    hsic, noise = sums.hsic.cpu(), sums.noise.cpu()
    own = hsic.diagonal()
    finite = own.isfinite()
    constant = finite & (own <= noise)
    bad = ~finite | constant
    norm = torch.where(bad, 1.0, own).sqrt()
    null = bad[:, None] | bad[None, :]
    values = torch.where(null, 0.0, hsic / (norm[:, None] * norm[None, :]))
    which = "most" if sums.kind == "rbf" else "all"
    reasons = tuple(
        None if fine else (f"the same for {which} examples, up to rounding" if same else "not finite")
        for fine, same in zip((~bad).tolist(), constant.tolist(), strict=True)
    )
    return CkaMatrix(values, null, reasons)


@of_tensors
def linear_cka(a: Tensor, b: Tensor, kind: Estimator = "unbiased") -> float | None:
    """Linear CKA of two sets of features of the same examples, in one batch, in float64.

    Invariant to orthogonal maps, isotropic scale and offset of either; not to general linear maps.

    Args:
        a: ``examples ...``.
        b: ``examples ...``, same examples in the same order.
        kind: ``unbiased`` (also called debiased) or ``biased`` (near 1 for wide features of few examples).

    Returns:
        In [-1, 1] (``biased``: [0, 1]); None where the features of one are the same for all examples.

    Raises:
        MeasureError: different numbers of examples, or too few.

    Example:
        >>> x = torch.eye(6)[:, :3].cumsum(0)
        >>> round(linear_cka(x, 5 * x + 100), 12)
        1.0
        >>> linear_cka(x, torch.ones(6, 2)) is None
        True
    """
    return _one_batch(a, b, kind, 1.0)


@of_tensors
def rbf_cka(a: Tensor, b: Tensor, bandwidth: float = 1.0) -> float | None:
    """CKA with the RBF kernel of two sets of features of the same examples: unbiased, one batch, in float64.

    Invariant to orthogonal maps, isotropic scale and offset of either; not to general linear maps. A narrow kernel
    looks at neighbours alone; towards a wide one it becomes linear CKA.

    Args:
        a: ``examples ...``.
        b: ``examples ...``, same examples in the same order.
        bandwidth: the kernel's width as a multiple of the median distance of each (:func:`rbf_grams`).

    Returns:
        In [-1, 1]; None where most examples are the same for one.

    Raises:
        MeasureError: different numbers of examples, fewer than 4, or a bandwidth that is not positive.

    Reference: Kornblith et al. (2019), section 3 and table 2.

    Example:
        >>> x = torch.arange(10.0)[:, None]
        >>> round(rbf_cka(x, 5 * x + 100), 12), round(rbf_cka(x, x**3), 2)
        (1.0, 0.87)
    """
    return _one_batch(a, b, "rbf", bandwidth)


def _one_batch(a: Tensor, b: Tensor, kind: Kind, bandwidth: float) -> float | None:
    if a.shape[:1] != b.shape[:1]:
        raise MeasureError(
            "CKA compares features of the same examples",
            expected="equal first axes",
            got=f"{tuple(a.shape)} and {tuple(b.shape)}",
        )
    # Whole numbers (counts, bytes) are exact.
    a, b = (features if features.is_floating_point() else features.to(torch.float64) for features in (a, b))
    wide = [features.to(torch.float64) for features in (a, b)]
    pairs = [gram_and_rounding(features * power_of_two(features)) for features in wide]
    grams, offsets = (torch.stack(items) for items in zip(*pairs, strict=True))
    # The coarser type of the two tells how much of the features is rounding.
    coarser = max((a.dtype, b.dtype), key=lambda dtype: torch.finfo(dtype).eps)
    sums = cka_update(None, grams, offsets, kind=kind, feature_dtype=coarser, bandwidth=bandwidth)
    matrix = cka_compute(sums)
    return None if bool(matrix.null[0, 1]) else float(matrix.values[0, 1])
