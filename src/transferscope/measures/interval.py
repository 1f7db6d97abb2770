"""What an interval is: a number, its limits, and what they speak of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError

__all__ = ["Basis", "Interval", "check_confidence", "finite"]

Basis = Literal["seeds", "examples", "range"]
"""What an interval speaks of; see :class:`Interval`."""


@dataclass(frozen=True)
class Interval:
    """A number and where it may lie.

    Attributes:
        value: the number; None where it is not defined, ``note`` says why.
        low: lower end; None where there is no interval.
        high: upper end.
        n: how many seeds, examples or groups of examples it rests on.
        basis: ``seeds``: a claim about training in general; ``examples``: about these trained networks;
            ``range``: no interval, the smaller and larger of two values; None: one value.
        confidence: two-sided; each end alone is a one-sided limit of confidence (1 + confidence) / 2.
        note: what a reader must know.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    basis: Basis | None
    confidence: float = 0.95
    note: str = ""


def finite(what: str, values: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``values`` as an array.

    Args:
        what: they are, for the message.
        values: at least one.

    Raises:
        MeasureError: none, or one that is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data) or not np.isfinite(data).all():
        raise MeasureError(
            f"{what} must be finite numbers",
            expected="at least one, all finite",
            got=str(data.tolist()),
            hint="leave out diverged seeds, and say so",
        )
    return data


def check_confidence(confidence: float) -> None:
    """Raises a ``MeasureError`` where ``confidence`` is not in (0, 1)."""
    if not 0 < confidence < 1:
        raise MeasureError("a confidence is a share", expected="in (0, 1), for example 0.95", got=str(confidence))
