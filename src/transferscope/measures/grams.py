"""Gram matrices of features: centred, U-centred, of the RBF kernel.

Why they are exact in float32: features are centred before the Gram matrix, so an offset costs no digits; features whose
squares float32 cannot hold are scaled by a power of two, which costs none either; everything after the Gram matrix is
float64.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import check_axes, of_tensors

__all__ = [
    "BLOCK_BYTES",
    "Estimator",
    "Kind",
    "centred_gram",
    "check_grams",
    "flat_and_scaled",
    "gram_and_rounding",
    "power_of_two",
    "rbf_grams",
    "smallest_batch",
    "u_centred",
]

Estimator = Literal["unbiased", "biased"]
"""How HSIC is estimated from two Gram matrices."""
Kind = Literal["unbiased", "biased", "rbf"]
"""The linear kernel with either estimator, or the RBF kernel with the unbiased one."""

# A chunk of 100 examples and 4096 features stays in a 2 MB cache from its mean to its product.
_CPU_CHUNK_BYTES = 4 * 4096 * 100
_CHUNK_BYTES = 64 * 2**20
BLOCK_BYTES = 16 * 2**20
"""Memory of one block of work on Gram matrices, about."""


@checked
def smallest_batch(kind: Kind) -> int:
    """The fewest examples a batch may have: 4 for ``unbiased`` and ``rbf``, 2 for ``biased``."""
    return 2 if kind == "biased" else 4


@contextlib.contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """No autocast, no TF32 or bfloat16 products: a Gram matrix needs all digits of its features."""
    kept = []
    for backend in (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)):
        # Per backend, which reads settings of the old and the new interface alike; before torch 2.9 there is only the
        # old one, for CUDA alone.
        name, full = ("fp32_precision", "ieee") if hasattr(backend, "fp32_precision") else ("allow_tf32", False)
        value = getattr(backend, name, full)
        if value not in (full, "none"):
            kept.append((backend, name, value))
            setattr(backend, name, full)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, name, value in kept:
            setattr(backend, name, value)


def _flat(features: Tensor) -> Tensor:
    """``examples features``, without a copy where memory allows: the order of features does not matter."""
    if features.dim() == 2:
        return features
    order = sorted(range(1, features.dim()), key=features.stride, reverse=True)
    return features.permute(0, *order).reshape(features.shape[0], -1)


def power_of_two(features: Tensor) -> float:
    """What to multiply features by so that their squares, and squares of these, neither overflow nor vanish.

    1 where the largest value lies between 1e-12 and 1e12, is 0 or is not finite; else the power of two that brings it
    near 1. A product with a power of two is exact.

    Example:
        >>> power_of_two(torch.tensor([3.0, 1e-3])), power_of_two(torch.tensor([3 * 2.0**100])) == 2.0**-102
        (1.0, True)
    """
    largest = float(features.abs().max()) if features.numel() else 0.0
    if largest == 0 or not math.isfinite(largest) or 1e-12 <= largest <= 1e12:
        return 1.0
    exponent = math.frexp(largest)[1]
    # Of the smallest numbers the inverse has no place in their own type.
    most = 1000 if features.dtype == torch.float64 else 120
    return 2.0 ** -max(-most, min(most, exponent))


def flat_and_scaled(features: Tensor) -> tuple[Tensor, float]:
    """Flatten features, ``examples features`` in float64 on the CPU, and multiply them by :func:`power_of_two`."""
    flat = features.detach().flatten(1).cpu().to(torch.float64)
    if not bool(torch.isfinite(flat).all()):
        raise MeasureError("features are not finite", expected="finite features", hint="leave out diverged networks")
    scale = power_of_two(flat)
    return flat * scale, scale


@of_tensors
def centred_gram(features: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The Gram matrix of features that are centred over the examples first, and the offset taken off.

    Computed in chunks of features: no centred copy of a feature map is ever held, and only half of the symmetric matrix
    is multiplied out.

    Args:
        features: ``examples ...``, floating point; everything after the first axis is flattened.
        out: where to put the Gram matrix: ``examples examples``, on the device of the features; its type is that of the
            computation. Features whose squares it cannot hold are then for the caller to scale (:func:`power_of_two`).

    Returns:
        The Gram matrix, ``examples examples``, symmetric, float32 (float64 for float64 features, and for those whose
        squares float32 cannot hold); and the squared norm of the mean feature vector, a scalar that tells how large
        rounding errors of the features are.

    Raises:
        MeasureError: fewer than two axes, or not floating point.

    Example:
        >>> gram, offset = centred_gram(torch.tensor([[1.0, 100.0], [3.0, 100.0]]))
        >>> gram.tolist(), offset.item()
        ([[1.0, -1.0], [-1.0, 1.0]], 10004.0)
    """
    scale = 1.0 if out is not None or not features.is_floating_point() else power_of_two(features)
    if scale == 1:
        gram, offsets = gram_and_rounding(features, out)
        return gram, offsets[0]
    gram, offsets = (tensor.cpu().double() / scale / scale for tensor in gram_and_rounding(features * scale))
    return gram.to(features.device), offsets[0].to(features.device)


def gram_and_rounding(features: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """As :func:`centred_gram` with ``out``, and what tells how large rounding errors are: of the mean feature vector m.

    Args:
        features: ``examples ...``, floating point, of a scale whose squares float32 holds.
        out: where to put the Gram matrix.

    Returns:
        The Gram matrix; and two numbers: Σ m_j², where the errors of all features go together, and √Σ m_j⁴, where they
        are independent.
    """
    if features.dim() < 2 or not len(features) or not features.is_floating_point():
        raise MeasureError(
            "these features have no Gram matrix",
            expected="a floating-point tensor, examples first, with at least two axes and an example",
            got=f"{features.dtype} of shape {tuple(features.shape)}",
        )
    flat = _flat(features)
    examples, width = flat.shape
    dtype = torch.float64 if flat.dtype == torch.float64 else torch.float32
    dtype = dtype if out is None else out.dtype
    half = examples // 2
    budget = _CPU_CHUNK_BYTES if flat.device.type == "cpu" else _CHUNK_BYTES
    step = max(256, budget // (4 * max(1, examples)))
    average = torch.full((examples,), 1.0 / max(1, examples), dtype=dtype, device=flat.device)
    gram = torch.empty(examples, examples, dtype=dtype, device=flat.device) if out is None else out
    gram.zero_()
    offset = torch.zeros((), dtype=dtype, device=flat.device)
    spread = torch.zeros((), dtype=dtype, device=flat.device)
    room = torch.empty(examples * min(step, width), dtype=dtype, device=flat.device)
    with _full_precision(flat.device):
        for start in range(0, width, step):
            raw = flat[:, start : start + step].to(dtype)
            # A product with 1/n reads the chunk faster than mean(0). It need not be exact to the last digit:
            # what is left of an offset is the same for every example, and U-centring removes it exactly.
            mean = average @ raw
            chunk = torch.sub(raw, mean, out=room[: raw.numel()].view(raw.shape))
            here = mean @ mean
            offset += here
            # Over the sum of squares first: fourth powers alone could overflow.
            fourth = (mean * mean / here.clamp_min(torch.finfo(dtype).tiny)).norm() * here
            spread = torch.hypot(spread, fourth)
            gram[:half, :half].addmm_(chunk[:half], chunk[:half].T)
            gram[half:].addmm_(chunk[half:], chunk.T)
    gram[:half, half:] = gram[half:, :half].T
    # A product of a matrix with its own transpose is symmetric only up to rounding.
    return gram.copy_((gram + gram.T).mul_(0.5)), torch.stack([offset, spread])


def check_grams(grams: Tensor, kind: Kind) -> int:
    """Refuse Gram matrices that do not fit the estimator; return how many examples they are of."""
    if grams.dim() < 2 or grams.shape[-1] != grams.shape[-2]:
        raise MeasureError("Gram matrices are square", expected="points examples examples", got=str(tuple(grams.shape)))
    examples = int(grams.shape[-1])
    if examples < smallest_batch(kind):
        raise MeasureError(
            f"a batch of {examples} examples is too small for {kind} CKA",
            expected=f"at least {smallest_batch(kind)} examples in every batch",
            got=str(examples),
            hint="use a larger batch size",
        )
    return examples


@of_tensors
def u_centred(grams: Tensor) -> Tensor:
    """U-centred Gram matrices: rows and columns sum to zero, the diagonal is zero.

    ``K_ij - r_i/(n-2) - r_j/(n-2) + s/((n-1)(n-2))`` off the diagonal, with row sums r and sum s of K without its
    diagonal. ``hsic1(K, L) = sum(u_centred(K) * u_centred(L)) / (n (n-3))``. Invariant to ``K_ij + a_i + a_j``.

    Args:
        grams: ``... examples examples``, symmetric, at least 4 examples.

    Returns:
        Same shape, float64.

    Raises:
        MeasureError: not square, or fewer than 4 examples.
    """
    n = check_grams(grams, "unbiased")
    inner = grams.to(torch.float64, copy=True)
    inner.diagonal(dim1=-2, dim2=-1).zero_()
    rows = inner.sum(-1)
    total = rows.sum(-1)[..., None, None] / ((n - 1) * (n - 2))
    rows = rows / (n - 2)
    inner = inner - rows[..., :, None] - rows[..., None, :] + total
    inner.diagonal(dim1=-2, dim2=-1).zero_()
    return inner


@of_tensors
def rbf_grams(grams: Tensor, bandwidth: float = 1.0, floors: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Gram matrices of the RBF kernel, from linear ones.

    ``exp(-d_ij^2 / (2 bandwidth^2 m))`` with ``d_ij^2 = K_ii + K_jj - 2 K_ij`` and m the median of d^2 over the pairs
    of different examples of this batch (the median heuristic, as in the code of Kornblith et al. 2019). So the kernel
    is invariant to orthogonal maps, isotropic scale and offset of the features; not to a change of the batch size, with
    which the median varies a little.

    Args:
        grams: ``points examples examples``, symmetric, of the linear kernel; centring does not matter.
        bandwidth: the kernel's width as a multiple of the median distance, positive.
        floors: ``points``; where the median is not above its floor (rounding errors, or most examples the same), the
            kernel is 1 everywhere: no CKA. 0 where None.

    Returns:
        Same shape and type, with ones on the diagonal; and the median of d^2, ``points``, float64.

    Raises:
        MeasureError: not square, fewer than 2 examples, or a bandwidth that is not positive.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> kernel, median = rbf_grams((x @ x.T)[None])
        >>> median.tolist(), kernel[0, 0].log().tolist()
        ([1.0], [0.0, -0.5, -2.0])
    """
    if not 0 < bandwidth < math.inf:
        raise MeasureError(
            "the width of the RBF kernel does not fit", expected="a positive multiple", got=str(bandwidth)
        )
    n = check_grams(grams, "biased")
    check_axes("grams", grams, None, n, n)
    points = grams.shape[0]
    above = torch.triu_indices(n, n, 1, device=grams.device)
    pairs = above.shape[1]
    kernels = torch.empty_like(grams)
    medians = torch.empty(points, dtype=torch.float64, device=grams.device)
    step = max(1, BLOCK_BYTES // (8 * n * n))
    for start in range(0, points, step):
        block = grams[start : start + step].to(torch.float64)
        own = block.diagonal(dim1=-2, dim2=-1)
        squares = (own[:, :, None] + own[:, None, :] - 2 * block).clamp_min_(0)
        ordered = squares[:, above[0], above[1]].sort(-1).values
        median = (ordered[:, (pairs - 1) // 2] + ordered[:, pairs // 2]) / 2
        floor = median.new_zeros(()) if floors is None else floors[start : start + step].to(torch.float64)
        flat = median <= floor
        scale = torch.where(flat, 1.0, 2 * bandwidth**2 * median)
        kernel = (squares / -scale[:, None, None]).exp_()
        kernel.diagonal(dim1=-2, dim2=-1).masked_fill_(own.isfinite(), 1.0)
        kernels[start : start + step] = torch.where(flat[:, None, None], 1.0, kernel)
        medians[start : start + step] = median
    return kernels, medians
