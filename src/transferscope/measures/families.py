"""Many tests at once: adjustments that hold for the whole family."""

from collections.abc import Sequence

import numpy as np

from transferscope.arguments import checked
from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays

__all__ = ["bonferroni", "bonferroni_confidence", "holm"]


@of_arrays
def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values: reject where it is ≤ 0.05 and the whole family errs in at most 5 % of studies.

    Sorted upwards, p₍ᵢ₎ becomes the largest of min(1, (m − j + 1)·p₍ⱼ₎) for j ≤ i. Holds under any dependence, and is
    never above :func:`bonferroni`.

    Args:
        p: one value for each test; None where there was no test (it stays None and is not counted).

    Returns:
        Adjusted values in the order given, each at least the given one.

    Raises:
        MeasureError: a value outside [0, 1] or NaN.

    Reference: Holm (1979), "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tested = _tested(p)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, index in enumerate(sorted(tested, key=lambda index: tested[index])):
        largest = max(largest, min(1.0, (len(tested) - rank) * tested[index]))
        adjusted[index] = largest
    return adjusted


@of_arrays
def bonferroni(p: Sequence[float | None]) -> list[float | None]:
    """Bonferroni's adjusted p values: min(1, m·p).

    Args:
        p: one value for each test; None where there was no test (it stays None and is not counted).

    Returns:
        Adjusted values in the order given.

    Raises:
        MeasureError: a value outside [0, 1] or NaN.

    >>> bonferroni([0.01, 0.5, None])
    [0.02, 1.0, None]
    """
    tested = _tested(p)
    return [min(1.0, len(tested) * value) if value is not None else None for value in p]


@checked
def bonferroni_confidence(count: int, confidence: float = 0.95) -> float:
    """The confidence of each of ``count`` intervals that hold all at once: 1 − (1 − confidence) / count.

    Args:
        count: intervals in the family.
        confidence: of the family, in (0, 1).

    Returns:
        In [confidence, 1).

    Raises:
        MeasureError: ``count`` below 1 or a confidence outside (0, 1).

    >>> round(bonferroni_confidence(10), 6)
    0.995
    """
    if count < 1 or not 0 < confidence < 1:
        raise MeasureError(
            "a family of intervals needs members and a confidence",
            expected="count ≥ 1 and confidence in (0, 1)",
            got=f"count = {count}, confidence = {confidence}",
        )
    return 1 - (1 - confidence) / count


def _tested(p: Sequence[float | None]) -> dict[int, float]:
    tested = {index: float(value) for index, value in enumerate(p) if value is not None}
    bad = [value for value in tested.values() if np.isnan(value) or not 0 <= value <= 1]
    if bad:
        raise MeasureError("a p value is not a probability", expected="in [0, 1], or None", got=str(bad[0]))
    return tested
