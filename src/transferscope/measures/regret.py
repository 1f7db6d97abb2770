"""What a choice is expected to lose against the best alternative, before anything is proved."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import check_axes, of_arrays, of_tensors
from transferscope.measures.bootstrap import bootstrap_weights
from transferscope.measures.interval import Basis, Interval, check_confidence, finite
from transferscope.measures.metric_difference import judged
from transferscope.measures.metrics import weighted_auc

__all__ = ["ArmMetrics", "Regret", "arm_metrics", "expected_regret"]

_ROUNDING = 1e-10


@dataclass(frozen=True)
class ArmMetrics:
    """What is known of the metric of each arm.

    Attributes:
        means: ``arms``, over the seeds of each.
        covariance: ``arms arms``, of the errors of the means.
        spread: standard deviation of the metric over the seeds of one arm, pooled; None where no arm has two seeds, and
            the errors are then those of the examples alone.
        n: examples, or groups of them.
    """

    means: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    spread: float | None
    n: int


@dataclass(frozen=True)
class Regret:
    """What choosing one arm is expected to lose.

    Attributes:
        chosen: number of the arm.
        interval: of the regret, in units of the metric: its expectation, and the limits it lies above and below of with
            the asked one-sided confidence each.
        probability_best: that no other arm is better.
    """

    chosen: int
    interval: Interval
    probability_best: float


@of_tensors
def arm_metrics(
    outputs: Sequence[Sequence[Tensor]],
    labels: Tensor,
    metric: str,
    clusters: npt.ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> ArmMetrics:
    """Mean metric of each arm over its seeds, with the covariance of their errors.

    All arms are judged on the same examples: what is easy for one is easy for others, and differences of arms are known
    better than each of them. The covariance over examples is that of a bootstrap that draws the same examples for all
    arms. Seeds add s²/k to the variance of an arm of k seeds, s² pooled within all arms that have two or more.

    Args:
        outputs: of each arm, for each of its seeds, the logits ``examples classes``.
        labels: ``examples``, or ``examples labels`` of 0 and 1.
        metric: ``top1``, ``top5`` or ``auc``.
        clusters: ``examples``, the group of each example, drawn together; None draws examples.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        MeasureError: no arm, an arm without seeds, fewer than two examples, or a metric that is not defined here.
    """
    if not outputs or not all(outputs):
        raise MeasureError("arms are compared by what their networks say", expected="one seed of each arm at least")
    examples = len(labels)
    for logits in (each for arm in outputs for each in arm):
        check_axes("outputs", logits, examples, None)
    if examples < 2 or draws < 2:
        raise MeasureError(
            "errors need examples and draws", expected="2 of each at least", got=f"{examples} examples, {draws} draws"
        )
    truth = (labels if labels.ndim == 2 else labels[:, None]).numpy() == 1
    of_seeds = [[judged(logits, labels, metric) for logits in arm] for arm in outputs]

    def values(weights: npt.NDArray[np.float64], arm: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        if metric != "auc":
            shares: npt.NDArray[np.float64] = (weights @ np.stack(arm, axis=1)) / weights.sum(axis=1, keepdims=True)
            return shares
        areas = [[weighted_auc(each[:, i], truth[:, i], weights) for i in both] for each in arm]
        return np.stack([np.mean(network, axis=0) for network in areas], axis=1)

    both = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    if metric == "auc" and not len(both):
        raise MeasureError(
            "the area under the curve is not defined", expected="a label that some examples have and some lack"
        )
    whole = [values(np.ones((1, examples)), arm)[0] for arm in of_seeds]
    means = np.array([each.mean() for each in whole])
    blocks = [
        np.stack([values(weights, arm).mean(axis=1) for arm in of_seeds], axis=1)
        for weights in bootstrap_weights(examples, draws, seed, clusters)
    ]
    drawn = np.concatenate(blocks)
    # A resample may leave no positive: it says nothing of any arm.
    covariance = np.atleast_2d(np.cov(drawn[np.isfinite(drawn).all(axis=1)], rowvar=False))
    freedom = sum(len(each) - 1 for each in whole)
    spread = None
    if freedom:
        spread = float(np.sqrt(sum(((each - each.mean()) ** 2).sum() for each in whole) / freedom))
        covariance = covariance + np.diag([spread**2 / len(each) for each in whole])
    n = examples if clusters is None else len(np.unique(np.asarray(clusters)))
    return ArmMetrics(means, covariance, spread, n)


@of_arrays
def expected_regret(
    means: npt.ArrayLike,
    covariance: npt.ArrayLike,
    n: int,
    chosen: int | None = None,
    basis: Basis = "examples",
    confidence: float = 0.9,
    draws: int = 20_000,
    seed: int = 0,
    confirmed: Sequence[int] = (),
) -> Regret:
    """What choosing an arm is expected to lose against the arm that is truly best.

    The true metrics μ are drawn from N(``means``, ``covariance``): the posterior under a flat prior. The regret is
    max μ − μ[chosen], at least 0. It speaks of the metric on new examples like those it rests on: a prior that is flat
    makes it larger rather than smaller where arms are many and alike.

    Invariant to the order of the arms, to a constant added to all means, and to a constant added to the whole
    covariance (an error that all arms share); scales with the metric.

    Args:
        means: ``arms``, higher is better.
        covariance: ``arms arms``, of the errors of the means.
        n: what the means rest on, for the interval.
        chosen: number of the arm; None takes the first with the highest mean.
        basis: of the errors.
        confidence: of each limit alone: the regret lies below the upper one with this probability.
        draws: of the truth.
        seed: of the draws.
        confirmed: further arms that are tried before one is taken for good: the regret is that of the best of them and
            the chosen one, as though trying showed without error which that is.

    Raises:
        MeasureError: shapes that do not fit, numbers that are not finite, or a matrix that is no covariance.

    >>> expected_regret([0.8, 0.6], [[1e-6, 0.0], [0.0, 1e-6]], n=100).probability_best
    1.0
    """
    check_confidence(confidence)
    level = finite("means of arms", np.asarray(means, dtype=np.float64))
    spread = np.asarray(covariance, dtype=np.float64)
    check_axes("covariance", spread, len(level), len(level))
    named = [*confirmed, *(() if chosen is None else (chosen,))]
    if draws < 1 or not all(0 <= arm < len(level) for arm in named):
        raise MeasureError("an arm is chosen among those there are", expected=f"0 to {len(level) - 1}", got=str(named))
    scale = float(np.abs(spread).max()) if spread.size else 0.0
    if not np.isfinite(spread).all() or not np.allclose(spread, spread.T, rtol=0, atol=_ROUNDING * scale):
        raise MeasureError(
            "a covariance is finite and symmetric",
            expected="finite numbers, equal across the diagonal",
            got=str(spread.tolist()),
        )
    variances, directions = np.linalg.eigh((spread + spread.T) / 2)
    if variances.min() < -1e-6 * scale:
        raise MeasureError(
            "a covariance has no negative variance",
            expected="at least 0 in all directions",
            got=f"{variances.min():.3g}",
        )
    taken = int(np.argmax(level)) if chosen is None else chosen
    # An error that all arms share changes no regret; without it equal arms have equal draws.
    normal = np.random.default_rng(seed).standard_normal((draws, len(level)))
    truth = level + (normal * np.sqrt(variances.clip(min=0))) @ directions.T
    lost = truth.max(axis=1) - truth[:, [taken, *confirmed]].max(axis=1)
    lost = np.where(lost < _ROUNDING * np.abs(level).max(), 0.0, lost)
    low, high = np.quantile(lost, [1 - confidence, confidence])
    interval = Interval(float(lost.mean()), float(low), float(high), n, basis, 2 * confidence - 1)
    return Regret(taken, interval, float((lost == 0).mean()))
