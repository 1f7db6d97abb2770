"""Metric and loss against epoch for every seed, and optimisation speed."""

import statistics
from typing import Literal

import altair as alt
import polars as pl

from transferscope.plots.theme import (
    LIMIT,
    VARIANTS,
    Figure,
    Panel,
    charted,
    colour,
    hover,
    metric_axis,
    metric_name,
    padded,
    scale,
    shown_column,
)

__all__ = ["chart", "figures", "speeds"]

_SPIKE = 10
"""How many times the median of all losses the largest is, from which on the axis is logarithmic."""


def speeds(table: pl.DataFrame) -> pl.DataFrame:
    """Optimisation speed of every run: mean clean training metric over the epochs all runs have, epoch 0 left out.

    Args:
        table: in the declared columns of ``learning_curves``.

    Returns:
        ``variant, seed, speed, epochs``; runs that diverged have none and are left out.
    """
    rows = _chosen(table).filter(pl.col("epoch") > 0)
    rows = rows.filter(~pl.col("diverged").any().over("variant", "seed") & pl.col("train_metric").is_not_null())
    if rows.is_empty():
        return pl.DataFrame(schema={"variant": pl.String, "seed": pl.Int64, "speed": pl.Float64, "epochs": pl.Int64})
    common = int(rows.group_by("variant", "seed").agg(pl.col("epoch").max())["epoch"].to_list()[0])
    common = min(common, *(int(last) for last in rows.group_by("variant", "seed").agg(pl.col("epoch").max())["epoch"]))
    return (
        rows.filter(pl.col("epoch") <= common)
        .group_by("variant", "seed")
        .agg(pl.col("train_metric").mean().alias("speed"), pl.len().cast(pl.Int64).alias("epochs"))
        .sort("variant", "seed")
    )


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``learning_curves``; none where no run has a finite value."""
    rows = _chosen(table)
    if rows.filter(pl.col("train_loss").is_not_null() | pl.col("test_loss").is_not_null()).is_empty():
        return ()
    variants = [name for name in VARIANTS if name in set(rows["variant"])]
    diverged = rows.filter(pl.col("diverged")).select("variant", "seed").unique().height
    panels = []
    spike = ""
    for measure in ("metric", "loss"):
        values = [*rows[f"train_{measure}"], *rows[f"test_{measure}"]]
        domain = padded(values, low=0.0, high=1.0 if measure == "metric" else None)
        kind: Literal["log", "linear"] = "linear"
        if measure == "loss" and _spikes(values):
            known = [value for value in values if value is not None]
            kind, domain = "log", [min(known) / 1.2, 1.2 * max(known)]
            spike = (
                f" The axes of the loss are logarithmic: it rises to {max(known):.3g}, beside which the others could "
                "not be told apart."
            )
        panels += [_panel(rows, split, measure, metric, variants, (kind, domain)) for split in ("train", "test")]
    legend = [(name, colour(name), "line") for name in variants]
    if diverged:
        legend.append(("diverged", "#59636e", "cross"))
    curves = Figure(
        name="curves",
        title="Learning curves",
        caption=(
            "Each variant at its chosen learning rate, evaluated without augmentation after every epoch; epoch 0 is "
            "before training. Thin lines: single seeds; thick lines: their mean; crosses: last epoch before a run "
            f"diverged. Test values are shown, never used to choose anything.{spike}"
        ),
        description=f"{metric_name(metric)} and loss against epoch, training and test data, for {', '.join(variants)}.",
        panels=tuple(panels),
        legend=tuple(legend),
    )
    speed = _speed(speeds(table), metric, variants)
    return (curves, speed) if speed else (curves,)


chart = charted(figures)
"""The learning curves of the table of ``learning_curves``: train and test, metric and loss."""


def _chosen(table: pl.DataFrame) -> pl.DataFrame:
    rows = table.with_columns(shown_column("variant"))
    return rows.filter(pl.col("setting") == "chosen") if "setting" in rows.columns else rows


def _spikes(losses: list[float | None]) -> bool:
    """Whether a few losses are so large that the others would lie on one line; all positive, for a logarithm."""
    known = [value for value in losses if value is not None]
    return bool(known) and min(known) > 0 and max(known) > _SPIKE * statistics.median(known)


def _panel(
    rows: pl.DataFrame,
    split: str,
    measure: str,
    metric: str,
    variants: list[str],
    axis: tuple[Literal["log", "linear"], list[float]],
) -> Panel:
    kind, domain = axis
    column = f"{split}_{measure}"
    if measure == "metric":
        title, number = metric_axis(metric, split)
    else:
        title, number = f"{split.capitalize()} loss (nats)", "~g"
    runs = rows.select("variant", "seed", "epoch", "diverged", value=pl.col(column)).drop_nulls("value")
    every = 1 + runs.height // LIMIT  # a picture holds no more rows; the table keeps them all
    runs = runs.filter(
        (pl.col("epoch") % every == 0) | (pl.col("epoch") == pl.col("epoch").max().over("variant", "seed"))
    )
    runs = runs.with_columns(pl.format("{}[{}]", "variant", "seed").alias("run"))
    mean = runs.group_by("variant", "epoch").agg(pl.col("value").mean(), pl.len().alias("runs"))
    # A mean over the seeds that are left would jump where one ends: it is drawn while all are there.
    mean = mean.filter(pl.col("runs") == pl.col("runs").max().over("variant")).sort("variant", "epoch")
    broken = rows.filter(pl.col("diverged")).select("variant", "seed").unique()
    ends = runs.join(broken, on=["variant", "seed"], how="semi").filter(
        pl.col("epoch") == pl.col("epoch").max().over("variant", "seed")
    )

    x = alt.X("epoch:Q", title="Epoch (passes over the training images)")
    x = x.axis(grid=False, tickMinStep=1, format="d").scale(nice=False, padding=6)
    y = alt.Y("value:Q", title=title + (", log scale" if kind == "log" else ""))
    y = y.scale(type=kind, domain=domain, nice=False).axis(format=number, minExtent=38)
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    spoken = alt.Description("hover:N")
    thin = alt.Chart(runs).mark_line(strokeWidth=1, opacity=0.4, aria=False).encode(x, y, tint, detail="run:N")
    thick = alt.Chart(mean).mark_line(strokeWidth=2.4, aria=False).encode(x, y, tint)
    words = hover(pl.col("variant"), ", epoch ", pl.col("epoch"), ": mean of ", pl.col("runs"), " seeds ",
                  pl.col("value").round(4))  # fmt: skip
    targets = (
        alt.Chart(mean.with_columns(words))
        .mark_circle(size=70, opacity=0)
        .encode(x, y, tint, description=spoken)
    )  # fmt: skip
    layers = [thin, thick, targets]
    if not ends.is_empty():
        text = hover(pl.col("run"), " diverged after epoch ", pl.col("epoch"))
        layers.append(
            alt.Chart(ends.with_columns(text))
            .mark_point(shape="cross", angle=45, size=90, filled=True)
            .encode(x, y, tint, description=spoken)
        )
    return alt.layer(*layers).properties(width=350, height=200)


def _speed(speed: pl.DataFrame, metric: str, variants: list[str]) -> Figure | None:
    if speed.is_empty():
        return None
    title, number = metric_axis(metric, "mean training")
    epochs = int(speed["epochs"].max())  # type: ignore[arg-type]  # an Int64 column without nulls
    mean = speed.group_by("variant").agg(pl.col("speed").mean(), pl.len().alias("runs"))
    order = [name for name in variants if name in set(speed["variant"])]
    domain = padded(speed["speed"].to_list(), low=0.0, high=1.0)
    x = (
        alt.X("speed:Q", title=f"{title} over epochs 1 to {epochs}")
        .scale(domain=domain, nice=False)
        .axis(format=number)
    )
    y = alt.Y("variant:N", title="Variant (name)", sort=order).axis(ticks=False, domain=False, grid=True, minExtent=38)
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    words = hover(pl.col("variant"), "[", pl.col("seed"), "]: optimisation speed ", pl.col("speed").round(4))
    dots = (
        alt.Chart(speed.with_columns(words))
        .mark_circle(size=60, opacity=0.85)
        .encode(x, y, tint, description="hover:N")
    )  # fmt: skip
    told = hover(pl.col("variant"), ": mean of ", pl.col("runs"), " seeds ", pl.col("speed").round(4))
    ticks = (
        alt.Chart(mean.with_columns(told))
        .mark_tick(thickness=2.5, size=22)
        .encode(x, y, tint, description="hover:N")
    )  # fmt: skip
    told_alt = ", ".join(f"{row['variant']} {row['speed']:.3f}" for row in mean.sort("variant").to_dicts())
    return Figure(
        name="speed",
        title="Optimisation speed",
        caption=(
            f"Area under the training curve: the {metric_name(metric)} on training images, averaged over epochs 1 to "
            f"{epochs}. Dots: seeds; ticks: their mean. Further right is faster."
        ),
        description=f"Optimisation speed, mean over seeds: {told_alt}.",
        panels=(alt.layer(ticks, dots).properties(width=350, height=34 * len(order) + 10),),
        columns=1,
        legend=(("one seed", "#59636e", "point"), ("mean", "#59636e", "tick")),
    )
