"""One-module paths: similarity, distance and barrier of every module side by side, and what lies on the way."""

import altair as alt
import polars as pl

from transferscope.plots.heat import RAMP, heat_map, modules_down, steps_across
from transferscope.plots.paths import TWO_POINTS, two_points
from transferscope.plots.theme import Figure, Panel, charted, colour, hover, pair_rank, scale, shown_column, thinned

__all__ = ["chart", "figures"]

_MOST_MODULES = 40
_PANELS = {
    "cka": "CKA of its outputs (at most 1)",
    "relative": "Distance (ratio to the norm at the start)",
    "loss": "Loss barrier (nats)",
    "error": "Error barrier (%)",
}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``module_path``; none where no barrier was measured."""
    test = table.filter(pl.col("split") == "test").with_columns(shown_column("pair"))
    barriers = test.filter(
        (pl.col("level") == "barrier") & (pl.col("baseline") == "mean") & pl.col("barrier").is_not_null()
    )
    if barriers.is_empty():
        return ()
    modules = barriers.sort("position")["module"].unique(maintain_order=True).to_list()
    kept = thinned(modules, _MOST_MODULES)
    pairs = sorted(set(barriers["pair"]), key=pair_rank)
    less = f" {len(kept)} of {len(modules)} modules are drawn." if len(kept) < len(modules) else ""
    means = _means(barriers)
    policy = ", ".join(sorted(set(barriers["batch_norm"])))
    tops = []
    for pair in pairs:
        of = means.filter((pl.col("pair") == pair) & (pl.col("quantity") == "error") & (pl.col("position") >= 0))
        if not of.is_empty():
            top = of.sort("barrier", descending=True).row(0, named=True)
            tops.append(f"{pair} at {top['module']} ({100 * top['barrier']:.1f} points)")
    side = Figure(
        name="modules",
        title="Every module: similarity, distance, barrier",
        caption="Rows: modules from input to output, (trunk) and (all) at once at the top. Dots: mean over pairs, for "
        "barriers of both directions too (test images, over the mean of the ends). Rules: lowest lower to highest "
        "upper 95 % limit over images, for all modules at once; they speak of these networks. Dashed: the 2 points "
        f"below which a barrier counts as none. Batch norm: {policy}." + less,
        description="Largest error barrier of a single module: " + (", ".join(tops) or "not defined") + ".",
        panels=tuple(_panel(means, name, kept, pairs) for name in _PANELS if _drawn(means, name)),
        legend=(*((pair, colour(pair), "point") for pair in pairs), TWO_POINTS),
    )
    return (side, *_along(test, kept, pairs, less))


chart = charted(figures)
"""The picture of the table of ``module_path``: every module's similarity, distance and barriers."""


def _means(barriers: pl.DataFrame) -> pl.DataFrame:
    return (
        barriers.group_by("pair", "module", "position", "quantity", maintain_order=True)
        .agg(
            pl.col("cka").mean(),
            pl.col("relative").mean(),
            pl.col("barrier").mean(),
            low=pl.col("simultaneous_low").min(),
            high=pl.col("simultaneous_high").max(),
        )
        .sort("position")
    )


def _drawn(means: pl.DataFrame, name: str) -> bool:
    return name not in means.columns or bool(means[name].is_not_null().any())


def _panel(means: pl.DataFrame, name: str, kept: list[str], pairs: list[str]) -> Panel:
    title = _PANELS[name]
    barrier = name in ("loss", "error")
    value = pl.col("barrier") if barrier else pl.col(name)
    rows = means.filter((pl.col("quantity") == (name if barrier else "error")) & pl.col("module").is_in(kept))
    rows = rows.with_columns(value=value).filter(pl.col("value").is_not_null())
    limits = (" (", pl.col("low").round_sig_figs(3), " to ", pl.col("high").round_sig_figs(3), ")") if barrier else ()
    text = hover(pl.col("pair"), ", ", pl.col("module"), ": ", pl.col("value").round_sig_figs(3), *limits)
    data = rows.with_columns(text).select("pair", "module", "value", "low", "high", "hover")
    number = ".1%" if name == "error" else "~g"
    x, low = (alt.X(f"{end}:Q", title=title).scale(zero=True).axis(format=number) for end in ("value", "low"))
    y = alt.Y("module:N", title="Module (name)", sort=kept).scale(domain=kept).axis(
        ticks=False, domain=False, grid=True, labelLimit=130, minExtent=52, labelFontSize=10
    )  # fmt: skip
    shift = alt.YOffset("pair:N", sort=pairs).scale(domain=pairs)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    drawn = alt.Chart(data)
    layers: list[alt.Chart] = []
    if barrier:
        bars = drawn.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(strokeWidth=2, aria=False)
        layers.append(bars.encode(low, alt.X2("high:Q"), y, shift, tint))
    if name == "error":
        layers.append(two_points(x))
    layers.append(drawn.mark_circle(size=36, opacity=1).encode(x, y, shift, tint, description="hover:N"))
    return alt.layer(*layers).properties(width=300, height=max(14 * len(kept) * min(len(pairs), 2), 60))


def _along(test: pl.DataFrame, kept: list[str], pairs: list[str], less: str) -> tuple[Figure, ...]:
    points = test.filter((pl.col("level") == "point") & pl.col("module").is_in(kept))
    means = points.group_by("pair", "module", "alpha").agg(pl.col("error_change").mean(), pl.col("position").first())
    if means.is_empty():
        return ()
    # (all) and (trunk) may rise far above single modules: they take the last colour.
    top = max(0.01, *means.filter(pl.col("position") >= 0)["error_change"].to_list())
    panels = []
    for pair in pairs:
        text = hover(pl.col("module"), ", α ", pl.col("alpha").round(3), ": error ",
                     (100 * pl.col("error_change")).round(2), " points above α = 0")  # fmt: skip
        data = means.filter(pl.col("pair") == pair).with_columns(text, place=pl.col("alpha").round(3))
        panels.append(
            heat_map(
                data.sort("position", "alpha"),
                pair,
                steps_across("place", "Position α (0 = the network itself, 1 = the other's module)", thin=True),
                modules_down("module", kept),
                alt.Color(
                    "error_change:Q", title="error", scale=alt.Scale(domain=[0, top], range=list(RAMP), clamp=True)
                ),
                width=300,
                height=max(90, 12 * len(kept)),
            )
        )
    return (
        Figure(
            name="along",
            title="On the way to the other network's module",
            caption="Test error above that of the network itself while one module moves and the rest stays, averaged "
            "over pairs and both directions. The last column is the exchange of the module. One colour scale, "
            "made for single modules; values beyond it have its first or last colour." + less,
            description=f"Heat maps of the error above that at α = 0, modules by α, up to {100 * top:.1f} points.",
            panels=tuple(panels),
            ramp=("0 no worse", f"{100 * top:.3g} points of error", RAMP),
        ),
    )
