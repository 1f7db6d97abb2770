"""Mistakes within groups of images: by difficulty, and by class."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from transferscope.plots.theme import Figure, Panel, colour, hover, padded, pair_rank, scale, shown_column

__all__ = ["classes_figure", "strata_figure"]

_STRATA = {
    "difficulty": ("Wrong networks outside the pair (share)", (
        "none wrong", "up to half wrong", "more than half wrong", "all wrong")),
    "entropy": ("Entropy of the others' prediction (quarter)", (
        "lowest quarter", "second quarter", "third quarter", "highest quarter")),
}  # fmt: skip
_MOST_CLASSES = 30
_SURE = 0.05


def strata_figure(table: pl.DataFrame) -> Figure | None:
    """Error consistency within strata of difficulty and of entropy; None where it is defined in none."""
    rows = table.filter(pl.col("level").is_in(list(_STRATA)) & pl.col("kappa").is_not_null())
    if rows.is_empty():
        return None
    rows = rows.with_columns(shown_column("pair"))
    pairs = sorted(set(rows["pair"]), key=pair_rank)
    low = min(0.0, *(float(value) for value in rows["kappa"]))
    found = [level for level in _STRATA if level in set(rows["level"])]
    return Figure(
        name="strata",
        title="Agreement where images are equally hard",
        caption=(
            "Error consistency κ within groups of test images, judged by the networks outside each pair: how many of "
            "them are wrong, and how unsure they are together. Dots: pairs of networks; ticks: their mean. A group "
            "without a dot has no mistake, or nothing but mistakes, in either network. If shared mistakes were only a "
            "matter of hard images, κ would be near 0 within each group."
        ),
        description="Error consistency within groups of equally hard images, for " + ", ".join(pairs) + ".",
        panels=tuple(_strata(rows.filter(pl.col("level") == level), level, pairs, low) for level in found),
        legend=tuple((pair, colour(pair), "point") for pair in pairs),
    )


def _strata(rows: pl.DataFrame, level: str, pairs: Sequence[str], low: float) -> Panel:
    title, order = _STRATA[level]
    y = alt.Y("item:N", title=title, sort=list(order)).axis(ticks=False, domain=False, grid=True, labelLimit=150)
    y = y.scale(domain=list(order))
    x = alt.X("kappa:Q", title="Error consistency κ (1 = same mistakes)").scale(domain=[low, 1.0], nice=False)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    place = alt.YOffset("pair:N", sort=list(pairs)).scale(domain=list(pairs), paddingInner=0.2, paddingOuter=0.35)
    told = hover(
        pl.col("a"), " · ", pl.col("b"), ", ", pl.col("item"), ": κ ", pl.col("kappa").round(3), " on ",
        pl.col("examples"), " judgements",
    )  # fmt: skip
    dots = (
        alt.Chart(rows.with_columns(told).select("item", "pair", "kappa", "hover"))
        .mark_circle(size=40, opacity=0.6)
        .encode(x, y, tint, place, description="hover:N")
    )
    mean = rows.group_by("item", "pair").agg(pl.col("kappa").mean(), pl.len().alias("pairs"))
    words = hover(pl.col("pair"), ", ", pl.col("item"), ": mean κ ", pl.col("kappa").round(3), " over ",
                  pl.col("pairs"), " pairs")  # fmt: skip
    ticks = (
        alt.Chart(mean.with_columns(words))
        .mark_tick(thickness=2.5, size=14, opacity=1)
        .encode(x, y, tint, place, description="hover:N")
    )
    zero = alt.Chart(pl.DataFrame({"kappa": [0.0]})).mark_rule(color="#afb8c1", aria=False).encode(x)
    return alt.layer(zero, dots, ticks).properties(width=260, height=4 * (14 * len(pairs) + 12))


def classes_figure(table: pl.DataFrame) -> Figure | None:
    """Recall of P-T minus that of RI-T for every class, with its interval over test images; None without classes."""
    rows = table.filter(
        (pl.col("level") == "recall") & (pl.col("basis") == "examples") & pl.col("difference").is_not_null()
    )
    if rows.is_empty():
        return None
    rows = rows.sort("difference", "item", descending=[True, False])
    total = rows.height
    if total > _MOST_CLASSES:
        rows = pl.concat([rows.head(_MOST_CLASSES // 2), rows.tail(_MOST_CLASSES // 2)])
    rows = rows.with_columns(
        pl.when(pl.col("p_holm") > _SURE)
        .then(pl.lit("undecided"))
        .when(pl.col("difference") > 0)
        .then(pl.lit("P-T recalls more"))
        .otherwise(pl.lit("P-T recalls less"))
        .alias("kind"),
        *((100 * pl.col(name)).alias(name) for name in ("difference", "low", "high")),
        hover(pl.col("item"), ": P-T ", (100 * pl.col("recall_a")).round(1), " %, RI-T ",
              (100 * pl.col("recall_b")).round(1), " % of ", pl.col("examples"), " images; difference ",
              (100 * pl.col("difference")).round(1), " (", (100 * pl.col("low")).round(1), " to ",
              (100 * pl.col("high")).round(1), ") points, adjusted p ", pl.col("p_holm").round(4)),
    )  # fmt: skip
    kinds = {"P-T recalls more": colour("P-T"), "P-T recalls less": colour("RI-T"), "undecided": "#6e7781"}
    order = rows["item"].to_list()
    x = alt.X("difference:Q", title="Recall of P-T − recall of RI-T (points)")
    x = x.scale(domain=padded([0.0, *rows["difference"], *rows["low"], *rows["high"]]), nice=False)
    y = alt.Y("item:N", title="Class (name)", sort=order).axis(ticks=False, domain=False, labelLimit=170)
    tint = alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(kinds), range=list(kinds.values())))
    data = rows.select("item", "difference", "low", "high", "kind", "hover")
    base = alt.Chart(data)
    spans = base.mark_rule(strokeWidth=2, aria=False).encode(
        alt.X("low:Q", title="Recall of P-T − recall of RI-T (points)"), alt.X2("high:Q"), y, tint
    ).transform_filter("isValid(datum.low)")  # fmt: skip
    dots = base.mark_circle(size=70, opacity=1).encode(x, y, tint, description="hover:N")
    zero = alt.Chart(pl.DataFrame({"difference": [0.0]})).mark_rule(color="#afb8c1", aria=False).encode(x)
    cut = (
        f" Shown are the {_MOST_CLASSES} of {total} classes that change most either way." if total > len(order) else ""
    )
    sure = {kind: data.filter(pl.col("kind") == kind).height for kind in kinds}
    return Figure(
        name="classes",
        title="Classes that pre-training changes",
        caption=(
            "Share of each class's test images that is found, P-T minus RI-T, mean over seeds, with its 95 % interval "
            "over test images: it speaks for these networks. Coloured where the difference is sure for all classes at "
            f"once (Holm, 5 %).{cut}"
        ),
        description="Difference of recall between P-T and RI-T for each class: "
        + ", ".join(f"{kind}: {count}" for kind, count in sure.items())
        + ".",
        panels=(alt.layer(zero, spans, dots).properties(width=350, height=20 * len(order) + 10),),
        columns=1,
        legend=tuple((kind, tint, "point") for kind, tint in kinds.items()),
    )
