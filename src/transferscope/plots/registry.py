"""The figures of every analysis, by its name."""

import polars as pl

from transferscope.plots import distance, learning_curves, learning_rate, mistakes, path, similarity
from transferscope.plots.theme import Figure

__all__ = ["DRAWN", "figures"]

DRAWN = frozenset({"learning_rate", "learning_curves", "mistakes", "similarity", "distance", "path"})
"""Analyses that have pictures."""


def figures(name: str, table: pl.DataFrame, metric: str) -> tuple[Figure, ...]:
    """The figures of the analysis called ``name``.

    Args:
        name: of the analysis.
        table: in its declared columns.
        metric: the study's metric.

    Returns:
        In reading order; none for an analysis without pictures or a table with nothing to draw.
    """
    if name == "learning_rate":
        return learning_rate.figures(table, metric)
    if name == "learning_curves":
        return learning_curves.figures(table, metric)
    drawn = {"mistakes": mistakes, "similarity": similarity, "distance": distance, "path": path}
    return drawn[name].figures(table) if name in drawn else ()
