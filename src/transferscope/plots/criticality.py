"""μ by module, and the valleys: error against distance from the initial value and noise."""

from typing import Any

import altair as alt
import polars as pl

from transferscope.plots.similarity import RAMP
from transferscope.plots.theme import (
    LIMIT,
    Figure,
    Panel,
    colour,
    first,
    hover,
    metric_name,
    scale,
    shown,
    shown_column,
    thinned,
)

__all__ = ["chart", "figures"]

_MOST_MODULES = 40
_MOST_PANELS = 24
_HEIGHT = "log₁₀(1 + μ / parameters)"
_VIEWS = {"direct": "straight path", "optimisation": "path of the training", "final": "final value"}


def chart(table: pl.DataFrame, metric: str = "top1") -> Any:
    """The picture of the table of ``criticality``.

    Args:
        table: in the declared columns of the analysis.
        metric: the study's metric.

    Returns:
        An Altair chart.

    Raises:
        AnalysisError: the table holds nothing that can be drawn.
    """
    return first(figures(table, metric))


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``criticality``: μ by module for each view, and valleys where the whole grid was evaluated."""
    modules = table.filter((pl.col("level") == "module") & (pl.col("limit") == "common"))
    views = modules["view"].unique(maintain_order=True)
    found = [_bars(modules.filter(pl.col("view") == view), view) for view in views]
    whole = table.filter((pl.col("level") == "module") & (pl.col("evaluated") == pl.col("grid_points")))
    points = table.filter((pl.col("level") == "point") & (pl.col("view") == "direct"))
    points = points.join(whole.select("network", "module").unique(), on=["network", "module"], how="semi")
    if not points.is_empty():
        found.append(_valleys(points, metric))
    return tuple(found)


def _bars(rows: pl.DataFrame, view: str) -> Figure:
    names = thinned(rows.sort("position")["module"].unique(maintain_order=True).to_list(), _MOST_MODULES)
    rows = rows.filter(pl.col("module").is_in(names))
    labels = [shown(variant) for variant in rows["variant"].unique(maintain_order=True)]
    value = (1 + pl.col("mu") / pl.col("parameters")).log(10)
    text = hover(pl.col("network"), " ", pl.col("module"), ": μ ", pl.col("mu").round(3), ", σ ", pl.col("sigma"))
    data = rows.with_columns(value.alias("height"), text, shown_column("variant").alias("shown"))
    x = alt.X("module:N", title="Module (from input to output)", sort=names).axis(labelAngle=-60, labelLimit=120)
    y = alt.Y("height:Q", title=_HEIGHT).scale(zero=True)
    offset = alt.XOffset("shown:N", sort=labels)
    tint = alt.Color("shown:N", title=None, scale=scale(labels))
    reached = alt.Chart(data.filter(pl.col("mu").is_not_null()).select("module", "shown", "height", "hover"))
    panel: Panel = alt.layer(
        reached.mark_bar(opacity=0.35, aria=False).encode(x, alt.Y("mean(height):Q", title=_HEIGHT), offset, tint),
        reached.mark_circle(size=26, opacity=0.9).encode(x, y, offset, tint, description="hover:N"),
    ).properties(width=min(400, max(300, 26 * len(names))), height=230)
    free = {label: [name for name in names if _free(rows, name, label)] for label in labels}
    told = "; ".join(f"{label}: {', '.join(found) or 'none'}" for label, found in free.items())
    lost = int(rows["unreachable"].sum())
    return Figure(
        name=f"modules-{view}",
        title=f"Criticality by module ({_VIEWS[view]})",
        caption="One ε for all networks. Bars: mean over seeds; dots: networks. Zero: the module can go back to its "
        f"initial value. {f'{lost} unreachable modules (+∞) are not drawn.' if lost else ''}".strip(),
        description=f"Modules with μ = 0 in every seed: {told}.",
        panels=(panel,),
        columns=1,
        legend=tuple((label, colour(label), "square") for label in labels),
    )


def _free(rows: pl.DataFrame, module: str, label: str) -> bool:
    part = rows.filter((pl.col("module") == module) & (shown_column("variant") == label))
    return bool((part["mu"] == 0).fill_null(False).all())


def _valleys(points: pl.DataFrame, metric: str) -> Figure:
    """One panel for each module of the first network of each variant, one colour scale for all."""
    shown_networks = points.group_by("variant", maintain_order=True).agg(pl.col("network").first())["network"].to_list()
    rows = points.filter(pl.col("network").is_in(shown_networks) & pl.col("value").is_not_null())
    order = rows.sort("position").select("network", "module").unique(maintain_order=True)
    places = [(network, module) for network in shown_networks
              for module in order.filter(pl.col("network") == network)["module"]]  # fmt: skip
    kept = [places[int(index * len(places) / min(len(places), _MOST_PANELS))]
            for index in range(min(len(places), _MOST_PANELS))]  # fmt: skip
    limits = [float(rows["value"].min()), float(rows["value"].max())]  # type: ignore[arg-type]  # a float column
    if rows["quantity"][0] == "error":
        what = f"1 − {metric_name(metric)} on training images"
    else:
        what = "mean loss on training images (nats)"
    panels = tuple(
        _valley(
            rows.filter((pl.col("network") == network) & (pl.col("module") == module)), network, module, limits, what
        )
        for network, module in kept
    )
    return Figure(
        name="valleys",
        title="Valleys: a module on its way back, with noise",
        caption=f"Colour: {what}, from {limits[0]:.3g} to {limits[1]:.3g} in every panel. To the left the initial "
        "value, to the right the final one; upwards more noise. All other modules keep their final value."
        + (f" {len(kept)} of {len(places)} panels." if len(kept) < len(places) else ""),
        description=f"{what} by place and noise for {len(kept)} modules.",
        panels=panels,
        columns=4,
        ramp=(f"{limits[0]:.3g}", f"{limits[1]:.3g}", tuple(RAMP)),
    )


def _valley(rows: pl.DataFrame, network: str, module: str, limits: list[float], what: str) -> Panel:
    text = hover("distance ", pl.col("distance").round(3), ", σ ", pl.col("sigma"), ": ", pl.col("value").round(4))
    data = rows.with_columns(
        text, pl.col("distance").round(3).cast(pl.String).alias("x"), pl.col("sigma").cast(pl.String).alias("y")
    ).select("x", "y", "value", "hover", "distance", "sigma")
    assert data.height <= LIMIT
    xs = data.sort("distance")["x"].unique(maintain_order=True).to_list()
    ys = data.sort("sigma", descending=True)["y"].unique(maintain_order=True).to_list()
    tint = alt.Color("value:Q", title=what, legend=None).scale(domain=limits, range=list(RAMP), clamp=True)
    panel: Panel = (
        alt.Chart(data, title=f"{network} {module}")
        .mark_rect()
        .encode(
            alt.X("x:O", title="Distance from the initial value (ℓ2)", sort=xs).axis(
                labelAngle=0, values=thinned(xs, 4), labelOverlap=True
            ),
            alt.Y("y:O", title="σ of the noise (units of the parameters)", sort=ys),
            tint,
            description="hover:N",
        )
        .properties(width=190, height=110)
    )
    return panel
