"""The figures of every analysis, by its name."""

import polars as pl

from transferscope.plots import (
    block_shuffle,
    control,
    distance,
    distance_in_training,
    domain_distance,
    learning_curves,
    learning_rate,
    mistakes,
    mistakes_in_training,
    path,
    probe,
    reuse,
    reused_channels,
    similarity,
    similarity_by_size,
    similarity_in_training,
    transplant,
)
from transferscope.plots.theme import Figure

__all__ = ["DRAWN", "figures"]

DRAWN = frozenset(
    {
        "learning_rate",
        "learning_curves",
        "mistakes",
        "mistakes_in_training",
        "similarity",
        "similarity_in_training",
        "similarity_by_size",
        "reused_channels",
        "distance",
        "distance_in_training",
        "path",
        "block_shuffle",
        "control",
        "transplant",
        "probe",
        "reuse",
        "domain_distance",
    }
)
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
    if name == "block_shuffle":
        return block_shuffle.figures(table, metric)
    if name == "control":
        return control.figures(table, metric)
    if name == "transplant":
        return transplant.figures(table, metric)
    if name == "probe":
        return probe.figures(table, metric)
    if name == "reuse":
        return reuse.figures(table, metric)
    drawn = {
        "mistakes": mistakes,
        "mistakes_in_training": mistakes_in_training,
        "similarity": similarity,
        "similarity_in_training": similarity_in_training,
        "similarity_by_size": similarity_by_size,
        "reused_channels": reused_channels,
        "distance": distance,
        "distance_in_training": distance_in_training,
        "path": path,
        "domain_distance": domain_distance,
    }
    return drawn[name].figures(table) if name in drawn else ()
