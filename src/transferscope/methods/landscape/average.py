"""The average of two networks' weights, against the two: whether it is safe to take it in their place."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.measures.barriers import interpolate
from transferscope.measures.intervals import Interval, noninferior
from transferscope.measures.metric_difference import gap_over_examples
from transferscope.measures.metrics import metric
from transferscope.networks.batchnorm import recompute
from transferscope.networks.copies import copied
from transferscope.networks.derived_buffers import converge_spectral_norms
from transferscope.networks.evaluate import logits

__all__ = ["Average", "average_of"]

_DRAWS = 2000
Batches = Iterable[object]


@dataclass(frozen=True)
class Average:
    """The network half-way between two, on held-out data, batch norm recomputed where there is any.

    Attributes:
        metric: of it; None where undefined.
        better: 0 or 1, which of the two has the higher metric there: it is picked on the same data, which makes the
            comparison hard for the average.
        loss: metric of the better one less that of the average, paired over examples; above 0 is worse.
        verdict: ``kept``: the upper limit of the loss is below the margin; ``lost``: the lower one is above it; else
            ``undecided``.
        margin: the largest loss that counts as nothing.
    """

    metric: float | None
    better: int
    loss: Interval
    verdict: Literal["kept", "lost", "undecided"]
    margin: float


def average_of(
    networks: tuple[nn.Module, nn.Module],
    outputs: tuple[Tensor, Tensor],
    labels: Tensor,
    data: Batches,
    *,
    recompute_on: Batches | None,
    metric_name: str,
    clusters: npt.ArrayLike | None,
    device: torch.device,
    memory_format: Literal["contiguous", "channels_last"],
    margin: float = 0.005,
) -> Average | None:
    """Average two networks of one shape and evaluate it; both are left as they are. None where no metric is defined.

    Args:
        networks: the two.
        outputs: their logits on ``data``.
        labels: of ``data``.
        data: held-out batches.
        recompute_on: training images for batch norm; None where there is none.
        metric_name: ``top1``, ``top5`` or ``auc``.
        clusters: group of each example.
        device: where to compute.
        memory_format: of weights and images.
        margin: the largest loss of the metric that counts as nothing.
    """
    first, second = (metric(each, labels, metric_name) for each in outputs)
    if first is None or second is None:
        return None
    middle = copied(networks[0])
    middle.load_state_dict(interpolate(networks[0].state_dict(), networks[1].state_dict(), 0.5))
    middle = middle.to(device).eval()
    converge_spectral_norms(middle)
    if recompute_on is not None:
        recompute(middle, recompute_on, memory_format=memory_format)
    found, _ = logits(middle, data, device, memory_format=memory_format)
    better = 0 if first >= second else 1
    loss = gap_over_examples([outputs[better]], [found], labels, metric_name, clusters, _DRAWS, 0)
    verdict = noninferior(loss, margin).verdict
    return Average(metric(found, labels, metric_name), better, loss, verdict, margin)
