"""μ by module, and the valleys: error against distance from the initial value and noise."""

import math
from collections.abc import Sequence

import altair as alt
import polars as pl

from transferscope.keys import shown
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
    metric_name,
    scale,
    shown_column,
    thinned,
)

__all__ = ["chart", "figures"]

_MOST_MODULES = 40
_MOST_LABELS = 24
_MOST_PANELS = 24
_LISTED = 4
_TITLE = 30
_HEIGHT = "log10(1 + μ / parameters)"
_VIEWS = {"direct": "straight path", "optimisation": "path of the training", "final": "final value"}


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``criticality``: μ by module for each view, and valleys where the whole grid was evaluated."""
    modules = table.filter((pl.col("level") == "module") & (pl.col("limit") == "common"))
    views = modules["view"].unique(maintain_order=True)
    found = [_bars(modules.filter(pl.col("view") == view), view) for view in views]
    direct = table.filter(pl.col("view") == "direct")
    whole = direct.filter((pl.col("level") == "module") & (pl.col("evaluated") == pl.col("grid_points")))
    points = direct.filter(pl.col("level") == "point")
    points = points.join(whole.select("network", "module").unique(), on=["network", "module"], how="semi")
    if not points.is_empty():
        found.append(_valleys(points, metric))
    return tuple(found)


chart = charted(figures)
"""μ by module, of the table of ``criticality``."""


def _bars(rows: pl.DataFrame, view: str) -> Figure:
    modules = rows.sort("position")["module"].unique(maintain_order=True).to_list()
    kept = thinned(modules, _MOST_MODULES)
    names = short_names(kept)
    labels = [shown(variant) for variant in rows["variant"].unique(maintain_order=True)]
    value = (1 + pl.col("mu") / pl.col("parameters")).log(10)
    text = hover(pl.col("network"), " ", pl.col("module"), ": μ ", pl.col("mu").round(3), ", σ ", pl.col("sigma"))
    data = rows.filter(pl.col("module").is_in(kept) & pl.col("mu").is_not_null()).select(
        text, pl.col("module").replace_strict(names), value.alias("height"), shown_column("variant").alias("shown")
    )
    # One in so many is named: neighbours that are both named would touch.
    ticks = list(names.values())[:: math.ceil(len(names) / _MOST_LABELS)]
    x = alt.X("module:N", title="Module (from input to output)", sort=list(names.values())).axis(
        labelAngle=-60, labelLimit=0, values=ticks, tickCount=len(ticks)
    )
    y = alt.Y("height:Q", title=_HEIGHT).scale(zero=True)
    offset = alt.XOffset("shown:N", sort=labels)
    tint = alt.Color("shown:N", title=None, scale=scale(labels))
    panel: Panel = alt.layer(
        alt.Chart(data).mark_bar(opacity=0.35, aria=False).encode(
            x, alt.Y("mean(height):Q", title=_HEIGHT), offset, tint),
        alt.Chart(data).mark_circle(size=26, opacity=0.9).encode(x, y, offset, tint, description="hover:N"),
    ).properties(width=min(400, max(300, 26 * len(kept))), height=230)  # fmt: skip
    free = {label: [name for name in modules if _free(rows, name, label)] for label in labels}
    told = "; ".join(f"{label}: {', '.join(found) or 'none'}" for label, found in free.items())
    lost = rows.filter(pl.col("unreachable"))
    where = [f"{network} {module}" for network, module in lost.select("network", "module").iter_rows()]
    notes = [
        f"Unreachable (+∞) and not drawn: {', '.join(where[:_LISTED])}"
        + (f" and {len(where) - _LISTED} more." if len(where) > _LISTED else ".")
    ] if where else []  # fmt: skip
    if len(kept) < len(modules):
        notes.append(f"{len(kept)} of {len(modules)} modules are drawn, evenly spread.")
    return Figure(
        name=f"modules-{view}",
        title=f"Criticality by module ({_VIEWS[view]})",
        caption=" ".join((
            "One ε for all networks. Bars: mean over seeds; dots: networks. Zero: the module can go back to its "
            "initial value.", *notes)),
        description=f"Modules with μ = 0 in every seed: {told}.",
        panels=(panel,),
        columns=1,
        legend=tuple((label, colour(label), "square") for label in labels),
    )  # fmt: skip


def _free(rows: pl.DataFrame, module: str, label: str) -> bool:
    part = rows.filter((pl.col("module") == module) & (shown_column("variant") == label))
    return bool((part["mu"] == 0).fill_null(False).all())


def _valleys(points: pl.DataFrame, metric: str) -> Figure:
    """One panel for each module of the first network of each variant, one colour scale for all."""
    networks = points.group_by("variant", maintain_order=True).agg(pl.col("network").first())["network"].to_list()
    rows = points.filter(pl.col("network").is_in(networks))
    modules = rows.sort("position")["module"].unique(maintain_order=True).to_list()
    # The same modules of every network, so that they can be compared.
    kept = thinned(modules, max(2, _MOST_PANELS // len(networks)))
    names = short_names(kept, _TITLE)
    finite = rows["value"].drop_nulls()
    limits = [float(finite.min()), float(finite.max())]  # type: ignore[arg-type]  # a float column
    if rows["quantity"][0] == "error":
        what = f"1 − {metric_name(metric)} on training images"
    else:
        what = "mean loss on training images (nats)"
    panels = []
    for network in networks:
        for module in kept:
            part = rows.filter((pl.col("network") == network) & (pl.col("module") == module))
            if not part.is_empty():
                panels.append(_valley(part, network, names[module], limits, what))
    return Figure(
        name="valleys",
        title="Valleys: a module on its way back, with noise",
        caption=f"Colour: {what}, from {limits[0]:.3g} to {limits[1]:.3g} in every panel. To the left the initial "
        "value, to the right the final one; upwards more noise, its standard deviation σ in units of the parameters. "
        "All other modules keep their final value."
        + (" What is not finite has the darkest colour." if rows["value"].null_count() else "")
        + (f" {len(kept)} of {len(modules)} modules." if len(kept) < len(modules) else ""),
        description=f"{what} by place and noise for {len(kept)} modules of {', '.join(networks)}.",
        panels=tuple(panels),
        columns=3,
        ramp=(f"{what}: {limits[0]:.3g}", f"{limits[1]:.3g}", RAMP),
    )


def _valley(rows: pl.DataFrame, network: str, module: str, limits: list[float], what: str) -> Panel:
    # A module that never moved has all its places at distance 0: they are one.
    rows = rows.sort("step").unique(["distance", "sigma"], keep="first", maintain_order=True)
    xs = _told_apart(sorted(rows["distance"].unique()))
    ys = _told_apart(sorted(rows["sigma"].unique(), reverse=True))
    text = hover("distance ", pl.col("distance").replace_strict(xs), ", σ ", pl.col("sigma").replace_strict(ys), ": ",
                 pl.col("value").round(4).cast(pl.String).fill_null("not finite"))  # fmt: skip
    data = rows.select(
        pl.col("distance").replace_strict(xs).alias("x"), pl.col("sigma").replace_strict(ys).alias("y"),
        pl.col("value").fill_null(limits[1]), text,
    )  # fmt: skip
    assert data.height <= LIMIT
    across, up = list(xs.values()), list(ys.values())
    tint = alt.Color("value:Q", title=what[0].upper() + what[1:]).scale(domain=limits, range=list(RAMP), clamp=True)
    panel: Panel = (
        alt.Chart(data, title=alt.TitleParams(network, subtitle=module, subtitleColor=NEUTRAL["muted"]))
        .mark_rect()
        .encode(
            alt.X("x:O", title="Distance from the initial value (ℓ2)", sort=across).axis(
                labelAngle=0, values=thinned(across, 5), tickCount=5
            ),
            alt.Y("y:O", title="σ of the noise (of a parameter)", sort=up).axis(
                values=thinned(up, 7), tickCount=7, minExtent=42
            ),
            tint,
            description="hover:N",
        )
        .properties(width=_side(200, len(across)), height=_side(140, len(up)))
    )
    return panel


def _side(wanted: int, cells: int) -> int:
    """At least the length that is wanted, in whole pixels a cell: Vega drops a tick that rounding puts outside."""
    return cells * math.ceil(wanted / cells)


def _told_apart(values: Sequence[float]) -> dict[float, str]:
    """Each of distinct numbers with as few digits as tell all of them apart, two at least.

    >>> _told_apart([0.0, 0.333333, 2.0]), _told_apart([0.12341, 0.12342])
    ({0.0: '0', 0.333333: '0.33', 2.0: '2'}, {0.12341: '0.12341', 0.12342: '0.12342'})
    """
    for digits in range(2, 18):
        said = {value: f"{value:.{digits}g}" for value in values}
        if len(set(said.values())) == len(said):
            break
    return said
