"""What networks from each checkpoint end with, and how far they are from the last one's."""

import polars as pl

from transferscope.plots.axes import Axis, Tints
from transferscope.plots.panels import Frame, facets, line_panel, present
from transferscope.plots.theme import OTHERS, Figure, Panel, hover, metric_axis, metric_name, padded

__all__ = ["figures"]

_OUTCOMES = {"metric": "final test", "speed": "mean training"}
_FROZEN = {"pretraining": "on its own task (validation)", "linear_probe": "linear probe (validation)",
           "nearest_neighbours": "k-NN (validation)", "logme": "LogME (nat per example)", "h_score": "H-score (1)",
           "leep": "LEEP (nat)", "nce": "NCE (nat)"}  # fmt: skip
_METRICS = {"pretraining": "top1", "linear_probe": None, "nearest_neighbours": None}
"""Of those that are a metric which one; None for that of the study."""


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``checkpoint``: outcomes, barriers and frozen checkpoints against the epoch."""
    rows = table.with_columns(pl.format("pre-training {}", "pretraining").alias("pretraining")).filter(
        pl.col("value").is_not_null()
    )
    runs = rows["pretraining"].unique(maintain_order=True).to_list()
    tints = Tints("pretraining", dict(zip(runs, OTHERS * (1 + len(runs) // len(OTHERS)), strict=False)))
    means = rows.filter((pl.col("level") == "checkpoint") & (pl.col("split") != "validation"))
    barriers = rows.filter((pl.col("level") == "barrier") & (pl.col("split") == "test"))
    frozen = rows.filter(
        (pl.col("level") == "score") | ((pl.col("level") == "pretraining") & (pl.col("split") == "validation"))
    ).with_columns(pl.when(pl.col("level") == "score").then("quantity").otherwise("level").alias("quantity"))
    return present(_outcomes(means, tints, metric), _barriers(barriers, tints), _frozen(frozen, tints, metric))


def _epochs(rows: pl.DataFrame) -> Axis:
    ticks = sorted(rows["epoch"].unique().to_list())
    return Axis("epoch", "Epoch of the pre-training (count)", "d", ticks=ticks, padding=12, grid=False)


def _text() -> pl.Expr:
    limits = [pl.col(name).round(4) for name in ("low", "high")]
    return hover("epoch ", pl.col("epoch"), ": ", pl.col("value").round(4), " (", limits[0], " to ", limits[1], ")")


def _outcomes(rows: pl.DataFrame, tints: Tints, metric: str) -> Figure:
    final = rows.filter(pl.col("quantity") == "metric")
    told = ", ".join(f"{epoch} {value:.3f}" for epoch, value in final.select("epoch", "value").iter_rows())

    def panel(part: pl.DataFrame, quantity: str) -> Panel:
        title, number = metric_axis(metric, _OUTCOMES[quantity])
        reach = padded([*part["value"], *part["low"].drop_nulls(), *part["high"].drop_nulls()], low=0.0, high=1.0)
        frame = Frame(_epochs(part), Axis("value", title, number, domain=reach), tints, width=280, height=220)
        return line_panel(frame, part.sort("epoch").with_columns(_text()), size=52)

    return Figure(
        name="outcomes",
        title="Fine-tuned from each checkpoint",
        caption=f"Final test {metric_name(metric)} and optimisation speed (clean training metric, averaged over the "
        "epochs from 1) against the epoch of the pre-training; 0 is its random start. Means over seeds, bars: 95 % "
        "intervals (two seeds: their range). Pre-trainings go by their seeds.",
        description=f"Final test {metric_name(metric)} by epoch of the pre-training: {told}.",
        panels=facets(rows, "quantity", _OUTCOMES, panel),
        legend=tints.legend("line"),
    )


def _barriers(rows: pl.DataFrame, tints: Tints) -> Figure:
    reach = padded([0.0, 0.02, *rows["value"], *rows["high"].drop_nulls()], low=0.0)
    frame = Frame(
        _epochs(rows), Axis("value", "Test error barrier (share)", ".0%", domain=reach), tints, width=280, height=220
    )
    told = ", ".join(f"{epoch} {value:.3f}" for epoch, value in rows.select("epoch", "value").iter_rows())
    data = rows.sort("epoch").with_columns(_text())
    marks = (frame.rule(0.02), frame.lines(_means(data)), frame.dots(data, size=30))
    return Figure(
        name="barriers",
        title="Barrier to the network from the last checkpoint",
        caption="Test error on the line between two fine-tuned networks of one seed, one from this checkpoint and one "
        "from the last, at its largest above the mean of both. Dots: seeds; lines: their mean; dashed: two points.",
        description=f"Error barriers by epoch of the pre-training: {told}.",
        panels=() if rows.is_empty() else (frame.panel(*marks),),
        legend=tints.legend("line"),
    )


def _means(rows: pl.DataFrame) -> pl.DataFrame:
    """The mean over seeds at each epoch of each pre-training."""
    return rows.group_by("pretraining", "epoch", maintain_order=True).agg(pl.col("value").mean())


def _frozen(rows: pl.DataFrame, tints: Tints, metric: str) -> Figure:
    def panel(part: pl.DataFrame, quantity: str) -> Panel:
        title, number = _FROZEN[quantity], ".2f"
        if quantity in _METRICS:
            title, number = metric_axis(_METRICS[quantity] or metric, _FROZEN[quantity])
        frame = Frame(
            _epochs(part), Axis("value", title, number, domain=padded(part["value"])), tints, width=280, height=200
        )
        return line_panel(frame, part.sort("epoch").drop("low", "high").with_columns(
            hover("epoch ", pl.col("epoch"), ": ", pl.col("value").round(4))), size=40)  # fmt: skip

    probes = rows.filter(pl.col("quantity") == "linear_probe")
    told = ", ".join(f"{epoch} {value:.3f}" for epoch, value in probes.select("epoch", "value").iter_rows())
    return Figure(
        name="frozen",
        title="Checkpoints without fine-tuning",
        caption="How good each checkpoint is at its own task, and what a linear probe and nearest neighbours read off "
        "its frozen features on the target (fitted on training images, judged on validation images). LogME, H-score, "
        "LEEP and NCE are computed on training images.",
        description=f"Linear probe by epoch of the pre-training: {told}.",
        panels=facets(rows, "quantity", _FROZEN, panel),
        columns=3,
        legend=tints.legend("line"),
    )
