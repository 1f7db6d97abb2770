"""Loss and error against the distance from P-T and RI-T, under three normalisations; and what their Hessians hold."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints, tints
from transferscope.plots.panels import Frame, listed, present, values_text
from transferscope.plots.paths import note
from transferscope.plots.theme import Figure, Panel, among, hover, padded, shown_column

__all__ = ["figures"]

_NORMALISATIONS = {
    "equal": ("equal ℓ2 radii", "l2", "ℓ2 radius (units of the parameters)"),
    "relative": ("relative to each network's own norm", "share", "Radius ÷ own norm (ratio)"),
    "moved": ("relative to the distance each has moved", "share", "Radius ÷ distance from own start (ratio)"),
}
"""Each normalisation: its title, and what its radii are comparable by."""
_MEASURES = {"loss_rise": ("Loss rise (nats)", "loss_se"), "error": ("Error (%)", "error_se")}
_HESSIANS = {
    ("eigenvalue", "value"): "Top Hessian eigenvalue (nats per ℓ2²)",
    ("eigenvalue", "scaled"): "Top Hessian eigenvalue × ‖θ‖² (nats)",
    ("trace", "value"): "Hessian trace (nats per ℓ2²)",
    ("trace", "scaled"): "Hessian trace × ‖θ‖² (nats)",
}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``flatness``; none where nothing was measured."""
    rows = table.with_columns(shown_column("variant"))
    colours = tints("variant", among(("RI-T", "P-T"), rows["variant"]))
    radius = rows.filter((pl.col("level") == "radius") & pl.col("loss_rise").is_not_null())
    hessian = rows.filter(pl.col("value").is_not_null() & ((pl.col("level") == "trace") | (pl.col("rank") == 1)))
    splits = radius["split"].unique(maintain_order=True)
    curves = (_curves(radius.filter(pl.col("split") == split), split, colours) for split in splits)
    return present(*curves, _hessians(hessian, colours))


def _curves(rows: pl.DataFrame, split: str, colours: Tints) -> Figure:
    parts = {
        normalisation: rows.filter(pl.col("normalisation") == normalisation).sort("share")
        for normalisation in among(_NORMALISATIONS, rows["normalisation"])
    }
    ends = []
    for normalisation, part in parts.items():
        furthest = float(part["share"][-1])
        last = listed(part.filter(pl.col("share") == furthest), "variant", "loss_rise", order=colours.colours)
        ends.append(f"{_NORMALISATIONS[normalisation][0]}, share {furthest:g}: {last}")
    return Figure(
        name=f"radius-{split}",
        title=f"Away from the solutions ({split} images)",
        caption="Mean over random filter-normalised directions. One row for each way to choose radii; thin lines are "
        "networks (bars: ±1.96 standard errors over directions), thick ones the mean over seeds at equal shares. "
        "Rows may rank the variants differently: no row alone is the answer." + note(rows),
        description="Mean loss rise at the largest radius; " + "; ".join(ends) + ".",
        panels=tuple(
            _panel(part, normalisation, measure, colours)
            for normalisation, part in parts.items()
            for measure in _MEASURES
        ),
        legend=colours.legend("line"),
    )


def _panel(rows: pl.DataFrame, normalisation: str, measure: str, colours: Tints) -> Panel:
    words, error = _MEASURES[measure]
    name, place, title = _NORMALISATIONS[normalisation]
    spread = 1.96 * pl.col(error).fill_null(0.0)
    data = rows.with_columns(
        hover(pl.col("network"), ", radius ", pl.col("l2").round_sig_figs(3), " (share ", pl.col("share"), "): ",
              pl.col(measure).round_sig_figs(3)),
        low=pl.col(measure) - spread, high=pl.col(measure) + spread,
    ).sort("network", "share")  # fmt: skip
    means = (
        data.group_by("variant", "share", maintain_order=True)
        .agg(pl.col({place, measure} - {"share"}).mean())
        .sort("variant", "share")
    )
    if measure == "loss_rise":
        # Rises span decades, and are 0 at the network itself.
        y = Axis(measure, words, "~g", kind="symlog", constant=0.01, ticks=(0, 0.01, 0.1, 1, 10, 100))
    else:
        y = Axis(measure, words, ".0%", domain=padded(data[measure], low=0.0, high=1.0))
    frame = Frame(Axis(place, title, zero=True, grid=False, tight=True), y, colours, height=170, title=name)
    return frame.panel(
        frame.spans(data, width=1, opacity=0.6), frame.lines(data, by=["network"], width=0.8, opacity=0.6),
        frame.lines(means, width=2.4), frame.dots(data, size=30, opacity=0.9),
    )  # fmt: skip


def _hessians(rows: pl.DataFrame, colours: Tints) -> Figure:
    drawn = {
        (column, title): part
        for (level, column), title in _HESSIANS.items()
        if (part := rows.filter(pl.col("level") == level)).height
    }
    ends = (f"{title}: {listed(part, 'variant', column, order=colours.colours)}"
            for (column, title), part in drawn.items())  # fmt: skip
    examples = ", ".join(str(count) for count in sorted(set(rows["examples"])))
    return Figure(
        name="hessian",
        title="Second derivatives at the solutions",
        caption=f"Hessian of the mean loss over {examples} training images, all parameters, batch-norm statistics "
        "fixed. One dot per network, a tick at the mean; bars: ±1.96 standard errors over random probes. Times "
        "‖θ‖² the common scale of a network's weights drops out.",
        description="Means over seeds. " + "; ".join(ends) + ".",
        panels=tuple(_dots(part, column, title, colours) for (column, title), part in drawn.items()),
        legend=colours.legend("point"),
    )


def _dots(rows: pl.DataFrame, column: str, title: str, colours: Tints) -> Panel:
    spread = 1.96 * pl.col("value_se").fill_null(0.0) * (pl.col("norm") ** 2 if column == "scaled" else pl.lit(1.0))
    data = rows.with_columns(values_text(pl.col("network"), value=column), low=pl.col(column) - spread,
                             high=pl.col(column) + spread)  # fmt: skip
    positive = bool((data["low"] > 0).all())
    x = Axis(column, title, "~s", kind="log" if positive else "linear", zero=None if positive else False, padding=24)
    frame = Frame(x, Names("variant", "Variant (name)", list(colours.colours)), colours, width=320, height=80)
    return frame.panel(
        frame.spans(data, width=1, opacity=0.6), frame.means(data.drop("hover")), frame.dots(data, opacity=0.9)
    )
