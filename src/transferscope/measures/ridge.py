"""Ridge regression on class indicators: a linear probe whose held-out predictions have a closed form."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import check_axes, of_tensors
from transferscope.measures.left_axes import left_axes

__all__ = ["RidgePath", "choose_penalty", "ridge_path"]


@dataclass(frozen=True)
class RidgePath:
    """Predictions along a ladder of penalties.

    Attributes:
        held_out: ``penalties examples outputs``: of each example by the fit without its fold.
        others: ``penalties others outputs``: of further examples by the fit to all.
    """

    held_out: Tensor
    others: Tensor


@of_tensors
def ridge_path(
    features: Tensor, targets: Tensor, folds: Tensor, penalties: Sequence[float], others: Tensor | None = None
) -> RidgePath:
    r"""Fit ridge regressions with an intercept and predict every fold by the fit to all the others, without refitting.

    Minimises :math:`\sum_i \|y_i - W^T x_i - b\|^2 + \lambda \|W\|^2` with λ = penalty · tr(K)/n, K the Gram matrix of
    the centred features. With H the hat matrix of the fit to all, :math:`\hat y = H y`, the predictions of a fold f by
    the fit to the rest are

    .. math:: y_f - (I - H_{ff})^{-1} (y_f - \hat y_f),

    exactly, for the same λ. Invariant to an offset, a common scale and an orthogonal map of the features, and to the
    order of examples; not to the scale of single features: standardise them.

    Args:
        features: ``examples features``.
        targets: ``examples outputs``, for example 0 and 1 of each class.
        folds: ``examples`` whole numbers; examples of one number are held out together. At least two of them.
        penalties: positive, relative to the mean squared length of a centred example.
        others: ``others features``, predicted by the fit to all examples.

    Raises:
        MeasureError: shapes that do not fit, values that are not finite, one fold alone, or a penalty that is not
            positive.

    Reference: Allen (1974), the PRESS statistic, of one example; Hastie, Tibshirani & Friedman (2009), eq. 7.64.

    >>> x, y = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> ridge_path(x, y, torch.arange(4), [1e-9]).held_out[0, :, 0].round(decimals=4).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    table, aims = features.detach().cpu().double(), targets.detach().cpu().double()
    _check(table, aims, folds, penalties)
    if others is not None:
        check_axes("others", others, None, table.shape[1])
    examples = len(table)
    mean, level = table.mean(0), aims.mean(0)
    centred = table - mean
    squares, axes = left_axes(centred)
    weight = float(centred.square().sum()) / examples
    along = axes.T @ (aims - level)
    further = torch.zeros(0, len(squares), dtype=torch.float64)
    if others is not None:
        further = (others.detach().cpu().double() - mean) @ (centred.T @ axes)
    held_out = torch.empty(len(penalties), examples, aims.shape[1], dtype=torch.float64)
    outside = torch.empty(len(penalties), len(further), aims.shape[1], dtype=torch.float64)
    members = [torch.nonzero(folds == number).flatten() for number in _numbers(folds)]
    for place, penalty in enumerate(penalties):
        shrink = squares / (squares + max(penalty * weight, torch.finfo(torch.float64).tiny))
        left = aims - level - axes @ (shrink[:, None] * along)
        if len(members) == examples:
            own = (axes.square() @ shrink) + 1 / examples
            held_out[place] = aims - left / (1 - own)[:, None]
        else:
            for rows in members:
                part = axes[rows]
                hat = (part * shrink) @ part.T + 1 / examples
                solved = torch.linalg.solve(torch.eye(len(rows), dtype=torch.float64) - hat, left[rows])
                held_out[place, rows] = aims[rows] - solved
        scaled = along / (squares + max(penalty * weight, torch.finfo(torch.float64).tiny))[:, None]
        outside[place] = further @ scaled + level
    return RidgePath(held_out, outside)


@of_tensors
def choose_penalty(path: Tensor, targets: Tensor, folds: Tensor) -> Tensor:
    """Held-out predictions of each fold at the penalty that predicts the other folds best.

    So no example has a say in the penalty it is predicted with by its own error. Best: the least mean squared error;
    of equals the strongest penalty.

    Args:
        path: ``penalties examples outputs``, in the order of rising penalties.
        targets: ``examples outputs``.
        folds: ``examples``.

    Returns:
        ``examples outputs``.

    >>> path = torch.tensor([[[0.0], [0.0]], [[1.0], [1.0]]])
    >>> choose_penalty(path, torch.tensor([[1.0], [1.0]]), torch.tensor([0, 1])).tolist()
    [[1.0], [1.0]]
    """
    check_axes("path", path, None, None, None)
    check_axes("targets", targets, *path.shape[1:])
    check_axes("folds", folds, path.shape[1])
    errors = (path.double() - targets.double()).square().sum(2)
    total = errors.sum(1)
    chosen = torch.empty_like(path[0])
    for number in _numbers(folds):
        rows = folds == number
        others = total - errors[:, rows].sum(1)
        best = len(others) - 1 - int(others.flip(0).argmin())
        chosen[rows] = path[best, rows]
    return chosen


def _numbers(folds: Tensor) -> list[int]:
    return sorted(set(folds.tolist()))


def _check(table: Tensor, aims: Tensor, folds: Tensor, penalties: Sequence[float]) -> None:
    if table.ndim != 2 or aims.ndim != 2 or len(table) != len(aims) or folds.shape != (len(table),):
        raise MeasureError(
            "features, targets and folds do not fit",
            expected="'examples features', 'examples outputs' and 'examples'",
            got=f"{tuple(table.shape)}, {tuple(aims.shape)} and {tuple(folds.shape)}",
        )
    if not table.numel() or not aims.numel():
        raise MeasureError(
            "there is nothing to fit",
            expected="a feature and an output",
            got=f"{tuple(table.shape)}, {tuple(aims.shape)}",
        )
    if not bool(torch.isfinite(table).all()) or not bool(torch.isfinite(aims).all()):
        raise MeasureError("features are not finite", expected="finite numbers", got="NaN or infinite values")
    if len(_numbers(folds)) < 2:
        raise MeasureError("there is nothing to fit where all is held out", expected="two folds", got="one")
    if not penalties or min(penalties) <= 0:
        raise MeasureError("a penalty must be positive", expected="for example 0.01", got=str(list(penalties)))
