"""Validation metric against learning rate, the chosen rate ringed."""

import altair as alt
import polars as pl

from transferscope.plots.theme import (
    VARIANTS,
    Figure,
    charted,
    colour,
    hover,
    metric_axis,
    metric_name,
    padded,
    scale,
    shown_column,
)

__all__ = ["chart", "chosen", "figures"]


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``learning_rate``; none where every run diverged."""
    rows = table.with_columns(shown_column("variant"))
    finite = rows.filter(~pl.col("diverged") & pl.col("validation_metric").is_not_null())
    if finite.is_empty():
        return ()
    title, number = metric_axis(metric, "validation")
    variants = [name for name in VARIANTS if name in set(rows["variant"])]
    mean = (
        rows.group_by("variant", "learning_rate")
        .agg(
            pl.col("validation_metric", "validation_loss").mean(),
            pl.col("diverged").any(),
            pl.len().alias("runs"),
        )
        .filter(pl.col("validation_metric").is_not_null())
        .sort("variant", "learning_rate")
    )
    best = chosen(rows)
    domain = padded(finite["validation_metric"].to_list(), low=0.0, high=1.0)
    failed = rows.filter(pl.col("diverged")).with_columns(pl.lit(domain[0]).alias("validation_metric"))

    x = alt.X("learning_rate:Q", title="Learning rate (per update, log scale)").scale(
        type="log", nice=False, padding=14
    )
    x = x.axis(format=".3~g", values=sorted(set(rows["learning_rate"])), grid=False, labelOverlap="greedy")
    y = alt.Y("validation_metric:Q", title=title).scale(domain=domain, nice=False).axis(format=number, minExtent=38)
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    spoken = alt.Description("hover:N")

    lines = alt.Chart(mean).mark_line(strokeWidth=2, aria=False).encode(x, y, tint)
    points = (
        alt.Chart(finite.with_columns(_words(metric)))
        .mark_circle(size=46, opacity=0.9)
        .encode(x, y, tint, description=spoken)
    )
    ring = (
        alt.Chart(best.with_columns(hover(pl.col("variant"), ": chosen rate ", pl.col("learning_rate"))))
        .mark_point(size=210, strokeWidth=2, filled=False)
        .encode(x, y, tint, description=spoken)
    )
    layers = [lines, points, ring]
    if not failed.is_empty():
        text = hover(pl.col("variant"), "[", pl.col("seed"), "] at rate ", pl.col("learning_rate"), ": diverged")
        layers.append(
            alt.Chart(failed.with_columns(text))
            .mark_point(shape="cross", angle=45, size=90, filled=True)
            .encode(x, y, tint, description=spoken)
        )
    panel = alt.layer(*layers).properties(width=370, height=220)
    told = ", ".join(f"{row['variant']}: {row['learning_rate']:.3g}" for row in best.to_dicts())
    legend = [(name, colour(name), "line") for name in variants] + [("chosen rate", "#59636e", "ring")]
    if not failed.is_empty():
        legend.append(("diverged", "#59636e", "cross"))
    return (
        Figure(
            name="rates",
            title="Search over learning rates",
            caption=(
                f"{metric_name(metric).capitalize()} on validation data after tuning runs. Dots: one run each; lines: "
                "their mean; ring: the rate chosen, the best or the smallest within one standard error of it. Diverged "
                "runs stand as crosses at the foot and are never chosen."
            ),
            description=f"Validation {metric_name(metric)} against learning rate. Chosen rates: {told}.",
            panels=(panel,),
            columns=1,
            legend=tuple(legend),
        ),
    )


chart = charted(figures)
"""The picture of the table of ``learning_rate``: one line per variant, a point per tuning seed."""


def chosen(table: pl.DataFrame) -> pl.DataFrame:
    """The rate each variant is given, by the rule of the analysis.

    Best is the highest mean validation metric over the tuning seeds; a rate at which any seed diverged comes last; ties
    go to the lower loss, then to the lower rate. Where the table gives standard errors, the smallest rate within one
    of the best is taken.

    Args:
        table: in the declared columns of the analysis.

    Returns:
        ``variant, learning_rate, validation_metric``, one row per variant with a finite run.
    """
    runs = pl.col("validation_metric").count()
    means = table.group_by("variant", "learning_rate").agg(
        pl.col("validation_metric", "validation_loss").mean().round(12),
        pl.col("diverged").any(),
        square=pl.col("validation_error").mean() ** 2 + pl.col("validation_metric").var().fill_null(0) / runs,
    )
    means = means.with_columns(lowest=pl.col("learning_rate").min().over("variant"))
    ranked = means.filter(pl.col("validation_metric").is_not_null()).sort(
        ["diverged", "validation_metric", "validation_loss", "learning_rate"],
        descending=[False, True, False, False],
        nulls_last=True,
    )
    metric, square, rate, lost = (
        pl.col(name).first().over("variant") for name in ("validation_metric", "square", "learning_rate", "diverged")
    )
    within = ~pl.col("diverged") & (pl.col("validation_metric") >= metric - square.sqrt()).fill_null(False)
    taken = pl.when(lost).then(pl.col("learning_rate") == pl.col("lowest")).otherwise(
        within | (pl.col("learning_rate") == rate)
    )  # fmt: skip
    as_good = ranked.filter(taken)
    first = as_good.sort("variant", "learning_rate").group_by("variant", maintain_order=True).first()
    return first.select("variant", "learning_rate", "validation_metric")


def _words(metric: str) -> pl.Expr:
    return hover(
        pl.col("variant"), "[", pl.col("seed"), "] at rate ", pl.col("learning_rate"),
        f": {metric_name(metric)} ", pl.col("validation_metric").round(4),
    )  # fmt: skip
