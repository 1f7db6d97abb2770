"""The interval of a share over examples: never empty, not even where all or none are right."""

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.interval import Interval, check_confidence

__all__ = ["share_interval"]


def share_interval(right: npt.ArrayLike, owners: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of mean(right), judgements of one owner counted as if they were one repeated.

    With m_g the judgements of owner g, n = (Σ m_g)² / Σ m_g² judgements are independent at least (Kish's effective size
    for full correlation within an owner): as many as owners where all have the same number. The limits are

        (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)

    and lie within [0, 1], apart also for p = 0 and p = 1, where a bootstrap has no width. Not invariant to repeating
    owners; invariant to repeating each judgement of every owner.

    Args:
        right: ``judgements``, 0 or 1.
        owners: ``judgements``, what was judged: an image that several networks judge, or its group.

    Returns:
        Basis ``examples``, ``n`` counts owners. Value None without a judgement.

    Reference: Wilson (1927), "Probable inference, the law of succession, and statistical inference"; Kish (1965),
    Survey Sampling, for the effective size.
    """
    check_confidence(confidence)
    values, whose = np.asarray(right, dtype=np.float64), np.asarray(owners)
    if values.ndim != 1 or values.shape != whose.shape or not np.isin(values, (0, 1)).all():
        raise MeasureError(
            "a share is of judgements",
            expected="zeros and ones, each with its owner",
            got=f"shapes {values.shape} and {whose.shape}, values from {values.min()} to {values.max()}"
            if values.size
            else f"shapes {values.shape} and {whose.shape}",
        )
    if not len(values):
        return Interval(None, None, None, 0, None, confidence, "there is none")
    counts = np.unique(whose, return_counts=True)[1]
    p, n = float(values.mean()), float(counts.sum() ** 2 / (counts.astype(np.float64) ** 2).sum())
    z = float(stats.norm.ppf((1 + confidence) / 2))
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    # At 0 and 1 the limit is the share itself, up to rounding.
    return Interval(p, min(p, max(0.0, low)), max(p, min(1.0, high)), len(counts), "examples", confidence)
