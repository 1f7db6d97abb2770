"""The picture of linear probes: test metric along the network, and the gaps between variants."""

import altair as alt
import polars as pl

from transferscope.plots.theme import (
    Figure,
    Panel,
    charted,
    colour,
    hover,
    metric_axis,
    metric_unit,
    scale,
    shown_column,
    thinned,
)

__all__ = ["chart", "figures"]

_VARIANTS = ("RI", "P", "RI-T", "P-T")
_GAPS = {"P − RI": "P/P-T", "P-T − RI-T": "P-T/RI-T", "P-T − P": "P-T"}
_MOST = 40


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``probe``; none where nothing could be probed."""
    known = table.filter(pl.col("value").is_not_null()).with_columns(shown_column("variant"))
    lines = known.filter(pl.col("level") == "variant")
    if lines.is_empty():
        return ()
    modules = lines.sort("position")["module"].unique(maintain_order=True).to_list()
    kept = thinned(modules, _MOST)
    variants = [name for name in _VARIANTS if name in set(lines["variant"])]
    last = lines.filter(pl.col("module") == modules[-1])
    ends = ", ".join(f"{row['variant']} {row['value']:.3f}" for row in last.iter_rows(named=True))
    title, form = metric_axis(metric, "test")
    less = f" {len(kept)} of {len(modules)} parts are drawn." if len(kept) < len(modules) else ""
    curves = Figure(
        name="depth",
        title="Linear probes along the network",
        caption="Test metric of a linear classifier on the pooled output of each part, mean over seeds; bars are 95 % "
        "intervals over seeds, or the range of two. The last place is what enters the head." + less,
        description=f"Test metric of linear probes by depth; at the end: {ends}.",
        panels=(_lines(lines, variants, kept, title, form),),
        legend=tuple((name, colour(name), "line") for name in variants),
    )
    seeds = pl.col("basis").is_null() | (pl.col("basis") != "examples")
    gaps = known.filter((pl.col("level") == "gap") & seeds & pl.col("variant").is_in(list(_GAPS)))
    if gaps.is_empty():
        return (curves,)
    named = [name for name in _GAPS if name in set(gaps["variant"])]
    most = gaps.sort("value", descending=True).row(0, named=True)
    return (
        curves,
        Figure(
            name="gaps",
            title="What pre-training offers, and what is left of it",
            caption="Differences of probes at the same part, mean over seeds, with 95 % intervals over seeds (thick: "
            "of this part alone; thin: of all parts at once), or the range of two seeds.",
            description=f"Differences of probes by part; the largest is {most['variant']} at {most['module']}, "
            f"{most['value']:+.3f}.",
            panels=tuple(_gap(gaps, name, kept, metric_unit(metric), form) for name in named),
            columns=3,
        ),
    )


chart = charted(figures)
"""The picture of the table of ``probe``: probes along the network."""


def _lines(rows: pl.DataFrame, variants: list[str], kept: list[str], title: str, form: str) -> Panel:
    data = (
        rows.filter(pl.col("module").is_in(kept))
        .with_columns(
            hover(pl.col("variant"), " at ", pl.col("module"), ": ", pl.col("value").round(4), " (",
                  pl.col("low").round(4), " to ", pl.col("high").round(4), ")")
        )
        .select("variant", "module", "value", "low", "high", "hover")
    )  # fmt: skip
    x = alt.X("module:N", title="Part (name), from input to output", sort=kept).axis(
        labelAngle=-60, ticks=False, labelFontSize=9, labelOverlap=len(kept) > 22, labelLimit=100, grid=False
    )
    y = alt.Y("value:Q", title=title).scale(zero=False, nice=True).axis(format=form, minExtent=38)
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    drawn = alt.Chart(data)
    return alt.layer(
        drawn.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.5, opacity=0.5, aria=False)
        .encode(x, alt.Y("low:Q", title=title), alt.Y2("high:Q"), tint),
        drawn.mark_line(strokeWidth=2, aria=False).encode(x, y, tint),
        drawn.mark_circle(size=36, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=max(370, 16 * len(kept)), height=240)


def _gap(rows: pl.DataFrame, name: str, kept: list[str], unit: str, form: str) -> Panel:
    data = (
        rows.filter((pl.col("variant") == name) & pl.col("module").is_in(kept))
        .with_columns(hover(f"{name} at ", pl.col("module"), ": ", pl.col("value").round(4), " (",
                            pl.col("low").round(4), " to ", pl.col("high").round(4), ")"))
        .select("module", "value", "low", "high", "simultaneous_low", "simultaneous_high", "hover")
    )  # fmt: skip
    x = alt.X("value:Q", title=f"{name} {unit}").axis(format=form)
    y = alt.Y("module:N", title="Part (name)", sort=kept).axis(
        ticks=False, domain=False, grid=True, labelLimit=130, minExtent=52, labelFontSize=10
    )
    tint = colour(_GAPS[name])
    drawn = alt.Chart(data, title=name)
    bars = [
        drawn.transform_filter(f"isValid(datum.{low})")
        .mark_rule(color=tint, strokeWidth=width, aria=False)
        .encode(alt.X(f"{low}:Q", title=f"{name} {unit}").axis(format=form), alt.X2(f"{high}:Q"), y)
        for low, high, width in (("simultaneous_low", "simultaneous_high", 1), ("low", "high", 3))
    ]
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]})).mark_rule(color="#59636e", strokeDash=[3, 3], aria=False)
    return alt.layer(
        zero.encode(alt.X("zero:Q", title=f"{name} {unit}").axis(format=form)),
        *bars,
        drawn.mark_circle(size=44, opacity=1, color=tint).encode(x, y, description="hover:N"),
    ).properties(width=210, height=max(15 * len(kept), 60))
