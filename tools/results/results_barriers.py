"""Barriers of all studies side by side: straight lines, lines after permutation, trained curves."""

from collections.abc import Mapping, Sequence

from tools.results.kept_results import KeptResults
from tools.results.markdown import table
from transferscope.analyses.barrier_estimates import ARTEFACTS
from transferscope.analyses.estimates import Coordinate, Estimate
from transferscope.report.numbers import basis_words, points_words

__all__ = ["barriers"]

_WAYS: Mapping[tuple[str, str], str] = {
    ("moves", "all"): "straight line",
    ("moves", "trunk"): "straight line, trunk alone",
    ("method", "unaligned"): "straight line",
    ("method", "activations"): "straight line, matched by activations",
    ("method", "weights"): "straight line, matched by weights",
    ("path", "bezier"): "trained curve",
    ("path", "chain"): "trained curve",
}
"""By a coordinate of a barrier and its value; others (a line beside a curve, a module, an epoch) are not listed."""


def barriers(studies: Sequence[KeptResults]) -> str:
    """A table of the test error's barriers over the mean of the ends; empty where no study has any.

    Args:
        studies: whose estimates of ``error_barrier`` are read.

    Returns:
        Markdown.
    """
    rows = [
        (f"[{study.name}](results/{study.name}.md)", str(item.at["pair"]), way, *_words(item))
        for study in studies
        for estimates in study.estimates.values()
        for item in estimates
        if item.quantity == "error_barrier" and (way := _way(item.at)) is not None
    ]
    return table(("study", "pair", "way", "error barrier", "95 % limits", "rests on"), rows) if rows else ""


def _way(at: Mapping[str, Coordinate]) -> str | None:
    """What joins the two networks; None for what is not listed."""
    way = next((_WAYS[found] for name, value in at.items() if (found := (name, str(value))) in _WAYS), None)
    if way is None or (at["split"], at["baseline"]) != ("test", "mean"):
        return None
    return f"{way}, {at['batch_norm']}" if at.get("batch_norm") in ARTEFACTS else way


def _words(item: Estimate) -> tuple[str, str, str]:
    points = points_words(item.value, "top1").removeprefix("+")
    rests = basis_words(item.basis, item.n, short=True)
    if item.low is None or item.high is None:
        return points, "–", rests
    limits = [points_words(end, "top1", unit=False).removeprefix("+") for end in (item.low, item.high)]
    return points, " to ".join(limits), rests if item.basis == "seeds" else f"{rests}, {item.note}"
