"""The metric after putting back one module (paper Fig. 5), and by the epoch a module is put back to."""

import math
from collections.abc import Iterable

import altair as alt
import polars as pl

from transferscope.plots.heat import RAMP
from transferscope.plots.module_names import short_names
from transferscope.plots.theme import (
    LIMIT,
    NEUTRAL,
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
    thinned,
)

__all__ = ["chart", "figures"]

_MOST_MODULES = 40
_MOST_LABELS = 24
_MOST_PANELS = 8
_VALUES = {"initial": "its initial value", "random": "a random value"}
_TOGETHER = {"initial": "their initial values", "random": "random values"}
_WIDTHS = (300, 380)
_PAPER = {"chexpert": "CheXpert"}


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``rewind``: bars by module, groups of modules, and module by epoch."""
    test = table.filter((pl.col("split") == "test") & pl.col("metric").is_not_null()).with_columns(
        shown_column("variant").alias("shown")
    )
    own, paper = (test.filter((pl.col("origin") == "study") == mine) for mine in (True, False))
    found = []
    for to, words in _VALUES.items():
        rows = own.filter(pl.col("target_value") == to)
        if rows.is_empty():
            continue
        behind = paper if to == "initial" else paper.clear()
        found.append(_bars(rows.filter(pl.col("level") == "module"), own, behind, to, words, metric))
        groups = rows.filter(pl.col("level") == "group")
        if groups["module"].n_unique() > 1:
            found.append(_groups(groups, own, to, metric))
    epochs = own.filter((pl.col("target_value") == "epoch") & (pl.col("level") == "module"))
    if not epochs.is_empty():
        found.append(_epochs(own, epochs, metric))
    return tuple(found)


chart = charted(figures)
"""The metric after putting back each module, of the table of ``rewind``."""


def _bars(rows: pl.DataFrame, own: pl.DataFrame, paper: pl.DataFrame, to: str, words: str, metric: str) -> Figure:
    labels = rows["shown"].unique(maintain_order=True).to_list()
    panels = [_panel(rows, own, metric)]
    beside = ""
    if not paper.is_empty():
        panels += _paper_panels(paper)
        beside = (
            " Below it the paper's Fig. 5, read off the figure: another network and task, one network each, at the "
            "learning rates named; all its panels have one scale."
        )
    worst = (
        rows.group_by("shown", "module", maintain_order=True).agg(pl.col("drop").mean()).sort("drop", descending=True)
    )
    by = {label: worst.filter(pl.col("shown") == label).head(3) for label in labels}
    told = "; ".join(
        f"{label}: " + ", ".join(f"{module} {drop:+.3f}" for module, drop in rows.select("module", "drop").iter_rows())
        for label, rows in by.items()
    )
    return Figure(
        name=f"modules-{to}",
        title=f"One module put back to {words}",
        caption=f"Test {metric_name(metric)} with one module at {words}, all others final. Bars: means over seeds; "
        "dots: networks, with 95 % intervals of the drop over test examples; dashed: nothing put back (mean over "
        f"seeds). Bars begin at the axis, which need not begin at 0. {_left_out(rows)}The table and the numbers hold "
        f"the limits for all modules at once.{beside}",
        description=f"Largest mean drops: {told}.",
        panels=tuple(panels),
        columns=1,
        legend=_legend(labels),
    )


def _paper_panels(paper: pl.DataFrame) -> list[Panel]:
    """The published bars: the rates of the paper are told apart by panels, for a variant has one colour everywhere."""
    modules = paper.filter(pl.col("level") == "module")
    origin = paper["origin"][0]
    domain = _domain([*modules["metric"], *paper["metric"]])
    return [
        _panel(
            modules.filter(pl.col("network").is_in(networks)),
            paper.filter(pl.col("network").is_in(networks)),
            paper["metric_name"][0],
            title=f"Paper, {_PAPER.get(origin, origin)}: {', '.join(networks)}",
            domain=domain,
        )
        for networks in _rates(modules)
    ]


def _left_out(rows: pl.DataFrame) -> str:
    """How many modules there is no room for."""
    modules = rows["module"].n_unique()
    return f"{_MOST_MODULES} of {modules} modules are drawn, evenly spread. " if modules > _MOST_MODULES else ""


def _legend(labels: list[str]) -> tuple[tuple[str, str, str], ...]:
    tinted = ((label, colour(label), "square") for label in labels)
    return (*tinted, ("nothing put back", NEUTRAL["ink"], "dashed"))


def _rates(modules: pl.DataFrame) -> list[list[str]]:
    """Published networks: the first of each variant together, which have one rate; others alone."""
    networks = modules.select("variant", "network").unique(maintain_order=True)
    together = networks.unique("variant", keep="first", maintain_order=True)["network"].to_list()
    return [together, *([name] for name in networks["network"] if name not in together)]


def _domain(values: Iterable[float | None]) -> list[float]:
    """Bars start at the axis: where all are high, the axis starts below the lowest, as in the paper."""
    return padded(values, low=0.0, high=1.0)


def _panel(
    rows: pl.DataFrame,
    finals: pl.DataFrame,
    metric: str,
    title: str = "",
    domain: list[float] | None = None,
    put_back: str = "Module put back",
) -> Panel:
    labels = rows["shown"].unique(maintain_order=True).to_list()
    order = rows.sort("position")["module"].unique(maintain_order=True).to_list()
    kept = thinned(order, _MOST_MODULES)
    names = short_names(kept)
    axis, number = metric_axis(metric, "test")
    text = hover(pl.col("network"), " ", pl.col("module"), ": ", pl.col("metric").round(4), ", drop ",
                 pl.col("drop").round(4), " (", pl.col("low").round(4), " to ", pl.col("high").round(4), "), ",
                 pl.col("verdict"))  # fmt: skip
    data = rows.filter(pl.col("module").is_in(kept)).select(
        "shown", "metric", pl.col("module").replace_strict(names),
        (pl.col("metric") + pl.col("drop") - pl.col("high")).alias("bottom"),
        (pl.col("metric") + pl.col("drop") - pl.col("low")).alias("top"), text,
    )  # fmt: skip
    means = data.group_by("module", "shown", maintain_order=True).agg(pl.col("metric").mean())
    lines = (
        finals.filter((pl.col("level") == "final") & pl.col("shown").is_in(labels))
        .group_by("shown", maintain_order=True)
        .agg(pl.col("metric").mean())
    )
    if domain is None:
        domain = _domain([*data["metric"], *data["bottom"], *data["top"], *lines["metric"]])
    floor = means.with_columns(pl.lit(domain[0]).alias("floor"))
    named_modules = list(names.values())
    # One in so many is named: neighbours that are both named would touch.
    ticks = named_modules[:: math.ceil(len(names) / _MOST_LABELS)]
    x = alt.X("module:N", title=f"{put_back} (from input to output)", sort=named_modules).axis(
        labelAngle=-60, labelLimit=0, values=ticks, tickCount=len(ticks)
    )
    y = alt.Y("metric:Q", title=axis).scale(domain=domain, nice=False, zero=False).axis(format=number)
    offset = alt.XOffset("shown:N", sort=labels)
    tint = alt.Color("shown:N", title=None, scale=scale(labels))
    named = {"title": title} if title else {}
    width = min(_WIDTHS[1], max(_WIDTHS[0], 21 * len(names)))
    drawn: Panel = alt.layer(
        alt.Chart(floor).mark_bar(opacity=0.35, aria=False, clip=True).encode(x, y, alt.Y2("floor:Q"), offset, tint),
        alt.Chart(data.drop_nulls("bottom")).mark_rule(strokeWidth=1.2, clip=True, aria=False).encode(
            x, alt.Y("bottom:Q", title=axis), alt.Y2("top:Q"), offset, tint),
        alt.Chart(data).mark_circle(size=26, opacity=0.9).encode(x, y, offset, tint, description="hover:N"),
        alt.Chart(lines).mark_rule(strokeDash=[4, 3], strokeWidth=1.4, aria=False).encode(y, tint),
    ).properties(width=width, height=230, **named)  # fmt: skip
    return drawn


def _groups(rows: pl.DataFrame, own: pl.DataFrame, to: str, metric: str) -> Figure:
    labels = rows["shown"].unique(maintain_order=True).to_list()
    panel = _panel(rows, own, metric, put_back="Modules put back together")
    told = ", ".join(
        f"{label} {name} {drop:+.3f}" for label, name, drop in
        rows.group_by("shown", "module", maintain_order=True).agg(pl.col("drop").mean()).head(6).iter_rows()
    )  # fmt: skip
    return Figure(
        name=f"groups-{to}",
        title=f"Several modules put back to {_TOGETHER[to]} at once",
        caption=f"Test {metric_name(metric)} with several modules at {_TOGETHER[to]}, all others final; (all) is every "
        f"module. Bars, dots and lines as above. {_left_out(rows)}".strip(),
        description=f"Mean drops: {told}.",
        panels=(panel,),
        columns=1,
        legend=_legend(labels),
    )


def _epochs(own: pl.DataFrame, epochs: pl.DataFrame, metric: str) -> Figure:
    """Module by epoch, one panel for each variant, mean over seeds; the initial value is epoch 0."""
    start = own.filter((pl.col("target_value") == "initial") & (pl.col("level") == "module")).with_columns(
        pl.lit(0, pl.Int64).alias("epoch")
    )
    rows = pl.concat([start, epochs])
    cells = rows.group_by("shown", "module", "position", "epoch", maintain_order=True).agg(
        pl.col("drop").mean(), pl.col("metric").mean()
    )
    kept = thinned(cells.sort("position")["module"].unique(maintain_order=True).to_list(), _MOST_MODULES)
    names = short_names(kept)
    cells = cells.filter(pl.col("module").is_in(kept) & pl.col("drop").is_not_null())
    assert cells.height <= LIMIT
    limits = [min(0.0, *cells["drop"]), max(0.0, *cells["drop"])]
    labels = cells["shown"].unique(maintain_order=True).to_list()[:_MOST_PANELS]
    unit = metric_name(metric)
    what = f"drop of test {unit}"
    panels = []
    for label in labels:
        text = hover(pl.col("module"), ", epoch ", pl.col("epoch"), ": drop ", pl.col("drop").round(4))
        data = cells.filter(pl.col("shown") == label).select(
            pl.col("module").replace_strict(names), "epoch", "drop", text
        )
        steps = sorted(set(data["epoch"]))
        panels.append(
            alt.Chart(data, title=label)
            .mark_rect()
            .encode(
                alt.X("epoch:O", title="Epoch put back to (0: initial value)", sort=steps).axis(labelAngle=0),
                alt.Y("module:N", title="Module put back (from input to output)", sort=list(names.values())).axis(
                    labelLimit=0
                ),
                alt.Color("drop:Q", title=what[0].upper() + what[1:]).scale(domain=limits, range=list(RAMP)),
                description="hover:N",
            )
            .properties(width=max(200, 30 * len(steps)), height=max(80, 16 * len(names)))
        )
    return Figure(
        name="epochs",
        title="Modules put back to what they were during training",
        caption=f"Colour: {what}, mean over seeds, from {limits[0]:.3g} to {limits[1]:.3g} in every panel. All other "
        f"modules keep their final value. {_left_out(rows)}".strip(),
        description=f"{what[0].upper()}{what[1:]} by module and epoch for {', '.join(labels)}.",
        panels=tuple(panels),
        columns=2,
        ramp=(f"{what} {limits[0]:.3g}", f"{limits[1]:.3g}", RAMP),
    )
