"""Heat maps: one cell for each pair of places, as modules by epochs."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from transferscope.plots.theme import Panel

__all__ = ["RAMP", "heat_map", "modules_down", "steps_across"]

RAMP = ("#f7fbff", "#d6e5f2", "#a8cbe3", "#67a5cf", "#2f79b5", "#134f8c", "#06264d")
"""Colours from least to most: one hue, darker is more, readable in grey."""


def heat_map(cells: pl.DataFrame, title: str, x: alt.X, y: alt.Y, tint: alt.Color, *, width: int, height: int) -> Panel:
    """One panel of cells.

    Args:
        cells: with a column ``hover``.
        title: of the panel.
        x: across.
        y: down.
        tint: the colours.
        width: of the panel in pixels.
        height: of the panel in pixels.
    """
    panel: alt.Chart = (
        alt.Chart(cells, title=title)
        .mark_rect()
        .encode(x, y, tint, description="hover:N")
        .properties(width=width, height=height)
    )
    return panel


def modules_down(
    column: str,
    modules: Sequence[str],
    title: str = "Module (name)",
    size: int = 9,
    named: Sequence[str] | None = None,
) -> alt.Y:
    """The axis of modules, from input to output.

    Args:
        column: of their names.
        modules: in their order.
        title: of the axis.
        size: of the labels.
        named: those that have a label; None names as many as fit.
    """
    return alt.Y(f"{column}:N", title=title, sort=list(modules)).axis(
        ticks=False, domain=False, labelFontSize=size, labelLimit=84, labelOverlap=True,
        values=alt.Undefined if named is None else list(named),
    )  # fmt: skip


def steps_across(column: str, title: str, *, thin: bool = False) -> alt.X:
    """The axis of epochs or positions, one step beside the other.

    Args:
        column: of the steps.
        title: of the axis.
        thin: leaves out labels that lie on each other.
    """
    x = alt.X(f"{column}:O", title=title)
    if thin:
        return x.axis(ticks=False, domain=False, labelAngle=0, labelOverlap=True)
    return x.axis(ticks=False, domain=False, labelAngle=0)
