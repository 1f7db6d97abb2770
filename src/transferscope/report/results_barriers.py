"""Barriers of all studies side by side: straight lines, lines after permutation, trained curves."""

import re
from collections.abc import Iterable, Sequence

from transferscope.analyses.contract import Number
from transferscope.report.kept_results import KeptResults
from transferscope.report.markdown import table
from transferscope.report.numbers import basis_words, points_words

__all__ = ["barriers"]

_LINE = re.compile(r"error barrier of (?P<pair>.+) \(test, mean baseline, batch norm (?P<policy>.+)\)")
_MATCHED = re.compile(r"error barrier of (?P<pair>.+), (?P<way>as trained|matched by \w+) \(test, mean baseline\)")
_CURVE = re.compile(r"error barrier along the curve of (?P<pair>.+) \(test, mean baseline\)")


def barriers(studies: Sequence[KeptResults]) -> str:
    """A table of the test error's barriers over the mean of the ends; empty where no study has any.

    Args:
        studies: whose key numbers of ``path``, ``align`` and ``curve`` are read.

    Returns:
        Markdown.
    """
    rows = [
        (f"[{study.name}](results/{study.name}.md)", pair, way, *_words(number))
        for study in studies
        for pair, way, number in _found(study)
    ]
    return table(("study", "pair", "way", "error barrier", "95 % limits", "rests on"), rows) if rows else ""


def _found(study: KeptResults) -> Iterable[tuple[str, str, Number]]:
    for number in study.numbers.get("path", ()):
        if line := _LINE.fullmatch(number.name.removeprefix("ruler: ")):
            yield line["pair"], "straight line", number
    for number in study.numbers.get("align", ()):
        if matched := _MATCHED.fullmatch(number.name):
            way = "" if matched["way"] == "as trained" else f", {matched['way']}"
            yield matched["pair"], f"straight line{way}", number
    for number in study.numbers.get("curve", ()):
        if curve := _CURVE.fullmatch(number.name):
            yield curve["pair"], "trained curve", number


def _words(number: Number) -> tuple[str, str, str]:
    points = f"{points_words(number.value, 'top1').removeprefix('+')}"
    if number.low is None or number.high is None:
        return points, "–", basis_words(number.basis, number.n, short=True)
    limits = [points_words(end, "top1", unit=False).removeprefix("+") for end in (number.low, number.high)]
    rests = basis_words(number.basis, number.n, short=True)
    return points, " to ".join(limits), rests if number.basis == "seeds" else f"{rests}, one pair"
