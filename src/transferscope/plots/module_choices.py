"""What it costs to put every module back to its pre-trained value, or to do without it."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.module_names import short_names
from transferscope.plots.panels import Frame, dot_panel, facets
from transferscope.plots.theme import Figure, Panel, hover, metric_name

__all__ = ["figure"]

_CHANGES = {"reset": "back at its pre-trained value", "zero": "all its parameters at 0"}
_VERDICTS = {"kept": ("no loss", "#0072B2"), "undecided": ("undecided", "#8c959f"), "lost": ("a loss", "#D55E00")}
_COLOURS = Tints("words", dict(_VERDICTS.values()))


def figure(table: pl.DataFrame, metric: str, margin: float) -> Figure:
    """One panel for each change, one for the way each module has moved.

    Args:
        table: as in :attr:`~transferscope.methods.modules.choices_result.ModuleChoices.table`.
        metric: of the losses.
        margin: the loss that counts as none.

    Returns:
        Its panels share the modules, from input to output.
    """
    short = short_names(table["module"].unique(maintain_order=True).to_list())
    rows = table.with_columns(pl.col("module").replace_strict(short))
    names, height = Names("module", "", list(short.values()), limit=170), max(16 * len(short), 60)
    lost, low, high = (pl.col(name).round_sig_figs(3) for name in ("lost", "low", "high"))

    def losses(part: pl.DataFrame, change: str) -> Panel:
        title = f"Loss of {metric_name(metric)} (below 0: a gain), {_CHANGES[change]}"
        frame = Frame(Axis("lost", title, "~g"), names, _COLOURS, width=250, height=height)
        text = hover(pl.col("module"), ", ", _CHANGES[change], ": ", lost, " (", low, " to ", high, ")")
        return dot_panel(frame, part.with_columns(text), at=[margin], size=40)

    known = rows.drop_nulls("lost").with_columns(
        words=pl.col("verdict").replace_strict({verdict: words for verdict, (words, _) in _VERDICTS.items()})
    )
    moved = rows.filter((pl.col("change") == "reset") & pl.col("relative").is_not_null()).with_columns(
        hover(pl.col("module"), ": moved by ", (100 * pl.col("relative")).round_sig_figs(3), " % of its norm")
    )
    way = Frame(Axis("relative", "Moved (ratio to its norm)", "~g", zero=True), names, width=250, height=height)
    kept = {change: rows.filter((pl.col("change") == change) & (pl.col("verdict") == "kept")) for change in _CHANGES}
    told = (f"without loss {_CHANGES[change]}: {', '.join(part['module']) or 'none'}" for change, part in kept.items())
    return Figure(
        name="modules",
        title="What the network can do without",
        caption=f"Modules from input to output. Loss of the {metric_name(metric)} on test examples; bars: limits "
        f"for all modules at once (each end a one-sided 95 % limit); dashed: the loss that counts as none, {margin:g}. "
        "Moved: the way from the pre-trained to the fine-tuned module, over the norm of the pre-trained one.",
        description="; ".join(told) + ".",
        panels=(
            *facets(known, "change", _CHANGES, losses),
            *([way.panel(way.dots(moved, size=40))] if moved.height else []),
        ),
        columns=3,
        legend=_COLOURS.legend("point"),
    )
