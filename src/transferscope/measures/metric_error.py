"""Standard error of a metric over examples, from its value alone: for networks whose outputs are not at hand."""

import math

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays

__all__ = ["auc_error", "metric_error", "share_error"]


def share_error(share: float, examples: int) -> float:
    """Standard error of a share of examples, with two successes and two failures added (Agresti–Coull).

    √(p̃(1 − p̃)/(n + 4)) with p̃ = (n·p + 2)/(n + 4): for many examples the binomial √(p(1 − p)/n). Where all or none
    are right it is not 0, for that no error was seen among few examples does not show that there is none.

    Args:
        share: in [0, 1].
        examples: at least 1, taken as independent.

    Returns:
        Above 0, below ½.

    Raises:
        MeasureError: a share outside [0, 1], or no example.

    Reference: Agresti & Coull (1998), The American Statistician 52, 119–126.

    >>> round(share_error(0.8, 96), 6)
    0.040872
    """
    _check(share, examples)
    centre = (examples * share + 2) / (examples + 4)
    return math.sqrt(centre * (1 - centre) / (examples + 4))


def auc_error(area: float, positives: int, negatives: int) -> float:
    """Standard error of an area under the receiver operating characteristic, by Hanley and McNeil.

    √((A(1 − A) + (P − 1)(Q₁ − A²) + (N − 1)(Q₂ − A²)) / (P·N)) with Q₁ = A/(2 − A), Q₂ = 2A²/(1 + A): exact where the
    scores of both sides are exponentially distributed, near it for most others. An area nearer to 0 or 1 than half an
    example of the rarer side is taken as that far away, for the same reason as in :func:`share_error`.

    Args:
        area: in [0, 1].
        positives: P, at least 1.
        negatives: N, at least 1.

    Returns:
        Above 0, at most ½.

    Raises:
        MeasureError: an area outside [0, 1], or no example of a side.

    Reference: Hanley & McNeil (1982), Radiology 143, 29–36.

    >>> round(auc_error(0.893, 51, 58), 4)
    0.0325
    """
    rarer = min(positives, negatives)
    _check(area, rarer)
    a = min(max(area, 0.5 / rarer), 1 - 0.5 / rarer)
    both_above, both_below = a / (2 - a), 2 * a**2 / (1 + a)
    variance = a * (1 - a) + (positives - 1) * (both_above - a**2) + (negatives - 1) * (both_below - a**2)
    return math.sqrt(variance / (positives * negatives))


@of_arrays
def metric_error(value: float | None, labels: npt.ArrayLike, metric: str) -> float | None:
    """Standard error of a metric over the examples it was measured on.

    Of ``top1`` and ``top5`` :func:`share_error`; of ``auc`` :func:`auc_error`, over several labels the mean of theirs,
    each with the mean area: an upper bound, reached where the areas of all labels err together.

    Args:
        value: of the metric; None where it is not defined.
        labels: ``examples`` integers, or ``examples labels`` of 0 and 1, of the same examples.

    Returns:
        Above 0, in the metric's unit; None where ``value`` is None.

    Raises:
        MeasureError: a value outside [0, 1], or one that these labels cannot have.

    >>> metric_error(0.8, [0, 1, 2, 1] * 24, "top1") == share_error(0.8, 96)
    True
    """
    if value is None:
        return None
    truth = np.asarray(labels)
    if metric != "auc":
        return share_error(value, len(truth))
    positives = truth.reshape(len(truth), -1).sum(axis=0)
    # The labels that the metric is the mean of: those with both kinds of examples.
    sides = [(int(count), len(truth) - int(count)) for count in positives if 0 < count < len(truth)]
    if not sides:
        raise MeasureError("an area needs positive and negative examples", expected="both", got="one kind alone")
    return math.fsum(auc_error(value, *side) for side in sides) / len(sides)


def _check(value: float, examples: int) -> None:
    if not 0 <= value <= 1 or examples < 1:
        raise MeasureError(
            "the standard error of a metric needs its value and examples",
            expected="a value in [0, 1], at least one example (of either side)",
            got=f"{value} and {examples}",
        )
