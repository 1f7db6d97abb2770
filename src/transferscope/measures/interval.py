"""What an interval is: a number, its limits, and what they speak of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from transferscope.arguments import checked
from transferscope.bounds import DIFFERENCE, MAGNITUDE, SHARE, Basis, Bounds, Flag
from transferscope.errors import MeasureError

__all__ = [
    "DIFFERENCE",
    "MAGNITUDE",
    "SHARE",
    "Basis",
    "Bounds",
    "Flag",
    "Interval",
    "check_confidence",
    "equal",
    "exponential",
    "finite",
    "within",
]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """A number and where it may lie.

    Attributes:
        value: the number; None where it is not defined, ``note`` says why.
        low: lower end; None where there is no interval.
        high: upper end.
        n: how many seeds, examples or groups of examples it rests on.
        basis: ``seeds``: a claim about training in general; ``examples``: about these trained networks; ``range``: no
            interval, the smaller and larger of two values; None: one value.
        confidence: two-sided; each end alone is a one-sided limit of confidence (1 + confidence) / 2.
        note: what a reader must know.
        flags: what is wrong with it, by key.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    basis: Basis | None
    confidence: float = 0.95
    note: str = ""
    flags: tuple[Flag, ...] = ()


@checked
def within(interval: Interval, bounds: Bounds | None) -> Interval:
    """The interval without what the number cannot be.

    The limits of :math:`[l, h]` become max(l, least) and min(h, largest). A number that lies within its bounds lies in
    the clipped interval exactly where it lies in the whole one: the coverage is the same. Whether the interval excludes
    a value within the bounds is the same too.

    Args:
        interval: any; one without limits stays as it is.
        bounds: of the number, for example :data:`SHARE`; None where it has none.

    Raises:
        MeasureError: the bounds are not two numbers in order, or the value lies outside of them: they are then not its
            bounds.

    >>> clipped = within(Interval(0.1, -0.019, 0.219, 3, "seeds"), SHARE)
    >>> clipped.low, clipped.high
    (0.0, 0.219)
    """
    if bounds is None:
        return interval
    least, largest = bounds
    if not least < largest:
        raise MeasureError("bounds are a least and a largest value", expected="two numbers in order", got=str(bounds))
    if interval.value is not None and not least - _ROUNDING <= interval.value <= largest + _ROUNDING:
        raise MeasureError(
            "a value lies outside of the bounds it is said to have",
            expected=f"{least:g} to {largest:g}",
            got=str(interval.value),
        )
    if interval.low is None or interval.high is None:
        return interval
    low, high = max(least, interval.low), min(largest, interval.high)
    if (low, high) == (interval.low, interval.high):
        return interval
    return replace(interval, low=low, high=high, flags=(*interval.flags, "clipped"))


def exponential(interval: Interval) -> Interval:
    """The interval of a geometric mean, from that of the mean logarithm.

    >>> exponential(Interval(0.0, None, None, 1, None)).value
    1.0
    """
    value, low, high = (None if end is None else math.exp(end) for end in (interval.value, interval.low, interval.high))
    return replace(interval, value=value, low=low, high=high)


def finite(what: str, values: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``values`` as an array."""
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
        raise MeasureError(
            f"{what} must be finite numbers",
            expected="at least one, all finite",
            got=str(data.tolist()),
            hint="leave out diverged seeds, and say so",
        )
    return data


def equal(values: npt.NDArray[np.float64], scale: float | None = None) -> bool:
    """Whether values differ by no more than their rounding.

    Args:
        values: at least one.
        scale: largest of the numbers that they are differences of, whose rounding they carry; None for others.
    """
    size = float(np.abs(values).max()) if scale is None else scale
    return bool(np.ptp(values) <= 8 * np.finfo(np.float64).eps * size)


def check_confidence(confidence: float) -> None:
    """Raises a ``MeasureError`` where ``confidence`` is not in (0, 1)."""
    if not 0 < confidence < 1:
        raise MeasureError("a confidence is a share", expected="in (0, 1), for example 0.95", got=str(confidence))
