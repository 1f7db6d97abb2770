"""How far parameters are from their start and their end, and from each other, epoch by epoch."""

import altair as alt
import polars as pl

from transferscope.plots.heat import RAMP, heat_map, modules_down, steps_across
from transferscope.plots.theme import Figure, Panel, charted, colour, hover, pair_rank, scale, shown_column, thinned

__all__ = ["chart", "figures"]

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
    trunk = rows.filter(pl.col("position") == -2)
    found = []
    own = trunk.filter(pl.col("level") == "own")
    if not own.is_empty():
        found.append(_figure(own, _OWN, "own", "Each network on its way",
                             "Of the trunk, one line for each network: how far it is from its start, how far from its "
                             "end, and whether it has left in the direction in which it ends."))  # fmt: skip
    parts = rows.filter((pl.col("level") == "own") & (pl.col("position") >= 0) & pl.col("relative").is_not_null())
    if not parts.is_empty():
        found.append(_modules(parts))
    pairs = trunk.filter(pl.col("level") == "pair")
    if not pairs.is_empty():
        found.append(_figure(pairs, _PAIRS, "pairs", "Two networks at the same epoch",
                             "Of the trunk, one line for each pair: distance, and the cosine between what each has "
                             "moved from its own start so far."))  # fmt: skip
    return tuple(found)


chart = charted(figures)
"""The picture of the table of ``distance_in_training``."""


def _figure(rows: pl.DataFrame, columns: dict[str, str], name: str, title: str, caption: str) -> Figure:
    labels = sorted(set(rows["pair"]), key=lambda label: (label != "P-T", *pair_rank(label)))
    return Figure(
        name=name,
        title=title,
        caption=caption,
        description=f"{title}, by epoch, for " + ", ".join(labels) + ".",
        panels=tuple(
            _lines(rows, column, axis, labels)
            for column, axis in columns.items()
            if rows[column].null_count() < rows.height
        ),
        columns=3,
        legend=tuple((label, colour(label), "line") for label in labels),
    )


def _lines(rows: pl.DataFrame, column: str, title: str, labels: list[str]) -> Panel:
    known = rows.filter(pl.col(column).is_not_null())
    text = hover(pl.col("a"), " · ", pl.col("b"), ", epoch ", pl.col("epoch"), ": ", pl.col(column).round_sig_figs(4))
    data = known.with_columns(text, run=pl.concat_str("a", pl.lit("·"), "b"))
    data = data.select("pair", "run", "epoch", "hover", value=pl.col(column))
    x = alt.X("epoch:Q", title="Epoch (count)").axis(tickMinStep=1)
    y = alt.Y("value:Q", title=title).scale(zero=True, nice=True).axis(minExtent=38)
    tint = alt.Color("pair:N", title=None, scale=scale(labels))
    drawn = alt.Chart(data)
    return alt.layer(
        drawn.mark_line(strokeWidth=1.5, opacity=0.8, aria=False).encode(x, y, tint, detail="run:N"),
        drawn.mark_circle(size=26, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=230, height=200)


def _modules(rows: pl.DataFrame) -> Figure:
    names = rows.group_by("part").agg(pl.col("position").min()).sort("position", "part")["part"].to_list()
    kept = thinned(names, _MOST_MODULES)
    means = rows.group_by("pair", "epoch", "part").agg(pl.col("relative").mean()).filter(pl.col("part").is_in(kept))
    top = max(1e-12, *means["relative"].to_list())
    panels = []
    for pair in sorted(set(means["pair"])):
        text = hover(pl.col("part"), ", epoch ", pl.col("epoch"), ": ", pl.col("relative").round_sig_figs(3))
        panels.append(
            heat_map(
                means.filter(pl.col("pair") == pair).with_columns(text),
                pair,
                steps_across("epoch", "Epoch (count)"),
                modules_down("part", kept),
                alt.Color("relative:Q", title="ratio", scale=alt.Scale(domain=[0, top], range=list(RAMP))),
                width=230,
                height=max(90, 11 * len(kept)),
            )
        )
    less = f" {len(kept)} of {len(names)} modules are drawn." if len(kept) < len(names) else ""
    return Figure(
        name="modules",
        title="Which modules move, and when",
        caption="Distance from the start over the norm at the start, by module and epoch, averaged over seeds; input "
        "at the top, one colour scale." + less,
        description="Heat maps of relative distance from the start, modules by epochs.",
        panels=tuple(panels),
        ramp=("0 not moved", f"{top:.3g} most", RAMP),
    )
