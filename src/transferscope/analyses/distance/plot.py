"""How far apart parameters are: by module, and for the whole network."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints, tints
from transferscope.plots.panels import Frame, dot_panel, kept_names, listed, present, values_text
from transferscope.plots.theme import Figure, Panel, among, pairs_of, shown_column

__all__ = ["figures"]

_TOTALS = ("all", "trunk", "head")
_MEASURES = {
    "distance": "ℓ2 distance (units of the parameters)",
    "relative": "Distance ÷ norm at the start (ratio)",
}
_COSINES = {
    "cosine": "Cosine of displacements (−1 to 1)",
    "cosine_without_decay": "Cosine, decay projected out (−1 to 1)",
}
_MOST_PAIRS = 6


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``distance``; none where the table is empty."""
    rows = table.with_columns(shown_column("pair"))
    colours = tints("pair", pairs_of(rows["pair"])[:_MOST_PAIRS])
    rows = rows.filter(pl.col("pair").is_in(list(colours.colours)))
    totals = rows.filter(pl.col("part").is_in(_TOTALS) & (pl.col("position") < 0))
    return present(_whole(totals, colours), _modules(rows.filter(pl.col("position") >= 0), colours))


def _whole(rows: pl.DataFrame, colours: Tints) -> Figure | None:
    order = among(_TOTALS, rows["part"])
    first = rows.filter(pl.col("part") == order[0]) if order else rows
    names = Names("part", "Part (name)", order, size=11)
    text = pl.col("a"), " · ", pl.col("b"), ", ", pl.col("part")

    def panel(name: str, title: str) -> Panel:
        frame = Frame(Axis(name, title, zero=True), names, colours, aside=True, width=320, height=44 * len(order) + 12)
        data = rows.drop_nulls(name).with_columns(values_text(*text, value=name))
        return frame.panel(frame.means(data.drop("hover")), frame.dots(data, opacity=0.9))

    return Figure(
        name="whole",
        title="Whole network, trunk and head",
        caption="One dot per pair of networks, a tick at their mean. Cosines compare the directions in which two "
        "networks left their starts; shared weight decay alone makes them positive, so it is also projected out.",
        description="Distance between the parameters of pairs of networks: "
        + listed(first, "pair", "distance", order=colours.colours) + ".",
        panels=tuple(panel(name, title) for name, title in (_MEASURES | _COSINES).items() if rows[name].count()),
        legend=colours.legend("point"),
    )  # fmt: skip


def _modules(rows: pl.DataFrame, colours: Tints) -> Figure:
    kept, less = kept_names(rows, "part")
    means = (
        rows.filter(pl.col("part").is_in(kept))
        .group_by("pair", "part", maintain_order=True)
        .agg(pl.col(*_MEASURES).mean())
    )
    names, height = Names("part", "Module (name)", kept), max(15 * len(kept), 60)
    text = pl.col("pair"), ", ", pl.col("part")
    return Figure(
        name="modules",
        title="By module, from input to output",
        caption="Mean over the networks of a pair. Large modules move further: the ratio beside it divides by the "
        "norm of the module's initial value." + less,
        description="Distance by module for " + ", ".join(colours.colours) + ".",
        panels=tuple(
            dot_panel(
                Frame(Axis(name, title, zero=True), names, colours, width=320, height=height),
                means.drop_nulls(name).with_columns(values_text(*text, value=name)),
            )
            for name, title in _MEASURES.items()
            if means[name].count()
        ),
        legend=colours.legend("point"),
    )
