"""The figures of an analysis, drawn by the module ``plot`` beside its class, or by the module of the class itself."""

import importlib
import inspect
import sys
from importlib.util import find_spec

import polars as pl

from transferscope.plots.theme import Figure
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.registry import beside


def is_drawn(kind: type[AnalysisSettings]) -> bool:
    """Whether an analysis has pictures."""
    return _module(kind) is not None


def figures(kind: type[AnalysisSettings], table: pl.DataFrame, metric: str) -> tuple[Figure, ...]:
    """The figures of an analysis.

    Args:
        kind: its class.
        table: in its declared columns.
        metric: the study's metric; given to ``plot.figures`` where that has a parameter ``metric``.

    Returns:
        In reading order; none for an analysis without pictures or a table with nothing to draw.
    """
    module = _module(kind)
    if module is None:
        return ()
    draw = importlib.import_module(module).figures
    shows_metric = "metric" in inspect.signature(draw).parameters
    drawn: tuple[Figure, ...] = draw(table, metric) if shows_metric else draw(table)
    return drawn


def _module(kind: type[AnalysisSettings]) -> str | None:
    """The module that has ``figures``: that of the class, or ``plot`` beside it; None where there is none."""
    package = beside(kind)
    if hasattr(sys.modules[kind.__module__], "figures"):
        return kind.__module__
    return f"{package}.plot" if package is not None and find_spec(f"{package}.plot") is not None else None
