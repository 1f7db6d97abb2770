"""Loss and error along ways between two networks: what the pictures of lines and curves have in common."""

from collections.abc import Iterator

import altair as alt
import polars as pl

from transferscope.plots.theme import LIMIT, NEUTRAL, Panel, hover, padded, shown_column

__all__ = [
    "MEASURES",
    "SOLUTIONS",
    "TWO_POINTS",
    "between",
    "faint",
    "highest_error",
    "measured",
    "note",
    "pointed",
    "sides",
    "two_points",
    "value_axis",
    "way_panel",
    "whole_lines",
]

MEASURES = {"loss": ("loss (nats)", "~g"), "error": ("error (%)", ".0%")}
"""What is drawn along a way, as its axis calls it, and the format of its numbers."""
SOLUTIONS = ("solutions", NEUTRAL["muted"], "point")
"""The entry of a legend for the ends of ways."""
TWO_POINTS = ("2 points", NEUTRAL["muted"], "dashed")
"""The entry of a legend for :func:`two_points`."""
_CONNECTED = 0.02


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


def note(rows: pl.DataFrame, dropped: int, what: str) -> str:
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


def measured(
    rows: pl.DataFrame, measure: str, split: str, place: tuple[str | pl.Expr, ...], *columns: str | pl.Expr
) -> pl.DataFrame:
    """What one panel draws: ``value``, ``low`` and ``high`` (±1.96 standard errors over images) and ``hover``.

    Args:
        rows: points.
        measure: loss or error.
        split: train or test.
        place: what a reader who points at a value is told of where it is.
        columns: further ones that are needed.
    """
    spread = 1.96 * pl.col(f"{measure}_se")
    known = rows.filter((pl.col("split") == split) & pl.col(measure).is_not_null())
    return known.select(
        *columns,
        hover(*place, f": {measure} ", pl.col(measure).round(4), " ± ", spread.round(4)),
        value=pl.col(measure),
        low=pl.col(measure) - spread.fill_null(0.0),
        high=pl.col(measure) + spread.fill_null(0.0),
    )


def value_axis(measure: str, split: str, domain: list[float]) -> tuple[alt.Y, alt.Y]:
    """The axis of ``value``, and the same of ``low``, from which bands are drawn.

    Args:
        measure: loss or error.
        split: train or test.
        domain: lowest and highest.
    """
    words, number = MEASURES[measure]
    title = f"{split.capitalize()} {words}"
    value = alt.Y("value:Q", title=title).axis(format=number, minExtent=38).scale(domain=domain, nice=False)
    return value, alt.Y("low:Q", title=title).scale(domain=domain, nice=False)


def way_panel(
    data: pl.DataFrame,
    measure: str,
    split: str,
    x: alt.X,
    tint: alt.Color,
    *,
    dashed: pl.Expr,
    width: float,
    ends: pl.Expr | None = None,
) -> Panel:
    """Every way as a line in its band, with its ends as dots.

    Args:
        data: of :func:`measured`, with ``ends``, ``way`` and ``alpha``, ascending.
        measure: loss or error.
        split: train or test.
        x: the axis.
        tint: the colours.
        dashed: whether a row's way is drawn dashed.
        width: of dashed lines.
        ends: whether the ends of a row's way are drawn; None draws all.
    """
    y, low = value_axis(
        measure, split, padded([*data["low"], *data["high"]], low=0.0, high=1.0 if measure == "error" else None)
    )
    one = alt.Detail(["ends:N", "way:N"])
    area = alt.Chart(data).mark_area(opacity=faint(data["ends"].n_unique()), clip=True, aria=False)
    thin = alt.Chart(data.filter(dashed)).mark_line(strokeWidth=width, strokeDash=[4, 3], clip=True, aria=False)
    thick = alt.Chart(data.filter(~dashed)).mark_line(strokeWidth=1.8, clip=True, aria=False)
    solutions = data.filter(pl.col("alpha").is_in([0.0, 1.0]) & (pl.lit(True) if ends is None else ends))
    targets = alt.Chart(pointed(data, "ends", "way")).mark_circle(size=60, opacity=0)
    return alt.layer(
        area.encode(x, low, alt.Y2("high:Q"), tint, one),
        thin.encode(x, y, tint, one),
        thick.encode(x, y, tint, one),
        targets.encode(x, y, tint, description="hover:N"),
        alt.Chart(solutions).mark_circle(size=42, opacity=1).encode(x, y, tint, one, description="hover:N"),
    ).properties(width=350, height=200)


def faint(lines: float) -> float:
    """The opacity of bands that lie on each other: together they are as dark as one.

    >>> faint(1) == 1 - 0.82, faint(4) < faint(2)
    (True, True)
    """
    return float(1 - 0.82 ** (1 / max(1, lines)))


def pointed(data: pl.DataFrame, *line: str) -> pl.DataFrame:
    """The points that answer to a pointer.

    Some twenty places of a line are enough; a mark for each would make the page ten times heavier.

    Args:
        data: points, in order along their lines.
        line: the columns that tell lines apart.
    """
    every = max(1, round(data.height / max(1, data.select(line).n_unique()) / 20))
    return data.filter(pl.int_range(pl.len()).over(line) % every == 0)


def two_points(axis: alt.X | alt.Y) -> alt.Chart:
    """The error below which two networks count as connected, as a dashed line.

    Args:
        axis: of a column.
    """
    column = str(axis.shorthand).partition(":")[0]
    rule = alt.Chart(pl.DataFrame({column: [_CONNECTED]})).mark_rule(
        strokeDash=[4, 3], color=NEUTRAL["muted"], aria=False
    )
    drawn: alt.Chart = rule.encode(axis)
    return drawn
