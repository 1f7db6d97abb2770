"""Barriers of all studies side by side: straight lines, lines after permutation, trained curves."""

from collections.abc import Iterable, Mapping, Sequence

from transferscope.analyses.contract import Number
from transferscope.keys import barrier_key
from transferscope.report.kept_results import KeptResults
from transferscope.report.markdown import table
from transferscope.report.numbers import basis_words, points_words

__all__ = ["barriers"]

_BARRIER = barrier_key("error", "test", "mean")
_WAYS: Mapping[tuple[str, str], str] = {
    ("path", ""): "straight line",
    ("align", "unaligned"): "straight line",
    ("align", "activations"): "straight line, matched by activations",
    ("align", "weights"): "straight line, matched by weights",
    ("curve", "curve"): "trained curve",
}
"""Of an analysis and its way; that of ``curve`` along the straight line is left out, for ``path`` has it."""


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
    for analysis in dict.fromkeys(name for name, _ in _WAYS):
        for number in study.numbers.get(analysis, ()):
            words = _WAYS.get((analysis, number.way))
            if number.quantity == _BARRIER and words is not None:
                yield number.subject, words, number


def _words(number: Number) -> tuple[str, str, str]:
    points = f"{points_words(number.value, 'top1').removeprefix('+')}"
    if number.low is None or number.high is None:
        return points, "–", basis_words(number.basis, number.n, short=True)
    limits = [points_words(end, "top1", unit=False).removeprefix("+") for end in (number.low, number.high)]
    rests = basis_words(number.basis, number.n, short=True)
    return points, " to ".join(limits), rests if number.basis == "seeds" else f"{rests}, one pair"
