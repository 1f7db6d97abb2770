"""LogME: how well a Bayesian linear model explains labels by features, without fitting anything by descent."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors
from transferscope.measures.grams import power_of_two
from transferscope.measures.left_axes import left_axes

__all__ = ["LogMe", "logme"]

_DECADES = 10
"""Ratios of the precisions are searched so far to both sides of the mean squared singular value."""
_GRID = 161
_REFINED = 40
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class LogMe:
    """The logarithm of the maximum evidence.

    Attributes:
        value: per example, the mean over outputs.
        outputs: per example, of each output; None of one that has no two values.
        at_limit: outputs whose maximum lies at the end of the searched ratios: features say nothing of them (the
            value is then the limit), or give them exactly (the evidence then has no upper end).
    """

    value: float
    outputs: tuple[float | None, ...]
    at_limit: int


@of_tensors
def logme(features: Tensor, targets: Tensor) -> LogMe:
    r"""Compute the maximum log evidence of Bayesian linear regression on each output, per example.

    With prior :math:`w \sim N(0, \alpha^{-1} I)` and noise :math:`y \sim N(Fw, \beta^{-1} I)`,

    .. math:: \frac1n \max_{\alpha, \beta} \log p(y \mid F, \alpha, \beta),

    averaged over outputs (class indicators, or labels that hold at once: each is a regression of its own). At a ratio
    t = α/β the best β is n/E(t) with :math:`E(t) = \min_w \|y - Fw\|^2 + t \|w\|^2`, so that

    .. math:: \log p = \tfrac n2 \log \frac{n}{2 \pi e\, E(t)} + \tfrac12 \sum_j \log \frac{t}{t + s_j^2},

    a function of t alone. One decomposition of F (singular values :math:`s_j`) serves all outputs and all t; t is
    searched on a ladder of 20 decades and refined by golden sections. Features are taken as they are: there is no
    intercept.

    Invariant to an orthogonal map and a common scale of the features and to the order of examples and outputs; not to
    an offset or to the scale of single features, nor to repeating all examples. Any real number.

    Args:
        features: ``examples features``, not all zero.
        targets: ``examples outputs``, for example 0 and 1 of each class.

    Raises:
        MeasureError: shapes that do not fit, values that are not finite, or no output with two values.

    Reference: You, Liu, Wang & Long (2021), LogME: practical assessment of pre-trained models for transfer learning.
        They reach a stationary t by a fixed-point iteration from α = β = 1; here it is the maximum.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> logme(x, y).value > logme(x, y[[0, 2, 1, 3]]).value
    True
    """
    table, aims = features.cpu().double(), targets.cpu().double()
    _check(table, aims)
    used = torch.nonzero((aims != aims[0]).any(0)).flatten()
    if not len(used):
        raise MeasureError("no output varies", expected="a class with and without examples", got="one class")
    count = len(table)
    aims = aims[:, used]
    squares, axes = left_axes(table * power_of_two(table))
    along = (axes.T @ aims).square()
    beyond = (aims.square().sum(0) - along.sum(0)).clamp(min=0.0)

    middle, reach = math.log(float(squares.mean())), _DECADES * math.log(10)
    ladder = torch.linspace(middle - reach, middle + reach, _GRID, dtype=torch.float64)
    shrunk = _shrunk(ladder, squares)
    best = _evidence(beyond + shrunk @ along, shrunk[:, None], count).argmax(0)

    def each(ratios: Tensor) -> Tensor:
        parts = _shrunk(ratios, squares)
        return _evidence(beyond + (parts * along.T).sum(1), parts, count)

    low, high = ladder[(best - 1).clamp(min=0)], ladder[(best + 1).clamp(max=_GRID - 1)]
    for _ in range(_REFINED):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        rising = each(right) > each(left)
        low, high = torch.where(rising, left, low), torch.where(rising, high, right)
    found = each((low + high) / 2)
    outputs: list[float | None] = [None] * targets.shape[1]
    for place, value in zip(used.tolist(), found.tolist(), strict=True):
        outputs[place] = value
    return LogMe(float(found.mean()), tuple(outputs), int(((best == 0) | (best == _GRID - 1)).sum()))


def _shrunk(log_ratios: Tensor, squares: Tensor) -> Tensor:
    """t / (t + s²): ``ratios axes``."""
    ratios = log_ratios.exp()[:, None]
    return ratios / (ratios + squares)


def _evidence(error: Tensor, shrunk: Tensor, count: int) -> Tensor:
    """Per example, at the best β."""
    return 0.5 * torch.log(count / (2 * math.pi * math.e * error)) + 0.5 * shrunk.log().sum(-1) / count


def _check(table: Tensor, aims: Tensor) -> None:
    if table.ndim != 2 or aims.ndim != 2 or len(table) != len(aims) or len(table) < 2:
        raise MeasureError(
            "features and targets do not fit",
            expected="'examples features' and 'examples outputs', at least two examples",
            got=f"{tuple(table.shape)} and {tuple(aims.shape)}",
        )
    if not bool(torch.isfinite(table).all()) or not bool(torch.isfinite(aims).all()):
        raise MeasureError("features are not finite", expected="finite numbers", got="NaN or infinite values")
    if not bool(table.any()):
        raise MeasureError("all features are zero", expected="features that vary", got="zeros alone")
