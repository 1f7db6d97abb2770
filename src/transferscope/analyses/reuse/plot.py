"""The picture of the reuse table: every measurement of every module, one panel for each measurement."""

import polars as pl

from transferscope.plots.axes import Axis, Names
from transferscope.plots.panels import Frame, dot_panel, facets, kept_names
from transferscope.plots.theme import Figure, Panel, among, colour, hover, metric_name

__all__ = ["figures"]

_PANELS = {
    "similarity": ("CKA to P", "0 to 1"),
    "distance": ("Distance from the start", "ratio to its norm"),
    "probe_gain": ("Probe, P − RI", None),
    "probe_kept": ("Probe, P-T − RI-T", None),
    "transplant_first": ("Transplant, first modules", None),
    "transplant_last": ("Transplant, last modules", None),
}
_CONTROL = colour("RI-T")


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figure of ``reuse``; none where no module has a value."""
    known = table.filter(pl.col("value").is_not_null()).drop("simultaneous_low", "simultaneous_high")
    if known.is_empty():
        return ()
    kept, less = kept_names(known)
    ranked = known.sort("value", descending=True)
    told = []
    for name in among(_PANELS, known["measurement"]):
        top = ranked.filter(pl.col("measurement") == name).row(0, named=True)
        told.append(f"{_PANELS[name][0]} is largest at {top['module']} ({top['value']:.3g})")
    control = [("RI-T (control)", _CONTROL, "ring")] if known["control"].is_not_null().any() else []

    def panel(rows: pl.DataFrame, name: str) -> Panel:
        title, unit = _PANELS[name]
        value, low, high, other = (pl.col(name).round_sig_figs(4) for name in ("value", "low", "high", "control"))
        text = hover(f"{title} at ", pl.col("module"), ": ", value, " (", low, " to ", high, "), control ", other)
        axis = f"{title} ({unit or metric_name(metric)})"
        rings, dots = (
            Frame(Axis(column, axis, zero=True), Names("module", "Module (name)", kept), tint, width=200,
                  height=max(15 * len(kept), 60), title=title)
            for column, tint in (("control", _CONTROL), ("value", colour("P-T")))
        )  # fmt: skip
        return dot_panel(dots, rows.with_columns(text), rings.dots(rows.drop_nulls("control"), size=40, filled=False))

    return (
        Figure(
            name="modules",
            title="Every module, by every measurement",
            caption="Rows: modules from input to output. Dots: mean over seeds, with 95 % intervals over seeds or the "
            "range of two. Rings: the same of RI-T, where there is such a thing." + less,
            description="; ".join(told) + ".",
            panels=facets(known.filter(pl.col("module").is_in(kept)), "measurement", _PANELS, panel),
            columns=3,
            legend=(("P-T", colour("P-T"), "point"), *control),
        ),
    )
