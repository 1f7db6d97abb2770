"""H-score with shrinkage: how far class means lie apart, in units of the spread of the features."""

from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors
from transferscope.measures.grams import power_of_two
from transferscope.measures.left_axes import left_axes

__all__ = ["HScore", "h_score"]


@dataclass(frozen=True)
class HScore:
    """The H-score.

    Attributes:
        value: 0 to the number of classes less one.
        shrinkage: weight of the multiple of the identity in the covariance, 0 to 1.
    """

    value: float
    shrinkage: float


@of_tensors
def h_score(features: Tensor, labels: Tensor) -> HScore:
    r"""Compute the H-score with the covariance of the features shrunk after Ledoit and Wolf.

    With S the covariance of the features, Z that of the class means (each as often as its class), both over n, and
    μ = tr(S)/features,

    .. math:: H = (1 - a)\, \mathrm{tr}\big( ((1 - a) S + a \mu I)^{-1} Z \big),
        \qquad a = \min\Big(1, \frac{\frac1{n^2} \sum_i \|x_i x_i^T - S\|^2}{\|S - \mu I\|^2}\Big).

    Everything follows from one decomposition of the centred features by the smaller of their Gram matrices; no
    covariance of ``features features`` is inverted.

    Invariant to an offset, an orthogonal map and a common scale of the features, to the order of examples, to names of
    classes; not to the scale of single features, nor to repeating all examples (there is more to rely on then).

    Args:
        features: ``examples features``, not all equal.
        labels: ``examples`` whole numbers.

    Raises:
        MeasureError: shapes that do not fit, values that are not finite, features that never vary, or one class alone.

    Reference: Bao et al. (2019), An information-theoretic approach to transferability in task transfer learning;
        Ibrahim, Ponomareva & Mazumder (2021), Newer is not always better: rethinking transferability metrics, for the
        shrinkage; Ledoit & Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.

    >>> x = torch.tensor([[0.0, 1.0], [0.0, 2.0], [9.0, 1.0], [9.0, 2.0]])
    >>> h_score(x, torch.tensor([0, 0, 1, 1])).value > h_score(x, torch.tensor([0, 1, 1, 0])).value
    True
    """
    table, kinds = features.cpu().double(), labels.cpu()
    _check(table, kinds)
    examples, width = table.shape
    centred = (table - table.mean(0)) * power_of_two(table)
    total = float(centred.square().sum()) / examples
    if total <= 1e-18 * float((table * power_of_two(table)).square().sum()) / examples:
        raise MeasureError("no feature varies", expected="features that differ between examples", got="equal features")
    squares, axes = left_axes(centred)
    level = total / width
    spectrum = squares / examples
    spread = float(spectrum.square().sum()) - width * level**2
    lengths = centred.square().sum(1)
    noise = (float(lengths.square().sum()) / examples - float(spectrum.square().sum())) / examples
    # One feature alone has no direction to shrink towards: S is μ I already.
    shrinkage = min(1.0, max(0.0, noise) / spread) if spread > 1e-12 * level**2 else 0.0
    _, member = torch.unique(kinds, return_inverse=True)
    indicators = torch.nn.functional.one_hot(member).double()
    counts = indicators.sum(0)
    # Of class c along axis j: s_j times the mean of the axis over the class.
    means = squares.sqrt()[:, None] * (axes.T @ indicators) / counts
    between = (means.square() * counts).sum(1) / examples
    value = (1 - shrinkage) * float((between / ((1 - shrinkage) * spectrum + shrinkage * level)).sum())
    return HScore(value, shrinkage)


def _check(table: Tensor, kinds: Tensor) -> None:
    whole = not kinds.is_floating_point() and kinds.dtype != torch.bool
    if table.ndim != 2 or not whole or kinds.shape != (len(table),) or len(table) < 2:
        raise MeasureError(
            "features and labels do not fit",
            expected="'examples features' and 'examples' whole numbers, at least two examples",
            got=f"{tuple(table.shape)} and {tuple(kinds.shape)} of {kinds.dtype}",
            hint="of several labels at once no H-score is defined: take one label each",
        )
    if not bool(torch.isfinite(table).all()):
        raise MeasureError("features are not finite", expected="finite numbers", got="NaN or infinite values")
    if len(torch.unique(kinds)) < 2:
        raise MeasureError("there is one class alone", expected="two classes", got="one")
