"""Which test images two networks get wrong: together, or only one of them."""

import altair as alt
import polars as pl

from transferscope.analyses.mistakes.plot_groups import classes_figure, strata_figure
from transferscope.keys import shown
from transferscope.plots.theme import Figure, Panel, charted, hover, pair_rank, shown_column

__all__ = ["chart", "figures"]

_PARTS = {"both wrong": "#3a4149", "only the first": "#8c96a0", "only the second": "#cfd6dc"}
_MOST = 15
"""Single pairs of networks shown; above it, means by pair of variants."""


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``mistakes``: pairs, strata of difficulty, classes; none where there is no pair of networks."""
    found = (_overlap(table), strata_figure(table), classes_figure(table))
    return tuple(figure for figure in found if figure is not None)


chart = charted(figures)
"""The picture of the table of ``mistakes``: shared and unshared mistakes, error consistency."""


def _overlap(table: pl.DataFrame) -> Figure | None:
    rows = table.filter(pl.col("level") == "all")
    if rows.is_empty():
        return None
    rows, by_network = _aggregated(rows)
    order = rows["label"].to_list()
    height = 26 * len(order) + 8
    panels = (_shared(rows, order, height), *_consistency(rows, order, height))
    spread = " with its 95 % interval over test images" if by_network else ""
    what = "pair of networks" if by_network else "pair of variants (mean over its networks)"
    return Figure(
        name="overlap",
        title="Shared mistakes",
        caption=(
            f"One row per {what}. Bars: test images wrong in both networks or in one alone. Dots: error consistency "
            f"κ{spread}; 0 is chance given the accuracies, the tick marks the highest κ that unequal accuracies allow."
        ),
        description="Common and separate mistakes, and error consistency, for " + ", ".join(order) + ".",
        panels=panels,
        legend=(
            *((name, tint, "square") for name, tint in _PARTS.items()),
            ("κ with interval" if by_network else "κ", "#1b1f24", "point"),
            ("ceiling of κ", "#1b1f24", "tick"),
        ),
    )


def _aggregated(rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    by_network = rows.height <= _MOST
    if by_network:
        label = [f"{shown(a)} · {shown(b)}" for a, b in zip(rows["a"], rows["b"], strict=True)]
        rows = rows.with_columns(pl.Series("label", label, dtype=pl.String))
    else:
        counts = ["common", "only_a", "only_b", "kappa", "kappa_low", "kappa_high", "kappa_max"]
        # The interval of a mean over networks is not the mean of the intervals: it is left out.
        rows = rows.group_by("pair").agg(pl.col(counts).mean()).with_columns(
            shown_column("pair").alias("label"),
            pl.lit(None, pl.Float64).alias("kappa_low"),
            pl.lit(None, pl.Float64).alias("kappa_high"),
        )  # fmt: skip
    rank = [f"{pair_rank(pair)[0]:02d}" for pair in rows["pair"]]
    return rows.with_columns(pl.Series("rank", rank, dtype=pl.String)).sort("rank", "label"), by_network


def _shared(rows: pl.DataFrame, order: list[str], height: int) -> Panel:
    columns = {"common": "both wrong", "only_a": "only the first", "only_b": "only the second"}
    long = (
        rows.select("label", *columns)
        .unpivot(index="label", variable_name="part", value_name="images")
        .with_columns(
            pl.col("part").replace_strict(columns, return_dtype=pl.String),
            pl.col("part").replace_strict({name: rank for rank, name in enumerate(columns)}).alias("rank"),
        )
        .with_columns(hover(pl.col("label"), ": ", pl.col("part"), " ", pl.col("images").round(1), " images"))
    )
    panel: alt.Chart = (
        alt.Chart(long)
        .mark_bar(height={"band": 0.72})
        .encode(
            alt.X("images:Q", title="Mistakes on test data (images)").axis(format="~s"),
            alt.Y("label:N", title="Networks (pair)", sort=order).axis(ticks=False, domain=False, labelLimit=170),
            alt.Color("part:N", title=None, scale=alt.Scale(domain=list(_PARTS), range=list(_PARTS.values()))),
            order=alt.Order("rank:Q"),
            description="hover:N",
        )
        .properties(width=300, height=height)
    )
    return panel


def _consistency(rows: pl.DataFrame, order: list[str], height: int) -> list[Panel]:
    known = rows.filter(pl.col("kappa").is_not_null())
    if known.is_empty():
        return []
    low = min(0.0, *(float(value) for value in (known["kappa"], known["kappa_low"]) for value in value.drop_nulls()))
    text = hover(pl.col("label"), ": κ ", pl.col("kappa").round(3), " (", pl.col("kappa_low").round(3), " to ",
                 pl.col("kappa_high").round(3), "), ceiling ", pl.col("kappa_max").round(3))  # fmt: skip
    data = known.with_columns(text).select("label", "kappa", "kappa_low", "kappa_high", "kappa_max", "hover")
    base = alt.Chart(data).encode(
        alt.Y("label:N", title="Networks (pair)", sort=order).axis(ticks=False, domain=False, labelLimit=170)
    )
    x = alt.X("kappa:Q", title="Error consistency κ (1 = same mistakes)").scale(domain=[low, 1.0], nice=False)
    span = base.mark_rule(strokeWidth=2, color="#59636e", aria=False).encode(
        alt.X("kappa_low:Q", title="Error consistency κ (1 = same mistakes)"), alt.X2("kappa_high:Q")
    ).transform_filter("isValid(datum.kappa_low)")  # fmt: skip
    ceiling = base.mark_tick(thickness=2, size=14, color="#1b1f24", aria=False).encode(
        alt.X("kappa_max:Q", title="Error consistency κ (1 = same mistakes)")
    )
    dots = base.mark_circle(size=70, color="#1b1f24", opacity=1).encode(x, description="hover:N")
    zero = alt.Chart(pl.DataFrame({"kappa": [0.0]})).mark_rule(color="#afb8c1", aria=False).encode(x)
    return [alt.layer(zero, span, ceiling, dots).properties(width=300, height=height)]
