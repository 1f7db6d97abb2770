"""Share of P's channels that are found again, by module, beside chance."""

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, Panel, charted, colour, hover, scale, shown_column, thinned

__all__ = ["chart", "figures"]

_ORDER = ("P-T", "RI-T", "RI")
_MOST_MODULES = 60


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figure of ``reused_channels``; none where no share is defined."""
    rows = table.filter((pl.col("level") == "module") & pl.col("reused").is_not_null()).with_columns(
        shown_column("variant")
    )
    if rows.is_empty():
        return ()
    names = rows.group_by("module").agg(pl.col("position").min()).sort("position")["module"].to_list()
    kept = thinned(names, _MOST_MODULES)
    variants = [variant for variant in _ORDER if variant in set(rows["variant"])]
    threshold = rows["threshold"][0]
    panels = tuple(
        _by_depth(rows.filter(pl.col("module").is_in(kept)), column, title, kept, variants)
        for column, title in (
            ("reused", f"Found again above r = {threshold:g} (%)"),
            ("same_index", f"At the same index above r = {threshold:g} (%)"),
        )
        if rows[column].null_count() < rows.height
    )
    less = f" {len(kept)} of {len(names)} modules are drawn." if len(kept) < len(names) else ""
    return (
        Figure(
            name="reused",
            title="Channels of P found again",
            caption="Share of P's living channels whose one-to-one match in the other network correlates above the "
            "threshold, on images that the matching did not see; a dot for each seed, a line through their means. RI "
            "and RI-T show what matching finds by chance." + less,
            description="Share of the channels of P found again, by module, in " + ", ".join(variants) + ".",
            panels=panels,
            legend=tuple((variant, colour(variant), "line") for variant in variants),
        ),
    )


chart = charted(figures)
"""The picture of the table of ``reused_channels``."""


def _by_depth(rows: pl.DataFrame, column: str, title: str, kept: list[str], variants: list[str]) -> Panel:
    known = rows.filter(pl.col(column).is_not_null())
    text = hover(pl.col("network"), " at ", pl.col("module"), ": ", (100 * pl.col(column)).round(1), " % of ",
                 pl.col("channels"))  # fmt: skip
    data = known.with_columns(text).select("variant", "module", "hover", share=pl.col(column))
    means = data.group_by("variant", "module").agg(pl.col("share").mean())
    x = alt.X("module:N", title="Module (name), from input to output", sort=kept)
    x = x.axis(labelAngle=-60, ticks=False, labelFontSize=9, labelOverlap=True, labelLimit=100, grid=False)
    y = alt.Y("share:Q", title=title).scale(domain=[0, 1], nice=False).axis(minExtent=38, format=".0%")
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    return alt.layer(
        alt.Chart(means).mark_line(strokeWidth=2, aria=False).encode(x, y, tint),
        alt.Chart(data).mark_circle(size=30, opacity=0.9).encode(x, y, tint, description="hover:N"),
    ).properties(width=340, height=210)
