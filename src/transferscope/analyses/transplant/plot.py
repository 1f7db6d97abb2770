"""Metric and speed against how many modules come from P, and what each module adds."""

import altair as alt
import polars as pl

from transferscope.plots.theme import OTHERS, Figure, Panel, charted, hover, metric_axis, metric_name, padded, thinned

__all__ = ["chart", "figures"]

_SIDES = ("first", "last")
_COLOURS = {"first": OTHERS[0], "last": OTHERS[1]}
_LEGEND = (("first k from P", _COLOURS["first"], "line"), ("last k from P", _COLOURS["last"], "line"))
_PANELS = (("metric", "test"), ("speed", "train"))
_MOST_MODULES = 40


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``transplant``: values against k, and steps by module; none where no network has a value."""
    rows = table.filter(pl.col("value").is_not_null())
    return tuple(figure for figure in (_against_k(rows, metric), _steps(rows, metric)) if figure is not None)


chart = charted(figures)
"""Metric and speed against k, of the table of ``transplant``."""


def _against_k(rows: pl.DataFrame, metric: str) -> Figure | None:
    panels = tuple(
        _panel(part, metric, quantity)
        for quantity, split in _PANELS
        if not (part := rows.filter((pl.col("quantity") == quantity) & (pl.col("split") == split))).is_empty()
    )
    if not panels:
        return None
    points = rows.filter((pl.col("level") == "point") & (pl.col("split") == "test")).sort("side", "k")
    told = "; ".join(
        f"{side}: " + ", ".join(f"{k} {value:.3f}" for k, value in part.select("k", "value").iter_rows())
        for (side,), part in points.group_by("side", maintain_order=True)
    )
    return Figure(
        name="modules",
        title="How many modules come from P",
        caption=(
            f"Final test {metric_name(metric)} and optimisation speed of networks whose first (or last) k modules are "
            "P's and whose others are random. 0 is RI-T, all is P-T, everything at P-T's rate. Points: means over "
            "seeds; bars: 95 % intervals (two seeds: their range); small dots: trainings."
        ),
        description=f"Final test {metric_name(metric)} by number of modules from P: {told}.",
        panels=panels,
        legend=_LEGEND,
    )


def _panel(rows: pl.DataFrame, metric: str, quantity: str) -> Panel:
    title, number = metric_axis(metric, "final test" if quantity == "metric" else "mean training")
    text = hover(
        pl.col("side"), " ", pl.col("k"), " of ", pl.col("modules"), " (…, ", pl.col("added"), "): ",
        pl.col("value").round(4), " (", pl.col("low").round(4), " to ", pl.col("high").round(4), ")",
    )  # fmt: skip
    data = rows.with_columns(text).select("level", "side", "k", "value", "low", "high", "hover")
    points, dots = data.filter(pl.col("level") == "point").sort("side", "k"), data.filter(pl.col("level") == "network")
    domain = padded([*dots["value"], *points["low"], *points["high"]], low=0.0, high=1.0)
    ticks = thinned([str(k) for k in sorted(set(points["k"]))], 14)
    x = alt.X("k:Q", title="Modules from P (count)").scale(nice=False, padding=12)
    x = x.axis(values=[int(tick) for tick in ticks], tickCount=len(ticks), format="d", grid=False, labelOverlap=False)
    y = alt.Y("value:Q", title=title).scale(domain=domain, nice=False).axis(format=number, minExtent=38)
    tint = alt.Color("side:N", title=None, scale=_scale())
    drawn = alt.Chart(points)
    bars = alt.Chart(points.drop_nulls("low")).mark_rule(strokeWidth=1.4, clip=True, aria=False)
    return alt.layer(
        alt.Chart(dots).mark_circle(size=16, opacity=0.45, aria=False).encode(x, y, tint),
        bars.encode(x, alt.Y("low:Q", title=title), alt.Y2("high:Q"), tint),
        drawn.mark_line(strokeWidth=2.2, aria=False).encode(x, y, tint),
        drawn.mark_circle(size=52, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=350, height=230)


def _steps(rows: pl.DataFrame, metric: str) -> Figure | None:
    steps = rows.filter((pl.col("level") == "step") & (pl.col("split") != "validation"))
    panels = tuple(
        _step_panel(part, metric, quantity)
        for quantity, _ in _PANELS
        if not (part := steps.filter(pl.col("quantity") == quantity)).is_empty()
    )
    if not panels:
        return None
    largest = steps.filter(pl.col("quantity") == "metric").sort("value", descending=True).head(3)
    told = ", ".join(f"{row['added']} ({row['side']}) {row['value']:+.3f}" for row in largest.to_dicts())
    return Figure(
        name="steps",
        title="What each module adds",
        caption="Difference to the network with one module fewer from P, paired by seed. A module is added to those "
        "before it (first k) or to those after it (last k). Bars: 95 % intervals, each for itself; the table holds "
        "those for all steps at once.",
        description=f"Largest steps in final test {metric_name(metric)}: {told or 'none'}.",
        panels=panels,
        legend=tuple((label.replace(" k from P", ": added to those " + where), tint, "point")
                     for (label, tint, _), where in zip(_LEGEND, ("before it", "after it"), strict=True)),
    )  # fmt: skip


def _step_panel(rows: pl.DataFrame, metric: str, quantity: str) -> Panel:
    title, number = metric_axis(metric, "gain in final test" if quantity == "metric" else "gain in mean training")
    # In the order of the network: the first k lists modules as they are added, the last k backwards.
    first_side = rows.filter(pl.col("side") == "first").sort("k")["added"].to_list()
    last_side = rows.filter(pl.col("side") == "last").sort("k", descending=True)["added"].to_list()
    order = [*first_side, *(name for name in last_side if name not in first_side)]
    order = thinned(order, _MOST_MODULES)
    text = hover(
        pl.col("added"), ", ", pl.col("side"), " ", pl.col("k"), ": ", pl.col("value").round(4), " (",
        pl.col("low").round(4), " to ", pl.col("high").round(4), ")",
    )  # fmt: skip
    data = rows.filter(pl.col("added").is_in(order)).select("side", "added", "value", "low", "high", text)
    domain = padded([0.0, *data["value"], *data["low"], *data["high"]])
    x = alt.X("value:Q", title=title).scale(domain=domain, nice=False).axis(format="+" + number, grid=False)
    y = alt.Y("added:N", title="Module (name)", sort=order).axis(
        ticks=False, domain=False, grid=True, labelLimit=140, minExtent=60
    )
    aside = alt.YOffset("side:N", sort=list(_SIDES))
    tint = alt.Color("side:N", title=None, scale=_scale())
    bars = alt.Chart(data.drop_nulls("low")).mark_rule(strokeWidth=1.6, aria=False)
    return alt.layer(
        bars.encode(alt.X("low:Q", title=title), y, alt.X2("high:Q"), tint, yOffset=aside),
        alt.Chart(data).mark_circle(size=46, opacity=1).encode(x, y, tint, yOffset=aside, description="hover:N"),
    ).properties(width=320, height=max(60, 30 * len(order)))


def _scale() -> alt.Scale:
    return alt.Scale(domain=list(_SIDES), range=[_COLOURS[side] for side in _SIDES])
