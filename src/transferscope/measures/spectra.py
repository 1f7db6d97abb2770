"""All singular values of convolutions on periodic maps, and of matrices, exactly and in bounded memory.

The singular values of a convolution on an n-periodic map are those of one small matrix for each frequency (Sedghi,
Gupta & Long 2019); :mod:`transferscope.measures.frequencies` says which, for any stride that divides n, dilation and
number of axes. Real kernels have equal values at f and −f, so half of the frequencies suffice; kernels have few taps,
so the transform is a product with their phases rather than an FFT.

Each small matrix is decomposed as it is. Its Gram matrix would be cheaper, and would lose every value below
√eps · σ₁; it is not used in either precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors
from transferscope.measures.frequencies import Lattice, half_plane, lattice, phases

__all__ = [
    "Precision",
    "Spectrum",
    "convolution_spectrum",
    "matrix_spectrum",
    "transposed_convolution_spectrum",
]

Precision = Literal["double", "single"]
"""``single`` is the fast mode: its error is about 1e-7 of the largest value, and is measured on a sample."""

_SMALL_MATRIX = 64


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of a linear operator.

    Values that are 0 for every weight of the same shape (a 1×1 convolution with stride 2 never reads three quarters of
    its input) are left out.

    Attributes:
        values: float64 ``values``, on the CPU, descending, each at least 0.
        multiplicity: int64 ``values``: how often each occurs.
        error: largest difference from double precision on a sample of frequencies, over the largest value; None in
            double precision, where it is at rounding level (1e-15).
    """

    values: Tensor
    multiplicity: Tensor
    error: float | None = None

    @property
    def count(self) -> int:
        """How many singular values there are, with multiplicity."""
        return int(self.multiplicity.sum())


@of_tensors
def matrix_spectrum(matrix: Tensor, *, precision: Precision = "double") -> Spectrum:
    """The singular values of a matrix: a linear layer, a projection of attention, a table of embeddings.

    Args:
        matrix: ``outputs inputs``, real; any floating type, any device.
        precision: of the decomposition.

    Returns:
        min(outputs, inputs) values.

    Raises:
        MeasureError: not a matrix, empty, or not finite.

    Invariant to orthogonal maps on either side and to transposition; scales with the matrix.

    Example:
        >>> matrix_spectrum(torch.tensor([[3.0, 0.0], [0.0, -4.0]])).values.tolist()
        [4.0, 3.0]
    """
    return convolution_spectrum(matrix, (), precision=precision)


@of_tensors
def transposed_convolution_spectrum(
    weight: Tensor,
    size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: Precision = "double",
    memory: int = 2**24,
) -> Spectrum:
    """As :func:`convolution_spectrum`, of a transposed convolution: its singular values are those of its adjoint.

    Args:
        weight: ``inputs outputs/groups taps ...``, as in ``nn.ConvTranspose2d``.
        size: of the map it reads, along each axis; the map it writes is ``stride`` times as large.
        stride: along each axis.
        dilation: along each axis.
        groups: of channels.
        precision: of the decompositions.
        memory: as in :func:`convolution_spectrum`.

    Raises:
        MeasureError: as in :func:`convolution_spectrum`.
    """
    steps = _each(stride, len(size))
    written = tuple(step * n for step, n in zip(steps, size, strict=True))
    return convolution_spectrum(
        weight, written, stride=steps, dilation=dilation, groups=groups, precision=precision, memory=memory
    )


@of_tensors
def convolution_spectrum(
    weight: Tensor,
    size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: Precision = "double",
    memory: int = 2**24,
) -> Spectrum:
    """All singular values of a convolution on a periodic map, on one, two or more axes.

    It is the *circular* operator: zero padding is another one, see :func:`transferscope.measures.circular`. Padding and
    the place of the kernel do not matter. ‖·‖_F² = ∏(n/s)·‖W‖_F².

    In memory are the weight in double precision, the values, and blocks of ``memory`` bytes (one block at least) three
    times over. Decompositions run on the CPU, wherever the weight lies.

    Args:
        weight: ``outputs inputs/groups taps ...``, as in ``nn.Conv2d``; real, any floating type, any device.
        size: of the map it reads, along each axis; () for a matrix.
        stride: along each axis; it must divide the size.
        dilation: along each axis.
        groups: of channels: the operator is block-diagonal in them.
        precision: of the decompositions.
        memory: bytes of the blocks that are decomposed in one go; values agree to rounding whatever it is.

    Raises:
        MeasureError: the stride does not divide the map, shapes do not fit, the weight is empty or not finite, or
            there is no memory.

    Invariant to orthogonal mixing of output or of input channels (groups = 1), to mirroring and circular shifts of the
    kernel; scales with the weight; not invariant to other permutations of the taps.

    Reference: Sedghi, Gupta & Long (2019), "The singular values of convolutional layers", Theorem 6.

    Example:
        >>> found = convolution_spectrum(torch.ones(1, 1, 3), (6,))
        >>> found.values.round(decimals=12).tolist(), found.multiplicity.tolist()
        ([3.0, 2.0, 1.0, 0.0], [1, 2, 1, 2])
    """
    axes = len(size)
    _check(weight, axes, groups, memory)
    taps = lattice(tuple(weight.shape[2:]), size, _each(stride, axes), _each(dilation, axes))
    blocks = _Blocks(weight.detach().to("cpu", torch.float64), groups, taps)
    frequencies, real = half_plane(taps.periods)
    step = max(1, memory // blocks.bytes)
    parts = []
    # The frequencies with f = -f come first: their blocks are real, and decomposed as such.
    for first, last in ((0, real), (real, len(frequencies))):
        for start in range(first, last, step):
            chunk = frequencies[start : min(start + step, last)]
            parts.append(blocks.values(chunk, real=last == real, precision=precision))
    values = torch.cat(parts)
    error = _sampled_error(blocks, frequencies, real, values) if precision == "single" else None
    times = torch.full((len(frequencies),), 2 * taps.copies)
    times[:real] = taps.copies
    flat, order = values.flatten().sort(descending=True)
    return Spectrum(flat, times.repeat_interleave(values[0].numel())[order], error)


def _each(number: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (number,) * axes if isinstance(number, int) else tuple(number)


def _check(weight: Tensor, axes: int, groups: int, memory: int) -> None:
    if weight.dim() != axes + 2 or not weight.is_floating_point() or weight.numel() == 0:
        raise MeasureError(
            "the weight is not that of a linear map on such a map",
            expected=f"a real tensor of {axes + 2} axes that is not empty: outputs, inputs, and taps for each axis",
            got=f"{weight.dtype} {tuple(weight.shape)}",
        )
    if groups < 1 or len(weight) % groups:
        raise MeasureError(
            "the groups do not divide the channels", expected=f"a divisor of {len(weight)}", got=f"groups = {groups}"
        )
    if not bool(weight.isfinite().all()):
        raise MeasureError(
            "the weight is not finite: it has no singular values", hint="take an epoch before the training diverged"
        )
    if memory < 1:
        raise MeasureError("there must be memory for a block", expected="memory of at least 1 byte", got=str(memory))


def _sampled_error(blocks: "_Blocks", frequencies: Tensor, real: int, values: Tensor) -> float:
    """Largest difference to double precision on a few frequencies, evenly spread, over the largest value."""
    largest = float(values.max())
    if largest == 0:
        return 0.0
    count = min(4, 1 + len(frequencies) // 400)
    chosen = [(2 * index + 1) * len(frequencies) // (2 * count) for index in range(count)]
    found = 0.0
    for index in chosen:
        exact = blocks.values(frequencies[index : index + 1], real=index < real, precision="double")
        found = max(found, float((values[index] - exact[0]).abs().max()))
    return found / largest


class _Blocks:
    """The matrices of a convolution, frequency by frequency and group by group, at least as tall as wide."""

    def __init__(self, weight: Tensor, groups: int, taps: Lattice) -> None:
        outputs, inputs = len(weight) // groups, weight.shape[1]
        classes = len(taps.classes)
        kernel = weight.reshape(groups, outputs, inputs, -1)
        # Transposing keeps the values; LAPACK is faster on tall matrices.
        tall = outputs >= inputs * classes
        order = (3, 0, 1, 2) if tall else (3, 0, 2, 1)
        self._kernel = kernel.permute(order).reshape(kernel.shape[-1], -1).contiguous()
        self._taps = taps
        self._class_axis = 3 if tall else 2
        self._inner = (groups, outputs, classes, inputs) if tall else (groups, classes, inputs, outputs)
        self._matrix = (groups, outputs, -1) if tall else (groups, -1, outputs)
        self.bytes = 16 * groups * outputs * inputs * classes

    def values(self, frequencies: Tensor, *, real: bool, precision: Precision) -> Tensor:
        """Singular values, float64 ``frequencies groups values``."""
        kind = torch.float64 if precision == "double" else torch.float32
        kernel = self._kernel.to(kind)
        parts = [
            self._weighted(phase.to(kind), kernel) for phase in phases(frequencies, self._taps)[: 1 if real else 2]
        ]
        matrices = parts[0] if real else torch.complex(*parts)
        return torch.from_numpy(_svd(matrices.numpy(), precision).astype(np.float64))

    def _weighted(self, phase: Tensor, kernel: Tensor) -> Tensor:
        """Kernels times one part of their phases: ``frequencies groups rows columns``."""
        shape = (len(phase), *self._matrix)
        if len(self._taps.classes) == 1:
            return (phase @ kernel).reshape(shape)
        result = kernel.new_empty(len(phase), *self._inner)
        for index, taps in enumerate(map(list, self._taps.classes)):
            part = result.select(self._class_axis, index)
            part.copy_((phase[:, taps] @ kernel[taps]).reshape(part.shape))
        return result.reshape(shape)


def _svd(matrices: npt.NDArray[Any], precision: Precision) -> npt.NDArray[Any]:
    """Singular values of ``... rows columns``, descending along the last axis."""
    values: npt.NDArray[Any]
    if matrices.shape[-1] == 1:
        values = np.linalg.norm(matrices, axis=-2)
    elif precision == "double":
        # numpy's LAPACK rather than torch's: see benchmarks/spectra.py for both.
        values = np.linalg.svd(matrices, compute_uv=False)
    elif matrices.shape[-1] <= _SMALL_MATRIX:
        values = torch.linalg.svdvals(torch.from_numpy(matrices)).numpy()
    else:
        # Not numpy, which would compute in double precision and round.
        flat = matrices.reshape(-1, *matrices.shape[-2:])
        values = np.stack([scipy.linalg.svdvals(one, check_finite=False) for one in flat])
        values = values.reshape(*matrices.shape[:-2], -1)
    return values
