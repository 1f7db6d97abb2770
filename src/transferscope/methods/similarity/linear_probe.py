"""One linear probe: fitted on training features, its penalty chosen on validation features."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.logistic import LogisticFit, Scaling, fit_logistic, scaling
from transferscope.measures.metrics import metric, per_example_loss

__all__ = ["LinearProbe", "linear_probe"]

# Where a weak penalty meets classes that can be separated, the objective is flat long before its minimum.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Attributes:
        scaling: of the training features.
        fit: the classifier on standardised features.
        penalty: the chosen one.
        at_edge: whether that is the strongest or weakest of several.
        validation_metric: with it; None where the metric is undefined.
        validation_loss: with it, in nats.
    """

    scaling: Scaling
    fit: LogisticFit
    penalty: float
    at_edge: bool
    validation_metric: float | None
    validation_loss: float

    def logits(self, features: Tensor) -> Tensor:
        """float32 ``examples classes`` of features as they came from the network."""
        return self.fit.logits(self.scaling.apply(features)).float()


def linear_probe(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    classes: int,
    penalties: Sequence[float],
    *,
    task: Literal["single", "multi"] = "single",
    metric_name: str = "top1",
) -> LinearProbe:
    """Logistic regression on standardised features, with the penalty that is best on validation data.

    Best: the highest metric; of equals the lowest loss, and of these the strongest penalty. Test data has no part in
    it.

    Args:
        train: features ``examples features`` and labels.
        validation: as ``train``.
        classes: how many classes or labels.
        penalties: to choose from, as in :func:`~transferscope.measures.logistic.fit_logistic`.
        task: ``single`` or ``multi``.
        metric_name: ``top1``, ``top5`` or ``auc``.

    Raises:
        MeasureError: no penalties, or features and labels that do not fit.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
        >>> probe = linear_probe((x, y), (x, y), 2, [1.0, 0.1])
        >>> probe.logits(torch.tensor([[5.0]])).argmax(1).tolist(), probe.validation_metric
        ([1], 1.0)
    """
    if not penalties:
        raise MeasureError("there is no penalty to choose", expected="at least one", got="none")
    scale = scaling(train[0])
    # In the features' principal axes the problem is the same, and much better conditioned.
    axes = torch.linalg.svd(scale.apply(train[0]), full_matrices=False).Vh.T
    features, held = scale.apply(train[0]) @ axes, scale.apply(validation[0]) @ axes
    grid = sorted(penalties, reverse=True)
    best: tuple[tuple[float, float], LogisticFit, float | None, float] | None = None
    fit: LogisticFit | None = None
    for penalty in grid:
        fit = fit_logistic(features, train[1], classes, penalty, task=task, start=fit, tolerance=_TOLERANCE)
        logits = fit.logits(held).float()
        value = metric(logits, validation[1], metric_name)
        loss = float(per_example_loss(logits, validation[1], task).double().mean())
        score = (-math.inf if value is None else value, -loss)
        if best is None or score > best[0]:
            best = (score, fit, value, loss)
    assert best is not None
    _, fit, value, loss = best
    fit = dataclasses.replace(fit, weight=axes @ fit.weight)
    edge = len(grid) > 1 and fit.penalty in (grid[0], grid[-1])
    return LinearProbe(scale, fit, fit.penalty, edge, value, loss)
