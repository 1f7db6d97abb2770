"""Loss and error against the distance from P-T and RI-T, under three normalisations; and what their Hessians hold."""

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, Panel, charted, colour, hover, padded, scale, shown_column

__all__ = ["chart", "figures"]

_NORMALISATIONS = {
    "equal": ("equal ℓ2 radii", "l2", "ℓ2 radius (units of the parameters)"),
    "relative": ("relative to each network's own norm", "share", "Radius ÷ own norm (ratio)"),
    "moved": ("relative to the distance each has moved", "share", "Radius ÷ distance from own start (ratio)"),
}
"""Each normalisation: its title, and what its radii are comparable by."""
_MEASURES = {"loss_rise": ("loss rise (nats)", "~g"), "error": ("error (%)", ".0%")}
_HESSIANS = {
    ("eigenvalue", "value"): "Top Hessian eigenvalue (nats per ℓ2²)",
    ("eigenvalue", "scaled"): "Top Hessian eigenvalue × ‖θ‖² (nats)",
    ("trace", "value"): "Hessian trace (nats per ℓ2²)",
    ("trace", "scaled"): "Hessian trace × ‖θ‖² (nats)",
}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``flatness``; none where nothing was measured."""
    rows = table.with_columns(shown_column("variant"))
    variants = [variant for variant in ("RI-T", "P-T") if variant in set(rows["variant"])]
    radius = rows.filter((pl.col("level") == "radius") & pl.col("loss_rise").is_not_null())
    hessian = rows.filter(
        pl.col("value").is_not_null() & ((pl.col("level") == "trace") | (pl.col("rank") == 1))
    )  # fmt: skip
    found = [_curves(radius, split, variants) for split in radius["split"].unique(maintain_order=True)]
    if not hessian.is_empty():
        found.append(_hessians(hessian, variants))
    return tuple(found)


chart = charted(figures)
"""The picture of the table of ``flatness``: loss and error against distance."""


def _curves(rows: pl.DataFrame, split: str, variants: list[str]) -> Figure:
    here = rows.filter(pl.col("split") == split)
    normalisations = [normalisation for normalisation in _NORMALISATIONS if normalisation in set(here["normalisation"])]
    policy = ", ".join(sorted(set(here["batch_norm"])))
    ends = []
    for normalisation in normalisations:
        of = here.filter(pl.col("normalisation") == normalisation).sort("share")
        furthest = float(of["share"].to_list()[-1])
        last = of.filter(pl.col("share") == furthest)
        means = last.group_by("variant").agg(pl.col("loss_rise").mean())
        said = dict(zip(means["variant"], means["loss_rise"], strict=True))
        words = ", ".join(f"{variant} {said[variant]:.3g}" for variant in variants if variant in said)
        ends.append(f"{_NORMALISATIONS[normalisation][0]}, share {furthest:g}: {words}")
    return Figure(
        name=f"radius-{split}",
        title=f"Away from the solutions ({split} images)",
        caption="Mean over random filter-normalised directions. One row for each way to choose radii; thin lines are "
        "networks (bars: ±1.96 standard errors over directions), thick ones the mean over seeds at equal shares. "
        f"Rows may rank the variants differently: no row alone is the answer. Batch norm: {policy}.",
        description="Mean loss rise at the largest radius; " + "; ".join(ends) + ".",
        panels=tuple(
            _panel(here.filter(pl.col("normalisation") == normalisation), normalisation, measure, variants)
            for normalisation in normalisations
            for measure in _MEASURES
        ),
        legend=tuple((variant, colour(variant), "line") for variant in variants),
    )


def _panel(rows: pl.DataFrame, normalisation: str, measure: str, variants: list[str]) -> Panel:
    words, number = _MEASURES[measure]
    name, axis, place = _NORMALISATIONS[normalisation]
    spread = (1.96 * pl.col("loss_se" if measure == "loss_rise" else "error_se")).fill_null(0.0)
    data = rows.select(
        "variant", "network", "share",
        hover(pl.col("network"), ", radius ", pl.col("l2").round_sig_figs(3), " (share ", pl.col("share"), "): ",
              pl.col(measure).round_sig_figs(3)),
        place=pl.col(axis), value=pl.col(measure), low=pl.col(measure) - spread, high=pl.col(measure) + spread,
    ).sort("network", "share")  # fmt: skip
    means = data.group_by("variant", "share").agg(pl.col("place", "value").mean()).sort("variant", "share")
    title = words[0].upper() + words[1:]
    if measure == "loss_rise":
        # Rises span decades, and are 0 at the network itself.
        grade = alt.Scale(type="symlog", constant=0.01, nice=False)
        y = alt.Y("value:Q", title=title, scale=grade).axis(values=[0, 0.01, 0.1, 1, 10, 100], format=number)
    else:
        grade = alt.Scale(domain=padded(data["value"], low=0.0, high=1.0), nice=False)
        y = alt.Y("value:Q", title=title, scale=grade).axis(format=number)
    x = alt.X("place:Q", title=place).axis(grid=False).scale(nice=False, zero=True)
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    drawn = alt.Chart(data, title=name)
    low = alt.Y("low:Q", title=title, scale=grade)
    bars = drawn.mark_rule(strokeWidth=1, opacity=0.6, clip=True, aria=False).encode(x, low, alt.Y2("high:Q"), tint)
    lines = drawn.mark_line(strokeWidth=0.8, opacity=0.6, aria=False).encode(x, y, tint, alt.Detail("network:N"))
    mean = alt.Chart(means).mark_line(strokeWidth=2.4, aria=False).encode(x, y, tint)
    dots = drawn.mark_circle(size=30, opacity=0.9).encode(x, y, tint, description="hover:N")
    return alt.layer(bars, lines, mean, dots).properties(width=350, height=170)


def _hessians(rows: pl.DataFrame, variants: list[str]) -> Figure:
    panels, ends = [], []
    for (level, column), title in _HESSIANS.items():
        here = rows.filter(pl.col("level") == level)
        if here.is_empty():
            continue
        panels.append(_dots(here, column, title, variants))
        means = here.group_by("variant").agg(pl.col(column).mean())
        said = dict(zip(means["variant"], means[column], strict=True))
        ends.append(f"{title}: " + ", ".join(f"{name} {said[name]:.3g}" for name in variants if name in said))
    examples = ", ".join(str(count) for count in sorted(set(rows["examples"])))
    return Figure(
        name="hessian",
        title="Second derivatives at the solutions",
        caption=f"Hessian of the mean loss over {examples} training images, all parameters, batch-norm statistics "
        "fixed. One dot per network, a tick at the mean; bars: ±1.96 standard errors over random probes. Times "
        "‖θ‖² the common scale of a network's weights drops out.",
        description="Means over seeds. " + "; ".join(ends) + ".",
        panels=tuple(panels),
        legend=tuple((variant, colour(variant), "point") for variant in variants),
    )


def _dots(rows: pl.DataFrame, column: str, title: str, variants: list[str]) -> Panel:
    spread = 1.96 * pl.col("value_se").fill_null(0.0) * (pl.col("norm") ** 2 if column == "scaled" else pl.lit(1.0))
    data = rows.select(
        "variant", hover(pl.col("network"), ": ", pl.col(column).round_sig_figs(4)),
        value=pl.col(column), low=pl.col(column) - spread, high=pl.col(column) + spread,
    )  # fmt: skip
    grade = alt.Scale(type="log", nice=True) if (data["low"] > 0).all() else alt.Scale(zero=False, nice=True)
    x = alt.X("value:Q", title=title, scale=grade).axis(format="~s")
    y = alt.Y("variant:N", title="Variant (name)", sort=variants).axis(
        ticks=False, domain=False, grid=True, minExtent=42
    )
    tint = alt.Color("variant:N", title=None, scale=scale(variants))
    mean = data.group_by("variant").agg(pl.col("value").mean())
    drawn = alt.Chart(data)
    low = alt.X("low:Q", title=title, scale=grade)
    return alt.layer(
        drawn.mark_rule(strokeWidth=1, opacity=0.6, aria=False).encode(low, alt.X2("high:Q"), y, tint),
        alt.Chart(mean).mark_tick(thickness=2, size=14, aria=False).encode(x, y, tint),
        drawn.mark_circle(size=44, opacity=0.9).encode(x, y, tint, description="hover:N"),
    ).properties(width=320, height=80)
