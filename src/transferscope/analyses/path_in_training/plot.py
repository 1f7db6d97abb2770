"""Barriers between checkpoints against epoch, and the way from the start to each epoch."""

from dataclasses import replace

import polars as pl

from transferscope.plots.axes import EPOCHS, Axis, Ramp, Steps, Tints, tints
from transferscope.plots.panels import Frame, facets, faint, heat_map, interval_text, present
from transferscope.plots.paths import CONNECTED, TWO_POINTS, note
from transferscope.plots.theme import LIMIT, Figure, Panel, among, hover, shown_column

__all__ = ["figures"]

_PANELS = {
    ("across", "error", "mean"): "Between two runs: error barrier (%)",
    ("end", "error", "mean"): "To the end: error barrier (%)",
    ("across", "loss", "mean"): "Between two runs: loss barrier (nats)",
    ("end", "error", "linear"): "To the end: error above the straight line (%)",
}
_LINES = {"across": "between two runs", "end": "to its end"}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``path_in_training``; none where no line was measured."""
    test = table.filter(pl.col("split") == "test").with_columns(shown_column("variant"))
    barrier, start = pl.col("level") == "barrier", pl.col("line") == "start"
    points = test.filter((pl.col("level") == "point") & start & pl.col("loss").is_not_null())
    return present(_barriers(test.filter(barrier & ~start & pl.col("barrier").is_not_null())), _ways(points))


def _barriers(rows: pl.DataFrame) -> Figure:
    colours = tints("variant", among(("P-T", "RI-T"), rows["variant"]))
    told = []
    errors = rows.filter((pl.col("quantity") == "error") & (pl.col("baseline") == "mean"))
    for (line, variant), part in errors.group_by(["line", "variant"], maintain_order=True):
        means = part.group_by("epoch", maintain_order=True).agg(pl.col("barrier").mean()).sort("epoch")
        by_epoch = ", ".join(f"{epoch}: {100 * value:.1f}" for epoch, value in means.iter_rows())
        told.append(f"{variant} {_LINES[str(line)]}, points by epoch {by_epoch}")
    parts = {
        key: rows.filter((pl.col("line") == key[0]) & (pl.col("quantity") == key[1]) & (pl.col("baseline") == key[2]))
        for key in _PANELS
    }
    return Figure(
        name="barriers",
        title="Barriers by epoch",
        caption="Barriers on test images over the mean of the ends, and to the end also over the straight line "
        "between the ends (a hill, apart from the difference of the ends); one line for each pair of runs or each "
        "run; bands: 95 % limits over images, for these networks. Dashed: the 2 points below which a barrier "
        f"counts as none.{note(rows)} Early networks have little to lose: small barriers mean little there.",
        description="; ".join(told) + ".",
        panels=tuple(
            _lines(part, _PANELS[key], colours, error=key[1] == "error") for key, part in parts.items() if part.height
        ),
        legend=(*colours.legend("line"), TWO_POINTS),
    )


def _lines(rows: pl.DataFrame, title: str, colours: Tints, *, error: bool) -> Panel:
    runs = rows.select("a", "b").unique(maintain_order=True).head(max(1, LIMIT // max(1, rows["epoch"].n_unique())))
    data = rows.join(runs, on=["a", "b"], maintain_order="left").with_columns(value="barrier").sort("a", "b", "epoch")
    text = interval_text(pl.col("a"), " · ", pl.col("b"), ", epoch ", pl.col("epoch"), digits=3)
    y = Axis("value", title, ".1%" if error else "~g", zero=True)
    frame = Frame(replace(EPOCHS, title="Epoch (count)"), y, colours)
    by, opacity = ["a", "b"], faint(runs.height / len(colours.colours))
    return frame.panel(
        frame.band(data, by=by, opacity=opacity), frame.rule(*([CONNECTED] if error else [])),
        frame.lines(data, by=by, width=1.6), frame.dots(data.with_columns(text), size=28),
    )  # fmt: skip


def _ways(points: pl.DataFrame) -> Figure | None:
    if points.is_empty():
        return None
    means = (
        points.group_by("pair", "epoch", "alpha", maintain_order=True)
        .agg(pl.col("loss", "loss_change").mean())
        .sort("epoch", "alpha")
    )
    low, high = min(means["loss"]), max(means["loss"])
    ramp = Ramp("loss", "loss", low, high if high > low else low + 1.0)
    data = means.with_columns(
        hover(pl.col("pair"), ", epoch ", pl.col("epoch"), ", α ", pl.col("alpha").round(3), ": loss ",
              pl.col("loss").round_sig_figs(3), ", from the start ", pl.col("loss_change").round_sig_figs(3)),
        pl.col("alpha").round(3),
    )  # fmt: skip
    across = Steps("alpha", "Position α (0 = the start, 1 = the epoch)")
    return Figure(
        name="from-start",
        title="The way from the start to each epoch",
        caption="Loss on test images along the straight line from the start (P or RI, with the run's head) to each "
        "epoch, averaged over runs. A row that gets lighter all the way goes down without a climb. One colour "
        "scale.",
        description=f"Heat maps of loss, epochs by α, from {ramp.low:.3g} to {ramp.high:.3g} nats.",
        panels=facets(data, "pair", sorted(set(data["pair"])), lambda part, pair: heat_map(
            part, across, Steps("epoch", "Epoch (count)"), ramp, title=pair, width=300,
            height=max(90, 22 * part["epoch"].n_unique()),
        )),
        ramp=ramp.legend(f"{ramp.low:.3g} nats", f"{ramp.high:.3g} nats"),
    )  # fmt: skip
