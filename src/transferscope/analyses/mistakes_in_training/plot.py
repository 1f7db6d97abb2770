"""Shared mistakes against epochs, and against accuracy."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from transferscope.plots.theme import (
    VARIANTS,
    Figure,
    Panel,
    charted,
    colour,
    hover,
    pair_rank,
    scale,
    shown_column,
)

__all__ = ["chart", "figures"]

_KAPPA = "Error consistency κ (1 = same mistakes)"


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``mistakes_in_training``; none where there is nothing to draw."""
    rows = table.with_columns(
        shown_column("pair"),
        shown_column("variant_a"),
        (1 - (pl.col("mistakes_a") + pl.col("mistakes_b")) / (2 * pl.col("examples"))).alias("accuracy"),
    )
    return tuple(
        figure
        for figure in (
            _agreement(rows.filter((pl.col("level") == "pair") & pl.col("kappa").is_not_null())),
            _own_end(rows.filter((pl.col("level") == "end") & pl.col("jaccard").is_not_null())),
        )
        if figure is not None
    )


chart = charted(figures)
"""The picture of the table of ``mistakes_in_training``: κ against epochs and accuracy."""


def _agreement(rows: pl.DataFrame) -> Figure | None:
    if rows.is_empty():
        return None
    pairs = sorted(set(rows["pair"]), key=pair_rank)
    lowest = min(0.0, *(float(value) for value in rows["kappa"]))
    return Figure(
        name="epochs",
        title="Shared mistakes during training",
        caption=(
            "Against the epoch: error consistency κ of two networks at the same epoch. Dots: pairs of networks; solid "
            "lines: their mean; dashed lines: the highest κ that unequal accuracies allow. Against the accuracy: the "
            "same by the mean accuracy of the two, epochs joined in order: at equal accuracy no difference comes from "
            "how many mistakes there are."
        ),
        description="Error consistency against epoch and against accuracy, for " + ", ".join(pairs) + ".",
        panels=(_epochs(rows, pairs, lowest), _accuracy(rows, pairs, lowest)),
        legend=(
            *((pair, colour(pair), "line") for pair in pairs),
            ("ceiling of κ", "#59636e", "dashed"),
        ),
    )


def _epochs(rows: pl.DataFrame, pairs: Sequence[str], lowest: float) -> Panel:
    x = alt.X("epoch:Q", title="Epoch (passes over the training images)")
    x = x.axis(grid=False, tickMinStep=1, format="d").scale(nice=False, padding=6)
    y = alt.Y("kappa:Q", title=_KAPPA).scale(domain=[lowest, 1.0], nice=False)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    dots = alt.Chart(rows.select("epoch", "kappa", "pair")).mark_circle(size=22, opacity=0.4, aria=False)
    mean = _means(rows, "pair", "kappa", "kappa_max")
    words = hover(pl.col("pair"), ", epoch ", pl.col("epoch"), ": mean κ ", pl.col("kappa").round(3), " of ",
                  pl.col("count"), " pairs, ceiling ", pl.col("kappa_max").round(3))  # fmt: skip
    base = alt.Chart(mean.with_columns(words)).encode(x, color=tint)
    ceiling = base.mark_line(strokeWidth=1.2, strokeDash=[4, 3], aria=False).encode(alt.Y("kappa_max:Q", title=_KAPPA))
    line = base.mark_line(strokeWidth=2.4, aria=False).encode(y)
    targets = base.mark_circle(size=70, opacity=0).encode(y, description="hover:N")
    return alt.layer(dots.encode(x, y, tint), ceiling, line, targets).properties(width=330, height=220)


def _accuracy(rows: pl.DataFrame, pairs: Sequence[str], lowest: float) -> Panel:
    mean = _means(rows, "pair", "kappa", "accuracy")
    words = hover(pl.col("pair"), ", epoch ", pl.col("epoch"), ": accuracy ", (100 * pl.col("accuracy")).round(1),
                  " %, κ ", pl.col("kappa").round(3))  # fmt: skip
    base = alt.Chart(mean.with_columns(words)).encode(
        alt.X("accuracy:Q", title="Mean test accuracy of the two (%)").axis(format=".0%").scale(zero=False, padding=6),
        alt.Y("kappa:Q", title=_KAPPA).scale(domain=[lowest, 1.0], nice=False),
        alt.Color("pair:N", title=None, scale=scale(pairs)),
    )
    line = base.mark_line(strokeWidth=1.6, aria=False).encode(order="epoch:Q")
    dots = base.mark_circle(size=45, opacity=1).encode(description="hover:N")
    return alt.layer(line, dots).properties(width=330, height=220)


def _own_end(rows: pl.DataFrame) -> Figure | None:
    if rows.is_empty():
        return None
    variants = [name for name in VARIANTS if name in set(rows["variant_a"])]
    mean = _means(rows, "variant_a", "jaccard")
    x = alt.X("epoch:Q", title="Epoch (passes over the training images)")
    x = x.axis(grid=False, tickMinStep=1, format="d").scale(nice=False, padding=6)
    y = alt.Y("jaccard:Q", title="Common mistakes / wrong by either (share)").scale(domain=[0.0, 1.0], nice=False)
    tint = alt.Color("variant_a:N", title=None, scale=scale(variants))
    dots = alt.Chart(rows.select("epoch", "jaccard", "variant_a")).mark_circle(size=22, opacity=0.4, aria=False)
    words = hover(pl.col("variant_a"), ", epoch ", pl.col("epoch"), ": ", (100 * pl.col("jaccard")).round(1),
                  " % of the mistakes of either are common, mean of ", pl.col("count"), " runs")  # fmt: skip
    base = alt.Chart(mean.with_columns(words)).encode(x, y, tint)
    line = base.mark_line(strokeWidth=2.4, aria=False)
    targets = base.mark_circle(size=70, opacity=0).encode(description="hover:N")
    return Figure(
        name="end",
        title="When the mistakes of the end are there",
        caption=(
            "Test images wrong at this epoch and at the end of the same run, out of those wrong at either. Dots: runs; "
            "lines: their mean. It is 1 at the end; a curve that is high early says that later training changes few "
            "decisions."
        ),
        description="Share of mistakes common to each epoch and the end, for " + ", ".join(variants) + ".",
        panels=(alt.layer(dots.encode(x, y, tint), line, targets).properties(width=350, height=200),),
        columns=1,
        legend=tuple((name, colour(name), "line") for name in variants),
    )


def _means(rows: pl.DataFrame, by: str, *columns: str) -> pl.DataFrame:
    found = rows.group_by(by, "epoch").agg(*(pl.col(name).mean() for name in columns), pl.len().alias("count"))
    return found.sort(by, "epoch")
