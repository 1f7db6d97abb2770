"""The singular values of every weight of a network, as the operator it is on the map it sees."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from transferscope.errors import MeasureError
from transferscope.measures.circular import CircularDifference, circular_difference, small_size
from transferscope.measures.spectra import (
    Precision,
    Spectrum,
    convolution_spectrum,
    matrix_spectrum,
    transposed_convolution_spectrum,
)
from transferscope.measures.spectrum_summary import SpectrumSummary, spectrum_summary
from transferscope.networks.given import takes_networks
from transferscope.networks.operators import Operator, operators
from transferscope.readable import readable

__all__ = [
    "Indivisible",
    "NetworkSpectra",
    "OperatorSpectrum",
    "difference_from_padded",
    "operator_spectrum",
    "periodic_size",
    "spectra",
]

Indivisible = Literal["round_up", "skip"]
"""What becomes of an operator whose stride does not divide its map: the next larger map is taken, or it is left out."""


@readable
@dataclass(frozen=True)
class OperatorSpectrum:
    """One operator of a network.

    Attributes:
        operator: what it is, and the map it sees.
        size: of the periodic map whose operator is decomposed: the one it sees, or the next larger one that its stride
            divides; () for a matrix.
        spectrum: all singular values.
        summary: norms and ranks.
    """

    operator: Operator
    size: tuple[int, ...]
    spectrum: Spectrum
    summary: SpectrumSummary


@readable
@dataclass(frozen=True)
class NetworkSpectra:
    """The operators of a network.

    Attributes:
        found: in the order in which they run.
        skipped: every parameter that is no part of an operator, and every operator that was left out, with the reason.
    """

    found: tuple[OperatorSpectrum, ...]
    skipped: Mapping[str, str]


@takes_networks("network")
def spectra(
    network: nn.Module,
    example: object,
    *,
    precision: Precision = "double",
    top: float = 0.1,
    indivisible: Indivisible = "round_up",
    memory: int = 2**24,
    on_operator: Callable[[int, int], None] | None = None,
) -> NetworkSpectra:
    """All singular values of every convolution, linear layer, embedding and attention projection of a network.

    Convolutions are periodic (*circular approximation*): zero padding is not covered, see
    :func:`difference_from_padded`. The values describe the weights alone: neither normalisation nor nonlinearities are
    in them, and they say nothing of how sure the network is of its answers.

    Args:
        network: run once on the example, in evaluation mode, and given back as it was.
        example: a batch it takes, one image is enough: it tells the sizes of the maps.
        precision: ``single`` is about 1.5 times as fast; each spectrum then tells its error.
        top: share of the values whose energy is told.
        indivisible: what becomes of a convolution whose stride does not divide its map.
        memory: bytes of blocks held at a time, see :func:`~transferscope.measures.spectra.convolution_spectrum`.
        on_operator: told how many operators are done, of how many.

    Raises:
        MeasureError: a weight is not finite, or ``top`` is no share.

    Reference: Sedghi, Gupta & Long (2019), "The singular values of convolutional layers".

    Example:
        >>> import torch
        >>> found = spectra(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()), torch.zeros(1, 3, 8, 8))
        >>> found.found[0].summary.count, found.skipped
        (64, {'0.bias': 'a bias'})
    """
    listed = operators(network, example)
    skipped = dict(listed.skipped)
    found = []
    for index, operator in enumerate(listed.found):
        size = periodic_size(operator, indivisible)
        if size is None:
            skipped[operator.name] = _indivisible(operator)
        else:
            spectrum = operator_spectrum(operator, size, precision=precision, memory=memory)
            found.append(OperatorSpectrum(operator, size, spectrum, spectrum_summary(spectrum, top)))
        if on_operator is not None:
            on_operator(index + 1, len(listed.found))
    return NetworkSpectra(tuple(found), skipped)


def periodic_size(operator: Operator, indivisible: Indivisible = "round_up") -> tuple[int, ...] | None:
    """The periodic map on which an operator is decomposed; None where it is to be left out.

    Args:
        operator: of a network.
        indivisible: what becomes of one whose stride does not divide its map.
    """
    if operator.kind != "convolution":
        return operator.size
    size = tuple(s * math.ceil(n / s) for n, s in zip(operator.size, operator.stride, strict=True))
    return size if size == operator.size or indivisible == "round_up" else None


def operator_spectrum(
    operator: Operator, size: tuple[int, ...], *, precision: Precision = "double", memory: int = 2**24
) -> Spectrum:
    """The singular values of one operator.

    Args:
        operator: of a network.
        size: of the periodic map that it reads.
        precision: of the decompositions.
        memory: as in :func:`spectra`.

    Raises:
        MeasureError: its weight is not finite (the message names it), or its stride does not divide the map.
    """
    if not bool(operator.weight.isfinite().all()):
        raise MeasureError(
            f"the weight {operator.parameter!r} is not finite: it has no singular values",
            hint="take an epoch before the training diverged",
        )
    if operator.kind in ("linear", "embedding"):
        return matrix_spectrum(operator.weight, precision=precision)
    decompose = convolution_spectrum if operator.kind == "convolution" else transposed_convolution_spectrum
    return decompose(
        operator.weight,
        size,
        stride=operator.stride,
        dilation=operator.dilation,
        groups=operator.groups,
        precision=precision,
        memory=memory,
    )


def difference_from_padded(operator: Operator, most: int = 1024) -> CircularDifference | str:
    """How far a convolution's periodic operator is from its zero-padded one, on a map of at most 8 × 8 outputs.

    Args:
        operator: of a network.
        most: the work may be that of one dense matrix of so many rows.

    Returns:
        The difference, or why there is none.
    """
    if operator.kind != "convolution":
        return "not a convolution"
    if operator.padding is None:
        return "padded in another way than evenly with zeros"
    weight, padding = operator.weight, operator.padding
    stride, dilation, groups = operator.stride, operator.dilation, operator.groups
    size = small_size(weight, stride=stride, dilation=dilation, padding=padding, groups=groups, most=most)
    if size is None:
        return f"its dense matrix is above {most} rows even on the smallest map"
    found = circular_difference(weight, size, stride=stride, dilation=dilation, padding=padding, groups=groups)
    return "all its singular values are 0" if found is None else found


def _indivisible(operator: Operator) -> str:
    return f"its stride {operator.stride} does not divide the map {operator.size}"
