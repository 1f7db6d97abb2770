"""Whether confidences are as large as the share that is right, and how many predictions two networks change."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays, of_tensors
from transferscope.measures.bootstrap import bootstrap_draws
from transferscope.measures.example_intervals import bootstrap_interval
from transferscope.measures.interval import SHARE, Interval, within
from transferscope.measures.metrics import predictions
from transferscope.measures.share_interval import share_interval

__all__ = ["calibration_error", "churn", "confidences"]

_BINS = 15


@of_tensors
def confidences(logits: Tensor, labels: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How sure a network is of each judgement, and whether it is right.

    Of one label per example: the largest softmax probability, and whether that class is the label. Of several: the
    probability of every label, and whether the example has it, example after example.

    Args:
        logits: ``examples classes``, finite.
        labels: ``examples``, or ``examples labels`` of 0 and 1.

    Raises:
        MeasureError: a logit is not finite.

    Example:
        >>> import torch
        >>> sure, right = confidences(torch.zeros(2, 4), torch.tensor([0, 1]))
        >>> sure.tolist(), right.tolist()
        ([0.25, 0.25], [1.0, 0.0])
    """
    scores = logits.detach().cpu().double()
    if not bool(scores.isfinite().all()):
        raise MeasureError("logits that are not finite have no confidence", expected="finite logits")
    truth = labels.detach().cpu()
    if truth.ndim == 2:
        return scores.sigmoid().reshape(-1).numpy(), truth.double().reshape(-1).numpy()
    return scores.softmax(1).max(1).values.numpy(), (predictions(scores) == truth).double().numpy()


@of_arrays
def calibration_error(
    confidence: npt.ArrayLike,
    right: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The expected calibration error, ECE: Σ_B |B|/n · |mean confidence in B − share right in B|.

    15 bins of equal width, each without its lower end. In [0, 1]; 0 where every bin's confidence is its share. With
    few judgements in a bin it is too large, for chance alone makes the two differ: compare it between networks of the
    same examples. The interval is a bootstrap's over examples, moved by the mean of what resampling adds.

    Args:
        confidence: ``judgements`` in [0, 1].
        right: ``judgements``, 0 or 1.
        clusters: ``judgements``, the example or group of each.
        draws: how many resamples.
        seed: of the draws.

    Raises:
        MeasureError: lengths differ, or values are out of range.

    Reference: Naeini, Cooper & Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning".

    Example:
        >>> calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 1, 0]).value
        0.0
    """
    sure, truth = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != truth.shape or not len(sure):
        raise MeasureError(
            "a confidence belongs to each judgement", expected="equal lengths", got=f"{sure.shape} and {truth.shape}"
        )
    if not ((sure >= 0) & (sure <= 1)).all() or not np.isin(truth, (0, 1)).all():
        raise MeasureError("a confidence is a probability", expected="in [0, 1]; right or wrong as 1 or 0")
    bins = np.clip(np.ceil(sure * _BINS).astype(np.int64) - 1, 0, _BINS - 1)

    def error(
        weights: npt.NDArray[np.float64], gaps: npt.NDArray[np.float64], members: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = np.abs(weights @ (gaps[:, None] * members)).sum(1) / weights.sum(1)
        return found

    arrays = [sure - truth, np.eye(_BINS)[bins]]
    found = bootstrap_interval(error, arrays, clusters, draws, seed)
    if found.value is None or found.low is None or found.high is None:
        return found
    value, drawn = bootstrap_draws(error, arrays, clusters, draws, seed)
    added = float(np.mean(drawn)) - value
    low, high = min(value, found.low - added), max(value, found.high - added)
    return within(replace(found, low=low, high=high), SHARE)


@of_tensors
def churn(
    logits_a: Tensor, logits_b: Tensor, clusters: npt.ArrayLike | None = None, *, multi: bool = False
) -> Interval:
    """The share of predictions that two networks do not share, right or wrong.

    In [0, 1]; symmetric; 0 also for networks of equal predictions and other confidences. At least as large as the
    difference of their accuracies.

    Args:
        logits_a: ``examples classes`` of the first.
        logits_b: of the second.
        clusters: ``examples``, the group of each.
        multi: several labels at once: over pairs of an example and a label.

    Returns:
        Wilson's interval over examples: never empty, also where none changed.

    Raises:
        MeasureError: shapes differ.

    Reference: Milani Fard et al. (2016), "Launch and iterate: reducing prediction churn".

    Example:
        >>> import torch
        >>> churn(torch.eye(4), torch.eye(4).flip(0)).value
        1.0
    """
    if logits_a.shape != logits_b.shape:
        raise MeasureError(
            "predictions of two networks are compared example by example",
            expected=str(tuple(logits_a.shape)),
            got=str(tuple(logits_b.shape)),
        )
    first, second = (
        predictions(logits.detach().cpu(), "multi" if multi else "single") for logits in (logits_a, logits_b)
    )
    differ = (first != second).reshape(len(first), -1)
    owners = np.arange(len(first)) if clusters is None else np.asarray(clusters)
    return share_interval(differ.reshape(-1).numpy(), np.repeat(owners, differ.shape[1]))
