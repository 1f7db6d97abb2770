"""Validation metric against learning rate, the chosen rate ringed."""

import polars as pl

from transferscope.analyses.learning_rate.analysis import choose
from transferscope.plots.axes import Axis, tints
from transferscope.plots.panels import Frame
from transferscope.plots.theme import (
    NEUTRAL,
    VARIANTS,
    Figure,
    among,
    hover,
    metric_axis,
    metric_name,
    padded,
    shown_column,
)  # fmt: skip

__all__ = ["figures"]


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``learning_rate``; none where every run diverged."""
    rows = table.with_columns(shown_column("variant"))
    finite = rows.filter(~pl.col("diverged") & pl.col("validation_metric").is_not_null())
    if finite.is_empty():
        return ()
    title, number = metric_axis(metric, "validation")
    domain = padded(finite["validation_metric"], low=0.0, high=1.0)
    x = Axis("learning_rate", "Learning rate (per update, log scale)", ".3~g", kind="log", padding=14, grid=False,
             ticks=sorted(set(rows["learning_rate"])))  # fmt: skip
    colours = tints("variant", among(VARIANTS, rows["variant"]))
    frame = Frame(x, Axis("validation_metric", title, number, domain=domain), colours, width=370, height=220)

    # Where rates were searched in rungs each has a point, and a line, for every length it was trained for.
    mean = rows.group_by("variant", "learning_rate", "epochs", maintain_order=True).agg(
        pl.col("validation_metric").mean()
    )
    rates = pl.DataFrame({"variant": (names := sorted(set(finite["variant"]))),
                          "learning_rate": [choose(rows, name) for name in names]})  # fmt: skip
    longest = mean.filter(pl.col("epochs") == pl.col("epochs").max().over("variant"))
    best = rates.join(longest, on=["variant", "learning_rate"], maintain_order="left")
    ring = hover(pl.col("variant"), ": chosen rate ", pl.col("learning_rate"))
    run = pl.col("variant"), "[", pl.col("seed"), "] at rate ", pl.col("learning_rate"), ": "
    failed = rows.filter("diverged").with_columns(hover(*run, "diverged"), validation_metric=pl.lit(domain[0]))
    points = finite.with_columns(hover(*run, f"{metric_name(metric)} ", pl.col("validation_metric").round(4)))
    told = ", ".join(f"{name}: {rate:.3g}" for name, rate in rates.iter_rows())
    crosses = [("diverged", NEUTRAL["muted"], "cross")] if failed.height else []
    return (
        Figure(
            name="rates",
            title="Search over learning rates",
            caption=f"{metric_name(metric).capitalize()} on validation data after tuning runs. Dots: one run each; "
            "lines: their mean; ring: the rate chosen, the best or the smallest within one standard error of it. "
            "Diverged runs stand as crosses at the foot and are never chosen.",
            description=f"Validation {metric_name(metric)} against learning rate. Chosen rates: {told}.",
            panels=(frame.panel(
                frame.lines(mean.drop_nulls(), by=["epochs"]), frame.dots(points, size=46, opacity=0.9),
                frame.dots(best.with_columns(ring), size=210, strokeWidth=2, filled=False),
                frame.dots(failed, shape="cross", angle=45, size=90, filled=True),
            ),),
            columns=1,
            legend=(*colours.legend("line"), ("chosen rate", NEUTRAL["muted"], "ring"), *crosses),
        ),
    )  # fmt: skip
