"""One-module paths: similarity, distance and barrier of every module side by side, and what lies on the way."""

from collections.abc import Sequence

import polars as pl

from transferscope.plots.axes import Axis, Names, Ramp, Steps, tints
from transferscope.plots.panels import (
    Frame,
    dot_panel,
    facets,
    heat_map,
    interval_text,
    kept_names,
    present,
    values_text,
)  # fmt: skip
from transferscope.plots.paths import CONNECTED, TWO_POINTS, note
from transferscope.plots.theme import Figure, Panel, hover, pairs_of, shown_column

__all__ = ["figures"]

_MEASURES = {
    "cka": "CKA of its outputs (at most 1)",
    "relative": "Distance (ratio to the norm at the start)",
}
_BARRIERS = {"loss": ("Loss barrier (nats)", "~g"), "error": ("Error barrier (%)", ".1%")}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``module_path``; none where no barrier was measured."""
    test = table.filter(pl.col("split") == "test").with_columns(shown_column("pair"))
    heights = (pl.col("level") == "barrier") & (pl.col("baseline") == "mean") & pl.col("barrier").is_not_null()
    barriers = test.filter(heights)
    kept, less = kept_names(barriers)
    pairs = pairs_of(barriers["pair"])
    points = test.filter((pl.col("level") == "point") & pl.col("module").is_in(kept))
    return present(_modules(barriers, kept, pairs, less), _along(points, kept, pairs, less))


def _modules(barriers: pl.DataFrame, kept: list[str], pairs: list[str], less: str) -> Figure:
    means = barriers.group_by("pair", "module", "position", "quantity", maintain_order=True).agg(
        pl.col("cka", "relative", "barrier").mean(),
        low=pl.col("simultaneous_low").min(),
        high=pl.col("simultaneous_high").max(),
    ).sort("position")  # fmt: skip
    errors = means.filter((pl.col("quantity") == "error") & (pl.col("position") >= 0))
    tops = errors.sort("barrier", descending=True).unique("pair", keep="first", maintain_order=True)
    told = ", ".join(
        f"{row['pair']} at {row['module']} ({100 * row['barrier']:.1f} points)"
        for row in sorted(tops.to_dicts(), key=lambda row: pairs.index(row["pair"]))
    )
    colours = tints("pair", pairs)
    names, height = Names("module", "Module (name)", kept), max(14 * len(kept) * min(len(pairs), 2), 60)

    def panel(rows: pl.DataFrame, column: str, title: str, number: str = "~g", at: Sequence[float] = ()) -> Panel:
        frame = Frame(Axis("value", title, number, zero=True), names, colours, aside=True, width=300, height=height)
        data = rows.filter(pl.col("module").is_in(kept)).with_columns(value=column).drop_nulls("value")
        text = values_text if column in _MEASURES else interval_text
        return dot_panel(frame, data.with_columns(text(pl.col("pair"), ", ", pl.col("module"), digits=3)), at=at)

    one = means.filter(pl.col("quantity") == "error").drop("low", "high")
    measures = tuple(panel(one, name, title) for name, title in _MEASURES.items() if one[name].count())
    return Figure(
        name="modules",
        title="Every module: similarity, distance, barrier",
        caption="Rows: modules from input to output, (trunk) and (all) at once at the top. Dots: mean over pairs, for "
        "barriers of both directions too (test images, over the mean of the ends). Rules: lowest lower to highest "
        "upper 95 % limit over images, for all modules at once; they speak of these networks. Dashed: the 2 points "
        f"below which a barrier counts as none.{note(barriers)}" + less,
        description="Largest error barrier of a single module: " + (told or "not defined") + ".",
        panels=(*measures, *facets(means, "quantity", _BARRIERS, lambda part, name: panel(
            part, "barrier", *_BARRIERS[name], at=[CONNECTED] if name == "error" else [],
        ))),
        legend=(*colours.legend("point"), TWO_POINTS),
    )  # fmt: skip


def _along(points: pl.DataFrame, kept: list[str], pairs: list[str], less: str) -> Figure | None:
    if points.is_empty():
        return None
    means = points.group_by("pair", "module", "alpha", maintain_order=True).agg(
        pl.col("error_change").mean(), pl.col("position").first()
    )
    # (all) and (trunk) may rise far above single modules: they take the last colour.
    top = max([0.01, *means.filter(pl.col("position") >= 0)["error_change"]])
    data = means.sort("position", "alpha").with_columns(
        hover(pl.col("module"), ", α ", pl.col("alpha").round(3), ": error ",
              (100 * pl.col("error_change")).round(2), " points above α = 0"),
        pl.col("alpha").round(3),
    )  # fmt: skip
    ramp = Ramp("error_change", "error", 0, top)
    names = Names("module", "Module (name)", kept, limit=84, size=9, cells=True)
    across = Steps("alpha", "Position α (0 = the network itself, 1 = the other's module)")
    return Figure(
        name="along",
        title="On the way to the other network's module",
        caption="Test error above that of the network itself while one module moves and the rest stays, averaged "
        "over pairs and both directions. The last column is the exchange of the module. One colour scale, "
        "made for single modules; values beyond it have its first or last colour." + less,
        description=f"Heat maps of the error above that at α = 0, modules by α, up to {100 * top:.1f} points.",
        panels=facets(data, "pair", pairs, lambda part, pair: heat_map(
            part, across, names, ramp, title=pair, width=300, height=max(90, 12 * len(kept)),
        )),
        ramp=ramp.legend("0 no worse", f"{100 * top:.3g} points of error"),
    )  # fmt: skip
