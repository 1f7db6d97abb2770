"""Arms against the length of their trainings, and what the proof found."""

from itertools import cycle

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, dot_panel, interval_text, present, values_text
from transferscope.plots.theme import OTHERS, Figure, metric_axis, metric_name, padded

__all__ = ["figures"]

_ARM = pl.format("{} {} at {}", "candidate", "start", pl.col("learning_rate"))


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``start``; none where every run diverged."""
    named = table.with_columns(arm=_ARM, network=pl.format("{}, {}", "candidate", "start")).filter(
        pl.col("value").is_not_null() & (pl.col("quantity") == "metric")
    )
    runs = named.filter(pl.col("level") == "run")
    if runs.is_empty():
        return ()
    return present(_rungs(runs, metric), _proof(named.filter(pl.col("level") == "arm"), metric))


def _rungs(runs: pl.DataFrame, metric: str) -> Figure:
    keys = ("network", "arm", "learning_rate", "epochs")
    mean = runs.group_by(*keys, maintain_order=True).agg(pl.col("value").mean())
    networks = mean["network"].unique(maintain_order=True).to_list()
    colours = Tints("network", dict(zip(networks, cycle(OTHERS), strict=False)))
    title, number = metric_axis(metric, "validation")
    y = Axis("value", title, number, domain=padded(mean["value"], low=0.0, high=1.0))
    x = Axis("epochs", "Epochs of a training (log scale)", "d", kind="log", padding=14, grid=False,
             ticks=sorted(set(mean["epochs"])))  # fmt: skip
    frame = Frame(x, y, colours, width=350, height=240)
    told = mean.with_columns(values_text(pl.col("arm"), ", ", pl.col("epochs"), " epochs"))
    last = mean.filter(pl.col("epochs") == pl.col("epochs").max()).sort("value", descending=True)
    return Figure(
        name="rungs",
        title="The search, rung by rung",
        caption=f"{metric_name(metric).capitalize()} on validation data of every arm (a network, its start, a rate) "
        "after trainings of so many epochs, mean over tuning seeds. A line that ends was dropped there.",
        description=f"Validation {metric_name(metric)} of {mean['arm'].n_unique()} arms by epochs; of the longest "
        f"trainings {last['arm'][0]} is best, {last['value'][0]:.3f}.",
        panels=(frame.panel(frame.lines(mean, by=("arm",)), frame.dots(told)),),
        columns=1,
        legend=colours.legend("line"),
    )


def _proof(arms: pl.DataFrame, metric: str) -> Figure | None:
    test = arms.filter(pl.col("split") == "test").sort("value", descending=True)
    if test.is_empty():
        return None
    shown = test.with_columns(
        low=pl.col("value") - 1.96 * pl.col("error"), high=pl.col("value") + 1.96 * pl.col("error")
    )
    title, number = metric_axis(metric, "test")
    names = shown["arm"].to_list()
    x, y = Axis("value", title, number, zero=False), Names("arm", "Arm (network, start, rate)", names)
    frame = Frame(x, y, width=270, height=max(60, 26 * len(names)))
    return Figure(
        name="proof",
        title="The proof",
        caption=f"{metric_name(metric).capitalize()} on test data of the arms that were trained with the report seeds, "
        "mean over seeds; bars: 1.96 standard errors, over images and seeds.",
        description=f"Test {metric_name(metric)} of {len(names)} arms; {names[0]} is best, {shown['value'][0]:.3f}.",
        panels=(dot_panel(frame, shown.with_columns(interval_text(pl.col("arm")))),),
        columns=1,
    )
