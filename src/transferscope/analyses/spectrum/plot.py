"""Spectra of weights: stable rank and norm by depth, changes from the start, and the singular values themselves."""

from collections.abc import Sequence

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, facets, interval_text, kept_names, line_panel, listed, present
from transferscope.plots.theme import Figure, Panel, among, colour, shown_column

__all__ = ["figures"]

_VARIANTS = ("RI", "P", "RI-T", "P-T")
_CONTROLS = {"RI-T-wd0": "RI-T", "P-T-wd0": "P-T"}
"""Networks trained without weight decay, and what they are the control of."""
_QUANTITIES = {
    "stable_share": "Stable rank ÷ number of values (ratio)",
    "largest": "Largest singular value (1)",
}
_CHANGES = {"P-T / P": "P-T", "RI-T / RI": "RI-T", "P-T-wd0 / P": "P-T-wd0", "RI-T-wd0 / RI": "RI-T-wd0"}
_RATIOS = {
    "stable_rank": "Stable rank ÷ at the start (ratio)",
    "largest": "Largest singular value ÷ at the start (ratio)",
}
_MOST_SPECTRA = 6


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``spectrum``; none where no operator was decomposed."""
    # On logarithmic axes nothing is drawn at 0.
    rows = table.filter(pl.col("value") > 0).with_columns(shown_column("variant"))
    depth = rows.filter(pl.col("level") == "variant")
    if depth.is_empty():
        return ()
    kept, less = kept_names(depth, "operator", what="operators")
    changes = rows.filter((pl.col("level") == "ratio") & pl.col("variant").is_in(list(_CHANGES)))
    return present(
        _depth(depth, kept, less),
        _changes(changes.filter(pl.col("operator").is_in(kept)), kept, less),
        _spectra(rows.filter(pl.col("level") == "curve")),
    )


def _colours(column: str, labels: Sequence[str]) -> Tints:
    return Tints(column, {name: colour(_CONTROLS.get(name, name)) for name in labels})


def _legend(colours: Tints, mark: str, control: str) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (f"{_CONTROLS[name]} without decay", tint, control) if name in _CONTROLS else (name, tint, mark)
        for name, tint in colours.colours.items()
    )


def _depth(rows: pl.DataFrame, kept: list[str], less: str) -> Figure:
    colours = _colours("variant", among(_VARIANTS, rows["variant"]))
    rows = rows.filter(pl.col("variant").is_in(_VARIANTS))
    share = rows.filter(pl.col("quantity") == "stable_rank").with_columns(
        pl.col("value", "low", "high") / pl.col("count"), quantity=pl.lit("stable_share")
    )
    both = pl.concat([share, rows.filter(pl.col("quantity") == "largest")]).filter(pl.col("operator").is_in(kept))
    x = Names("operator", "Weight (module), from input to output", kept, limit=110)

    def panel(part: pl.DataFrame, quantity: str) -> Panel:
        # An interval that reaches 0 or below has no place on a logarithmic axis.
        low = pl.when(pl.col("low").is_not_null()).then(pl.max_horizontal("low", pl.lit(min(part["value"])) / 2))
        data = part.with_columns(low=low).with_columns(interval_text(pl.col("variant"), " at ", pl.col("operator")))
        frame = Frame(x, Axis("value", _QUANTITIES[quantity], kind="log"), colours, width=max(330, 14 * len(kept)),
                      height=220)  # fmt: skip
        return line_panel(frame, data, size=30)

    return Figure(
        name="depth",
        title="Stable rank and norm along the network",
        caption="Mean over seeds at each weight, in the order in which they run, on logarithmic axes; bars are 95 % "
        "intervals over seeds, or the range of two, and cut off at 0. The stable rank is divided by the number of "
        "singular values. P is one network." + less,
        description="Stable rank over the number of singular values, mean over operators: "
        + listed(share, "variant", "value", order=_VARIANTS) + ".",
        panels=facets(both, "quantity", _QUANTITIES, panel),
        legend=_legend(colours, "line", "dashed"),
    )  # fmt: skip


def _changes(rows: pl.DataFrame, kept: list[str], less: str) -> Figure:
    rows = rows.with_columns(network=pl.col("variant").replace(_CHANGES))
    colours = _colours("network", among(_CHANGES.values(), rows["network"]))
    ranks = rows.filter(pl.col("quantity") == "stable_rank").sort(pl.col("value").log().abs(), descending=True)
    most = [f"the largest is {row['variant']} at {row['operator']}, × {row['value']:.3g}" for row in
            ranks.head(1).to_dicts()]  # fmt: skip
    names, height = Names("operator", "Weight (module)", kept, limit=140), max(8 * len(colours.colours) * len(kept), 60)
    control = pl.col("network").is_in(list(_CONTROLS))
    text = interval_text(pl.col("variant"), " at ", pl.col("operator"))

    def panel(part: pl.DataFrame, quantity: str) -> Panel:
        x = Axis("value", _RATIOS[quantity], kind="log")
        frame = Frame(x, names, colours, aside=True, width=300, height=height)
        return frame.panel(
            frame.rule(1.0), frame.intervals(part), frame.dots(part.filter(~control), size=36),
            frame.dots(part.filter(control), size=30, filled=False, strokeWidth=1.5),
        )  # fmt: skip

    return Figure(
        name="changes",
        title="Change from the own start",
        caption="Geometric mean over seeds of a trained network's value over that of its start, on logarithmic axes; "
        "bars are 95 % intervals over seeds (thick: of this weight alone; thin: of all at once), or the range of two. "
        "Rings: the control, trained without weight decay." + less,
        description=f"Ratio of the stable rank after training to that before; {(most or ['none is defined'])[0]}.",
        panels=facets(rows.with_columns(text), "quantity", _RATIOS, panel),
        legend=_legend(colours, "point", "ring"),
    )


def _spectra(rows: pl.DataFrame) -> Figure | None:
    if rows.is_empty():
        return None
    kept, less = kept_names(rows, "operator", _MOST_SPECTRA, "operators")
    colours = _colours("variant", among((*_VARIANTS, *_CONTROLS), rows["variant"]))
    x = Axis("share", "Rank ÷ number of values (ratio)", kind="log", grid=False)
    y = Axis("value", "Singular value (1)", kind="log", grid=False)
    control = pl.col("variant").is_in(list(_CONTROLS))

    def panel(part: pl.DataFrame, name: str) -> Panel:
        # Values at rounding level would take up most of the picture.
        part = part.filter(pl.col("value") > 1e-6 * pl.col("value").max())
        part = part.with_columns(share=pl.col("rank") / pl.col("count"))
        frame = Frame(x, y, colours, width=210, height=170, title=name)
        return frame.panel(frame.lines(part.filter(~control), width=1.8), frame.dashed(part.filter(control), width=1.8))

    return Figure(
        name="spectra",
        title="Singular values",
        caption=f"All singular values of some weights (seed {min(rows['seed'])}), from the largest to the smallest, "
        "against their rank over their number, at about 50 ranks, both axes logarithmic. Dashed: the control, trained "
        "without weight decay." + less,
        description="Singular values by rank of " + ", ".join(kept) + ".",
        panels=facets(rows, "operator", kept, panel),
        columns=3,
        legend=_legend(colours, "line", "dashed"),
    )
