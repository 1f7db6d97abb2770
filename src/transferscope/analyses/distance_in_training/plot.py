"""How far parameters are from their start and their end, and from each other, epoch by epoch."""

from dataclasses import replace

import polars as pl

from transferscope.plots.axes import EPOCHS, Axis, Names, Ramp, Steps, tints
from transferscope.plots.panels import Frame, facets, heat_map, kept_names, present, values_text
from transferscope.plots.theme import Figure, Panel, pair_rank, shown_column

__all__ = ["figures"]

_OWN = {
    "from_start": "From the start (ℓ2, units of the parameters)",
    "to_end": "To the end (ℓ2, units of the parameters)",
    "cosine": "Cosine with the whole way (−1 to 1)",
}
_PAIRS = {
    "between": "Apart (ℓ2, units of the parameters)",
    "cosine": "Cosine of displacements (−1 to 1)",
}
_MOST_MODULES = 30


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``distance_in_training``; none where the table is empty."""
    rows = table.with_columns(shown_column("pair"))
    trunk, own = rows.filter(pl.col("position") == -2), pl.col("level") == "own"
    parts = rows.filter(own & (pl.col("position") >= 0) & pl.col("relative").is_not_null())
    return present(
        _figure(trunk.filter(own), _OWN, "own", "Each network on its way",
                "Of the trunk, one line for each network: how far it is from its start, how far from its "
                "end, and whether it has left in the direction in which it ends."),
        _modules(parts),
        _figure(trunk.filter(pl.col("level") == "pair"), _PAIRS, "pairs", "Two networks at the same epoch",
                "Of the trunk, one line for each pair: distance, and the cosine between what each has "
                "moved from its own start so far."),
    )  # fmt: skip


def _figure(rows: pl.DataFrame, columns: dict[str, str], name: str, title: str, caption: str) -> Figure:
    labels = sorted(set(rows["pair"]), key=lambda label: (label != "P-T", *pair_rank(label)))
    colours = tints("pair", labels)

    def panel(column: str, axis: str) -> Panel:
        frame = Frame(replace(EPOCHS, title="Epoch (count)"), Axis(column, axis, zero=True), colours, width=230)
        text = values_text(pl.col("a"), " · ", pl.col("b"), ", epoch ", pl.col("epoch"), value=column)
        data = rows.drop_nulls(column).with_columns(text)
        return frame.panel(frame.lines(data, by=["a", "b"], width=1.5, opacity=0.8), frame.dots(data, size=26))

    return Figure(
        name=name,
        title=title,
        caption=caption,
        description=f"{title}, by epoch, for " + ", ".join(labels) + ".",
        panels=tuple(panel(column, axis) for column, axis in columns.items() if rows[column].count()),
        columns=3,
        legend=colours.legend("line"),
    )


def _modules(rows: pl.DataFrame) -> Figure:
    kept, less = kept_names(rows, "part", _MOST_MODULES)
    means = (
        rows.group_by("pair", "epoch", "part", maintain_order=True)
        .agg(pl.col("relative").mean())
        .filter(pl.col("part").is_in(kept))
    )
    text = values_text(pl.col("part"), ", epoch ", pl.col("epoch"), value="relative", digits=3)
    top = max([1e-12, *means["relative"]])
    ramp = Ramp("relative", "ratio", 0, top)
    names = Names("part", "Module (name)", kept, limit=84, size=9, cells=True)
    return Figure(
        name="modules",
        title="Which modules move, and when",
        caption="Distance from the start over the norm at the start, by module and epoch, averaged over seeds; input "
        "at the top, one colour scale." + less,
        description="Heat maps of relative distance from the start, modules by epochs.",
        panels=facets(means.with_columns(text), "pair", sorted(set(means["pair"])), lambda part, pair: heat_map(
            part, Steps("epoch", "Epoch (count)"), names, ramp, title=pair, width=230, height=max(90, 11 * len(kept)),
        )),
        ramp=ramp.legend("0 not moved", f"{top:.3g} most"),
    )  # fmt: skip
