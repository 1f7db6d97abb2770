"""Logistic regression: the linear classifier of probes and of the distance between domains, in float64."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors
from transferscope.measures.grams import power_of_two

__all__ = ["LogisticFit", "Scaling", "fit_logistic", "scaling"]

Array = npt.NDArray[np.float64]

_ITERATIONS = 5000


@dataclass(frozen=True)
class Scaling:
    """Means and standard deviations of training features; features that never vary are divided by 1.

    Attributes:
        mean: ``features``.
        deviation: ``features``, all positive.
    """

    mean: Tensor
    deviation: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """Standardised features, float64 ``examples features``."""
        return (features.double() - self.mean) / self.deviation


@of_tensors
def scaling(features: Tensor) -> Scaling:
    """What standardises features: from training data alone, so that nothing of the others leaks in.

    Args:
        features: ``examples features``, at least one example.

    Raises:
        MeasureError: not a table, empty, or not finite.

    >>> found = scaling(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    >>> found.apply(torch.tensor([[3.0, 6.0]])).tolist()
    [[2.0, 1.0]]
    """
    table = _table(features, "features")
    scale = power_of_two(table)
    mean = table.mean(0)
    deviation = ((table - mean) * scale).square().mean(0).sqrt() / scale
    # Rounding leaves a tiny spread in a feature that never varies.
    flat = deviation <= 1e-9 * mean.abs()
    return Scaling(mean, torch.where(flat, torch.ones_like(deviation), deviation))


@dataclass(frozen=True)
class LogisticFit:
    """A fitted linear classifier.

    Attributes:
        weight: ``features classes``.
        bias: ``classes``.
        penalty: it was fitted with.
        loss: the objective at the end, in nats.
        converged: whether the gradient went below the tolerance.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    loss: float
    converged: bool

    def logits(self, features: Tensor) -> Tensor:
        """float64 ``examples classes``."""
        return features.double() @ self.weight + self.bias


@of_tensors
def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    *,
    task: Literal["single", "multi"] = "single",
    start: LogisticFit | None = None,
    tolerance: float = 1e-5,
) -> LogisticFit:
    """Multinomial (one label) or binary (several labels) logistic regression with an ℓ2 penalty, by L-BFGS.

    Minimises

        (1/n) Σ_i ℓ(W x_i + b, y_i) + (penalty/2) ‖W‖²

    with ℓ the cross-entropy, or the sum over labels of binary cross-entropies; the bias is not penalised. In
    scikit-learn's words C = 1 / (n · penalty) for more than two classes. Its two-class fit has one weight vector w in
    place of two, ±w/2: there C = 2 / (n · penalty).

    The objective is convex, and the fitted weights are unique; not invariant to the scale of features: standardise
    them. Invariant to the order of the examples, to repeating all of them and to an orthogonal map of the features.

    Args:
        features: ``examples features``.
        labels: ``examples``, 0 to classes − 1; or ``examples labels`` of 0 and 1.
        classes: how many there are; some may have no example.
        penalty: positive.
        start: a fit to begin from, for a path of penalties.
        tolerance: largest entry of the gradient at the end, in coordinates of about unit curvature.

    Raises:
        MeasureError: shapes, labels or the penalty do not fit.

    >>> x = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]])
    >>> fit = fit_logistic(x, torch.tensor([0, 0, 1, 1]), 2, 0.1)
    >>> fit.logits(x).argmax(1).tolist(), fit.converged
    ([0, 0, 1, 1], True)
    """
    table = _table(features, "features").numpy()
    target = _targets(labels, len(table), classes, task)
    if not penalty > 0:
        raise MeasureError("a penalty must be positive", expected="for example 0.01", got=str(penalty))
    examples, width = table.shape
    # The second derivative by a weight is about a quarter of its feature's mean square, and the penalty. In coordinates
    # in which all are alike the solver needs far fewer steps; most so where features are uncorrelated.
    stretch = 1 / np.sqrt(0.25 * (table * table).mean(axis=0) + penalty)[:, None]

    def objective(flat: Array) -> tuple[float, Array]:
        weight, bias = stretch * flat[: width * classes].reshape(width, classes), flat[width * classes :]
        logits = table @ weight + bias
        if task == "single":
            top = logits.max(axis=1, keepdims=True)
            raised = np.exp(logits - top)
            total = raised.sum(axis=1, keepdims=True)
            loss = float((np.log(total) + top).sum() - (logits * target).sum())
            excess = raised / total - target
        else:
            loss = float((np.logaddexp(0.0, logits) - logits * target).sum())
            excess = 1 / (1 + np.exp(-np.clip(logits, -700, 700))) - target
        slope = table.T @ excess / examples + penalty * weight
        gradient = np.concatenate([(stretch * slope).ravel(), excess.mean(axis=0)])
        return loss / examples + penalty / 2 * float((weight * weight).sum()), gradient

    origin = np.zeros(classes * (width + 1))
    if start is not None:
        origin = np.concatenate([(start.weight.numpy() / stretch).ravel(), start.bias.numpy()])
    found = optimize.minimize(
        objective,
        origin,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "maxfun": 2 * _ITERATIONS, "gtol": tolerance, "ftol": 0.0, "maxcor": 20},
    )
    solution = np.asarray(found.x, dtype=np.float64)
    loss, gradient = objective(solution)
    weight = torch.from_numpy(stretch * solution[: width * classes].reshape(width, classes))
    bias = torch.from_numpy(solution[width * classes :].copy())
    return LogisticFit(weight, bias, penalty, loss, bool(np.abs(gradient).max() <= 10 * tolerance))


def _table(features: Tensor, what: str) -> Tensor:
    if features.ndim != 2 or not len(features):
        raise MeasureError(
            f"{what} must be a table",
            expected="'examples features', at least one example",
            got=str(tuple(features.shape)),
        )
    table = features.detach().cpu().double()
    if not bool(torch.isfinite(table).all()):
        raise MeasureError(f"{what} are not finite", expected="finite numbers", got="NaN or infinite values")
    return table


def _targets(labels: Tensor, examples: int, classes: int, task: str) -> Array:
    values = labels.detach().cpu()
    if task == "single":
        whole = not values.is_floating_point() and values.dtype != torch.bool and values.shape == (examples,)
        if not whole or int(values.min()) < 0 or int(values.max()) >= classes:
            raise MeasureError(
                "labels do not fit the features",
                expected=f"({examples},) whole numbers from 0 to {classes - 1}",
                got=f"{tuple(values.shape)} of {values.dtype}",
            )
        target: Array = np.zeros((examples, classes))
        target[np.arange(examples), values.numpy()] = 1.0
        return target
    if values.shape != (examples, classes) or not bool(((values == 0) | (values == 1)).all()):
        raise MeasureError(
            "labels do not fit the features",
            expected=f"({examples}, {classes}) of 0 and 1",
            got=f"{tuple(values.shape)} of {values.dtype}",
        )
    return values.double().numpy()
