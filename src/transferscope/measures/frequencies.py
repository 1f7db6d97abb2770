"""Which taps of a kernel meet at which frequency of a periodic map: whole numbers only, no weights.

A convolution of stride s on an n-periodic map (m = n/s outputs along an axis) is block-diagonal in the m coarse
frequencies. Its input is split into the s classes of places with equal remainder modulo s (polyphase components). Tap j
of a kernel with dilation d lies at place j·d: it reads the class r = j·d mod s, shifted by q = ⌊j·d / s⌋ outputs. The
block at frequency f is

    [ Σ_{taps of class r} W_tap · exp(−2πi f·q / m) ]_r

with one column block for each class that has taps. It differs from ``[K̂(f + a·n/s)]_a / s^{d/2}`` by a unitary matrix
on the right, and leaves out columns that are 0 for every kernel. Two things fall out of it:

- a class's shift may be counted from its first tap (a phase of its columns), so a kernel with at most one tap in each
  class (1×1 with any stride, patches with k = s, k < s) has the same block at every frequency: one matrix, many copies;
- if all shifts are multiples of g (dilation without stride), only m/g frequencies differ, each occurring g times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferscope.errors import MeasureError

__all__ = ["Lattice", "half_plane", "lattice", "phases"]


@dataclass(frozen=True)
class Lattice:
    """Where the taps of a kernel lie, and how many different frequencies there are.

    Attributes:
        classes: for each class of input places that is read, its taps (indices into the flattened kernel).
        shifts: int64 ``taps axes``, in units of ``copies`` outputs along each axis.
    """

    classes: tuple[tuple[int, ...], ...]
    shifts: Tensor
    periods: tuple[int, ...]
    copies: int


def lattice(kernel: Sequence[int], size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Lattice:
    """The taps of a kernel on a periodic map.

    Example:
        >>> found = lattice((3,), (8,), (2,), (1,))
        >>> found.classes, found.shifts.flatten().tolist(), found.periods, found.copies
        (((0, 2), (1,)), [0, 0, 1], (4,), 1)
        >>> lattice((2, 2), (8, 8), (2, 2), (1, 1)).periods  # patches: one matrix
        (1, 1)
    """
    for name, numbers in (("size", size), ("stride", stride), ("dilation", dilation), ("kernel", kernel)):
        if any(number < 1 for number in numbers) or len(numbers) != len(size):
            raise MeasureError(
                f"the {name} of a convolution does not fit its map",
                expected=f"{len(size)} whole numbers of at least 1",
                got=str(tuple(numbers)),
            )
    if any(n % s for n, s in zip(size, stride, strict=True)):
        raise MeasureError(
            "the stride does not divide the map: the periodic operator is not defined",
            expected="along each axis a size that is a multiple of the stride",
            got=f"size {tuple(size)}, stride {tuple(stride)}",
            hint="take the next larger map that it divides",
        )
    axes = [_axis(*numbers) for numbers in zip(kernel, size, stride, dilation, strict=True)]
    taps = list(np.ndindex(*kernel))
    classes: dict[tuple[int, ...], list[int]] = {}
    for index, tap in enumerate(taps):
        read = tuple(axis.remainders[j] for axis, j in zip(axes, tap, strict=True))
        classes.setdefault(read, []).append(index)
    shifts = [[axis.shifts[j] for axis, j in zip(axes, tap, strict=True)] for tap in taps]
    return Lattice(
        classes=tuple(tuple(found) for found in classes.values()),
        shifts=torch.tensor(shifts, dtype=torch.int64).reshape(len(taps), len(axes)),
        periods=tuple(axis.period for axis in axes),
        copies=math.prod(axis.copies for axis in axes),
    )


@dataclass(frozen=True)
class _Axis:
    remainders: list[int]
    shifts: list[int]
    period: int
    copies: int


def _axis(kernel: int, size: int, stride: int, dilation: int) -> _Axis:
    outputs = size // stride
    # A kernel longer than the map wraps around it; the stride divides the map, so classes are kept.
    places = [j * dilation % size for j in range(kernel)]
    remainders = [place % stride for place in places]
    first: dict[int, int] = {}
    for place, remainder in zip(places, remainders, strict=True):
        first.setdefault(remainder, place // stride)
    shifts = [(place // stride - first[r]) % outputs for place, r in zip(places, remainders, strict=True)]
    copies = math.gcd(outputs, *shifts)
    return _Axis(remainders, [shift // copies for shift in shifts], outputs // copies, copies)


def half_plane(periods: Sequence[int]) -> tuple[Tensor, int]:
    """One of each pair of frequencies f, −f; a real kernel has conjugate blocks there, so equal singular values.

    Returns:
        int64 ``frequencies axes``, those with f = −f first (their blocks are real), and how many these are. The others
        count twice.

    Example:
        >>> half_plane((4,))[0].flatten().tolist(), half_plane((4,))[1]
        ([0, 2, 1], 2)
        >>> [len(half_plane((n, n))[0]) for n in (7, 8)]  # (n² + 1)/2 and (n² + 4)/2
        [25, 34]
    """
    limits = torch.tensor(list(periods), dtype=torch.int64)
    flat = torch.arange(math.prod(periods))
    frequencies = torch.empty(len(flat), len(limits), dtype=torch.int64)
    opposite, rest, weight = torch.zeros_like(flat), flat, 1
    for axis in reversed(range(len(limits))):
        frequencies[:, axis] = rest % limits[axis]
        opposite += weight * ((limits[axis] - frequencies[:, axis]) % limits[axis])
        rest, weight = rest // limits[axis], weight * int(limits[axis])
    own = opposite == flat
    return torch.cat([frequencies[own], frequencies[flat < opposite]]), int(own.sum())


def phases(frequencies: Tensor, found: Lattice) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of exp(−2πi f·q / m), each float64 ``frequencies taps``; exact at multiples of a quarter.

    Example:
        >>> found = lattice((3,), (4,), (1,), (1,))
        >>> [part.tolist() for part in phases(torch.tensor([[1], [2]]), found)]
        [[[1.0, 0.0, -1.0], [1.0, -1.0, 1.0]], [[0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]]
    """
    shape = (len(frequencies), len(found.shifts))
    total = torch.ones(shape, dtype=torch.complex128)
    for axis, period in enumerate(found.periods):
        table = _roots(period)
        total *= table[torch.outer(frequencies[:, axis], found.shifts[:, axis]) % period]
    return total.real, total.imag


def _roots(period: int) -> Tensor:
    """exp(−2πi j/period) for every j; the real and imaginary units without rounding."""
    steps = torch.arange(period)
    angles = -2 * math.pi * steps.to(torch.float64) / period
    roots = torch.polar(torch.ones_like(angles), angles)
    units = torch.tensor([1, -1j, -1, 1j], dtype=torch.complex128)
    exact = 4 * steps % period == 0
    roots[exact] = units[4 * steps[exact] // period]
    return roots
