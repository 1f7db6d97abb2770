"""Estimates in words: a number with where it may lie."""

import math
from collections.abc import Sequence
from dataclasses import replace

from transferscope.analyses.estimates import Estimate

__all__ = ["in_turn", "spoken"]


def spoken(item: Estimate) -> str:
    """Value and limits in words: ``0.523 (95 % interval over 3 seeds 0.41 to 0.63)``; a range, or the value alone.

    >>> spoken(Estimate("a", {}, 0.5234, 0.41, 0.63, "seeds", 3))
    '0.523 (95 % interval over 3 seeds 0.410 to 0.630)'
    >>> spoken(Estimate("a", {}, None, note="one network"))
    'not defined (one network)'
    """
    if item.value is None:
        return f"not defined ({item.note})" if item.note else "not defined"
    if item.low is None or item.high is None:
        return f"{item.value:.3g}"
    what = {
        "seeds": f"95 % interval over {item.n} seeds",
        "examples": f"95 % interval over {item.n} test examples",
        "range": f"range of {item.n} seeds",
        None: "limits",
    }[item.basis]
    value, low, high = _alike(item.value, item.low, item.high)
    return f"{value} ({what} {low} to {high})"


def _alike(*values: float) -> list[str]:
    """Numbers with as many digits after the point as the largest needs for three; powers of ten where that is many."""
    largest = max(abs(value) for value in values)
    places = 2 - math.floor(math.log10(largest)) if largest else 0
    return [f"{value:.{max(0, places)}f}" if -4 <= places <= 5 else f"{value:.3g}" for value in values]


def in_turn(items: Sequence[Estimate]) -> str:
    """Values one after the other, as along training, the last one with its limits.

    >>> in_turn([Estimate("a", {}, 0.25), Estimate("a", {}, 0.5234, 0.41, 0.63, "seeds", 3)])
    '0.25 → 0.523 (95 % interval over 3 seeds 0.410 to 0.630)'
    """
    *before, last = items
    return " → ".join([*(spoken(replace(item, low=None, high=None)) for item in before), spoken(last)])
