"""Numbers as readers see them: real minus signs, thin thousands, no digits that say nothing."""

import re

from transferscope.analyses.estimates import Estimate
from transferscope.rounding import exact

MISSING = "–"
"""What stands for a null."""

_SHARES = frozenset({"top1", "top5"})


def value_words(value: object, unit: str = "1", fixed: bool = False) -> str:
    """A cell of a table; ``fixed`` keeps trailing zeros, so that a value and its interval have equal digits.

    >>> value_words(0.41234), value_words(-0.03), value_words(None), value_words(12345, "count")
    ('0.412', '−0.03', '–', '12\u202f345')
    >>> value_words(1.5e-7), value_words(True), value_words("a"), value_words(1234.56)
    ('1.5e−7', 'yes', 'a', '1\u202f235')
    >>> value_words(0.00333333, "rate")
    '0.00333'
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and unit == "count" and value.is_integer()):
        return _signed(f"{int(value):,}".replace(",", "\u202f") if abs(value) >= 10_000 else f"{int(value)}")
    if not isinstance(value, float):
        return str(value)
    if unit == "rate":
        return f"{value:.3g}"
    size = abs(value)
    if value == 0:
        return "0"
    if size < 0.001:
        mantissa, power = f"{value:.2g}".split("e") if "e" in f"{value:.2g}" else (f"{value:.2g}", "")
        return _signed(f"{mantissa}e{int(power)}") if power else _signed(mantissa)
    if not fixed and float(f"{value:.2g}") == value and size < 100:
        return _signed(f"{value:g}")
    if size >= 1000:
        return _signed(f"{exact(value):,.0f}".replace(",", "\u202f"))
    return _signed(f"{exact(value):.{1 if size >= 100 else 2 if size >= 10 else 3}f}")


def metric_words(value: float | None, metric: str) -> str:
    """The metric itself: per cent for accuracies, three digits for AUC.

    >>> metric_words(0.8123, "top1"), metric_words(-0.01, "auc"), metric_words(None, "top1")
    ('81.2\\xa0%', '−0.010', '–')
    """
    if value is None:
        return MISSING
    return _signed(f"{exact(100 * value):z.1f}\u00a0%" if metric in _SHARES else f"{exact(value):z.3f}")


def points_words(value: float | None, metric: str, unit: bool = True) -> str:
    """A difference of two metrics, with its sign.

    >>> points_words(0.0811, "top1"), points_words(-0.02, "auc")
    ('+8.1 points', '−0.020')
    """
    if value is None:
        return MISSING
    if metric in _SHARES:
        return _signed(f"{exact(100 * value):+z.1f}") + (" points" if unit else "")
    return _signed(f"{exact(value):+z.3f}")


def span_words(low: str, high: str) -> str:
    """Both ends of an interval or a range, their common unit once; – where there is none.

    >>> span_words("75.6\\xa0%", "78.0\\xa0%"), span_words("–", "–")
    ('75.6 to 78.0\\xa0%', '–')
    """
    if MISSING in (low, high):
        return MISSING
    number, gap, unit = low.partition("\u00a0")
    return f"{number if gap and high.endswith(gap + unit) else low} to {high}"


def interval_words(number: Estimate) -> str:
    """The interval of a number, or – where there is none.

    >>> interval_words(Estimate("a", {}, 0.5, 0.4, 0.6, "seeds", 3))
    '0.400 to 0.600'
    """
    if number.low is None and number.high is None:
        return MISSING
    low = "−∞" if number.low is None else value_words(number.low, number.unit, fixed=True)
    high = "∞" if number.high is None else value_words(number.high, number.unit, fixed=True)
    return f"{low} to {high}"


def basis_words(basis: str | None, n: int | None, short: bool = False) -> str:
    """What an interval speaks of.

    >>> basis_words("seeds", 3)
    '95 % interval over 3 seeds: training in general'
    >>> basis_words("range", 2, short=True)
    'range, 2 seeds'
    """
    count = "" if n is None else f"{value_words(n)} "
    if basis == "seeds":
        return f"95 %, {count}seeds" if short else f"95 % interval over {count}seeds: training in general"
    if basis == "examples":
        return f"95 %, {count}images" if short else f"95 % interval over {count}test images: these trained networks"
    if basis == "range":
        return f"range, {count}seeds" if short else f"range of {count}seeds: smallest and largest, not an interval"
    return f"n = {count.strip()}" if count else MISSING


def minus_signs(text: str) -> str:
    """Real minus signs before numbers; hyphens within words and ranges stay.

    >>> minus_signs("P-T[0] loses -0.5 (-1 to 2), resnet-18, 1e-7")
    'P-T[0] loses −0.5 (−1 to 2), resnet-18, 1e-7'
    """
    return re.sub(r"(?<![\w\])-])-(?=\d)", "−", text)


def _signed(text: str) -> str:
    return text.replace("-", "−")
