"""The metric after putting back one module (paper Fig. 5), and by the epoch a module is put back to."""

import math
from collections.abc import Sequence

import polars as pl

from transferscope.plots.axes import Axis, Names, Ramp, Steps, tints
from transferscope.plots.module_names import short_names
from transferscope.plots.panels import Frame, facets, heat_map, kept_names, present
from transferscope.plots.theme import (
    LIMIT,
    NEUTRAL,
    Figure,
    Panel,
    hover,
    metric_axis,
    metric_name,
    padded,
    shown_column,
)  # fmt: skip

__all__ = ["figures"]

_MOST_LABELS = 24
_MOST_PANELS = 8
_VALUES = {"initial": "its initial value", "random": "a random value"}
_TOGETHER = {"initial": "their initial values", "random": "random values"}
_WIDTHS = (300, 380)
_PAPER = {"chexpert": "CheXpert"}
_PUT_BACK = "Module put back (from input to output)"


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``rewind``: bars by module, groups of modules, and module by epoch."""
    known = (pl.col("split") == "test") & pl.col("metric").is_not_null()
    test = table.filter(known).with_columns(shown_column("variant"))
    own, paper = (test.filter((pl.col("origin") == "study") == mine) for mine in (True, False))
    finals, module = own.filter(pl.col("level") == "final"), pl.col("level") == "module"
    found: list[Figure | None] = []
    for to in _VALUES:
        rows = own.filter(pl.col("target_value") == to)
        found += [
            _modules(rows.filter(module), finals, paper if to == "initial" else paper.clear(), to, metric),
            _groups(rows.filter(pl.col("level") == "group"), finals, to, metric),
        ]
    epochs = own.filter((pl.col("target_value") == "epoch") & module)
    start = own.filter((pl.col("target_value") == "initial") & module).with_columns(epoch=pl.lit(0, pl.Int64))
    return present(*found, _epochs(pl.concat([start, epochs]), metric) if epochs.height else None)


def _modules(rows: pl.DataFrame, finals: pl.DataFrame, paper: pl.DataFrame, to: str, metric: str) -> Figure | None:
    if rows.is_empty():
        return None
    less = kept_names(rows)[1]
    drops = rows.group_by("variant", "module", maintain_order=True).agg(pl.col("drop").mean())
    worst = drops.sort("drop", descending=True)
    told = []
    for label in _labels(rows):
        most = worst.filter(pl.col("variant") == label).head(3).select("module", "drop").iter_rows()
        told.append(f"{label}: " + ", ".join(f"{module} {drop:+.3f}" for module, drop in most))
    beside = (
        " Below it the paper's Fig. 5, read off the figure: another network and task, one network each, at the "
        "learning rates named; all its panels have one scale."
    ) if paper.height else ""  # fmt: skip
    return Figure(
        name=f"modules-{to}",
        title=f"One module put back to {_VALUES[to]}",
        caption=f"Test {metric_name(metric)} with one module at {_VALUES[to]}, all others final. Bars: means over "
        "seeds; dots: networks, with 95 % intervals of the drop over test examples; dashed: nothing put back (mean "
        f"over seeds). Bars begin at the axis, which need not begin at 0.{less} The table and the numbers hold "
        f"the limits for all modules at once.{beside}",
        description=f"Largest mean drops: {'; '.join(told)}.",
        panels=(_bars(rows, finals, metric), *_paper_panels(paper)),
        columns=1,
        legend=_legend(rows),
    )


def _paper_panels(paper: pl.DataFrame) -> tuple[Panel, ...]:
    """The published bars: the rates of the paper are told apart by panels, for a variant has one colour everywhere."""
    if paper.is_empty():
        return ()
    # The first network of each variant stand together, for they have one rate; others alone.
    names = paper.filter(pl.col("level") == "module").select("variant", "network").unique(maintain_order=True)
    together = names.unique("variant", keep="first", maintain_order=True)["network"].to_list()
    rates = [together, *([name] for name in names["network"] if name not in together)]
    origin, metric = paper["origin"][0], paper["metric_name"][0]
    domain = padded(paper["metric"], low=0.0, high=1.0)
    parts = ((rate, paper.filter(pl.col("network").is_in(rate))) for rate in rates)
    return tuple(
        _bars(part.filter(pl.col("level") == "module"), part.filter(pl.col("level") == "final"), metric,
              title=f"Paper, {_PAPER.get(origin, origin)}: {', '.join(rate)}", domain=domain)
        for rate, part in parts
    )  # fmt: skip


def _legend(rows: pl.DataFrame) -> tuple[tuple[str, str, str], ...]:
    return (*tints("variant", _labels(rows)).legend("square"), ("nothing put back", NEUTRAL["ink"], "dashed"))


def _labels(rows: pl.DataFrame) -> list[str]:
    return rows["variant"].unique(maintain_order=True).to_list()


def _bars(
    rows: pl.DataFrame, finals: pl.DataFrame, metric: str, title: str = "", domain: Sequence[float] | None = None,
    put_back: str = _PUT_BACK,
) -> Panel:  # fmt: skip
    labels, (kept, _) = _labels(rows), kept_names(rows)
    names = short_names(kept)
    drop, low, high = (pl.col(name).round(4) for name in ("drop", "low", "high"))
    before = pl.col("metric") + pl.col("drop")
    data = rows.filter(pl.col("module").is_in(kept)).with_columns(
        hover(pl.col("network"), " ", pl.col("module"), ": ", pl.col("metric").round(4), ", drop ", drop, " (", low,
              " to ", high, "), ", pl.col("verdict")),
        pl.col("module").replace_strict(names), low=before - pl.col("high"), high=before - pl.col("low"),
    )  # fmt: skip
    means = data.group_by("module", "variant", maintain_order=True).agg(pl.col("metric").mean())
    unchanged = (
        finals.filter(pl.col("variant").is_in(labels))
        .group_by("variant", maintain_order=True)
        .agg(pl.col("metric").mean())
    )
    # Bars start at the axis: where all are high, the axis starts below the lowest, as in the paper.
    values = [*data["metric"], *data["low"], *data["high"], *unchanged["metric"]]
    axis, number = metric_axis(metric, "test")
    colours, order = tints("variant", labels), list(names.values())
    # One in so many is named: neighbours that are both named would touch.
    named = order[:: math.ceil(len(order) / _MOST_LABELS)]
    frame = Frame(
        Names("module", put_back, order, limit=0, size=11, named=named),
        Axis("metric", axis, number, domain=domain or padded(values, low=0.0, high=1.0)),
        colours, aside=True, width=min(_WIDTHS[1], max(_WIDTHS[0], 21 * len(order))), height=230, title=title,
    )  # fmt: skip
    whole = [frame.rule(value, color=colours.colours[label]) for label, value in unchanged.sort("variant").iter_rows()]
    dots = frame.dots(data, size=26, opacity=0.9)
    return frame.panel(frame.bars(means), frame.spans(data, width=1.2), dots, *whole)


def _groups(rows: pl.DataFrame, finals: pl.DataFrame, to: str, metric: str) -> Figure | None:
    if rows["module"].n_unique() < 2:
        return None
    drops = rows.group_by("variant", "module", maintain_order=True).agg(pl.col("drop").mean()).head(6)
    told = ", ".join(f"{label} {name} {drop:+.3f}" for label, name, drop in drops.iter_rows())
    return Figure(
        name=f"groups-{to}",
        title=f"Several modules put back to {_TOGETHER[to]} at once",
        caption=f"Test {metric_name(metric)} with several modules at {_TOGETHER[to]}, all others final; (all) is every "
        f"module. Bars, dots and lines as above.{kept_names(rows)[1]}",
        description=f"Mean drops: {told}.",
        panels=(_bars(rows, finals, metric, put_back="Modules put back together (from input to output)"),),
        columns=1,
        legend=_legend(rows),
    )


def _epochs(rows: pl.DataFrame, metric: str) -> Figure:
    """Module by epoch, one panel for each variant, mean over seeds; the initial value is epoch 0."""
    kept, less = kept_names(rows)
    names = short_names(kept)
    cells = rows.filter(pl.col("module").is_in(kept)).drop_nulls("drop")
    cells = cells.group_by("variant", "module", "epoch", maintain_order=True).agg(pl.col("drop").mean())
    assert cells.height <= LIMIT
    what = f"drop of test {metric_name(metric)}"
    ramp = Ramp("drop", what[0].upper() + what[1:], min([0.0, *cells["drop"]]), max([0.0, *cells["drop"]]))
    text = hover(pl.col("module"), ", epoch ", pl.col("epoch"), ": drop ", pl.col("drop").round(4))
    labels = _labels(cells)[:_MOST_PANELS]
    modules = Names("module", _PUT_BACK, list(names.values()), limit=0, cells=True)

    def panel(part: pl.DataFrame, label: str) -> Panel:
        steps = sorted(set(part["epoch"]))
        data = part.with_columns(text).with_columns(pl.col("module").replace_strict(names))
        return heat_map(data, Steps("epoch", "Epoch put back to (0: initial value)", steps), modules, ramp, title=label,
                        width=max(200, 30 * len(steps)), height=max(80, 16 * len(names)))  # fmt: skip

    return Figure(
        name="epochs",
        title="Modules put back to what they were during training",
        caption=f"Colour: {what}, mean over seeds, from {ramp.low:.3g} to {ramp.high:.3g} in every panel. All other "
        f"modules keep their final value.{less}",
        description=f"{ramp.title} by module and epoch for {', '.join(labels)}.",
        panels=facets(cells, "variant", labels, panel),
        ramp=ramp.legend(f"{what} {ramp.low:.3g}", f"{ramp.high:.3g}"),
    )
