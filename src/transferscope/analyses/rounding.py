"""One rounding for every number that readers see, so that one number is never written in two ways."""

import math
from decimal import Decimal

__all__ = ["exact"]

_DIGITS = 12


def exact(value: float) -> Decimal | float:
    """``value`` as the decimal number it stands for, to be formatted: halves then go to the even digit.

    ``format`` rounds binary numbers, in which one half is met from below by one order of summation and from above by
    another, and from another side as a share than in per cent.

    >>> f"{12.85:.1f} {0.1285:.3f}", f"{exact(12.85):.1f} {exact(0.1285):.3f}"
    ('12.8 0.129', '12.8 0.128')
    >>> f"{exact(12.75):.1f} {exact(12.749999999999998):.1f}"
    '12.8 12.8'
    """
    return Decimal(repr(round(float(value), _DIGITS))) if math.isfinite(value) else value
