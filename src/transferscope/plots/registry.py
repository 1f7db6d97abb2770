"""The figures of every analysis, by its name."""

import importlib

import polars as pl

from transferscope.plots.theme import Figure

__all__ = ["DRAWN", "figures"]

_WHATEVER_THE_METRIC = frozenset(
    {
        "mistakes",
        "mistakes_in_training",
        "similarity",
        "similarity_in_training",
        "similarity_by_size",
        "reused_channels",
        "distance",
        "distance_in_training",
        "path",
        "plane",
        "basin",
        "flatness",
        "module_path",
        "path_in_training",
        "curve",
        "align",
        "domain_distance",
        "spectrum",
    }
)
"""Analyses whose pictures do not show the study's metric: their ``figures`` take the table alone."""

DRAWN = _WHATEVER_THE_METRIC | {
    "learning_rate",
    "learning_curves",
    "block_shuffle",
    "control",
    "transplant",
    "probe",
    "reuse",
    "criticality",
    "rewind",
}
"""Analyses that have pictures, in the module of their name."""


def figures(name: str, table: pl.DataFrame, metric: str) -> tuple[Figure, ...]:
    """The figures of the analysis called ``name``.

    Args:
        name: of the analysis.
        table: in its declared columns.
        metric: the study's metric.

    Returns:
        In reading order; none for an analysis without pictures or a table with nothing to draw.
    """
    if name not in DRAWN:
        return ()
    draw = importlib.import_module(f"transferscope.plots.{name}").figures
    drawn: tuple[Figure, ...] = draw(table) if name in _WHATEVER_THE_METRIC else draw(table, metric)
    return drawn
