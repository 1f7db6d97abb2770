"""Losses and metrics of one network's logits, in float64.

Everything is computed on the CPU in float64, whatever device and precision the logits come in, so that a number does
not depend on where it was summed. Nothing here keeps a gradient.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.arguments import checked
from transferscope.errors import MeasureError, nearest
from transferscope.measures.arguments import check_axes, of_arrays, of_tensors

__all__ = [
    "METRICS",
    "LabelAuc",
    "MetricName",
    "Task",
    "chance_level",
    "correct",
    "metric",
    "per_example_loss",
    "per_label_auc",
    "predictions",
    "top_k",
    "top_k_correct",
    "weighted_auc",
]


@checked
def chance_level(metric: str, classes: int) -> float:
    """What guessing reaches: 0.5 for AUC, k of the classes for top-k.

    >>> chance_level("auc", 14), chance_level("top1", 4), chance_level("top5", 4)
    (0.5, 0.25, 1.0)
    """
    if metric == "auc":
        return 0.5
    return min(1.0, (5 if metric == "top5" else 1) / classes)


_ONE_OUTPUT = "let it give two logits; or give labels[:, None].float() and the metric 'auc'"

Task = Literal["single", "multi"]
MetricName = Literal["top1", "top5", "auc"]
METRICS: tuple[MetricName, ...] = ("top1", "top5", "auc")


@dataclass(frozen=True)
class LabelAuc:
    """Area under the receiver operating characteristic of one label.

    Attributes:
        value: in [0, 1], ½ is chance; None where it is not defined.
        positives: examples that have the label.
        negatives: examples that do not.
        reason: why ``value`` is None.
    """

    value: float | None
    positives: int
    negatives: int
    reason: str = ""


@of_tensors
def per_example_loss(logits: Tensor, labels: Tensor, task: Task = "single") -> Tensor:
    """Cross-entropy of each example, or binary cross-entropy averaged over its labels.

    ``single``: −log softmax(logits)[label]. ``multi``: the mean over labels of −y·log sigmoid(z) − (1−y)·log(1 −
    sigmoid(z)).

    Invariant to a constant added to all logits of an example (``single`` only), to a permutation of the classes
    together with the labels. Not invariant to a scale of the logits.

    Args:
        logits: ``examples classes``, any floating type and device.
        labels: ``examples`` integers (``single``), or ``examples labels`` of 0 and 1 (``multi``).
        task: one label per example, or any number of them.

    Returns:
        ``examples``, float64 on the CPU, nats, at least 0.

    Raises:
        MeasureError: the shapes do not fit, a label is out of range, or a logit is not finite.

    >>> per_example_loss(torch.zeros(2, 4), torch.tensor([0, 3])).exp().round(decimals=6).tolist()
    [4.0, 4.0]
    """
    logits, labels = _checked(logits, labels)
    if task != _task_of(labels):
        raise MeasureError(
            f"labels of shape {tuple(labels.shape)} do not fit task={task!r}",
            expected="'examples' for single, 'examples labels' for multi",
            got=f"{labels.ndim} axes",
        )
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits)).any(dim=1).sum())
        raise MeasureError(
            "the loss of logits that are not finite is not defined",
            expected="finite logits",
            got=f"{bad} of {len(logits)} examples with NaN or infinite logits",
            hint="test torch.isfinite(logits) first and record the network or point as diverged",
        )
    if task == "single":
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none").mean(1)


@of_tensors
def predictions(logits: Tensor, task: Task = "single") -> Tensor:
    """The class of the largest logit (the first of equals), or each label at probability ≥ 0.5.

    An example with a NaN among its logits has no prediction: −1, which is never right.

    Invariant to any increasing map of an example's logits (``single``); to a positive scale (``multi``).

    Args:
        logits: ``examples classes``.
        task: one label per example, or any number of them.

    Returns:
        int64 on the CPU: ``examples`` (``single``), or ``examples labels`` of 0 and 1 (``multi``).

    Raises:
        MeasureError: ``logits`` is not ``examples classes``.

    >>> predictions(torch.tensor([[0.1, 0.7, 0.7], [float("nan"), 1.0, 0.0]])).tolist()
    [1, -1]
    """
    logits = _checked_logits(logits)
    missing = torch.isnan(logits)
    if task == "multi":
        return (logits >= 0).long().masked_fill(missing, -1)
    # numpy documents "the first of equals", torch only promises it on some devices.
    first = torch.from_numpy(np.argmax(logits.numpy(), axis=1)).long()
    return first.masked_fill(missing.any(dim=1), -1)


@of_tensors
def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each prediction is right; see :func:`predictions`.

    Args:
        logits: ``examples classes``.
        labels: ``examples`` integers, or ``examples labels`` of 0 and 1.

    Returns:
        bool on the CPU, shaped as ``labels``: with several labels, each label is right or wrong by itself.

    Raises:
        MeasureError: the shapes do not fit or a label is out of range.
    """
    logits, labels = _checked(logits, labels)
    return predictions(logits, _task_of(labels)) == labels


@of_tensors
def top_k_correct(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """Whether the class of each example is among its ``k`` largest logits.

    Equal logits are ranked by class number, so that ``top_k_correct(…, 1)`` is :func:`correct` and constant logits are
    not right everywhere. An example with a NaN among its logits is wrong.

    Invariant to any increasing map of an example's logits.

    Args:
        logits: ``examples classes``.
        labels: ``examples`` integers.
        k: from 1 to the number of classes; at the number of classes every network is right everywhere.

    Returns:
        ``examples``, bool on the CPU.

    Raises:
        MeasureError: the shapes do not fit, a label is out of range, or there are fewer than ``k`` classes.

    >>> top_k_correct(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([1, 2]), 2).tolist()
    [True, False]
    """
    logits, labels = _checked(logits, labels)
    if labels.ndim != 1:
        raise MeasureError(
            f"top{k} takes one label per example", expected="labels of shape 'examples'", got=str(tuple(labels.shape))
        )
    if not 1 <= k <= logits.shape[1]:
        raise MeasureError(
            f"top{k} does not fit {logits.shape[1]} classes",
            expected=f"k from 1 to {logits.shape[1]}",
            got=f"k = {k}",
            hint="choose the metric top1",
        )
    own = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1])[None, :] < labels[:, None]
    ahead = (logits > own) | ((logits == own) & earlier)
    return (ahead.sum(dim=1) < k) & ~torch.isnan(logits).any(dim=1)


@of_tensors
def top_k(logits: Tensor, labels: Tensor, k: int) -> float:
    """Share of examples whose class is among the ``k`` largest logits: the mean of :func:`top_k_correct`.

    Invariant to any increasing map of an example's logits and to the order of the examples.

    Args:
        logits: ``examples classes``.
        labels: ``examples`` integers.
        k: from 1 to the number of classes; at the number of classes it is 1 for every network.

    Returns:
        A share in [0, 1].

    Raises:
        MeasureError: as :func:`top_k_correct`.

    >>> top_k(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([1, 2]), 2)
    0.5
    """
    return float(top_k_correct(logits, labels, k).double().mean())


@of_arrays
def weighted_auc(scores: npt.ArrayLike, positive: npt.ArrayLike, weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Area under the curve of one label under each row of weights, at the cost of one sort.

    The weighted share of (positive, negative) pairs in which the positive one scores higher, ties counted ½
    (Mann–Whitney). A row of bootstrap counts gives the area of that resample, exactly.

    Invariant to any strictly increasing map of the scores and to a scale of a row of weights; negating the scores gives
    1 − AUC.

    Args:
        scores: ``examples``, no NaN.
        positive: ``examples``, true where the example has the label.
        weights: ``draws examples``, at least 0.

    Returns:
        ``draws``; NaN where a row leaves no positive or no negative example (callers turn it into a named null).

    >>> weighted_auc([0.1, 0.4, 0.4, 0.9], [False, True, False, True], np.ones((1, 4))).tolist()
    [0.875]
    """
    score = np.asarray(scores, dtype=np.float64)
    check_axes("scores", score, None)
    check_axes("positive", np.asarray(positive), len(score))
    check_axes("weights", np.asarray(weights), None, len(score))
    order = np.argsort(score, kind="stable")
    score = score[order]
    is_positive = np.asarray(positive, dtype=bool)[order]
    weight = np.asarray(weights, dtype=np.float64)[:, order]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    positives = np.add.reduceat(weight * is_positive, starts, axis=1)
    negatives = np.add.reduceat(weight * ~is_positive, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    won = (positives * (below + negatives / 2)).sum(axis=1)
    result: npt.NDArray[np.float64] = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return result


@of_tensors
def per_label_auc(logits: Tensor, labels: Tensor) -> tuple[LabelAuc, ...]:
    """Area under the curve of each label.

    Args:
        logits: ``examples labels``; or ``examples 2`` beside one label per example, where the score is the difference
            of the two logits.
        labels: ``examples labels`` of 0 and 1, or ``examples`` integers 0 and 1.

    Returns:
        One :class:`LabelAuc` for each label (one for a two-class target).

    Raises:
        MeasureError: the shapes do not fit, or the target has one label of more than two classes.
    """
    logits, labels = _checked(logits, labels)
    if labels.ndim == 1:
        if logits.shape[1] != 2:
            raise MeasureError(
                "the metric auc takes several labels per example, or two classes",
                expected="labels of shape 'examples labels', or 2 classes",
                got=f"one label per example and {logits.shape[1]} classes",
                hint="choose the metric top1",
            )
        logits, labels = (logits[:, 1] - logits[:, 0])[:, None], labels[:, None]
    return tuple(_label_auc(logits[:, i].numpy(), labels[:, i].numpy() == 1) for i in range(labels.shape[1]))


@of_tensors
def metric(logits: Tensor, labels: Tensor, name: str) -> float | None:
    """One number for a network on a split.

    ``top1`` and ``top5`` by :func:`top_k`. ``auc`` is the mean of :func:`per_label_auc` over the labels that have both
    positive and negative examples: the same labels for every network on one split.

    Args:
        logits: ``examples classes``.
        labels: ``examples`` integers, or ``examples labels`` of 0 and 1.

    Returns:
        A number in [0, 1], larger is better; None if ``auc`` is defined for no label, or if a score is NaN.

    Raises:
        MeasureError: an unknown name, or logits and labels that do not fit it.
    """
    if name in ("top1", "top5"):
        return top_k(logits, labels, int(name[3:]))
    if name != "auc":
        raise MeasureError(
            f"there is no metric {name!r}", expected=" or ".join(METRICS), got=name, hint=nearest(name, METRICS)
        )
    areas = per_label_auc(logits, labels)
    if bool(torch.isnan(logits).any()):
        return None  # a mean over the labels that happen to be finite would flatter the network
    values = [area.value for area in areas if area.value is not None]
    return sum(values) / len(values) if values else None


def _label_auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> LabelAuc:
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if np.isnan(scores).any():
        return LabelAuc(None, positives, negatives, "a score is NaN")
    if not positives or not negatives:
        return LabelAuc(None, positives, negatives, f"no {'negative' if positives else 'positive'} example")
    area = weighted_auc(scores, positive, np.ones((1, len(scores))))
    return LabelAuc(float(area[0]), positives, negatives)


def _out_of_range(low: int, high: int, classes: int) -> str:
    if classes == 1:
        return _ONE_OUTPUT
    if low == 1 and high == classes:
        return "labels seem to start at 1: labels - 1"
    if low < 0:
        return "leave out examples without a label (-1, -100), or number the classes from 0"
    return "give the labels that the network was trained for, numbered from 0; or a network with as many outputs"


def _task_of(labels: Tensor) -> Task:
    return "single" if labels.ndim == 1 else "multi"


def _checked_logits(logits: Tensor) -> Tensor:
    if logits.ndim != 2 or 0 in logits.shape:
        raise MeasureError(
            "logits must be a table", expected="'examples classes', neither of them 0", got=str(tuple(logits.shape))
        )
    # By way of the CPU: not every device knows float64.
    return logits.detach().cpu().double()


def _checked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits, labels = _checked_logits(logits), labels.detach().cpu()
    fits = len(labels) == len(logits) if labels.ndim == 1 else labels.shape == logits.shape
    if labels.ndim not in (1, 2) or not fits:
        raise MeasureError(
            "logits and labels do not fit",
            expected="labels 'examples', or 'examples labels' as the logits",
            got=f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}",
            hint="one class number per example has one axis: labels.squeeze(1)"
            if labels.ndim == 2 and labels.shape[1] == 1
            else "give the labels that the network was trained for",
        )
    if labels.ndim == 2:
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise MeasureError("a label is neither 0 nor 1", expected="0 or 1 for each example and label")
        return logits, labels.long()
    if labels.is_floating_point():
        hint = _ONE_OUTPUT if logits.shape[1] == 1 else "labels.long()"
        raise MeasureError("labels must be integers", expected="class numbers", got=str(labels.dtype), hint=hint)
    labels = labels.long()
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        classes = logits.shape[1]
        raise MeasureError(
            "the network has one output, and labels name two classes" if classes == 1 else "a label is out of range",
            expected="two outputs, or labels of shape 'examples 1'" if classes == 1 else f"0 to {classes - 1}",
            got=f"{low} to {high}" + (" and one output" if classes == 1 else f" for {classes} outputs"),
            hint=_out_of_range(low, high, classes),
        )
    return logits, labels
