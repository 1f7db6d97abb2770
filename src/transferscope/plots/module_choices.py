"""What it costs to put every module back to its pre-trained value, or to do without it."""

import altair as alt
import polars as pl

from transferscope.plots.module_names import short_names
from transferscope.plots.theme import NEUTRAL, Figure, Panel, hover, metric_name

__all__ = ["figure"]

_CHANGES = {"reset": "back at its pre-trained value", "zero": "all its parameters at 0"}
_VERDICTS = {"kept": ("no loss", "#0072B2"), "undecided": ("undecided", "#8c959f"), "lost": ("a loss", "#D55E00")}


def figure(table: pl.DataFrame, metric: str, margin: float) -> Figure:
    """One panel for each change, one for the way each module has moved.

    Args:
        table: as in :attr:`~transferscope.methods.modules.choices_result.ModuleChoices.table`.
        metric: of the losses.
        margin: the loss that counts as none.

    Returns:
        Its panels share the modules, from input to output.
    """
    modules = table["module"].unique(maintain_order=True).to_list()
    names = short_names(modules)
    drawn = table.with_columns(pl.col("module").replace_strict(names))
    order = list(names.values())
    moved = drawn.filter((pl.col("change") == "reset") & pl.col("relative").is_not_null())
    panels = [_losses(drawn.filter(pl.col("change") == change), change, order, metric, margin) for change in _CHANGES]
    return Figure(
        name="modules",
        title="What the network can do without",
        caption=f"Modules from input to output. Loss of the {metric_name(metric)} on test examples; bars: limits "
        f"for all modules at once (each end a one-sided 95 % limit); dashed: the loss that counts as none, {margin:g}. "
        "Moved: the way from the pre-trained to the fine-tuned module, over the norm of the pre-trained one.",
        description="; ".join(_told(drawn, change) for change in _CHANGES) + ".",
        panels=(*panels, *([] if moved.is_empty() else [_moved(moved, order)])),
        columns=3,
        legend=tuple((words, tint, "point") for words, tint in _VERDICTS.values()),
    )


def _told(table: pl.DataFrame, change: str) -> str:
    kept = table.filter((pl.col("change") == change) & (pl.col("verdict") == "kept"))["module"].to_list()
    return f"without loss {_CHANGES[change]}: {', '.join(kept) or 'none'}"


def _losses(rows: pl.DataFrame, change: str, order: list[str], metric: str, margin: float) -> Panel:
    said = hover(pl.col("module"), ", ", _CHANGES[change], ": ", pl.col("lost").round_sig_figs(3), " (",
                 pl.col("low").round_sig_figs(3), " to ", pl.col("high").round_sig_figs(3), ")")  # fmt: skip
    rows = rows.filter(pl.col("lost").is_not_null()).with_columns(said)
    data = rows.select("module", "lost", "low", "high", "verdict", "hover")
    title = f"Loss of {metric_name(metric)} (below 0: a gain), {_CHANGES[change]}"
    x, low = (alt.X(f"{end}:Q", title=title).axis(format="~g") for end in ("lost", "low"))
    y = _modules(order)
    words = {verdict: words for verdict, (words, _) in _VERDICTS.items()}
    tint = alt.Color("verdict:N", title=None).scale(
        domain=list(words.values()), range=[colour for _, colour in _VERDICTS.values()]
    )
    chart = alt.Chart(data.with_columns(pl.col("verdict").replace_strict(words)))
    bars = chart.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(strokeWidth=2, aria=False)
    limit = alt.Chart(pl.DataFrame({"lost": [margin]})).mark_rule(strokeDash=[4, 3], color=NEUTRAL["muted"], aria=False)
    return alt.layer(
        limit.encode(x),
        bars.encode(low, alt.X2("high:Q"), y, tint),
        chart.mark_circle(size=40, opacity=1).encode(x, y, tint, description="hover:N"),
    ).properties(width=250, height=max(16 * len(order), 60))


def _moved(rows: pl.DataFrame, order: list[str]) -> Panel:
    said = hover(pl.col("module"), ": moved by ", (100 * pl.col("relative")).round_sig_figs(3), " % of its norm")
    data = rows.with_columns(said).select("module", "relative", "hover")
    x = alt.X("relative:Q", title="Moved (ratio to its norm)").scale(zero=True).axis(format="~g")
    dots = alt.Chart(data).mark_circle(size=40, opacity=1, color=NEUTRAL["ink"])
    panel: Panel = dots.encode(x, _modules(order), description="hover:N")
    return panel.properties(width=250, height=max(16 * len(order), 60))


def _modules(order: list[str]) -> alt.Y:
    return alt.Y("module:N", title=None, sort=order).scale(domain=order).axis(
        ticks=False, domain=False, grid=True, labelLimit=170, labelFontSize=10
    )  # fmt: skip
