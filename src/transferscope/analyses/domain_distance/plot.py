"""The picture of domain distance: every distance beside its null, along the network, and by batch norm."""

import altair as alt
import polars as pl

from transferscope.keys import SPECTRUM_SLOPE
from transferscope.plots.theme import NEUTRAL, Figure, Panel, charted, hover, thinned

__all__ = ["chart", "figures"]

_TARGET, _SOURCE, _NULL = "#0072B2", "#E69F00", NEUTRAL["muted"]
_BETWEEN = {
    "frechet": "Fréchet distance (feature²)",
    "kernel": "Kernel distance (MMD²)",
    "proxy_a": "Proxy-A distance (0 to 2)",
    "colour": "Colour distance (pixel value)",
}
_MOST = 40
_KINDS = ("target to source", "two halves of the source")


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``domain_distance``: those for which there are rows."""
    known = table.filter(pl.col("value").is_not_null())
    return (*_distances(known), *_along(known), *_statistics(known), *_looks(known))


chart = charted(figures)
"""The picture of the table of ``domain_distance``."""


def _distances(known: pl.DataFrame) -> tuple[Figure, ...]:
    rows = known.filter((pl.col("position") == -1) & pl.col("null").is_not_null())
    names = [name for name in _BETWEEN if name in set(rows["quantity"])]
    if not names:
        return ()
    said = [
        f"{_BETWEEN[row['quantity']]} {row['value']:.3g} against {row['null']:.3g}"
        for row in rows.iter_rows(named=True)
    ]
    return (
        Figure(
            name="distances",
            title="Target and source, against two halves of the source",
            caption="Distances at equal numbers of images, with 95 % intervals over images. A target that cannot be "
            "told from the source lies where its two halves lie.",
            description="; ".join(said) + ".",
            panels=tuple(_pair(rows.filter(pl.col("quantity") == name), _BETWEEN[name]) for name in names),
            columns=2,
            legend=((_KINDS[0], _TARGET, "point"), (_KINDS[1], _NULL, "point")),
        ),
    )


def _pair(row: pl.DataFrame, title: str) -> Panel:
    item = row.row(0, named=True)
    spread = 1.959964 * item["null_deviation"]
    data = pl.DataFrame(
        {
            "kind": list(_KINDS),
            "value": [item["value"], item["null"]],
            "low": [item["low"], item["null"] - spread],
            "high": [item["high"], item["null"] + spread],
        }
    ).with_columns(
        hover(pl.col("kind"), ": ", pl.col("value").round_sig_figs(4), " (", pl.col("low").round_sig_figs(4), " to ",
              pl.col("high").round_sig_figs(4), f"), {item['examples']} images each")
    )  # fmt: skip
    y = alt.Y("kind:N", title="Compared (sets)", sort=list(_KINDS)).axis(
        ticks=False, domain=False, grid=True, labelLimit=150, minExtent=52
    )
    tint = alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(_KINDS), range=[_TARGET, _NULL]))
    drawn = alt.Chart(data)
    return alt.layer(
        drawn.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2, aria=False)
        .encode(alt.X("low:Q", title=title), alt.X2("high:Q"), y, tint),
        drawn.mark_circle(size=70, opacity=1).encode(
            alt.X("value:Q", title=title).scale(zero=True), y, tint, description="hover:N"
        ),
    ).properties(width=250, height=52)


def _along(known: pl.DataFrame) -> tuple[Figure, ...]:
    rows = known.filter((pl.col("quantity") == "frechet") & pl.col("relative").is_not_null() & (pl.col("value") > 0))
    if rows.height < 2:
        return ()
    deepest = rows["position"].max()
    ordered = rows.with_columns(
        pl.when(pl.col("position") < 0).then(pl.lit(deepest) + 1).otherwise(pl.col("position")).alias("order")
    ).sort("order")
    kept = thinned(ordered["part"].to_list(), _MOST)
    shares = ordered.filter(pl.col("part").is_in(kept)).with_columns(
        (pl.col("relative") * pl.col("null") / pl.col("value")).alias("null_share")
    )
    data = pl.concat(
        shares.select(
            "part", pl.lit(kind).alias("kind"), pl.col(column).alias("share"),
            hover(f"{kind} at ", pl.col("part"), ": ", pl.col(column).round_sig_figs(4)),
        )
        for kind, column in zip(_KINDS, ("relative", "null_share"), strict=True)
    )  # fmt: skip
    x = alt.X("part:N", title="Part (name), from input to output", sort=kept).axis(
        labelAngle=-60, ticks=False, labelFontSize=9, labelOverlap=len(kept) > 22, labelLimit=100, grid=False
    )
    y = alt.Y("share:Q", title="Fréchet ÷ variance of the source (ratio)").scale(zero=True)
    tint = alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(_KINDS), range=[_TARGET, _NULL]))
    drawn = alt.Chart(data)
    panel = alt.layer(
        drawn.mark_line(strokeWidth=2, aria=False).encode(x, y, tint),
        drawn.mark_circle(size=36, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=370, height=210)
    ends = ordered.select("part", "relative").rows()
    return (
        Figure(
            name="along",
            title="Along the network",
            caption="Fréchet distance of pooled outputs of P over the total variance of the source's, beside that of "
            "two halves of the source. The last place is what enters the head.",
            description=f"From {ends[0][1]:.3g} at {ends[0][0]} to {ends[-1][1]:.3g} at {ends[-1][0]}.",
            panels=(panel,),
            legend=((_KINDS[0], _TARGET, "line"), (_KINDS[1], _NULL, "line")),
        ),
    )


def _statistics(known: pl.DataFrame) -> tuple[Figure, ...]:
    rows = known.filter((pl.col("quantity") == "batch_norm") & (pl.col("position") >= 0)).sort("position")
    if rows.is_empty():
        return ()
    kept = thinned(rows["part"].unique(maintain_order=True).to_list(), _MOST)
    labels = {"target to statistics": "target", "source to statistics": "source"}
    data = (
        rows.filter(pl.col("part").is_in(kept))
        .with_columns(pl.col("compared").replace_strict(labels).alias("set"))
        .with_columns(hover(pl.col("set"), " at ", pl.col("part"), ": ", pl.col("value").round_sig_figs(4), " (",
                            pl.col("low").round_sig_figs(4), " to ", pl.col("high").round_sig_figs(4), ")"))
        .select("part", "set", "value", "low", "high", "hover")
    )  # fmt: skip
    sets = [name for name in ("target", "source") if name in set(data["set"])]
    tints = dict(zip(("target", "source"), (_TARGET, _SOURCE), strict=True))
    title = "Distance from P's statistics (in variances)"
    y = alt.Y("part:N", title="Batch norm (name)", sort=kept).axis(
        ticks=False, domain=False, grid=True, labelLimit=150, minExtent=52, labelFontSize=10
    )
    tint = alt.Color("set:N", title=None, scale=alt.Scale(domain=sets, range=[tints[name] for name in sets]))
    drawn = alt.Chart(data)
    panel = alt.layer(
        drawn.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2, aria=False)
        .encode(alt.X("low:Q", title=title), alt.X2("high:Q"), y, tint),
        drawn.mark_circle(size=44, opacity=1).encode(
            alt.X("value:Q", title=title).scale(zero=True), y, tint, description="hover:N"
        ),
    ).properties(width=330, height=max(15 * len(kept), 60))
    total = known.filter((pl.col("quantity") == "batch_norm") & (pl.col("position") == -1))
    means = ", ".join(f"{row['compared']} {row['value']:.3g}" for row in total.iter_rows(named=True))
    return (
        Figure(
            name="statistics",
            title="Against the statistics that P holds",
            caption="Mean and deviation of what enters each batch norm against its running statistics, mean over "
            "channels, with 95 % intervals over images. This needs no source image.",
            description=f"Mean over all batch norms: {means}.",
            panels=(panel,),
            legend=tuple((name, tints[name], "point") for name in sets),
        ),
    )


def _looks(known: pl.DataFrame) -> tuple[Figure, ...]:
    names = [name for name in ("colour mean", "colour deviation", "colour skewness") if name in set(known["quantity"])]
    if not names:
        return ()
    sets = [name for name in ("target", "source") if name in set(known["compared"])]
    tints = dict(zip(("target", "source"), (_TARGET, _SOURCE), strict=True))
    panels = []
    channels = ["red", "green", "blue"]
    for name in (*names, SPECTRUM_SLOPE):
        rows = known.filter((pl.col("quantity") == name) & pl.col("compared").is_in(sets))
        if rows.is_empty():
            continue
        unit = "power per frequency, log-log" if name == SPECTRUM_SLOPE else "pixel value"
        title = f"{name[0].upper()}{name[1:]} ({unit})"
        data = rows.with_columns(
            hover(pl.col("compared"), ", ", pl.col("part"), ": ", pl.col("value").round_sig_figs(4), " (",
                  pl.col("low").round_sig_figs(4), " to ", pl.col("high").round_sig_figs(4), ")")
        ).select("part", "compared", "value", "low", "high", "hover")  # fmt: skip
        y = alt.Y("part:N", title="Channel (name)" if name != SPECTRUM_SLOPE else "Of (what)", sort=channels).axis(
            ticks=False, domain=False, grid=True, minExtent=52
        )
        tint = alt.Color("compared:N", title=None, scale=alt.Scale(domain=sets, range=[tints[name] for name in sets]))
        aside = alt.YOffset("compared:N", sort=sets)
        drawn = alt.Chart(data)
        panels.append(
            alt.layer(
                drawn.transform_filter("isValid(datum.low)")
                .mark_rule(strokeWidth=2, aria=False)
                .encode(alt.X("low:Q", title=title), alt.X2("high:Q"), y, tint, yOffset=aside),
                drawn.mark_circle(size=44, opacity=1).encode(
                    alt.X("value:Q", title=title).scale(zero=False), y, tint, yOffset=aside, description="hover:N"
                ),
            ).properties(width=230, height=90 if name != SPECTRUM_SLOPE else 40)
        )
    slopes = known.filter(pl.col("quantity") == SPECTRUM_SLOPE)
    said = ", ".join(f"{row['compared']} {row['value']:.2f}" for row in slopes.iter_rows(named=True))
    return (
        Figure(
            name="looks",
            title="Colour and spectrum of the images themselves",
            caption="Mean over images of each colour moment and of the slope of the power spectrum, with 95 % "
            "intervals over images. No network is involved.",
            description=f"Colour moments of each channel; slope of the power spectrum: {said or 'not defined'}.",
            panels=tuple(panels),
            columns=2,
            legend=tuple((name, tints[name], "point") for name in sets),
        ),
    )
