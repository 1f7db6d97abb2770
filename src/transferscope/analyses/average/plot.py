"""What averages gain over the best single network, decided on validation and proved on test data."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, dot_panel, facets, interval_text, present
from transferscope.plots.theme import NEUTRAL, OTHERS, Figure, Panel, metric_axis, metric_name, padded

__all__ = ["figures"]

_SETS = {"seeds": "other seeds", "rates": "other rates and seeds", "run": "epochs of a run"}
_METHODS = {
    "uniform": "mean of all", "greedy": "greedy soup", "stock": "Model Stock", "wise": "towards the start",
    "last": "mean of the last", "ema": "moving average", "ensemble": "ensemble",
}  # fmt: skip
_FINE = 0.06
"""Range below which ticks need one more digit."""
_SPLITS = Tints("split", {"validation": NEUTRAL["muted"], "test": OTHERS[0]})


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figure of ``average``: gains of all averages; none where none was tried."""
    rows = table.filter(pl.col("level").is_in(["average", "ensemble"]) & (pl.col("quantity") == "gain"))
    rows = rows.drop_nulls("value").with_columns(
        method=pl.col("method").fill_null("ensemble").replace(_METHODS),
        place=pl.col("variant").str.replace_all("_", "-")
        + ", "
        + pl.col("set").replace(_SETS)
        + pl.when(pl.col("run").is_null()).then(pl.lit("")).otherwise(" (seed " + pl.col("run").cast(str) + ")"),
    )
    return present(_figure(rows, metric))


def _figure(rows: pl.DataFrame, metric: str) -> Figure | None:
    if rows.is_empty():
        return None
    test = rows.filter(pl.col("split") == "test").sort("value", descending=True)
    told = "; ".join(
        f"{place}, {method} {value:+.3f}"
        for place, method, value in test.select("place", "method", "value").head(4).iter_rows()
    )
    places = rows["place"].unique(maintain_order=True).to_list()
    return Figure(
        name="gains",
        title="Averages against the best single network",
        caption=f"Difference in {metric_name(metric)} to the single network that is best on validation data. It is "
        "decided on validation data, with limits for all averages of a set at once, and proved on test data (95 % "
        "intervals over examples). The ensemble runs all networks.",
        description=f"Largest gains on test data: {told or 'none'}.",
        panels=facets(rows, "place", places, lambda part, place: _panel(part, str(place), metric)),
        legend=tuple(_SPLITS.legend("point")),
    )


def _panel(rows: pl.DataFrame, place: str, metric: str) -> Panel:
    order = [name for name in _METHODS.values() if name in set(rows["method"])]
    title, number = metric_axis(metric, "gain")
    rows = rows.with_columns(interval_text(pl.col("method"), ", ", pl.col("split")))
    reach = padded([0.0, *rows["value"], *rows["low"].drop_nulls(), *rows["high"].drop_nulls()])
    if reach[1] - reach[0] < _FINE:  # else ticks that differ would be written alike
        number = {".0%": ".1%", ".2f": ".3f"}[number]
    x = Axis("value", title, "+" + number, domain=reach, grid=False)
    frame = Frame(
        x,
        Names("method", "Average (method)", order, limit=130),
        _SPLITS,
        aside=True,
        width=300,
        height=34 * len(order),
        title=place,
    )
    return dot_panel(frame, rows, at=(0.0,))
