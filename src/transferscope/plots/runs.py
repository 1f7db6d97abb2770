"""Runs that were watched: one line for each, the mean of those that repeat each other."""

import altair as alt
import polars as pl

from transferscope.plots.theme import LIMIT, OTHERS, Figure, Panel, hover, padded

__all__ = ["lines", "paths"]


def _tints(groups: list[str]) -> alt.Scale:
    return alt.Scale(domain=groups, range=[OTHERS[at % len(OTHERS)] for at in range(len(groups))])


def _legend(groups: list[str]) -> tuple[tuple[str, str, str], ...]:
    return tuple((group, OTHERS[at % len(OTHERS)], "line") for at, group in enumerate(groups))


def lines(
    table: pl.DataFrame, name: str, title: str, caption: str, x: str, panels: list[tuple[str, str]]
) -> tuple[Figure, ...]:
    """Lines against steps or epochs; none where nothing is finite.

    Args:
        table: ``run, line, x, panel, value``, where ``line`` is the group, or the run where it repeats none.
        name: of the figure.
        title: of the figure.
        caption: what is drawn, without how.
        x: title of the axis.
        panels: key and title of the vertical axis.
    """
    rows = table.drop_nulls(["value", "x"])
    groups = sorted(set(rows["line"]))
    drawn = [
        _panel(rows.filter(pl.col("panel") == key), groups, x, words)
        for key, words in panels
        if rows.filter(pl.col("panel") == key).height
    ]
    if not drawn:
        return ()
    how = " Thin lines: runs; thick lines: the mean of runs of one group, while all are there."
    shown = ", ".join(words for _, words in panels)
    described = f"{shown} against {x.lower()}, for {', '.join(groups)}."
    return (Figure(name, title, caption + how, described, tuple(drawn), legend=_legend(groups)),)


def _panel(rows: pl.DataFrame, groups: list[str], x_title: str, y_title: str) -> Panel:
    places = sorted(set(rows["x"]))
    most = max(1, LIMIT // max(1, rows["run"].n_unique()))
    if len(places) > most:
        kept = places[:: -(-len(places) // most)]
        rows = rows.filter(pl.col("x").is_in([*kept, places[-1]]))
    mean = rows.group_by("line", "x").agg(pl.col("value").mean(), pl.len().alias("runs"))
    mean = mean.filter(pl.col("runs") == pl.col("runs").max().over("line")).sort("line", "x")
    x = alt.X("x:Q", title=x_title).axis(grid=False).scale(nice=False, padding=6)
    y = alt.Y("value:Q", title=y_title).scale(domain=padded(rows["value"]), nice=False).axis(format="~g", minExtent=38)
    tint = alt.Color("line:N", title=None, scale=_tints(groups))
    words = hover(pl.col("line"), ", ", pl.col("x"), ": mean of ", pl.col("runs"), " ", pl.col("value").round(4))
    return alt.layer(
        alt.Chart(rows).mark_line(strokeWidth=1, opacity=0.45, aria=False).encode(x, y, tint, detail="run:N"),
        alt.Chart(mean).mark_line(strokeWidth=2.4, aria=False).encode(x, y, tint),
        alt.Chart(mean.with_columns(words)).mark_circle(size=60, opacity=0).encode(x, y, tint, description="hover:N"),
    ).properties(width=350, height=200)


def paths(table: pl.DataFrame) -> tuple[Figure, ...]:
    """Loss and error on the straight lines between runs; none where no line was measured.

    Args:
        table: ``run_a, run_b, alpha, loss, error``.
    """
    rows = table.with_columns(pl.format("{} – {}", "run_a", "run_b").alias("run"), pl.col("alpha").alias("x"))
    rows = rows.with_columns(pl.col("run").alias("line"))
    long = rows.unpivot(["loss", "error"], index=["run", "line", "x"], variable_name="panel", value_name="value")
    return lines(
        long, "paths", "Paths between the runs", "Test images, on the straight line between the last weights.",
        "α (0: first run, 1: second)", [("loss", "Loss (nats)"), ("error", "Error (0 to 1)")],
    )  # fmt: skip
