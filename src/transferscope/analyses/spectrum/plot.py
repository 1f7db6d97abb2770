"""Spectra of weights: stable rank and norm by depth, changes from the start, and the singular values themselves."""

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, Panel, charted, colour, hover, shown_column, thinned

__all__ = ["chart", "figures"]

_VARIANTS = ("RI", "P", "RI-T", "P-T")
_CONTROL = "-wd0"
_QUANTITIES = {
    "stable_share": "Stable rank ÷ number of values (ratio)",
    "largest": "Largest singular value (1)",
}
_CHANGES = {"P-T / P": "P-T", "RI-T / RI": "RI-T", "P-T-wd0 / P": "P-T-wd0", "RI-T-wd0 / RI": "RI-T-wd0"}
_MOST_OPERATORS = 40
_MOST_SPECTRA = 6


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``spectrum``; none where no operator was decomposed."""
    # On logarithmic axes nothing is drawn at 0.
    rows = table.filter(pl.col("value") > 0).with_columns(shown_column("variant"))
    depth = rows.filter(pl.col("level") == "variant")
    if depth.is_empty():
        return ()
    names = depth.sort("position")["operator"].unique(maintain_order=True).to_list()
    kept = thinned(names, _MOST_OPERATORS)
    found = [_depth(depth, names, kept)]
    changes = rows.filter((pl.col("level") == "ratio") & pl.col("variant").is_in(list(_CHANGES)))
    if not changes.is_empty():
        found.append(_changes(changes, names, kept))
    curves = rows.filter(pl.col("level") == "curve")
    if not curves.is_empty():
        found.append(_spectra(curves))
    return tuple(found)


chart = charted(figures)
"""The picture of the table of ``spectrum``: stable rank by depth."""


def _colour(variant: str) -> str:
    return colour(variant.removesuffix(_CONTROL))


def _legend(variants: list[str], mark: str) -> tuple[tuple[str, str, str], ...]:
    other = {"line": "dashed", "point": "ring"}[mark]
    return tuple((_named(name), _colour(name), other if name.endswith(_CONTROL) else mark) for name in variants)


def _named(variant: str) -> str:
    return variant.replace(_CONTROL, " without decay")


def _scale(variants: list[str]) -> alt.Scale:
    return alt.Scale(domain=variants, range=[_colour(name) for name in variants])


def _ordered(rows: pl.DataFrame, among: tuple[str, ...]) -> list[str]:
    present = set(rows["variant"])
    return [name for name in among if name in present]


def _less(kept: list[str], names: list[str]) -> str:
    return f" {len(kept)} of {len(names)} operators are drawn; the table holds all." if len(kept) < len(names) else ""


def _depth(rows: pl.DataFrame, names: list[str], kept: list[str]) -> Figure:
    variants = _ordered(rows, _VARIANTS)
    share = rows.filter(pl.col("quantity") == "stable_rank").with_columns(
        pl.col("value", "low", "high") / pl.col("count"), quantity=pl.lit("stable_share")
    )
    both = pl.concat([share, rows.filter(pl.col("quantity") == "largest")])
    both = both.filter(pl.col("variant").is_in(variants) & pl.col("operator").is_in(kept))
    by_variant = {name: share.filter(pl.col("variant") == name)["value"].to_list() for name in variants}
    means = ", ".join(f"{name} {sum(found) / len(found):.3g}" for name, found in by_variant.items() if found)
    panels = tuple(
        _lines(both.filter(pl.col("quantity") == quantity), variants, kept, title)
        for quantity, title in _QUANTITIES.items()
        if quantity in set(both["quantity"])
    )
    return Figure(
        name="depth",
        title="Stable rank and norm along the network",
        caption="Mean over seeds at each weight, in the order in which they run, on logarithmic axes; bars are 95 % "
        "intervals over seeds, or the range of two, and cut off at 0. The stable rank is divided by the number of "
        "singular values. P is one network." + _less(kept, names),
        description=f"Stable rank over the number of singular values, mean over operators: {means}.",
        panels=panels,
        legend=_legend(variants, "line"),
    )


def _lines(rows: pl.DataFrame, variants: list[str], kept: list[str], title: str) -> Panel:
    least = rows["value"].min()
    data = rows.with_columns(
        hover(pl.col("variant"), " at ", pl.col("operator"), ": ", pl.col("value").round_sig_figs(4), " (",
              pl.col("low").round_sig_figs(4), " to ", pl.col("high").round_sig_figs(4), ")"),
        # An interval that reaches 0 or below has no place on a logarithmic axis.
        low=pl.when(pl.col("low").is_not_null()).then(pl.max_horizontal("low", pl.lit(least).cast(pl.Float64) / 2)),
    ).select("variant", "operator", "value", "low", "high", "hover")  # fmt: skip
    x = alt.X("operator:N", title="Weight (module), from input to output", sort=kept).axis(
        labelAngle=-60, ticks=False, labelFontSize=9, labelOverlap=len(kept) > 22, labelLimit=110, grid=False
    )
    y = alt.Y("value:Q", title=title).scale(type="log", nice=False).axis(minExtent=38, tickCount=4)
    tint = alt.Color("variant:N", title=None, scale=_scale(variants))
    drawn = alt.Chart(data)
    return alt.layer(
        drawn.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.5, opacity=0.5, aria=False)
        .encode(x, alt.Y("low:Q", title=title), alt.Y2("high:Q"), tint),
        drawn.mark_line(strokeWidth=2, aria=False).encode(x, y, tint),
        drawn.mark_circle(size=30, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=max(330, 14 * len(kept)), height=220)


def _changes(rows: pl.DataFrame, names: list[str], kept: list[str]) -> Figure:
    of = rows.filter(pl.col("operator").is_in(kept)).with_columns(pl.col("variant").replace(_CHANGES).alias("network"))
    networks = [name for name in _CHANGES.values() if name in set(of["network"])]
    ranks = of.filter(pl.col("quantity") == "stable_rank").sort(pl.col("value").log().abs(), descending=True)
    said = "none is defined"
    if not ranks.is_empty():
        most = ranks.row(0, named=True)
        said = f"the largest is {most['variant']} at {most['operator']}, × {most['value']:.3g}"
    return Figure(
        name="changes",
        title="Change from the own start",
        caption="Geometric mean over seeds of a trained network's value over that of its start, on logarithmic axes; "
        "bars are 95 % intervals over seeds (thick: of this weight alone; thin: of all at once), or the range of two. "
        "Rings: the control, trained without weight decay." + _less(kept, names),
        description=f"Ratio of the stable rank after training to that before; {said}.",
        panels=tuple(
            _ratios(of.filter(pl.col("quantity") == quantity), networks, kept, f"{words} ÷ at the start (ratio)")
            for quantity, words in (("stable_rank", "Stable rank"), ("largest", "Largest singular value"))
            if quantity in set(of["quantity"])
        ),
        legend=_legend(networks, "point"),
    )


def _ratios(rows: pl.DataFrame, networks: list[str], kept: list[str], title: str) -> Panel:
    data = rows.with_columns(
        hover(pl.col("variant"), " at ", pl.col("operator"), ": ", pl.col("value").round_sig_figs(4), " (",
              pl.col("low").round_sig_figs(4), " to ", pl.col("high").round_sig_figs(4), ")"),
        control=pl.col("network").str.ends_with(_CONTROL),
    ).select(
        "network", "operator", "value", "low", "high", "simultaneous_low", "simultaneous_high", "control", "hover"
    )  # fmt: skip
    y = alt.Y("operator:N", title="Weight (module)", sort=kept).axis(
        ticks=False, domain=False, grid=True, labelLimit=140, minExtent=52, labelFontSize=10
    )
    aside = alt.YOffset("network:N", sort=networks)
    tint = alt.Color("network:N", title=None, scale=_scale(networks))
    scale = alt.Scale(type="log", nice=False)
    drawn = alt.Chart(data)
    bars = [
        drawn.transform_filter(f"isValid(datum.{low})")
        .mark_rule(strokeWidth=width, aria=False)
        .encode(alt.X(f"{low}:Q", title=title, scale=scale), alt.X2(f"{high}:Q"), y, tint, yOffset=aside)
        for low, high, width in (("simultaneous_low", "simultaneous_high", 1), ("low", "high", 2.5))
    ]
    one = alt.Chart(pl.DataFrame({"one": [1.0]})).mark_rule(color="#59636e", strokeDash=[3, 3], aria=False)
    x = alt.X("value:Q", title=title, scale=scale)
    point = drawn.transform_filter("!datum.control").mark_circle(size=36, opacity=1)
    ring = drawn.transform_filter("datum.control").mark_point(size=30, filled=False, strokeWidth=1.5, opacity=1)
    return alt.layer(
        one.encode(alt.X("one:Q", title=title, scale=scale)),
        *bars,
        *(mark.encode(x, y, tint, yOffset=aside, description="hover:N") for mark in (point, ring)),
    ).properties(width=300, height=max(8 * len(networks) * len(kept), 60))


def _spectra(rows: pl.DataFrame) -> Figure:
    names = rows.sort("position")["operator"].unique(maintain_order=True).to_list()
    kept = thinned(names, _MOST_SPECTRA)
    variants = _ordered(rows, (*_VARIANTS, *(name + _CONTROL for name in _VARIANTS[2:])))
    seed = min(rows["seed"].to_list())
    return Figure(
        name="spectra",
        title="Singular values",
        caption=f"All singular values of some weights (seed {seed}), from the largest to the smallest, against their "
        "rank over their number, at about 50 ranks, both axes logarithmic. Dashed: the control, trained without weight "
        "decay." + _less(kept, names),
        description="Singular values by rank of " + ", ".join(kept) + ".",
        panels=tuple(_curve(rows.filter(pl.col("operator") == name), name, variants) for name in kept),
        columns=3,
        legend=_legend(variants, "line"),
    )


def _curve(rows: pl.DataFrame, name: str, variants: list[str]) -> Panel:
    data = rows.select(
        "variant",
        "value",
        share=pl.col("rank") / pl.col("count"),
        control=pl.col("variant").str.ends_with(_CONTROL),
    )
    # Values at rounding level would take up most of the picture.
    data = data.filter(pl.col("value") > 1e-6 * pl.col("value").max())
    x = alt.X("share:Q", title="Rank ÷ number of values (ratio)").scale(type="log", nice=False).axis(grid=False)
    y = alt.Y("value:Q", title="Singular value (1)").scale(type="log", nice=False).axis(minExtent=34, grid=False)
    tint = alt.Color("variant:N", title=None, scale=_scale(variants))
    dash = alt.StrokeDash("control:N", legend=None, scale=alt.Scale(domain=[False, True], range=[[1, 0], [5, 3]]))
    drawn: Panel = (
        alt.Chart(data, title=name)
        .mark_line(strokeWidth=1.8)
        .encode(x, y, tint, dash, detail="variant:N", order="share:Q")
        .properties(width=210, height=170)
    )
    return drawn
