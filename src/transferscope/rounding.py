"""One rounding for every number that readers see, so that one number is never written in two ways."""

import math
from decimal import Decimal

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


def finite_or_none(value: float | None) -> float | None:
    """``value``; None where it is infinite or no number: what a table has in place of these.

    >>> finite_or_none(0.5), finite_or_none(float("inf"))
    (0.5, None)
    """
    return value if value is not None and math.isfinite(value) else None


def rounded(value: float, digits: int = 3) -> str:
    """``value`` with so many significant digits, large numbers written out.

    >>> rounded(3.33e6), rounded(0.01234), rounded(1e-7), rounded(float("inf"))
    ('3,330,000', '0.0123', '1e-07', 'inf')
    """
    if not math.isfinite(value) or abs(value) < 10**digits:
        return f"{value:.{digits}g}"
    return f"{float(f'{value:.{digits}g}'):,.0f}"


def duration(seconds: float) -> str:
    """Seconds in words, three digits at most.

    Example:
        >>> duration(0.42), duration(59.7), duration(75), duration(7260)
        ('0.4 s', '1 min 0 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
