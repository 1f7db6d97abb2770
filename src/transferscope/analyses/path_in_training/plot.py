"""Barriers between checkpoints against epoch, and the way from the start to each epoch."""

import altair as alt
import polars as pl

from transferscope.plots.heat import RAMP, heat_map, steps_across
from transferscope.plots.paths import TWO_POINTS, faint, two_points
from transferscope.plots.theme import LIMIT, Figure, Panel, charted, colour, hover, scale, shown_column

__all__ = ["chart", "figures"]

_PANELS = {
    ("across", "error", "mean"): "Between two runs: error barrier (%)",
    ("end", "error", "mean"): "To the end: error barrier (%)",
    ("across", "loss", "mean"): "Between two runs: loss barrier (nats)",
    ("end", "error", "linear"): "To the end: error above the straight line (%)",
}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``path_in_training``; none where no line was measured."""
    test = table.filter(pl.col("split") == "test").with_columns(shown_column("variant"))
    return (*_barriers(test), *_ways(test))


chart = charted(figures)
"""The picture of the table of ``path_in_training``: barriers by epoch."""


def _barriers(test: pl.DataFrame) -> tuple[Figure, ...]:
    rows = test.filter((pl.col("level") == "barrier") & (pl.col("line") != "start") & pl.col("barrier").is_not_null())
    if rows.is_empty():
        return ()
    variants = [name for name in ("P-T", "RI-T") if name in set(rows["variant"])]
    said = []
    errors = rows.filter((pl.col("quantity") == "error") & (pl.col("baseline") == "mean"))
    for (line, variant), of in errors.group_by(["line", "variant"], maintain_order=True):
        means = of.group_by("epoch").agg(pl.col("barrier").mean()).sort("epoch")
        listed = ", ".join(f"{epoch}: {100 * value:.1f}" for epoch, value in means.iter_rows())
        said.append(f"{variant} {'between two runs' if line == 'across' else 'to its end'}, points by epoch {listed}")
    policy = ", ".join(sorted(set(rows["batch_norm"])))
    return (
        Figure(
            name="barriers",
            title="Barriers by epoch",
            caption="Barriers on test images over the mean of the ends, and to the end also over the straight line "
            "between the ends (a hill, apart from the difference of the ends); one line for each pair of runs or each "
            "run; bands: 95 % limits over images, for these networks. Dashed: the 2 points below which a barrier "
            f"counts as none. Batch norm: {policy}. Early networks have little to lose: small barriers mean little "
            "there.",
            description="; ".join(said) + ".",
            panels=tuple(
                _lines(of, quantity, title, variants)
                for (line, quantity, baseline), title in _PANELS.items()
                for of in [
                    rows.filter(
                        (pl.col("line") == line) & (pl.col("quantity") == quantity) & (pl.col("baseline") == baseline)
                    )
                ]
                if not of.is_empty()
            ),
            legend=(*((name, colour(name), "line") for name in variants), TWO_POINTS),
        ),
    )


def _lines(data: pl.DataFrame, quantity: str, title: str, variants: list[str]) -> Panel:
    runs = data.select("a", "b").unique(maintain_order=True)
    most = max(1, LIMIT // max(1, data["epoch"].n_unique()))
    data = data.join(runs.head(most), on=["a", "b"], maintain_order="left")
    low, high = pl.col("low").round_sig_figs(3), pl.col("high").round_sig_figs(3)
    text = hover(
        pl.col("a"), " · ", pl.col("b"), ", epoch ", pl.col("epoch"), ": ", pl.col("barrier").round_sig_figs(3),
        " (", low, " to ", high, ")",
    )  # fmt: skip
    data = data.with_columns(text, run=pl.concat_str("a", pl.lit("·"), "b"))
    data = data.select("variant", "run", "epoch", "barrier", "low", "high", "hover").sort("run", "epoch")
    x = alt.X("epoch:Q", title="Epoch (count)").axis(tickMinStep=1)
    number = ".1%" if quantity == "error" else "~g"
    y, bottom = (
        alt.Y(f"{end}:Q", title=title).scale(zero=True).axis(format=number, minExtent=38) for end in ("barrier", "low")
    )
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    drawn = alt.Chart(data)
    known = drawn.transform_filter("isValid(datum.low) && isValid(datum.high)")
    opacity = faint(data["run"].n_unique() / len(variants))
    layers: list[alt.Chart] = [
        known.mark_area(opacity=opacity, aria=False).encode(x, bottom, alt.Y2("high:Q"), tint, detail="run:N")
    ]
    if quantity == "error":
        layers.append(two_points(y))
    layers += [
        drawn.mark_line(strokeWidth=1.6, aria=False).encode(x, y, tint, detail="run:N"),
        drawn.mark_circle(size=28, opacity=1).encode(x, y, tint, description="hover:N"),
    ]
    return alt.layer(*layers).properties(width=350, height=200)


def _ways(test: pl.DataFrame) -> tuple[Figure, ...]:
    points = test.filter((pl.col("level") == "point") & (pl.col("line") == "start") & pl.col("loss").is_not_null())
    if points.is_empty():
        return ()
    means = points.group_by("pair", "epoch", "alpha").agg(pl.col("loss").mean(), pl.col("loss_change").mean())
    low, high = min(means["loss"].to_list()), max(means["loss"].to_list())
    high = high if high > low else low + 1.0
    panels = []
    for pair in sorted(set(means["pair"])):
        text = hover(pl.col("pair"), ", epoch ", pl.col("epoch"), ", α ", pl.col("alpha").round(3), ": loss ",
                     pl.col("loss").round_sig_figs(3), ", from the start ",
                     pl.col("loss_change").round_sig_figs(3))  # fmt: skip
        data = means.filter(pl.col("pair") == pair).with_columns(text, place=pl.col("alpha").round(3))
        panels.append(
            heat_map(
                data.sort("epoch", "alpha"),
                pair,
                steps_across("place", "Position α (0 = the start, 1 = the epoch)", thin=True),
                alt.Y("epoch:O", title="Epoch (count)").axis(ticks=False, domain=False),
                alt.Color("loss:Q", title="loss", scale=alt.Scale(domain=[low, high], range=list(RAMP))),
                width=300,
                height=max(90, 22 * data["epoch"].n_unique()),
            )
        )
    return (
        Figure(
            name="from-start",
            title="The way from the start to each epoch",
            caption="Loss on test images along the straight line from the start (P or RI, with the run's head) to each "
            "epoch, averaged over runs. A row that gets lighter all the way goes down without a climb. One colour "
            "scale.",
            description=f"Heat maps of loss, epochs by α, from {low:.3g} to {high:.3g} nats.",
            panels=tuple(panels),
            ramp=(f"{low:.3g} nats", f"{high:.3g} nats", RAMP),
        ),
    )
