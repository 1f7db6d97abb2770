"""Loss and error along ways between two networks: what the pictures of lines and curves have in common."""

from collections.abc import Iterator, Sequence

import polars as pl

from transferscope.plots.axes import Axis, Tints
from transferscope.plots.panels import Frame, faint, pointed
from transferscope.plots.theme import LIMIT, NEUTRAL, Panel, hover, shown_column

__all__ = [
    "CONNECTED", "MEASURES", "SOLUTIONS", "TWO_POINTS", "between", "highest_error", "measured", "note", "sides",
    "value_axis", "way_panel", "whole_lines",
]  # fmt: skip

MEASURES = {"loss": ("loss (nats)", "~g"), "error": ("error (%)", ".0%")}
"""What is drawn along a way, as its axis calls it, and the format of its numbers."""
SOLUTIONS = ("solutions", NEUTRAL["muted"], "point")
"""The entry of a legend for the ends of ways."""
CONNECTED = 0.02
"""The error below which two networks count as connected."""
TWO_POINTS = ("2 points", NEUTRAL["muted"], "dashed")
"""The entry of a legend for a line at :data:`CONNECTED`."""


def between(table: pl.DataFrame) -> pl.DataFrame:
    """The points of ways with a finite loss; ``ends`` names both networks.

    Args:
        table: with the columns ``level``, ``pair``, ``a`` and ``b``.
    """
    return table.filter((pl.col("level") == "point") & pl.col("loss").is_not_null()).with_columns(
        shown_column("pair"), ends=pl.concat_str(shown_column("a"), pl.lit(" → "), shown_column("b"))
    )


def whole_lines(rows: pl.DataFrame, line: str = "ends") -> tuple[pl.DataFrame, int]:
    """Whole lines, as many as a panel may hold, and how many are left out.

    They are kept turn about over the pairs of variants, so that none loses all of its lines.

    Args:
        rows: points.
        line: the column that names a line.
    """
    drawn = rows.select("pair", line).unique(maintain_order=True)
    per_panel = rows.height // max(1, rows["split"].n_unique())
    if per_panel <= LIMIT:
        return rows, 0
    keep = max(1, LIMIT * drawn.height // per_panel)
    turns = drawn.with_columns(pl.int_range(pl.len()).over("pair").alias("turn")).sort("turn", maintain_order=True)
    return rows.filter(pl.col(line).is_in(turns.head(keep)[line].to_list())), max(0, drawn.height - keep)


def note(rows: pl.DataFrame, dropped: int = 0, what: str = "") -> str:
    """The end of a caption: the batch-norm policy, and what is not drawn.

    Args:
        rows: that are drawn.
        dropped: how many lines are not.
        what: they are called.
    """
    further = f" {dropped} further {what} are in the table." if dropped else ""
    return f" Batch norm: {', '.join(sorted(set(rows['batch_norm'])))}.{further}"


def highest_error(rows: pl.DataFrame) -> str:
    """The highest test error of some points, in words."""
    top = rows.filter(pl.col("split") == "test")["error"].max()
    return f"{100 * top:.1f} %" if isinstance(top, float) else "not measured"


def sides(rows: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Each measure and split of which there is a panel to draw."""
    for measure in MEASURES:
        for split in ("train", "test"):
            if not rows.filter((pl.col("split") == split) & pl.col(measure).is_not_null()).is_empty():
                yield measure, split


def measured(rows: pl.DataFrame, measure: str, split: str, *place: str | pl.Expr) -> pl.DataFrame:
    """What one panel draws: ``value``, ``low`` and ``high`` (±1.96 standard errors over images) and ``hover``.

    Args:
        rows: points.
        measure: loss or error.
        split: train or test.
        place: what a reader who points at a value is told of where it is.
    """
    spread = 1.96 * pl.col(f"{measure}_se")
    known = rows.filter((pl.col("split") == split) & pl.col(measure).is_not_null())
    return known.with_columns(
        hover(*place, f": {measure} ", pl.col(measure).round(4), " ± ", spread.round(4)),
        value=pl.col(measure),
        low=pl.col(measure) - spread.fill_null(0.0),
        high=pl.col(measure) + spread.fill_null(0.0),
    )


def value_axis(measure: str, split: str, domain: Sequence[float]) -> Axis:
    """The axis of ``value``.

    Args:
        measure: loss or error.
        split: train or test.
        domain: lowest and highest.
    """
    words, number = MEASURES[measure]
    return Axis("value", f"{split.capitalize()} {words}", number, domain=domain)


def way_panel(
    frame: Frame, data: pl.DataFrame, *, solid: pl.DataFrame, dashed: pl.DataFrame, ends: pl.DataFrame,
    by: Sequence[str],
) -> Panel:  # fmt: skip
    """Every way as a line in its band, with its ends as dots.

    Args:
        frame: its value axis has a domain; one colour for each label.
        data: of :func:`measured`, in order along its lines; bands are drawn of it, and a reader may point at it.
        solid: drawn as whole lines.
        dashed: drawn as dashed lines.
        ends: drawn as dots.
        by: the columns that tell lines apart.
    """
    assert isinstance(frame.y, Axis)
    assert isinstance(frame.tint, Tints)
    low, high = frame.y.domain or (None, None)
    bands = []
    for label in frame.tint.colours:
        part = data.filter(pl.col(frame.tint.column) == label)
        bands.append(frame.band(part, by=by, opacity=faint(part.select(by).n_unique())))
    within = pointed(data, *by).filter(pl.col("value").is_between(low, high))
    return frame.panel(
        *bands, frame.dashed(dashed, by=by), frame.lines(solid, by=by, width=1.8),
        frame.dots(within, size=60, opacity=0), frame.dots(ends, size=42),
    )  # fmt: skip
