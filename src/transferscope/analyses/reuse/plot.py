"""The picture of the reuse table: every measurement of every module, one panel for each measurement."""

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, Panel, charted, colour, hover, metric_name, thinned

__all__ = ["chart", "figures"]

_PANELS = {
    "similarity": ("CKA to P", "0 to 1"),
    "distance": ("Distance from the start", "ratio to its norm"),
    "probe_gain": ("Probe, P − RI", None),
    "probe_kept": ("Probe, P-T − RI-T", None),
    "transplant_first": ("Transplant, first modules", None),
    "transplant_last": ("Transplant, last modules", None),
}
_MOST = 40


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figure of ``reuse``; none where no module has a value."""
    known = table.filter(pl.col("value").is_not_null())
    if known.is_empty():
        return ()
    modules = known.sort("position")["module"].unique(maintain_order=True).to_list()
    kept = thinned(modules, _MOST)
    names = [name for name in _PANELS if name in set(known["measurement"])]
    tops = []
    for name in names:
        top = known.filter(pl.col("measurement") == name).sort("value", descending=True).row(0, named=True)
        tops.append(f"{_PANELS[name][0]} is largest at {top['module']} ({top['value']:.3g})")
    less = f" {len(kept)} of {len(modules)} modules are drawn; the table holds all." if len(kept) < len(modules) else ""
    legend: tuple[tuple[str, str, str], ...] = (("P-T", colour("P-T"), "point"),)
    if known["control"].is_not_null().any():
        legend = (*legend, ("RI-T (control)", colour("RI-T"), "ring"))
    return (
        Figure(
            name="modules",
            title="Every module, by every measurement",
            caption="Rows: modules from input to output. Dots: mean over seeds, with 95 % intervals over seeds or the "
            "range of two. Rings: the same of RI-T, where there is such a thing." + less,
            description="; ".join(tops) + ".",
            panels=tuple(_panel(known, name, kept, metric) for name in names),
            columns=3,
            legend=legend,
        ),
    )


chart = charted(figures)
"""The picture of the table of ``reuse``."""


def _panel(rows: pl.DataFrame, name: str, kept: list[str], metric: str) -> Panel:
    title, unit = _PANELS[name]
    axis = f"{title} ({unit or metric_name(metric)})"
    data = (
        rows.filter((pl.col("measurement") == name) & pl.col("module").is_in(kept))
        .with_columns(hover(f"{title} at ", pl.col("module"), ": ", pl.col("value").round_sig_figs(4), " (",
                            pl.col("low").round_sig_figs(4), " to ", pl.col("high").round_sig_figs(4), "), control ",
                            pl.col("control").round_sig_figs(4)))
        .select("module", "value", "low", "high", "control", "hover")
    )  # fmt: skip
    y = alt.Y("module:N", title="Module (name)", sort=kept).scale(domain=kept).axis(
        ticks=False, domain=False, grid=True, labelLimit=130, minExtent=52, labelFontSize=10
    )  # fmt: skip
    drawn = alt.Chart(data, title=title)
    return alt.layer(
        drawn.transform_filter("isValid(datum.low)")
        .mark_rule(color=colour("P-T"), strokeWidth=2, aria=False)
        .encode(alt.X("low:Q", title=axis), alt.X2("high:Q"), y),
        drawn.transform_filter("isValid(datum.control)")
        .mark_point(color=colour("RI-T"), size=40, filled=False, aria=False)
        .encode(alt.X("control:Q", title=axis), y),
        drawn.mark_circle(size=44, opacity=1, color=colour("P-T")).encode(
            alt.X("value:Q", title=axis).scale(zero=True), y, description="hover:N"
        ),
    ).properties(width=200, height=max(15 * len(kept), 60))
