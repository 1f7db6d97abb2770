"""The average of two networks' weights, against the two: whether it is safe to take it in their place."""

from dataclasses import dataclass
from typing import Literal

import numpy.typing as npt
from torch import Tensor, nn

from transferscope.measures.barriers import interpolate
from transferscope.measures.intervals import Interval, noninferior
from transferscope.measures.metric_difference import gap_over_examples
from transferscope.measures.metrics import metric
from transferscope.methods.evaluation import Batches, Evaluation, outputs_of
from transferscope.networks.batchnorm import recompute
from transferscope.networks.copies import copied
from transferscope.networks.derived_buffers import converge_spectral_norms
from transferscope.networks.evaluate import resolve_device

_DRAWS = 2000


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
    evaluation: Evaluation,
    clusters: npt.ArrayLike | None,
    margin: float = 0.005,
) -> Average | None:
    """Average two networks of one shape and evaluate it; both are left as they are. None where no metric is defined."""
    first, second = (metric(each, labels, evaluation.metric) for each in outputs)
    if first is None or second is None:
        return None
    middle = copied(networks[0])
    middle.load_state_dict(interpolate(networks[0].state_dict(), networks[1].state_dict(), 0.5))
    middle = middle.to(resolve_device(evaluation.device)).eval()
    converge_spectral_norms(middle)
    if evaluation.recompute_on is not None:
        recompute(
            middle, evaluation.recompute_on, precision=evaluation.precision, memory_format=evaluation.memory_format
        )
    found, _ = outputs_of(middle, data, evaluation)
    better = 0 if first >= second else 1
    loss = gap_over_examples([outputs[better]], [found], labels, evaluation.metric, clusters, _DRAWS, 0)
    verdict = noninferior(loss, margin).verdict
    return Average(metric(found, labels, evaluation.metric), better, loss, verdict, margin)
