"""How far a convolution with zero padding is from the circular one, on maps small enough for the dense matrices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors
from transferscope.measures.spectra import convolution_spectrum

__all__ = ["CircularDifference", "circular_difference", "small_size"]

_CONVOLVE = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}


@dataclass(frozen=True)
class CircularDifference:
    """Zero-padded against circular operator, σ′ against σ, both descending.

    Attributes:
        size: of the map.
        largest: |σ′₁ − σ₁| / σ₁.
        any: max |σ′ᵢ − σᵢ| / σ₁ over all i, the shorter list continued by zeros.
    """

    size: tuple[int, ...]
    largest: float
    any: float


def small_size(
    weight: Tensor,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    groups: int = 1,
    most: int = 1024,
) -> tuple[int, ...] | None:
    """The largest map of at most 8 outputs along each axis on which the dense matrices can be afforded.

    It is at least as long as the dilated kernel, so that no tap always falls on zeros.

    Args:
        weight: ``outputs inputs/groups taps ...``.
        stride: along each axis.
        dilation: along each axis.
        padding: zeros on either side along each axis.
        groups: of channels, each a matrix of its own.
        most: the work may be that of one square matrix of so many rows.

    Returns:
        The size; None if even the smallest map asks for more.

    Example:
        >>> small_size(torch.empty(64, 64, 3, 3), stride=(1, 1), dilation=(1, 1), padding=(1, 1), most=1024)
        (4, 4)
    """
    extents = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    for outputs in range(8, 0, -1):
        size = tuple(s * max(outputs, math.ceil(e / s)) for s, e in zip(stride, extents, strict=True))
        written = [(n + 2 * p - e) // s + 1 for n, p, e, s in zip(size, padding, extents, stride, strict=True)]
        side = max(weight.shape[1] * math.prod(size), weight.shape[0] // groups * math.prod(written))
        if groups * side**3 <= most**3:
            return size
    return None


@of_tensors
def circular_difference(
    weight: Tensor,
    size: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    groups: int = 1,
) -> CircularDifference | None:
    """The singular values of a zero-padded convolution against those of the circular one, by dense matrices.

    Args:
        weight: ``outputs inputs/groups taps ...``, one to three axes of taps.
        size: of the map; the matrix has outputs × places rows and inputs × places columns, so it must be small.
        stride: along each axis; it must divide the size.
        dilation: along each axis.
        padding: zeros on either side along each axis.
        groups: of channels.

    Returns:
        None if all singular values of the circular operator are 0.

    Raises:
        MeasureError: as in :func:`~transferscope.measures.spectra.convolution_spectrum`, or more than three axes.
    """
    axes = len(size)
    if axes not in _CONVOLVE:
        raise MeasureError(
            "only maps of one to three axes can be padded", expected="1, 2 or 3 axes", got=f"{axes} axes"
        )
    kernel = weight.detach().to("cpu", torch.float64)
    circular = convolution_spectrum(kernel, size, stride=stride, dilation=dilation, groups=groups)
    largest = float(circular.values[0])
    if largest == 0:
        return None
    parts = []
    for group in kernel.chunk(groups):
        places = group.shape[1] * math.prod(size)
        units = torch.eye(places, dtype=torch.float64).reshape(places, group.shape[1], *size)
        written = _CONVOLVE[axes](units, group, stride=tuple(stride), padding=tuple(padding), dilation=tuple(dilation))
        parts.append(torch.linalg.svdvals(written.flatten(1)))
    padded = torch.cat(parts).sort(descending=True).values
    wrapped = circular.values.repeat_interleave(circular.multiplicity)
    length = max(len(padded), len(wrapped))
    a, b = (nn.functional.pad(values, (0, length - len(values))) for values in (padded, wrapped))
    return CircularDifference(tuple(size), float((a[0] - b[0]).abs()) / largest, float((a - b).abs().max()) / largest)
