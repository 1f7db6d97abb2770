"""Feature similarity against the size of the training set."""

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, charted, colour, hover, pair_rank, scale, thinned

__all__ = ["chart", "figures"]

_DRAWN = ("P/P-T", "P/RI-T", "RI/RI-T", "P-T/P-T", "RI-T/RI-T", "P-T/RI-T")
_MOST_MODULES = 40


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``similarity_by_size``; none where no value is defined."""
    known = table.filter(pl.col("cka").is_not_null() & pl.col("pair").is_in(_DRAWN))
    if known.is_empty():
        return ()
    pairs = sorted(set(known["pair"]), key=pair_rank)
    return (_sizes(known, pairs), _modules(known))


chart = charted(figures)
"""The picture of the table of ``similarity_by_size``."""


def _sizes(known: pl.DataFrame, pairs: list[str]) -> Figure:
    single = known.group_by("pair", "images", "a", "b").agg(pl.col("cka").mean())
    means = single.group_by("pair", "images").agg(pl.col("cka").mean())
    text = hover(pl.col("pair"), ", ", pl.col("images"), " training images: ", pl.col("cka").round(3))
    x = alt.X("images:Q", title="Training images (count, log scale)").scale(type="log", nice=False)
    low = min(0.0, *single["cka"].to_list())
    y = alt.Y("cka:Q", title="Mean CKA of like modules (0 to 1)").scale(domain=[low, 1.0], nice=False)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    dots = alt.Chart(single).mark_circle(size=24, opacity=0.5, aria=False).encode(x, y, tint)
    line = alt.Chart(means).mark_line(strokeWidth=2, aria=False).encode(x, y, tint)
    points = alt.Chart(means.with_columns(text)).mark_circle(size=44, opacity=1)
    panel = alt.layer(dots, line, points.encode(x, y, tint, description="hover:N")).properties(width=370, height=230)
    return Figure(
        name="sizes",
        title="Similarity by the number of training images",
        caption="A small dot for each pair of networks, a line through their means. If features from a random start "
        "came near to P with more data, P/RI-T would rise to the right.",
        description="Mean CKA of like modules by training-set size for " + ", ".join(pairs) + ".",
        panels=(panel,),
        columns=1,
        legend=tuple((pair, colour(pair), "line") for pair in pairs),
    )


def _modules(known: pl.DataFrame) -> Figure:
    names = known.group_by("module").agg(pl.col("position").min()).sort("position")["module"].to_list()
    kept = thinned(names, _MOST_MODULES)
    sizes = sorted(set(known["images"]))
    panels = []
    for pair in ("P/P-T", "P/RI-T"):
        rows = known.filter((pl.col("pair") == pair) & pl.col("module").is_in(kept))
        if rows.is_empty():
            continue
        means = rows.group_by("images", "module").agg(pl.col("cka").mean())
        text = hover(pl.col("module"), ", ", pl.col("images"), " images: ", pl.col("cka").round(3))
        x = alt.X("module:N", title="Module (name), from input to output", sort=kept)
        x = x.axis(labelAngle=-60, ticks=False, labelFontSize=9, labelOverlap=True, labelLimit=100, grid=False)
        low = min(0.0, *known["cka"].to_list())
        y = alt.Y("cka:Q", title="CKA (0 to 1)").scale(domain=[low, 1.0], nice=False).axis(minExtent=38)
        shade = alt.Opacity("images:O", title="Training images (count)", sort=sizes).scale(
            range=[0.3, 1.0] if len(sizes) > 1 else [1.0, 1.0]
        )
        drawn = alt.Chart(means.with_columns(text), title=pair)
        panels.append(
            alt.layer(
                drawn.mark_line(strokeWidth=2, color=colour(pair), aria=False).encode(x, y, shade),
                drawn.mark_circle(size=30, color=colour(pair)).encode(x, y, shade, description="hover:N"),
            ).properties(width=320, height=200)
        )
    listed = ", ".join(map(str, sizes))
    return Figure(
        name="modules",
        title="By module and number of training images",
        caption=f"CKA with the same module of P, averaged over seeds; the fainter the line, the fewer training images "
        f"({listed}).",
        description=f"CKA with P by module, for {listed} training images.",
        panels=tuple(panels),
    )
