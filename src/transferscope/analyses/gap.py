"""The gap between two variants over examples, whatever the metric."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferscope.measures.intervals import Interval, auc_difference_interval, mean_difference_interval
from transferscope.measures.metrics import hits

__all__ = ["gap_over_examples"]


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
    if metric == "auc":
        truth = labels.numpy() if labels.ndim == 2 else labels.numpy()[:, None]
        return auc_difference_interval(
            np.stack([_scores(logits, labels) for logits in better]),
            np.stack([_scores(logits, labels) for logits in worse]),
            truth,
            clusters,
            draws,
            seed,
        )
    k = 5 if metric == "top5" else 1
    return mean_difference_interval(
        np.stack([hits(logits, labels, k).double().numpy() for logits in better]),
        np.stack([hits(logits, labels, k).double().numpy() for logits in worse]),
        clusters,
        draws,
        seed,
    )


def _scores(logits: Tensor, labels: Tensor) -> npt.NDArray[np.float64]:
    values = logits.double()
    if labels.ndim == 1:
        # With two classes the score of the positive one is the difference of the logits.
        values = (values[:, 1] - values[:, 0])[:, None]
    scores: npt.NDArray[np.float64] = values.numpy()
    return scores
