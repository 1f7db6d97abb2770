"""Labels that held-out probabilities speak against: confident learning."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays

__all__ = ["LabelIssues", "label_issues", "softmax_at_best_scale"]


@dataclass(frozen=True)
class LabelIssues:
    """Which labels are doubted.

    Attributes:
        suggested: ``examples``, the class that is confidently another one than the label; −1 where none is.
        margin: ``examples``, probability of that class less that of the label; of the others −1 to 0: the label's
            lead, negative.
    """

    suggested: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]


@of_arrays
def label_issues(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> LabelIssues:
    r"""The off-diagonal of the confident joint.

    With t_j the mean probability of class j over the examples labelled j, an example counts for the class of the
    highest probability among those with p_j ≥ t_j. It is doubted where that is not its label, and its label is not the
    likeliest class either. Thresholds of their own
    make it insensitive to classes of unequal size and of unequal confidence. A doubt is no proof: examples between two
    classes are doubted too.

    Args:
        probabilities: ``examples classes``, each predicted without the example itself.
        labels: ``examples``, 0 to classes − 1.

    Raises:
        MeasureError: shapes or labels that do not fit.

    Reference: Northcutt, Jiang & Chuang (2021), Confident Learning, eq. 1 and 2.

    >>> issues = label_issues([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.88, 0.12], [0.2, 0.8]], [0, 0, 1, 1, 1])
    >>> issues.suggested.tolist()
    [-1, -1, -1, 0, -1]
    """
    p, y = _fitting(probabilities, labels, "probabilities")
    rows = np.arange(len(y))
    counts = np.bincount(y, minlength=p.shape[1])
    sums = np.bincount(y, weights=p[rows, y], minlength=p.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(p >= thresholds, p, -1.0)
    best = confident.argmax(axis=1)
    doubted = (confident[rows, best] >= 0) & (p.argmax(axis=1) != y) & (best != y)
    rival = np.where(doubted, best, np.where(np.arange(p.shape[1]) == y[:, None], -1.0, p).argmax(axis=1))
    return LabelIssues(np.where(doubted, best, -1).astype(np.int64), p[rows, rival] - p[rows, y])


@of_arrays
def softmax_at_best_scale(scores: npt.ArrayLike, labels: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Scores as probabilities: the softmax at the one scale under which the labels are likeliest.

    Args:
        scores: ``examples classes``.
        labels: ``examples``.

    Returns:
        ``examples classes``, rows of sum 1, in the order of the scores.

    Reference: Guo, Pleiss, Sun & Weinberger (2017), temperature scaling.

    >>> softmax_at_best_scale([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1, 1]).round(2)[0].tolist()
    [0.67, 0.33]
    """
    values, y = _fitting(scores, labels, "scores")
    values = values - values.max(axis=1, keepdims=True)
    rows = np.arange(len(y))

    def loss(log_scale: float) -> float:
        stretched = np.exp(log_scale) * values
        return float((np.log(np.exp(stretched).sum(axis=1)) - stretched[rows, y]).mean())

    found = optimize.minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded")
    raised = np.exp(np.exp(float(found.x)) * values)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _fitting(
    scores: npt.ArrayLike, labels: npt.ArrayLike, name: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    table, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    whole = np.issubdtype(y.dtype, np.integer) and table.ndim == 2 and y.shape == table.shape[:1] and len(y) > 0
    if not whole or y.min() < 0 or y.max() >= table.shape[1] or not np.isfinite(table).all():
        raise MeasureError(
            f"{name} and labels do not fit",
            expected="finite 'examples classes' and 'examples', whole numbers from 0 to classes − 1",
            got=f"{table.shape} and {y.shape} of {y.dtype}",
        )
    return table, y
