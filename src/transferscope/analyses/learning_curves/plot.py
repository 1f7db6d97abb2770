"""Metric and loss against epoch for every seed, and optimisation speed."""

import statistics

import polars as pl

from transferscope.plots.axes import EPOCHS, Axis, Names, Tints, tints
from transferscope.plots.panels import Frame, listed, present
from transferscope.plots.theme import (
    LIMIT,
    NEUTRAL,
    VARIANTS,
    Figure,
    Panel,
    among,
    hover,
    metric_axis,
    metric_name,
    padded,
    shown_column,
)  # fmt: skip

__all__ = ["figures", "speeds"]

_SPIKE = 10
"""How many times the median of all losses the largest is, from which on the axis is logarithmic."""
_RUN = ("variant", "seed")


def speeds(table: pl.DataFrame) -> pl.DataFrame:
    """Optimisation speed of every run: mean clean training metric over the epochs all runs have, epoch 0 left out.

    Args:
        table: in the declared columns of ``learning_curves``.

    Returns:
        ``variant, seed, speed, epochs``; runs that diverged have none and are left out.
    """
    rows = _chosen(table).filter((pl.col("epoch") > 0) & ~pl.col("diverged").any().over(_RUN))
    rows = rows.filter(pl.col("train_metric").is_not_null())
    common = pl.col("epoch").max().over(_RUN).min()
    runs = rows.filter(pl.col("epoch") <= common).group_by(_RUN, maintain_order=True)
    return runs.agg(speed=pl.col("train_metric").mean(), epochs=pl.len().cast(pl.Int64)).sort(_RUN)


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``learning_curves``; none where no run has a finite value."""
    rows = _chosen(table)
    if rows.filter(pl.col("train_loss").is_not_null() | pl.col("test_loss").is_not_null()).is_empty():
        return ()
    colours = tints("variant", among(VARIANTS, rows["variant"]))
    return present(_curves(rows, metric, colours), _speed(speeds(table), metric, colours))


def _curves(rows: pl.DataFrame, metric: str, colours: Tints) -> Figure:
    metrics, losses = (
        [value for split in ("train", "test") for value in rows[f"{split}_{measure}"].drop_nulls()]
        for measure in ("metric", "loss")
    )
    # A few losses so large that the others would lie on one line; all positive, for a logarithm.
    spikes = bool(losses) and min(losses) > 0 and max(losses) > _SPIKE * statistics.median(losses)
    accuracy, loss = [], []
    for split in ("train", "test"):
        title, number = metric_axis(metric, split)
        accuracy.append(Axis(f"{split}_metric", title, number, domain=padded(metrics, low=0.0, high=1.0)))
        loss.append(
            Axis(f"{split}_loss", f"{split.capitalize()} loss (nats), log scale", "~g", kind="log",
                 domain=[min(losses) / 1.2, 1.2 * max(losses)])
            if spikes else
            Axis(f"{split}_loss", f"{split.capitalize()} loss (nats)", "~g", domain=padded(losses, low=0.0))
        )  # fmt: skip
    spike = (
        f" The axes of the loss are logarithmic: it rises to {max(losses):.3g}, beside which the others could "
        "not be told apart."
    ) if spikes else ""  # fmt: skip
    return Figure(
        name="curves",
        title="Learning curves",
        caption="Each variant at its chosen learning rate, evaluated without augmentation after every epoch; epoch 0 "
        "is before training. Thin lines: single seeds; thick lines: their mean; crosses: last epoch before a run "
        f"diverged. Test values are shown, never used to choose anything.{spike}",
        description=f"{metric_name(metric)} and loss against epoch, training and test data, for "
        f"{', '.join(colours.colours)}.",
        panels=tuple(_panel(rows, axis, colours) for axis in (*accuracy, *loss)),
        legend=(
            *colours.legend("line"), *([("diverged", NEUTRAL["muted"], "cross")] if rows["diverged"].any() else []),
        ),
    )  # fmt: skip


def _chosen(table: pl.DataFrame) -> pl.DataFrame:
    rows = table.with_columns(shown_column("variant"))
    return rows.filter(pl.col("setting") == "chosen") if "setting" in rows.columns else rows


def _panel(rows: pl.DataFrame, y: Axis, colours: Tints) -> Panel:
    runs = rows.drop_nulls(y.column)
    every = 1 + runs.height // LIMIT  # a picture holds no more rows; the table keeps them all
    last = pl.col("epoch") == pl.col("epoch").max().over(_RUN)
    ends = runs.filter(last).join(rows.filter("diverged"), on=_RUN, how="semi")
    runs = runs.filter((pl.col("epoch") % every == 0) | last)
    # A mean over the seeds that are left would jump where one ends: it is drawn while all are there.
    mean = runs.group_by("variant", "epoch", maintain_order=True).agg(pl.col(y.column).mean(), runs=pl.len())
    mean = mean.filter(pl.col("runs") == pl.col("runs").max().over("variant")).sort("variant", "epoch")
    words = hover(pl.col("variant"), ", epoch ", pl.col("epoch"), ": mean of ", pl.col("runs"), " seeds ",
                  pl.col(y.column).round(4))  # fmt: skip
    text = hover(pl.col("variant"), "[", pl.col("seed"), "] diverged after epoch ", pl.col("epoch"))
    frame = Frame(EPOCHS, y, colours)
    return frame.panel(
        frame.lines(runs, by=["seed"], width=1, opacity=0.4), frame.lines(mean, width=2.4),
        frame.dots(mean.with_columns(words), size=70, opacity=0),
        frame.dots(ends.with_columns(text), shape="cross", angle=45, size=90, filled=True),
    )  # fmt: skip


def _speed(speed: pl.DataFrame, metric: str, colours: Tints) -> Figure | None:
    if speed.is_empty():
        return None
    title, number = metric_axis(metric, "mean training")
    epochs = max(speed["epochs"])
    order = among(colours.colours, speed["variant"])
    x = Axis("speed", f"{title} over epochs 1 to {epochs}", number, domain=padded(speed["speed"], low=0.0, high=1.0))
    frame = Frame(x, Names("variant", "Variant (name)", order), colours, height=34 * len(order) + 10)
    mean = speed.group_by("variant", maintain_order=True).agg(pl.col("speed").mean(), runs=pl.len()).with_columns(
        hover(pl.col("variant"), ": mean of ", pl.col("runs"), " seeds ", pl.col("speed").round(4))
    )  # fmt: skip
    text = hover(pl.col("variant"), "[", pl.col("seed"), "]: optimisation speed ", pl.col("speed").round(4))
    return Figure(
        name="speed",
        title="Optimisation speed",
        caption=f"Area under the training curve: the {metric_name(metric)} on training images, averaged over epochs 1 "
        f"to {epochs}. Dots: seeds; ticks: their mean. Further right is faster.",
        description=f"Optimisation speed, mean over seeds: {listed(speed, 'variant', 'speed', '.3f')}.",
        panels=(frame.panel(frame.ticks(mean, size=22), frame.dots(speed.with_columns(text), size=60, opacity=0.85)),),
        columns=1,
        legend=(("one seed", NEUTRAL["muted"], "point"), ("mean", NEUTRAL["muted"], "tick")),
    )
