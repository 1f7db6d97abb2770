"""Which unit of one network corresponds to which of another: linear assignment, and the similarities it is fed."""

from typing import final

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.grams import power_of_two

__all__ = ["CrossCorrelation", "assign", "assign_wholes"]

_TINY = 1e-12


def assign(similarity: Tensor | npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The permutation π that maximises Σ_k similarity[k, π(k)]; of equally good ones the same at every call.

    Args:
        similarity: ``units units``, rows of the first network, columns of the second.

    Returns:
        For each unit of the first network its partner in the second.

    Raises:
        MeasureError: no square matrix, or an entry is not finite.

    Reference: Crouse (2016), "On implementing 2D rectangular assignment algorithms" (as in SciPy).

    >>> assign([[0.0, 2.0], [1.0, 2.5]]).tolist()
    [1, 0]
    """
    matrix = np.asarray(similarity.detach().cpu() if isinstance(similarity, Tensor) else similarity, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise MeasureError("units are matched one to one", expected="similarities 'units units'", got=str(matrix.shape))
    if not np.isfinite(matrix).all():
        raise MeasureError(
            "a similarity is not finite",
            expected="finite weights and activations",
            hint="one of the networks has diverged",
        )
    found: npt.NDArray[np.int64] = linear_sum_assignment(matrix, maximize=True)[1].astype(np.int64)
    return found


def assign_wholes(
    inner: list[npt.NDArray[np.float64]], outer: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], list[list[npt.NDArray[np.int64]]]]:
    """The best permutation of wholes (attention heads), each with the best one of the units within it.

    Two wholes are as similar as their units are when these are matched in the best way.

    Args:
        inner: for each kind of inner unit similarities ``wholes wholes units units``.
        outer: ``wholes wholes``, what wholes share beside their units.

    Returns:
        For each whole of the first network its partner; and by whole, for each kind, for each of its units the partner
        within that partner.

    Raises:
        MeasureError: as in :func:`assign`.

    >>> same = np.eye(2)[None, None] * np.array([[0.0, 1.0], [1.0, 0.0]])[..., None, None]
    >>> wholes, units = assign_wholes([same], np.zeros((2, 2)))
    >>> wholes.tolist(), units[0][0].tolist()
    ([1, 0], [0, 1])
    """
    scores = np.array(outer, dtype=np.float64)
    count = len(scores)
    best: list[list[list[npt.NDArray[np.int64]]]] = [[[] for _ in range(count)] for _ in range(count)]
    for one in range(count):
        for two in range(count):
            for similarity in inner:
                order = assign(similarity[one, two])
                scores[one, two] += similarity[one, two][np.arange(len(order)), order].sum()
                best[one][two].append(order)
    wholes = assign(scores)
    return wholes, [best[one][int(two)] for one, two in enumerate(wholes)]


@final
class CrossCorrelation:
    """Correlation of every unit of one network with every unit of another, over samples that come in batches.

    Sums are merged around the running mean in float64 (Chan, Golub & LeVeque 1979), so that large means do no harm.

    Example:
        >>> seen = CrossCorrelation()
        >>> ramp = torch.arange(4.0)[:, None]
        >>> seen.add(torch.cat([ramp, -ramp], 1), torch.cat([-ramp, 2 * ramp], 1))
        >>> seen.value().round().tolist()
        [[-1.0, 1.0], [1.0, -1.0]]
    """

    def __init__(self) -> None:
        self._count = 0
        self._scales: list[float] = []
        self._means: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._products: Tensor | None = None

    def add(self, first: Tensor, second: Tensor) -> None:
        """One batch.

        Args:
            first: ``samples units``.
            second: ``samples units``, the same samples.

        Raises:
            MeasureError: not as many samples in both, or in no batch any.
        """
        if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or not len(first):
            raise MeasureError(
                "both networks are seen on the same samples",
                expected="'samples units' twice",
                got=f"{tuple(first.shape)} and {tuple(second.shape)}",
            )
        wide = torch.float32 if first.device.type == "mps" else torch.float64
        pair = [values.float() if values.dtype != torch.float64 else values for values in (first, second)]
        if self._products is None:
            # The same for all batches: a scale drops out of correlations.
            self._scales = [power_of_two(values) for values in pair]
        pair = [values if scale == 1 else values * scale for values, scale in zip(pair, self._scales, strict=True)]
        means = [values.mean(dim=0) for values in pair]
        centred = [values - mean for values, mean in zip(pair, means, strict=True)]
        squares = [values.square().sum(dim=0).to(wide) for values in centred]
        products = (centred[0].T @ centred[1]).to(wide)
        means = [mean.to(wide) for mean in means]
        if self._products is None:
            self._count, self._means, self._squares, self._products = len(first), means, squares, products
            return
        total = self._count + len(first)
        share = self._count * len(first) / total
        moved = [mean - before for mean, before in zip(means, self._means, strict=True)]
        self._squares = [
            before + square + share * move.square()
            for before, square, move in zip(self._squares, squares, moved, strict=True)
        ]
        self._products = self._products + products + share * torch.outer(moved[0], moved[1])
        self._means = [before + move * (len(first) / total) for before, move in zip(self._means, moved, strict=True)]
        self._count = total

    def value(self) -> Tensor:
        """``units units`` in [−1, 1], float64 on the CPU; 0 for a unit that never changes.

        Raises:
            MeasureError: nothing was added, or something that is not finite.
        """
        if self._products is None:
            raise MeasureError("no batch was added", expected="at least one", got="none")
        scales = []
        for mean, square in zip(self._means, self._squares, strict=True):
            if not bool(torch.isfinite(square).all()):
                raise MeasureError(
                    "an activation is not finite",
                    expected="finite activations of both networks",
                    hint="one of the networks has diverged",
                )
            # What is left of a constant after centring is rounding, of the size of the mean.
            dead = square <= self._count * (1e-6 * mean).square() + _TINY * _TINY * square.max()
            scales.append(torch.where(dead, 0.0, torch.where(dead, 1.0, square).rsqrt()))
        return (scales[0][:, None] * self._products * scales[1][None, :]).double().cpu().clamp(-1.0, 1.0)
