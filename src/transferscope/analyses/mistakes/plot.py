"""Which test images two networks get wrong: together, or only one of them; by difficulty, and by class."""

import polars as pl

from transferscope.keys import shown
from transferscope.plots.axes import Axis, Names, Tints, tints
from transferscope.plots.panels import Frame, dot_panel, facets, present
from transferscope.plots.theme import NEUTRAL, Figure, Panel, colour, hover, padded, pair_rank, pairs_of, shown_column

__all__ = ["figures"]

_PARTS = {
    "common": ("both wrong", "#3a4149"),
    "only_a": ("only the first", "#8c96a0"),
    "only_b": ("only the second", "#cfd6dc"),
}
_MOST = 15
"""Single pairs of networks shown; above it, means by pair of variants."""
_KAPPA = "Error consistency κ (1 = same mistakes)"
_STRATA = {
    "difficulty": ("Wrong networks outside the pair (share)", (
        "none wrong", "up to half wrong", "more than half wrong", "all wrong")),
    "entropy": ("Entropy of the others' prediction (quarter)", (
        "lowest quarter", "second quarter", "third quarter", "highest quarter")),
}  # fmt: skip
_MOST_CLASSES = 30
_SURE = 0.05
_CHANGES = {"P-T recalls more": colour("P-T"), "P-T recalls less": colour("RI-T"), "undecided": "#6e7781"}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``mistakes``: pairs, strata of difficulty, classes; none where there is no pair of networks."""
    recall = (pl.col("level") == "recall") & (pl.col("basis") == "examples") & pl.col("difference").is_not_null()
    return present(
        _overlap(table.filter(pl.col("level") == "all")),
        _strata(table.filter(pl.col("level").is_in(list(_STRATA)) & pl.col("kappa").is_not_null())),
        _classes(table.filter(recall)),
    )


def _overlap(rows: pl.DataFrame) -> Figure | None:
    if rows.is_empty():
        return None
    by_network = rows.height <= _MOST
    if by_network:
        label = [f"{shown(a)} · {shown(b)}" for a, b in zip(rows["a"], rows["b"], strict=True)]
        rows = rows.with_columns(label=pl.Series(label, dtype=pl.String), low="kappa_low", high="kappa_high")
    else:
        # The interval of a mean over networks is not the mean of the intervals: it is left out.
        missing = pl.lit(None, pl.Float64)
        means = rows.group_by("pair", maintain_order=True).agg(pl.col(*_PARTS, "kappa", "kappa_max").mean())
        rows = means.with_columns(
            label=shown_column("pair"), low=missing, high=missing
        )  # fmt: skip
    ranks = {pair: pair_rank(pair)[0] for pair in rows["pair"]}
    order = rows.sort(pl.col("pair").replace_strict(ranks), "label")["label"].to_list()
    what = "pair of networks" if by_network else "pair of variants (mean over its networks)"
    spread = " with its 95 % interval over test images" if by_network else ""
    return Figure(
        name="overlap",
        title="Shared mistakes",
        caption=f"One row per {what}. Bars: test images wrong in both networks or in one alone. Dots: error "
        f"consistency κ{spread}; 0 is chance given the accuracies, the tick marks the highest κ that unequal "
        "accuracies allow.",
        description="Common and separate mistakes, and error consistency, for " + ", ".join(order) + ".",
        panels=(_shared(rows, order), *_consistency(rows.drop_nulls("kappa"), order)),
        legend=(
            *((words, tint, "square") for words, tint in _PARTS.values()),
            ("κ with interval" if by_network else "κ", NEUTRAL["ink"], "point"),
            ("ceiling of κ", NEUTRAL["ink"], "tick"),
        ),
    )


def _shared(rows: pl.DataFrame, order: list[str]) -> Panel:
    words = {name: words for name, (words, _) in _PARTS.items()}
    long = rows.unpivot(list(_PARTS), index="label", variable_name="part", value_name="images")
    ranks = pl.col("part").replace_strict({name: rank for rank, name in enumerate(_PARTS)})
    long = long.with_columns(pl.col("part").replace_strict(words), rank=ranks)
    text = hover(pl.col("label"), ": ", pl.col("part"), " ", pl.col("images").round(1), " images")
    frame = Frame(Axis("images", "Mistakes on test data (images)", "~s"),
                  Names("label", "Networks (pair)", order, limit=170, lines=False),
                  Tints("part", dict(_PARTS.values())), width=300, height=26 * len(order) + 8)  # fmt: skip
    return frame.panel(frame.stacked(long.with_columns(text), "rank"))


def _consistency(rows: pl.DataFrame, order: list[str]) -> tuple[Panel, ...]:
    if rows.is_empty():
        return ()
    text = hover(pl.col("label"), ": κ ", pl.col("kappa").round(3), " (", pl.col("low").round(3), " to ",
                 pl.col("high").round(3), "), ceiling ", pl.col("kappa_max").round(3))  # fmt: skip
    lowest = min([0.0, *rows["kappa"], *rows["low"].drop_nulls()])
    names = Names("label", "Networks (pair)", order, limit=170, lines=False)
    frame = Frame(Axis("kappa", _KAPPA, domain=[lowest, 1.0]), names, width=300, height=26 * len(order) + 8)
    return (dot_panel(frame, rows.with_columns(text), frame.ticks(rows, "kappa_max"), at=[0.0], size=70),)


def _strata(rows: pl.DataFrame) -> Figure:
    rows = rows.with_columns(shown_column("pair"))
    colours = tints("pair", pairs_of(rows["pair"]))
    lowest = min([0.0, *rows["kappa"]])
    x = Axis("kappa", _KAPPA, domain=[lowest, 1.0])

    def panel(part: pl.DataFrame, level: str) -> Panel:
        names = Names("item", _STRATA[level][0], _STRATA[level][1], limit=150)
        frame = Frame(x, names, colours, aside=True, width=260, height=4 * (14 * len(colours.colours) + 12))
        text = hover(pl.col("a"), " · ", pl.col("b"), ", ", pl.col("item"), ": κ ", pl.col("kappa").round(3), " on ",
                     pl.col("examples"), " judgements")  # fmt: skip
        every = part.group_by("item", "pair", maintain_order=True)
        mean = every.agg(pl.col("kappa").mean(), pairs=pl.len()).with_columns(
            hover(pl.col("pair"), ", ", pl.col("item"), ": mean κ ", pl.col("kappa").round(3), " over ",
                  pl.col("pairs"), " pairs"))  # fmt: skip
        dots = frame.dots(part.with_columns(text), size=40, opacity=0.6)
        return frame.panel(frame.rule(0.0), dots, frame.ticks(mean))

    return Figure(
        name="strata",
        title="Agreement where images are equally hard",
        caption="Error consistency κ within groups of test images, judged by the networks outside each pair: how many "
        "of them are wrong, and how unsure they are together. Dots: pairs of networks; ticks: their mean. A group "
        "without a dot has no mistake, or nothing but mistakes, in either network. If shared mistakes were only a "
        "matter of hard images, κ would be near 0 within each group.",
        description="Error consistency within groups of equally hard images, for " + ", ".join(colours.colours) + ".",
        panels=facets(rows, "level", _STRATA, panel),
        legend=colours.legend("point"),
    )


def _classes(rows: pl.DataFrame) -> Figure | None:
    """Recall of P-T minus that of RI-T for every class, with its interval over test images."""
    if rows.is_empty():
        return None
    total = rows.height
    rows = rows.sort("difference", "item", descending=[True, False])
    if total > _MOST_CLASSES:
        rows = pl.concat([rows.head(_MOST_CLASSES // 2), rows.tail(_MOST_CLASSES // 2)])
    more, less, open_ = _CHANGES
    by = pl.when(pl.col("difference") > 0).then(pl.lit(more)).otherwise(pl.lit(less))
    points = {name: (100 * pl.col(name)) for name in ("recall_a", "recall_b", "difference", "low", "high")}
    a, b, difference, low, high = (value.round(1) for value in points.values())
    rows = rows.with_columns(
        hover(pl.col("item"), ": P-T ", a, " %, RI-T ", b, " % of ", pl.col("examples"), " images; difference ",
              difference, " (", low, " to ", high, ") points, adjusted p ", pl.col("p_holm").round(4)),
        kind=pl.when(pl.col("p_holm") > _SURE).then(pl.lit(open_)).otherwise(by), **points,
    )  # fmt: skip
    order = rows["item"].to_list()
    x = Axis("difference", "Recall of P-T − recall of RI-T (points)",
             domain=padded([0.0, *rows["difference"], *rows["low"], *rows["high"]]))  # fmt: skip
    names, colours = Names("item", "Class (name)", order, limit=170), Tints("kind", _CHANGES)
    counts = (f"{kind}: {rows.filter(pl.col('kind') == kind).height}" for kind in _CHANGES)
    cut = f" Shown are the {_MOST_CLASSES} of {total} classes that change most either way."
    return Figure(
        name="classes",
        title="Classes that pre-training changes",
        caption="Share of each class's test images that is found, P-T minus RI-T, mean over seeds, with its 95 % "
        "interval over test images: it speaks for these networks. Coloured where the difference is sure for all "
        "classes at once (Holm, 5 %)." + (cut if total > len(order) else ""),
        description="Difference of recall between P-T and RI-T for each class: " + ", ".join(counts) + ".",
        panels=(dot_panel(Frame(x, names, colours, height=20 * len(order) + 10), rows, at=[0.0], size=70),),
        columns=1,
        legend=colours.legend("point"),
    )
