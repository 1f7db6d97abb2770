"""μ by module, and the valleys: error against distance from the initial value and noise."""

import math
from collections.abc import Sequence

import altair as alt
import polars as pl

from transferscope.plots.axes import Axis, Names, Ramp, Steps, tints
from transferscope.plots.module_names import short_names
from transferscope.plots.panels import Frame, heat_map, kept_names, present
from transferscope.plots.theme import LIMIT, NEUTRAL, Figure, Panel, hover, metric_name, shown_column, thinned

__all__ = ["figures"]

_MOST_LABELS = 24
_MOST_PANELS = 24
_LISTED = 4
_TITLE = 30
_HEIGHT = Axis("height", "log10(1 + μ / parameters)", zero=True)
_VIEWS = {"direct": "straight path", "optimisation": "path of the training", "final": "final value"}


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``criticality``: μ by module for each view, and valleys where the whole grid was evaluated."""
    modules = table.filter((pl.col("level") == "module") & (pl.col("limit") == "common"))
    views = modules["view"].unique(maintain_order=True)
    direct = table.filter(pl.col("view") == "direct")
    whole = direct.filter((pl.col("level") == "module") & (pl.col("evaluated") == pl.col("grid_points")))
    points = direct.filter(pl.col("level") == "point")
    points = points.join(whole.select("network", "module").unique(), on=["network", "module"], how="semi")
    valleys = None if points.is_empty() else _valleys(points, metric)
    return present(*(_bars(modules.filter(pl.col("view") == view), view) for view in views), valleys)


def _bars(rows: pl.DataFrame, view: str) -> Figure:
    rows = rows.with_columns(
        hover(pl.col("network"), " ", pl.col("module"), ": μ ", pl.col("mu").round(3), ", σ ", pl.col("sigma")),
        shown_column("variant"), height=(1 + pl.col("mu") / pl.col("parameters")).log(10),
    )  # fmt: skip
    kept, less = kept_names(rows)
    names = short_names(kept)
    colours = tints("variant", rows["variant"].unique(maintain_order=True).to_list())
    known = rows.filter(pl.col("module").is_in(kept) & pl.col("mu").is_not_null())
    data = known.with_columns(pl.col("module").replace_strict(names))
    # One in so many is named: neighbours that are both named would touch.
    named = list(names.values())[:: math.ceil(len(names) / _MOST_LABELS)]
    x = Names("module", "Module (from input to output)", list(names.values()), limit=0, size=11, named=named)
    frame = Frame(x, _HEIGHT, colours, aside=True, width=min(400, max(300, 26 * len(kept))), height=230)
    means = data.group_by("module", "variant", maintain_order=True).agg(pl.col("height").mean())
    still = rows.group_by("module", "variant", maintain_order=True).agg(
        (pl.col("mu") == 0).fill_null(value=False).all().alias("still")
    )
    free = (
        still.filter("still")
        .join(rows.select("module", "position").unique("module"), on="module", maintain_order="left")
        .sort("position")
    )
    parts = {label: free.filter(pl.col("variant") == label)["module"] for label in colours.colours}
    told = "; ".join(f"{label}: {', '.join(modules) or 'none'}" for label, modules in parts.items())
    lost = [" ".join(row) for row in rows.filter(pl.col("unreachable")).select("network", "module").iter_rows()]
    more = f" and {len(lost) - _LISTED} more." if len(lost) > _LISTED else "."
    beyond = f" Unreachable (+∞) and not drawn: {', '.join(lost[:_LISTED])}{more}" if lost else ""
    return Figure(
        name=f"modules-{view}",
        title=f"Criticality by module ({_VIEWS[view]})",
        caption="One ε for all networks. Bars: mean over seeds; dots: networks. Zero: the module can go back to its "
        "initial value." + beyond + less,
        description=f"Modules with μ = 0 in every seed: {told}.",
        panels=(frame.panel(frame.bars(means), frame.dots(data, size=26, opacity=0.9)),),
        columns=1,
        legend=colours.legend("square"),
    )  # fmt: skip


def _valleys(points: pl.DataFrame, metric: str) -> Figure:
    """One panel for each module of the first network of each variant, one colour scale for all."""
    networks = points.group_by("variant", maintain_order=True).agg(pl.col("network").first())["network"].to_list()
    rows = points.filter(pl.col("network").is_in(networks))
    # The same modules of every network, so that they can be compared.
    kept, less = kept_names(rows, most=max(2, _MOST_PANELS // len(networks)))
    names = short_names(kept, _TITLE)
    finite = [float(value) for value in rows["value"].drop_nulls()]
    low, high = min(finite), max(finite)
    error = rows["quantity"][0] == "error"
    what = f"1 − {metric_name(metric)} on training images" if error else "mean loss on training images (nats)"
    ramp = Ramp("value", what[0].upper() + what[1:], low, high)
    parts = (
        (network, module, rows.filter((pl.col("network") == network) & (pl.col("module") == module)))
        for network in networks for module in kept
    )  # fmt: skip
    return Figure(
        name="valleys",
        title="Valleys: a module on its way back, with noise",
        caption=f"Colour: {what}, from {low:.3g} to {high:.3g} in every panel. To the left the initial "
        "value, to the right the final one; upwards more noise, its standard deviation σ in units of the parameters. "
        "All other modules keep their final value."
        + (" What is not finite has the darkest colour." if rows["value"].null_count() else "") + less,
        description=f"{what} by place and noise for {len(kept)} modules of {', '.join(networks)}.",
        panels=tuple(_valley(part, network, names[module], ramp) for network, module, part in parts if part.height),
        columns=3,
        ramp=ramp.legend(f"{what}: {low:.3g}", f"{high:.3g}"),
    )  # fmt: skip


def _valley(rows: pl.DataFrame, network: str, module: str, ramp: Ramp) -> Panel:
    # A module that never moved has all its places at distance 0: they are one.
    rows = rows.sort("step").unique(["distance", "sigma"], keep="first", maintain_order=True)
    assert rows.height <= LIMIT
    across = _told_apart(sorted(rows["distance"].unique()))
    up = _told_apart(sorted(rows["sigma"].unique(), reverse=True))
    rows = rows.with_columns(pl.col("distance").replace_strict(across), pl.col("sigma").replace_strict(up))
    data = rows.with_columns(
        hover("distance ", pl.col("distance"), ", σ ", pl.col("sigma"), ": ",
              pl.col("value").round(4).cast(pl.String).fill_null("not finite")),
        pl.col("value").fill_null(ramp.high),
    )  # fmt: skip
    xs, ys = list(across.values()), list(up.values())
    return heat_map(
        data,
        Steps("distance", "Distance from the initial value (ℓ2)", xs, thinned(xs, 5)),
        Steps("sigma", "σ of the noise (of a parameter)", ys, thinned(ys, 7)),
        ramp,
        title=alt.TitleParams(network, subtitle=module, subtitleColor=NEUTRAL["muted"]),
        width=_side(200, len(xs)),
        height=_side(140, len(ys)),
    )


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
