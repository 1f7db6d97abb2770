"""Metric and speed against how many modules come from P, and what each module adds."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, dot_panel, facets, line_panel, present
from transferscope.plots.theme import OTHERS, Figure, Panel, hover, metric_axis, metric_name, padded, thinned

__all__ = ["figures"]

_SIDES = Tints("side", {"first": OTHERS[0], "last": OTHERS[1]})
_SPLITS = {"metric": "final test", "speed": "mean training"}
_MOST_MODULES = 40


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``transplant``: values against k, and steps by module; none where no network has a value."""
    # Of each quantity what is reported: the final metric on test data, the speed on training data.
    rows = table.filter(pl.col("value").is_not_null() & (pl.col("split") != "validation"))
    step = pl.col("level") == "step"
    return present(_against_k(rows.filter(~step), metric), _steps(rows.filter(step), metric))


def _text(*place: str | pl.Expr) -> pl.Expr:
    value, low, high = (pl.col(name).round(4) for name in ("value", "low", "high"))
    return hover(*place, ": ", value, " (", low, " to ", high, ")")


def _against_k(rows: pl.DataFrame, metric: str) -> Figure:
    points = rows.filter((pl.col("level") == "point") & (pl.col("split") == "test")).sort("side", "k")
    told = "; ".join(
        f"{side}: " + ", ".join(f"{k} {value:.3f}" for k, value in part.select("k", "value").iter_rows())
        for (side,), part in points.group_by("side", maintain_order=True)
    )
    return Figure(
        name="modules",
        title="How many modules come from P",
        caption=f"Final test {metric_name(metric)} and optimisation speed of networks whose first (or last) k modules "
        "are P's and whose others are random. 0 is RI-T, all is P-T, everything at P-T's rate. Points: means over "
        "seeds; bars: 95 % intervals (two seeds: their range); small dots: trainings.",
        description=f"Final test {metric_name(metric)} by number of modules from P: {told}.",
        panels=facets(rows, "quantity", _SPLITS, lambda part, quantity: _panel(part, metric, quantity)),
        legend=tuple((f"{side} k from P", tint, mark) for side, tint, mark in _SIDES.legend("line")),
    )


def _panel(rows: pl.DataFrame, metric: str, quantity: str) -> Panel:
    points, single = (rows.filter(pl.col("level") == level) for level in ("point", "network"))
    text = _text(pl.col("side"), " ", pl.col("k"), " of ", pl.col("modules"), " (…, ", pl.col("added"), ")")
    title, number = metric_axis(metric, _SPLITS[quantity])
    ticks = [int(tick) for tick in thinned([str(k) for k in sorted(set(points["k"]))], 14)]
    x = Axis("k", "Modules from P (count)", "d", ticks=ticks, padding=12, grid=False)
    reach = padded([*single["value"], *points["low"], *points["high"]], low=0.0, high=1.0)
    frame = Frame(x, Axis("value", title, number, domain=reach), _SIDES, height=230)
    behind = frame.dots(single, size=16, opacity=0.45)
    return line_panel(frame, points.sort("side", "k").with_columns(text), behind, size=52)


def _steps(rows: pl.DataFrame, metric: str) -> Figure:
    largest = rows.filter(pl.col("quantity") == "metric").sort("value", descending=True).head(3)
    told = ", ".join(f"{row['added']} ({row['side']}) {row['value']:+.3f}" for row in largest.to_dicts())
    where = {"first": "before it", "last": "after it"}
    return Figure(
        name="steps",
        title="What each module adds",
        caption="Difference to the network with one module fewer from P, paired by seed. A module is added to those "
        "before it (first k) or to those after it (last k). Bars: 95 % intervals, each for itself; the table holds "
        "those for all steps at once.",
        description=f"Largest steps in final test {metric_name(metric)}: {told or 'none'}.",
        panels=facets(rows, "quantity", _SPLITS, lambda part, quantity: _step_panel(part, metric, quantity)),
        legend=tuple((f"{side}: added to those {where[side]}", tint, mark)
                     for side, tint, mark in _SIDES.legend("point")),
    )  # fmt: skip


def _step_panel(rows: pl.DataFrame, metric: str, quantity: str) -> Panel:
    title, number = metric_axis(metric, f"gain in {_SPLITS[quantity]}")
    # In the order of the network: the first k lists modules as they are added, the last k backwards.
    first, last = (
        rows.filter(pl.col("side") == side).sort("k", descending=side == "last")["added"].to_list()
        for side in _SIDES.colours
    )
    order = thinned(list(dict.fromkeys([*first, *last])), _MOST_MODULES)
    text = _text(pl.col("added"), ", ", pl.col("side"), " ", pl.col("k"))
    data = rows.filter(pl.col("added").is_in(order)).drop("simultaneous_low", "simultaneous_high").with_columns(text)
    reach = padded([0.0, *data["value"], *data["low"], *data["high"]])
    x = Axis("value", title, "+" + number, domain=reach, grid=False)
    names = Names("added", "Module (name)", order, limit=140)
    frame = Frame(x, names, _SIDES, aside=True, width=320, height=max(60, 30 * len(order)))
    return dot_panel(frame, data)
