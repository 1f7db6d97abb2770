"""Equivalence, not absence of significance: whether a loss is surely below a margin."""

from dataclasses import dataclass
from typing import Literal

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.interval import Interval

__all__ = ["Noninferiority", "noninferior"]


@dataclass(frozen=True)
class Noninferiority:
    """Whether something was kept, by equivalence and not by absence of significance.

    Attributes:
        verdict: ``kept``: the upper limit of the loss is below the margin; ``lost``: the lower limit is above it; else
            ``undecided``.
        loss: reference − candidate, larger is worse.
        margin: the largest loss that counts as nothing.
    """

    verdict: Literal["kept", "lost", "undecided"]
    loss: Interval
    margin: float


@checked
def noninferior(loss: Interval, margin: float = 0.005) -> Noninferiority:
    """ "Kept", "negligible", "as good as": the upper one-sided 95 % limit of the loss is below a margin.

    The ends of a two-sided 90 % interval are one-sided 95 % limits, so the loss is to be given with ``confidence=0.90``
    (for m statements at once: ``bonferroni_confidence(m, 0.90)``). A range of two seeds, or no interval, leaves it
    undecided.

    Args:
        loss: reference − candidate, in the unit of ``margin``, with a confidence of at least 0.90.
        margin: above 0; 0.005 is half a point of a metric in [0, 1].

    Returns:
        The verdict with what it rests on.

    Raises:
        MeasureError: the margin is not positive, or the confidence is below 0.90.

    >>> from transferscope.measures.intervals import seeds_interval
    >>> noninferior(seeds_interval([0.001, 0.002, 0.0], confidence=0.90)).verdict
    'kept'
    """
    if not margin > 0:
        raise MeasureError("a margin must be positive", expected="for example 0.005", got=str(margin))
    if loss.confidence < 0.90 - 1e-12:
        raise MeasureError(
            "the one-sided limits of this interval are below 95 %",
            expected="an interval of confidence 0.90 or more",
            got=str(loss.confidence),
        )
    verdict: Literal["kept", "lost", "undecided"] = "undecided"
    if loss.basis in ("seeds", "examples") and loss.low is not None and loss.high is not None:
        if loss.high < margin:
            verdict = "kept"
        elif loss.low > margin:
            verdict = "lost"
    return Noninferiority(verdict, loss, margin)
