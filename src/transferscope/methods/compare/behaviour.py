"""What two networks do on the same examples: metric, churn, calibration, and what the second one has forgotten."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.errors import WeightsError
from transferscope.measures.bootstrap import weighted_mean
from transferscope.measures.calibration import calibration_error, churn, confidences
from transferscope.measures.example_intervals import bootstrap_interval, mean_difference_interval
from transferscope.measures.interval import MAGNITUDE, Interval, within
from transferscope.measures.metric_difference import gap_over_examples
from transferscope.measures.metrics import per_example_loss
from transferscope.methods.evaluation import Batches, Evaluation, outputs_of
from transferscope.networks.copies import copied

__all__ = ["Behaviour", "Forgetting", "behaviour", "forgetting"]

_DRAWS = 2000


@dataclass(frozen=True)
class Behaviour:
    """Two networks on the same examples, with intervals over them.

    Attributes:
        churn: share of predictions that differ.
        difference: metric of b less that of a, paired.
        calibration: expected calibration error of a and of b.
        nll: mean negative log-likelihood of a and of b.
        nll_difference: of b less that of a, paired.
    """

    churn: Interval
    difference: Interval
    calibration: tuple[Interval, Interval]
    nll: tuple[Interval, Interval]
    nll_difference: Interval


@dataclass(frozen=True)
class Forgetting:
    """What a new trunk lost of an old task: both trunks under the old head, on data of the old classes.

    Attributes:
        metric: of the old trunk less that of the new one, paired; above 0 is forgotten.
        nll: of the new trunk less that of the old one, paired; above 0 is forgotten.
    """

    metric: Interval
    nll: Interval


def behaviour(
    outputs: tuple[Tensor, Tensor], labels: Tensor, metric: str, clusters: npt.ArrayLike | None = None
) -> Behaviour | None:
    """Compare two networks by their logits; None where some are not finite.

    Args:
        outputs: ``examples classes`` of each.
        labels: ``examples``, or ``examples labels`` of 0 and 1.
        metric: ``top1``, ``top5`` or ``auc``.
        clusters: ``examples``, the group of each.
    """
    if not all(bool(each.isfinite().all()) for each in outputs):
        return None
    several = labels.ndim == 2
    owners = np.arange(len(labels)) if clusters is None else np.asarray(clusters)
    each_judged = np.repeat(owners, labels.shape[1]) if several else owners
    judged = each_judged if several or clusters is not None else None
    losses = [_losses(each, labels) for each in outputs]
    first, second = (calibration_error(*confidences(each, labels), judged) for each in outputs)
    return Behaviour(
        churn=churn(*outputs, clusters, multi=several),
        difference=gap_over_examples([outputs[1]], [outputs[0]], labels, metric, clusters, _DRAWS, 0),
        calibration=(first, second),
        nll=(_mean(losses[0], clusters), _mean(losses[1], clusters)),
        nll_difference=mean_difference_interval(losses[1], losses[0], clusters),
    )


def forgetting(
    a: nn.Module,
    b: nn.Module,
    head: str,
    data: Batches,
    evaluation: Evaluation = Evaluation(),
    *,
    old: nn.Module | None = None,
    clusters: npt.ArrayLike | None = None,
) -> Forgetting | None:
    """Measure what the trunk of b lost of the task of an old head; both networks are left as they are.

    The head is put on the trunk as it is, and batch norm keeps the statistics of its own network: what is measured is
    what a user would meet.

    Args:
        a: the old network.
        b: the new one; its own head may be of another size.
        head: name of the classifying module.
        data: batches labelled with the old head's classes.
        evaluation: metric and device.
        old: a network with the old head; None takes that of a.
        clusters: ``examples``, the group of each.

    Returns:
        None where logits are not finite.

    Raises:
        WeightsError: the head does not fit the trunk of b.
    """
    source = (a if old is None else old).get_submodule(head)
    outputs, labels = [], torch.empty(0)
    for network in (a, b):
        moved = copied(network)
        parent, _, last = head.rpartition(".")
        setattr(moved.get_submodule(parent), last, copied(source))
        try:
            logits, labels = outputs_of(moved, data, evaluation)
        except RuntimeError as error:  # what torch raises where shapes do not fit
            raise WeightsError(
                f"the old head {head!r} does not fit a trunk",
                expected="a head that reads as many features as the trunks give",
                got=(str(error).splitlines() or [""])[0][:200],
                hint="--old-head and a file of the same architecture",
            ) from error
        outputs.append(logits)
    if not all(bool(each.isfinite().all()) for each in outputs):
        return None
    kept, left = outputs
    return Forgetting(
        metric=gap_over_examples([kept], [left], labels, evaluation.metric, clusters, _DRAWS, 0),
        nll=mean_difference_interval(_losses(left, labels), _losses(kept, labels), clusters),
    )


def _losses(logits: Tensor, labels: Tensor) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = per_example_loss(logits, labels, "single" if labels.ndim == 1 else "multi").numpy()
    return found


def _mean(values: npt.NDArray[np.float64], clusters: npt.ArrayLike | None) -> Interval:
    return within(bootstrap_interval(weighted_mean, [values], clusters, _DRAWS), MAGNITUDE)
