"""The gap between two variants over examples, whatever the metric."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferscope.measures.intervals import Interval, auc_difference_interval, mean_difference_interval
from transferscope.measures.metrics import top_k_correct

__all__ = ["difference_over_examples", "gap_over_examples", "judged"]


def gap_over_examples(
    better: Sequence[Tensor],
    worse: Sequence[Tensor],
    labels: Tensor,
    metric: str,
    clusters: npt.ArrayLike | None,
    draws: int,
    seed: int,
) -> Interval:
    """Paired bootstrap over examples of the difference of a metric, averaged over seeds.

    It speaks for these trained networks, not for training in general.

    Args:
        better: logits ``examples classes``, one per seed.
        worse: as ``better``.
        labels: ``examples`` or ``examples labels``.
        metric: ``top1``, ``top5`` or ``auc``.
        clusters: group of each example, drawn together; None draws examples.
        draws: how many resamples.
        seed: of the draws.

    Returns:
        The interval of metric(better) − metric(worse); in each resample the metric of every seed, then their mean.

    Raises:
        MeasureError: logits, labels and metric do not fit each other.
    """
    sides = [np.stack([judged(logits, labels, metric) for logits in side]) for side in (better, worse)]
    return difference_over_examples(sides[0], sides[1], labels, metric, clusters, draws, seed)


def difference_over_examples(
    better: npt.NDArray[np.float64],
    worse: npt.NDArray[np.float64],
    labels: Tensor,
    metric: str,
    clusters: npt.ArrayLike | None,
    draws: int,
    seed: int,
    confidence: float = 0.95,
) -> Interval:
    """As :func:`gap_over_examples`, of what :func:`judged` gives, with or without a first axis of seeds.

    Args:
        better: ``examples`` or ``seeds examples`` (AUC: with an axis of labels behind).
        worse: as ``better``.
        labels: ``examples`` or ``examples labels``.
        metric: ``top1``, ``top5`` or ``auc``.
        clusters: group of each example, drawn together; None draws examples.
        draws: how many resamples.
        seed: of the draws.
        confidence: in (0, 1).

    Raises:
        MeasureError: as :func:`gap_over_examples`.
    """
    if metric == "auc":
        truth = labels.numpy() if labels.ndim == 2 else labels.numpy()[:, None]
        return auc_difference_interval(better, worse, truth, clusters, draws, seed, confidence)
    return mean_difference_interval(better, worse, clusters, draws, seed, confidence)


def judged(logits: Tensor, labels: Tensor, metric: str) -> npt.NDArray[np.float64]:
    """What a metric is made of: for each example 1 where it is right and 0 else; for AUC its scores.

    Args:
        logits: ``examples classes``.
        labels: ``examples`` or ``examples labels``.
        metric: ``top1``, ``top5`` or ``auc``.

    Returns:
        ``examples``; for AUC ``examples labels``, a single column for two classes.

    Raises:
        MeasureError: logits, labels and metric do not fit each other.
    """
    if metric != "auc":
        right: npt.NDArray[np.float64] = top_k_correct(logits, labels, 5 if metric == "top5" else 1).double().numpy()
        return right
    values = logits.double()
    if labels.ndim == 1:
        # With two classes the score of the positive one is the difference of the logits.
        values = (values[:, 1] - values[:, 0])[:, None]
    scores: npt.NDArray[np.float64] = values.numpy()
    return scores
