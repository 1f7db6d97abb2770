"""Final metric and optimisation speed against the side of shuffled blocks (paper Fig. 3), and the gap per ablation."""

import math

import polars as pl

from transferscope.plots.axes import Axis, Names, tints
from transferscope.plots.panels import Frame, dot_panel, interval_text, line_panel, present
from transferscope.plots.theme import (
    NEUTRAL,
    Figure,
    Panel,
    hover,
    metric_axis,
    metric_name,
    metric_unit,
    padded,
    shown_column,
)  # fmt: skip

__all__ = ["figures"]

_VARIANTS = tints("variant", ["RI-T", "P-T"])
_EXAMPLES = "#8c959f"
# By what is drawn: its value and interval, and whose metric it is.
_QUANTITIES = {
    "test": ({"value": "test_metric", "low": "test_low", "high": "test_high"}, "final test"),
    "speed": ({"value": "speed", "low": "speed_low", "high": "speed_high"}, "mean training"),
}


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``block_shuffle``; none where no network has a value."""
    rows = table.with_columns(shown_column("variant"))
    return present(_blocks(rows, metric), _gaps(rows.filter(pl.col("origin") == "study"), metric))


def _blocks(rows: pl.DataFrame, metric: str) -> Figure | None:
    rows = rows.filter((pl.col("ablation") == "block_shuffle") & pl.col("variant").is_in(list(_VARIANTS.colours)))
    own = rows.filter(pl.col("origin") == "study")
    means = own.filter((pl.col("level") == "variant") & pl.col("test_metric").is_not_null())
    if means["label"].n_unique() < 2:
        return None
    # Another metric has another scale: the published curve is then left to the table.
    paper = rows.filter((pl.col("origin") != "study") & (pl.col("metric") == metric) & (pl.col("level") == "variant"))
    drawn = pl.concat([own, paper])
    # Blocks of the same share of the image stand at one place, whatever its size; * has a place of its own.
    least = min(drawn["block_share"].drop_nulls())
    drawn = drawn.with_columns(share=pl.col("block_share").fill_null(least / 2))
    named = drawn.filter((pl.col("origin") == "study") & (pl.col("level") == "variant"))
    sides = _sides(dict(named.select("share", "block").iter_rows()), least)
    origin = paper["origin"].to_list()[:1]
    behind = (
        f" Dashed, in the same colours: the paper's curve for {origin[0]} (Fig. 3; another network and task), "
        "placed by the side of a block over the image size."
    ) if origin else ""  # fmt: skip
    told = (f"{row['variant']} with {row['label']} {row['test_metric']:.3f}" for row in means.sort("order").to_dicts())
    return Figure(
        name="blocks",
        title="Shuffled blocks",
        caption="Blocks of each image put in one other order, the same for all images, in training and testing: final "
        "metric on test images, and clean training metric, averaged over epochs. * permutes all values. "
        "Points: means over seeds; bars: 95 % intervals (two seeds: their range); small dots: trainings." + behind,
        description=f"Final {metric_name(metric)} against block size: {'; '.join(told)}.",
        panels=tuple(_panel(drawn, what, metric, sides) for what in _QUANTITIES),
        legend=(
            *reversed(_VARIANTS.legend("line")),
            *((f"paper, {name}", NEUTRAL["muted"], "dashed") for name in origin),
        ),
    )


def _sides(blocks: dict[float, str], least: float) -> Axis:
    """Sides of blocks over that of the image, named by pixels; ticks are compared by their logarithm."""
    words = "''"
    for share, block in blocks.items():
        words = f"abs(log(datum.value / {share!r})) < 0.01 ? '{block}' : {words}"
    size = max((int(block) for block in blocks.values() if block != "*"), default=1)
    reach = [least / 2 / math.sqrt(2), math.sqrt(2)]
    return Axis("share", f"Side of a block (pixels of {size})", domain=reach, kind="log", ticks=sorted(blocks),
                labels=words, grid=False)  # fmt: skip


def _panel(rows: pl.DataFrame, what: str, metric: str, sides: Axis) -> Panel:
    columns, words = _QUANTITIES[what]
    data = rows.with_columns(pl.col(name).alias(to) for to, name in columns.items()).drop_nulls("value")
    place, study = (pl.col("variant"), ", ", pl.col("label")), pl.col("origin") == "study"
    means = data.filter(study & (pl.col("level") == "variant")).with_columns(interval_text(*place))
    single = data.filter(pl.col("level") == "network")
    cited = hover(pl.col("variant"), ", paper, ", pl.col("origin"), ", ", pl.col("label"), " of 224: ",
                  pl.col("value").round(3))  # fmt: skip
    paper = data.filter(~study).with_columns(cited)
    title, number = metric_axis(metric, words)
    y = Axis("value", title, number, domain=padded([*data["value"], *means["low"], *means["high"]], low=0.0, high=1.0))
    frame = Frame(sides, y, _VARIANTS, height=230)
    behind = frame.dashed(paper, opacity=0.55), frame.dots(paper, opacity=0), frame.dots(single, size=14, opacity=0.45)
    return line_panel(frame, means, *behind, size=52)


def _gaps(own: pl.DataFrame, metric: str) -> Figure | None:
    rows = own.filter((pl.col("level") == "gap") & pl.col("test_metric").is_not_null())
    # The interval over seeds speaks of training; where there is none the one over examples is better than nothing.
    by_examples = (pl.col("basis") == "examples").fill_null(value=False)
    seeds, examples = rows.filter(~by_examples).sort("order"), rows.filter(by_examples)
    if seeds.is_empty():
        return None
    factor, unit = (100.0, "points") if metric_unit(metric) == "(%)" else (1.0, "AUC")
    titles = {"test": f"P-T − RI-T, {metric_name(metric)} on test data ({unit})"}
    if seeds["speed"].drop_nulls().len():
        titles["speed"] = f"P-T − RI-T, optimisation speed ({unit})"
    told = "; ".join(
        f"{row['label']} {factor * row['test_metric']:+.3g} {unit}"
        + (f", relative drop {row['relative_drop']:.0f} %" if row["relative_drop"] is not None else "")
        for row in seeds.to_dicts()
    )
    return Figure(
        name="gaps",
        title="What is left of the gain",
        caption="P-T − RI-T with each ablation: final metric on test images and optimisation speed. Thick bars: 95 % "
        "intervals over seeds (two seeds: their range); thin bars: the same for all ablations at once; grey bars "
        "below: 95 % intervals over test images, for these networks alone. Right of 0 pre-training helps.",
        description=f"Gap between P-T and RI-T for each ablation: {told}.",
        panels=tuple(_differences(seeds, examples, what, factor, title) for what, title in titles.items()),
        legend=(("seeds", NEUTRAL["ink"], "point"), ("test images, these networks", _EXAMPLES, "line")),
    )


def _differences(seeds: pl.DataFrame, examples: pl.DataFrame, what: str, factor: float, title: str) -> Panel:
    wide = {name: name for name in ("simultaneous_low", "simultaneous_high")} if what == "test" else {}
    columns = _QUANTITIES[what][0] | wide
    data, beside = (
        rows.select("label", "n", "relative_drop", **{to: factor * pl.col(name) for to, name in columns.items()})
        .drop_nulls("value")
        for rows in (seeds, examples)
    )  # fmt: skip
    said = hover(pl.col("label"), ": ", pl.col("value").round(3), " (", pl.col("low").round(3), " to ",
                 pl.col("high").round(3), "), ", pl.col("n"), " seeds; relative drop ",
                 pl.col("relative_drop").round(1), " %")  # fmt: skip
    order = seeds["label"].to_list()
    x = Axis("value", title, "~f", domain=padded([0.0, *(value for name in columns for value in data[name])]))
    frame = Frame(x, Names("label", "Ablation (name)", order, limit=170), width=300, height=34 * len(order) + 8)
    grey = frame.spans(beside if what == "test" else beside.clear(), color=_EXAMPLES, yOffset=8)
    return dot_panel(frame, data.with_columns(said), grey, at=[0.0], size=70)
