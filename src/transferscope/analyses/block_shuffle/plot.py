"""Final metric and optimisation speed against the side of shuffled blocks (paper Fig. 3), and the gap per ablation."""

import math

import altair as alt
import polars as pl

from transferscope.plots.theme import (
    NEUTRAL,
    Figure,
    Panel,
    charted,
    colour,
    hover,
    metric_axis,
    metric_name,
    padded,
    scale,
    shown_column,
)

__all__ = ["chart", "figures"]

_VARIANTS = ["RI-T", "P-T"]
_SHARES = frozenset({"top1", "top5"})


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``block_shuffle``; none where no network has a value."""
    rows = table.with_columns(shown_column("variant"))
    found = (_blocks(rows, metric), _gaps(rows.filter(pl.col("origin") == "study"), metric))
    return tuple(figure for figure in found if figure is not None)


chart = charted(figures)
"""Final metric and optimisation speed against block size, of the table of ``block_shuffle``."""


def _blocks(rows: pl.DataFrame, metric: str) -> Figure | None:
    rows = rows.filter((pl.col("ablation") == "block_shuffle") & pl.col("variant").is_in(_VARIANTS))
    own = rows.filter(pl.col("origin") == "study")
    means = own.filter((pl.col("level") == "variant") & pl.col("test_metric").is_not_null())
    if means["label"].n_unique() < 2:
        return None
    # Another metric has another scale: the published curve is then left to the table.
    paper = rows.filter((pl.col("origin") != "study") & (pl.col("metric") == metric) & (pl.col("level") == "variant"))
    drawn = pl.concat([own, paper])
    # Blocks of the same share of the image stand at one place, whatever its size; * has a place of its own.
    least = min(share for share in drawn["block_share"].to_list() if share is not None)
    drawn = drawn.with_columns(pl.col("block_share").fill_null(least / 2).alias("share"))
    ticks = dict(
        drawn.filter((pl.col("origin") == "study") & (pl.col("level") == "variant"))
        .select("share", "block")
        .iter_rows()
    )
    panels = tuple(_panel(drawn, column, metric, ticks, least) for column in ("test", "speed"))
    domain = paper["origin"].to_list()[:1]
    legend = [(name, colour(name), "line") for name in reversed(_VARIANTS)]
    behind = ""
    if domain:
        legend.append((f"paper, {domain[0]}", NEUTRAL["muted"], "dashed"))
        behind = (
            f" Dashed, in the same colours: the paper's curve for {domain[0]} (Fig. 3; another network and task), "
            "placed by the side of a block over the image size."
        )
    values = "; ".join(
        f"{row['variant']} with {row['label']} {row['test_metric']:.3f}" for row in means.sort("order").to_dicts()
    )
    return Figure(
        name="blocks",
        title="Shuffled blocks",
        caption=(
            "Blocks of each image put in one other order, the same for all images, in training and testing: final "
            "metric on test images, and clean training metric, averaged over epochs. * permutes all values. "
            "Points: means over seeds; bars: 95 % intervals (two seeds: their range); small dots: trainings." + behind
        ),
        description=f"Final {metric_name(metric)} against block size: {values}.",
        panels=panels,
        legend=tuple(legend),
    )


def _panel(rows: pl.DataFrame, what: str, metric: str, ticks: dict[float, str], least: float) -> Panel:
    value, low, high = ("test_metric", "test_low", "test_high") if what == "test" else (
        "speed", "speed_low", "speed_high")  # fmt: skip
    data = rows.select(
        "level", "origin", "variant", "label", "seed", "n", "basis", "share",
        value=pl.col(value), low=pl.col(low), high=pl.col(high),
    ).drop_nulls("value")  # fmt: skip
    means = data.filter((pl.col("level") == "variant") & (pl.col("origin") == "study")).sort("variant", "share")
    dots = data.filter(pl.col("level") == "network")
    paper = data.filter(pl.col("origin") != "study").sort("variant", "share")
    title, number = metric_axis(metric, "final test" if what == "test" else "mean training")
    domain = padded([*data["value"], *means["low"], *means["high"]], low=0.0, high=1.0)
    words = "datum.value"
    text = "''"
    for place, block in ticks.items():
        # Ticks are compared by their logarithm: a tick is a number that went through text.
        text = f"abs(log({words} / {place!r})) < 0.01 ? '{block}' : {text}"
    size = max((int(block) for block in ticks.values() if block != "*"), default=1)
    x = (
        alt.X("share:Q", title=f"Side of a block (pixels of {size})")
        .scale(type="log", base=2, domain=[least / 2 / math.sqrt(2), math.sqrt(2)], nice=False)
        .axis(values=sorted(ticks), labelExpr=text, grid=False, labelOverlap=False)
    )
    y = alt.Y("value:Q", title=title).scale(domain=domain, nice=False).axis(format=number, minExtent=38)
    tint = alt.Color("variant:N", title=None, scale=scale(_VARIANTS))
    told = hover(pl.col("variant"), ", ", pl.col("label"), ": ", pl.col("value").round(4), " (",
                 pl.col("low").round(4), " to ", pl.col("high").round(4), ")")  # fmt: skip
    layers: list[alt.Chart] = []
    if not paper.is_empty():
        said = hover(pl.col("variant"), ", paper, ", pl.col("origin"), ", ", pl.col("label"), " of 224: ",
                     pl.col("value").round(3))  # fmt: skip
        dashed = alt.Chart(paper.with_columns(said))
        layers.append(dashed.mark_line(strokeWidth=1.4, strokeDash=[4, 3], opacity=0.55, aria=False).encode(x, y, tint))
        layers.append(dashed.mark_circle(size=50, opacity=0).encode(x, y, tint, description="hover:N"))
    layers += [
        alt.Chart(dots).mark_circle(size=14, opacity=0.45, aria=False).encode(x, y, tint),
        alt.Chart(means.drop_nulls("low"))
        .mark_rule(strokeWidth=1.4, clip=True, aria=False)
        .encode(x, alt.Y("low:Q", title=title), alt.Y2("high:Q"), tint),
        alt.Chart(means).mark_line(strokeWidth=2.2, aria=False).encode(x, y, tint),
        alt.Chart(means.with_columns(told)).mark_circle(size=52, opacity=1).encode(x, y, tint, description="hover:N"),
    ]
    return alt.layer(*layers).properties(width=350, height=230)


def _gaps(own: pl.DataFrame, metric: str) -> Figure | None:
    rows = own.filter((pl.col("level") == "gap") & pl.col("test_metric").is_not_null())
    # The interval over seeds speaks of training; where there is none the one over examples is better than nothing.
    rows = rows.with_columns((pl.col("basis") == "examples").fill_null(value=False).alias("by_examples"))
    seeds = rows.filter(~pl.col("by_examples")).sort("order")
    if seeds.is_empty():
        return None
    order = seeds["label"].to_list()
    factor = 100.0 if metric in _SHARES else 1.0
    unit = "points" if metric in _SHARES else "AUC"
    examples = rows.filter(pl.col("by_examples"))
    panels = [
        _whiskers(seeds, examples, order, "test", factor, f"P-T − RI-T, {metric_name(metric)} on test data ({unit})")
    ]
    if seeds["speed"].drop_nulls().len():
        title = f"P-T − RI-T, optimisation speed ({unit})"
        panels.append(_whiskers(seeds, None, order, "speed", factor, title))
    told = "; ".join(
        f"{row['label']} {factor * row['test_metric']:+.3g} {unit}"
        + (f", relative drop {row['relative_drop']:.0f} %" if row["relative_drop"] is not None else "")
        for row in seeds.to_dicts()
    )
    return Figure(
        name="gaps",
        title="What is left of the gain",
        caption=(
            "P-T − RI-T with each ablation: final metric on test images and optimisation speed. Thick bars: 95 % "
            "intervals over seeds (two seeds: their range); thin bars: the same for all ablations at once; grey bars "
            "below: 95 % intervals over test images, for these networks alone. Right of 0 pre-training helps."
        ),
        description=f"Gap between P-T and RI-T for each ablation: {told}.",
        panels=tuple(panels),
        legend=(("seeds", NEUTRAL["ink"], "point"), ("test images, these networks", "#8c959f", "line")),
    )


def _whiskers(
    seeds: pl.DataFrame, examples: pl.DataFrame | None, order: list[str], what: str, factor: float, title: str
) -> Panel:
    value, low, high = ("test_metric", "test_low", "test_high") if what == "test" else (
        "speed", "speed_low", "speed_high")  # fmt: skip
    wide = (pl.col("simultaneous_low"), pl.col("simultaneous_high")) if what == "test" else (pl.lit(None), pl.lit(None))

    def picked(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(
            "label", "n", "basis", "relative_drop",
            value=factor * pl.col(value), low=factor * pl.col(low), high=factor * pl.col(high),
            least=factor * wide[0].cast(pl.Float64), most=factor * wide[1].cast(pl.Float64),
        ).drop_nulls("value")  # fmt: skip

    data = picked(seeds)
    told = hover(pl.col("label"), ": ", pl.col("value").round(3), " (", pl.col("low").round(3), " to ",
                 pl.col("high").round(3), "), ", pl.col("n"), " seeds; relative drop ",
                 pl.col("relative_drop").round(1), " %")  # fmt: skip
    y = alt.Y("label:N", title="Ablation (name)", sort=order).axis(
        ticks=False, domain=False, grid=True, minExtent=38, labelLimit=170
    )
    ends = [*data["value"], *data["low"], *data["high"], *data["least"], *data["most"], 0.0]
    x = alt.X("value:Q", title=title).scale(domain=padded(ends), nice=False).axis(format="~f")
    span = {"y": y, "x": alt.X("low:Q", title=title), "x2": alt.X2("high:Q")}
    layers: list[alt.Chart] = [
        alt.Chart(pl.DataFrame({"value": [0.0]})).mark_rule(color="#afb8c1", aria=False).encode(x)
    ]
    if examples is not None and not examples.is_empty():
        layers.append(
            alt.Chart(picked(examples).drop_nulls("low"))
            .mark_rule(strokeWidth=2, color="#8c959f", yOffset=8, clip=True, aria=False)
            .encode(**span)
        )
    layers += [
        alt.Chart(data.drop_nulls("least"))
        .mark_rule(strokeWidth=1, color=NEUTRAL["ink"], aria=False)
        .encode(y=y, x=alt.X("least:Q", title=title), x2=alt.X2("most:Q")),
        alt.Chart(data.drop_nulls("low")).mark_rule(strokeWidth=3, color=NEUTRAL["ink"], aria=False).encode(**span),
        alt.Chart(data.with_columns(told))
        .mark_circle(size=70, color=NEUTRAL["ink"], opacity=1)
        .encode(x, y, description="hover:N"),
    ]
    return alt.layer(*layers).properties(width=300, height=34 * len(order) + 8)
