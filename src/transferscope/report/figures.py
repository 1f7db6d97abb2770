"""The figures of an analysis, drawn by the module ``plot`` that lies beside its class."""

import importlib
import inspect
from importlib.util import find_spec

import polars as pl

from transferscope.plots.theme import Figure
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.registry import beside

__all__ = ["figures", "is_drawn"]


def is_drawn(kind: type[AnalysisSettings]) -> bool:
    """Whether an analysis has pictures."""
    package = beside(kind)
    return package is not None and find_spec(f"{package}.plot") is not None


def figures(kind: type[AnalysisSettings], table: pl.DataFrame, metric: str) -> tuple[Figure, ...]:
    """The figures of an analysis.

    Args:
        kind: its class.
        table: in its declared columns.
        metric: the study's metric; given to ``plot.figures`` where that has a parameter ``metric``.

    Returns:
        In reading order; none for an analysis without pictures or a table with nothing to draw.
    """
    if not is_drawn(kind):
        return ()
    draw = importlib.import_module(f"{beside(kind)}.plot").figures
    shows_metric = "metric" in inspect.signature(draw).parameters
    drawn: tuple[Figure, ...] = draw(table, metric) if shows_metric else draw(table)
    return drawn
