"""Do two measures put the same things in the same order?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays

__all__ = ["RankAgreement", "rank_agreement", "weighted_tau"]

_FEWEST = 3


@dataclass(frozen=True)
class RankAgreement:
    """What :func:`rank_agreement` found.

    Attributes:
        kendall: τ_b, in [−1, 1]; None where it is not defined.
        spearman: ρ, in [−1, 1]; None where it is not defined.
        n: things that both measures have a value for.
        note: why there is none, else empty.
    """

    kendall: float | None
    spearman: float | None
    n: int
    note: str = ""


@of_arrays
def rank_agreement(a: Sequence[float | None], b: Sequence[float | None]) -> RankAgreement:
    """Kendall's τ_b and Spearman's ρ of two measures over the same things (the modules of a network, say).

    Invariant to every increasing map of either measure; not to one that turns an order around. Modules of one network
    are not independent, so no p value is given.

    Args:
        a: values of one measure, None where it is not defined.
        b: of the other, in the same order.

    Returns:
        Both over the things that have two values; None where those are fewer than 3, or all equal for one measure.

    Raises:
        MeasureError: of different lengths, or a value that is not finite.

    Reference: Kendall (1945), "The treatment of ties in ranking problems".

    >>> rank_agreement([0.1, 0.5, 0.9, None], [1.0, 3.0, 2.0, 5.0]).kendall.__round__(6)
    0.333333
    """
    if len(a) != len(b):
        raise MeasureError(
            "two measures of different things", expected="equal lengths", got=f"{len(a)} and {len(b)} values"
        )
    pairs = [(float(x), float(y)) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not all(math.isfinite(value) for pair in pairs for value in pair):
        raise MeasureError("a value is not finite", expected="finite values, None where there is none")
    if len(pairs) < _FEWEST:
        return RankAgreement(None, None, len(pairs), f"fewer than {_FEWEST} values of both")
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        return RankAgreement(None, None, len(pairs), "all values of one measure are equal")
    kendall = float(stats.kendalltau(first, second).statistic)
    spearman = float(stats.spearmanr(first, second).statistic)
    return RankAgreement(kendall, spearman, len(pairs))


@of_arrays
def weighted_tau(scores: Sequence[float | None], outcomes: Sequence[float | None]) -> float | None:
    """Kendall's τ in which the order of the best counts most: a pair at ranks r and s weighs 1/(r+1) + 1/(s+1).

    Ranks are those of scores and those of outcomes, each from 0 for the best, and the two values are averaged.
    Invariant to increasing maps of either. A description of an order: what a choice by it loses is its regret.

    Args:
        scores: None where one is not defined.
        outcomes: of the same things, in the same order.

    Returns:
        In [−1, 1]; None with fewer than 3 things that have both, or where all scores or all outcomes are equal.

    Raises:
        MeasureError: of different lengths, or a value that is not finite.

    Reference: Vigna (2015), "A weighted correlation index for rankings with ties".

    >>> weighted_tau([1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    1.0
    """
    if rank_agreement(scores, outcomes).kendall is None:
        return None
    pairs = [(float(x), float(y)) for x, y in zip(scores, outcomes, strict=True) if x is not None and y is not None]
    first, second = zip(*pairs, strict=True)
    return float(stats.weightedtau(first, second).statistic)
