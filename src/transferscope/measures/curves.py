"""Learning curves: how fast, and whether they have ended."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from transferscope.arguments import checked
from transferscope.errors import MeasureError

__all__ = [
    "Curve",
    "Reached",
    "Spike",
    "Trend",
    "common_thresholds",
    "loss_spikes",
    "optimisation_speed",
    "speed_from_equal_loss",
    "steps_to_threshold",
    "still_improving",
]

Curve = Mapping[int, float]
"""A number by epoch; epoch 0 is before training. Diverged runs are simply shorter."""


@dataclass(frozen=True)
class Reached:
    """When a curve first reached a threshold.

    Attributes:
        epoch: the first measured epoch at or beyond the threshold; None if it never was (censored).
        after: the last measured epoch before: the crossing lies in (after, epoch]; None if it was there from the first
            measured epoch on.
    """

    epoch: int | None
    after: int | None

    @property
    def censored(self) -> bool:
        """Whether the threshold was never reached; then it takes more than ``after`` epochs."""
        return self.epoch is None


@dataclass(frozen=True)
class Trend:
    """The slope of the end of a curve, in units of improvement per epoch.

    Attributes:
        slope: least squares; positive is improving.
        standard_error: of the slope, from the residuals.
        p_value: one-sided, of a slope of at most 0.
        improving: ``p_value`` is below the level: the curve has not ended.
        upper: upper one-sided limit of the slope: what may still be gained per epoch. "Not improving" with a large
            ``upper`` is a short or noisy window, not a plateau.
        points: epochs in the window.
    """

    slope: float
    standard_error: float
    p_value: float
    improving: bool
    upper: float
    points: int


@dataclass(frozen=True)
class Spike:
    """A rise of a loss far above its earlier level.

    Attributes:
        epoch: the first that is far above.
        before: the level before: the median of the last three epochs.
        peak: the highest loss until it is back.
        back: the first epoch that is down at ``before`` again; None if none is.
    """

    epoch: int
    before: float
    peak: float
    back: int | None


@checked
def optimisation_speed(curves: Sequence[Curve]) -> list[float] | None:
    """Mean of each clean training metric over the epochs common to all curves, epoch 0 left out.

    To be computed from training data under the evaluation transform. Comparable only within one call: the epochs are
    those that all curves have.

    Args:
        curves: training metric by epoch, one for each network.

    Returns:
        One number for each curve, in the unit of the metric; None if no epoch after 0 is common.

    Raises:
        MeasureError: no curve, or a value that is not finite.

    Reference: Neyshabur, Sedghi & Zhang (2020), section 3.1 ("optimization speed").

    >>> optimisation_speed([{0: 0.1, 1: 0.5, 2: 0.7}, {0: 0.1, 1: 0.3, 2: 0.4, 3: 0.9}])
    [0.6, 0.35]
    """
    for curve in curves:
        _check(curve)
    if not curves:
        raise MeasureError("a speed needs a curve", expected="at least one", got="none")
    common = sorted(set.intersection(*(set(curve) for curve in curves)) - {0})
    if not common:
        return None
    return [math.fsum(curve[epoch] for epoch in common) / len(common) for curve in curves]


@checked
def common_thresholds(curves: Sequence[Curve], count: int = 5, *, higher_is_better: bool = True) -> list[float]:
    """Evenly spaced levels that no curve starts at and at least one reaches.

    From the best start of all curves (left out) to the best value of all curves (included). A weaker curve is censored
    at the upper levels instead of drawing them down to what it can do.

    Args:
        curves: metric by epoch.
        count: how many levels.
        higher_is_better: False for losses.

    Returns:
        ``count`` levels in the order in which they are reached; none if no curve gets beyond the best start.

    Raises:
        MeasureError: no curve, no level asked for, an empty curve, or a value that is not finite.

    >>> common_thresholds([{0: 0.0, 1: 1.0}, {0: 0.5, 1: 0.75}], count=2)
    [0.75, 1.0]
    """
    if not curves or count < 1:
        raise MeasureError(
            "thresholds need curves and a count", expected="at least one", got=f"{len(curves)} curves, count = {count}"
        )
    for curve in curves:
        _check(curve)
    sign = 1.0 if higher_is_better else -1.0
    start = max(sign * curve[min(curve)] for curve in curves)
    best = max(sign * value for curve in curves for value in curve.values())
    if best <= start:
        return []
    levels = [start + (best - start) * step / count for step in range(1, count)] + [best]
    return [sign * level for level in levels]


@checked
def steps_to_threshold(curve: Curve, threshold: float, *, higher_is_better: bool = True) -> Reached:
    """The first measured epoch at which the curve is at or beyond a threshold.

    No interpolation: the answer is as fine as the epochs that were measured, and says between which two it
        lies.
    Never reached is censored, not missing: means over networks of epochs that leave it out are biased.

    Args:
        curve: metric by epoch.
        threshold: in the unit of the metric; for a comparison use one from :func:`common_thresholds`.
        higher_is_better: False for losses.

    Returns:
        The epoch, or censored.

    Raises:
        MeasureError: an empty curve or a value that is not finite.

    >>> steps_to_threshold({0: 0.1, 2: 0.4, 4: 0.6}, 0.5)
    Reached(epoch=4, after=2)
    """
    _check(curve)
    sign = 1.0 if higher_is_better else -1.0
    after: int | None = None
    for epoch in sorted(curve):
        if sign * curve[epoch] >= sign * threshold:
            return Reached(epoch, after)
        after = epoch
    return Reached(None, after)


@checked
def speed_from_equal_loss(losses: Sequence[Curve], metrics: Sequence[Curve]) -> list[float] | None:
    """Optimisation speed counted from the moment each network has the same training loss.

    A pre-trained network may only seem fast because it starts lower. The level is the lowest of the starting losses;
    the clock of each network starts at its first epoch with a loss at or below that level; the speed is the mean of its
    metric over the epochs after that, as many as all networks have. Epochs must be consecutive.

    Args:
        losses: clean training loss by epoch from epoch 0, one for each network.
        metrics: clean training metric by epoch, the same epochs.

    Returns:
        One number for each network; None if one never gets down to the level or has no epoch left after it.

    Raises:
        MeasureError: different numbers of curves, curves of different or missing epochs, or values that are not finite.
    """
    if not losses or len(losses) != len(metrics):
        raise MeasureError(
            "each network needs a loss curve and a metric curve",
            expected="as many losses as metrics, at least one",
            got=f"{len(losses)} and {len(metrics)}",
        )
    for loss, metric in zip(losses, metrics, strict=True):
        _check(loss)
        _check(metric)
        if sorted(loss) != list(range(len(loss))) or set(metric) != set(loss):
            raise MeasureError(
                "speed from equal loss needs every epoch",
                expected="losses and metrics of epochs 0, 1, 2, …",
                got=f"losses of {sorted(loss)}, metrics of {sorted(metric)}",
            )
    level = min(loss[0] for loss in losses)
    starts = [steps_to_threshold(loss, level, higher_is_better=False).epoch for loss in losses]
    reached = [start for start in starts if start is not None]
    if len(reached) < len(losses):
        return None
    horizon = min(len(loss) - 1 - start for loss, start in zip(losses, reached, strict=True))
    if horizon < 1:
        return None
    return [
        math.fsum(metric[start + step] for step in range(1, horizon + 1)) / horizon
        for metric, start in zip(metrics, reached, strict=True)
    ]


@checked
def still_improving(curve: Curve, *, level: float = 0.05, higher_is_better: bool = True) -> Trend | None:
    """Whether a validation curve still rises at its end, against its own noise.

    Least squares line through the last max(3, ⌈a third⌉) of the epochs after 0, and a one-sided t test of its slope
    with (points − 2) degrees of freedom. Residuals of neighbouring epochs are taken as independent; they are often
    positively correlated, which makes "improving" too ready. With three points only steep rises are seen: read
    ``upper`` before calling it a plateau. Residuals at rounding level count as none.

    Args:
        curve: validation metric by epoch.
        level: of the test, in (0, 1).
        higher_is_better: False for losses; the slope is then turned round.

    Returns:
        The trend; None below three epochs after 0.

    Raises:
        MeasureError: an empty curve, a value that is not finite, or a level outside (0, 1).

    >>> still_improving({1: 0.5, 2: 0.6, 3: 0.7}).improving
    True
    """
    _check(curve)
    if not 0 < level < 1:
        raise MeasureError("the level of a test is a share", expected="in (0, 1), for example 0.05", got=str(level))
    epochs = sorted(epoch for epoch in curve if epoch > 0)
    if len(epochs) < 3:
        return None
    window = epochs[-max(3, math.ceil(len(epochs) / 3)) :]
    x = np.array(window, dtype=np.float64)
    y = np.array([curve[epoch] for epoch in window]) * (1.0 if higher_is_better else -1.0)
    x, centred = x - x.mean(), y - y.mean()
    slope = float(x @ centred / (x @ x))
    residual = centred - slope * x
    freedom = len(window) - 2
    rounding = 1e-12 * float(np.abs(y).max())
    error = math.sqrt(float(residual @ residual) / freedom / float(x @ x))
    if float(np.abs(residual).max()) <= rounding or error == 0:  # squares of tiny residuals underflow
        rises = slope * float(np.abs(x).max()) > rounding
        return Trend(slope, 0.0, 0.0 if rises else 1.0, rises, slope, len(window))
    p_value = float(stats.t.sf(slope / error, freedom))
    upper = slope + float(stats.t.ppf(1 - level, freedom)) * error
    return Trend(slope, error, p_value, p_value < level, upper, len(window))


@checked
def loss_spikes(losses: Curve) -> tuple[Spike, ...]:
    """Where a loss rises far above its earlier level, against its own noise.

    The level is the median of the last three epochs before. A spike is at least three times that level; above it by at
    least a tenth of the first loss (near 0 a multiple means nothing); and, in logarithms, twice as far above it as the
    loss ever rose from one epoch to the next before (one that jumps at every epoch has no level to leave). The epochs
    of a spike, until the loss is down at the level again, are no part of later levels or rises.

    Invariant to a scale of the losses.

    Args:
        losses: by epoch, of a loss that is at least 0 up to rounding.

    Returns:
        In the order of epochs.

    Raises:
        MeasureError: an empty curve, or a value that is not finite.

    >>> loss_spikes({0: 0.7, 1: 0.4, 2: 22.0, 3: 0.9, 4: 0.3})
    (Spike(epoch=2, before=0.55, peak=22.0, back=4),)
    """
    _check(losses)
    epochs = sorted(losses)
    spikes: list[Spike] = []
    calm: list[float] = []
    for epoch in epochs:
        loss = losses[epoch]
        if spikes and (last := spikes[-1]).back is None:
            if loss > last.before:
                spikes[-1] = replace(last, peak=max(last.peak, loss))
                continue
            spikes[-1] = replace(last, back=epoch)
        elif calm and loss > _spike_limit(calm, losses[epochs[0]]):
            spikes.append(Spike(epoch, float(np.median(calm[-3:])), loss, None))
            continue
        calm.append(loss)
    return tuple(spikes)


def _spike_limit(calm: list[float], start: float) -> float:
    """What the next loss must exceed to be far above those of ``calm``."""
    level = float(np.median(calm[-3:]))
    # Below a hundredth of the first loss ratios say nothing, and reach any size.
    earlier = np.maximum(calm, 0.01 * start)
    rise = float(
        np.divide(earlier[1:], earlier[:-1], where=earlier[:-1] > 0, out=np.ones(len(calm) - 1)).max(initial=1)
    )
    return max(3 * level, rise**2 * level, level + 0.1 * start)


def _check(curve: Curve) -> None:
    bad = {epoch: value for epoch, value in curve.items() if not math.isfinite(value)}
    if not curve or bad:
        raise MeasureError(
            "a curve needs finite values by epoch",
            expected="at least one epoch, finite values",
            got=f"not finite at epochs {sorted(bad)}" if bad else "no epoch",
            hint="leave out epochs after a divergence, and say so",
        )
