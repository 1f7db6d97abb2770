"""Shared mistakes against epochs, and against accuracy."""

import polars as pl

from transferscope.plots.axes import EPOCHS, Axis, tints
from transferscope.plots.panels import Frame, present
from transferscope.plots.theme import NEUTRAL, VARIANTS, Figure, among, hover, pairs_of, shown_column

__all__ = ["figures"]


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``mistakes_in_training``; none where there is nothing to draw."""
    wrong = (pl.col("mistakes_a") + pl.col("mistakes_b")) / (2 * pl.col("examples"))
    rows = table.with_columns(shown_column("pair"), shown_column("variant_a"), accuracy=1 - wrong)
    return present(
        _agreement(rows.filter((pl.col("level") == "pair") & pl.col("kappa").is_not_null())),
        _own_end(rows.filter((pl.col("level") == "end") & pl.col("jaccard").is_not_null())),
    )


def _agreement(rows: pl.DataFrame) -> Figure | None:
    if rows.is_empty():
        return None
    colours = tints("pair", pairs_of(rows["pair"]))
    kappa = Axis("kappa", "Error consistency κ (1 = same mistakes)", domain=[min([0.0, *rows["kappa"]]), 1.0])
    by_epoch = Frame(EPOCHS, kappa, colours, width=330, height=220)
    ceiling = Frame(EPOCHS, Axis("kappa_max", kappa.title, domain=kappa.domain), colours)
    accuracy = Axis("accuracy", "Mean test accuracy of the two (%)", ".0%", zero=False, padding=12)
    by_accuracy = Frame(accuracy, kappa, colours, width=330, height=220)
    mean = _means(rows, "pair", "kappa", "kappa_max", "accuracy")
    value = pl.col("kappa").round(3)
    at_epoch = hover(pl.col("pair"), ", epoch ", pl.col("epoch"), ": mean κ ", value, " of ", pl.col("count"),
                     " pairs, ceiling ", pl.col("kappa_max").round(3))  # fmt: skip
    at_accuracy = hover(pl.col("pair"), ", epoch ", pl.col("epoch"), ": accuracy ",
                        (100 * pl.col("accuracy")).round(1), " %, κ ", value)  # fmt: skip
    return Figure(
        name="epochs",
        title="Shared mistakes during training",
        caption="Against the epoch: error consistency κ of two networks at the same epoch. Dots: pairs of networks; "
        "solid lines: their mean; dashed lines: the highest κ that unequal accuracies allow. Against the accuracy: "
        "the same by the mean accuracy of the two, epochs joined in order: at equal accuracy no difference comes from "
        "how many mistakes there are.",
        description="Error consistency against epoch and against accuracy, for " + ", ".join(colours.colours) + ".",
        panels=(
            by_epoch.panel(
                by_epoch.dots(rows, size=22, opacity=0.4), ceiling.dashed(mean, width=1.2),
                by_epoch.lines(mean, width=2.4), by_epoch.dots(mean.with_columns(at_epoch), size=70, opacity=0),
            ),
            by_accuracy.panel(
                by_accuracy.lines(mean, width=1.6, order="epoch"), by_accuracy.dots(mean.with_columns(at_accuracy)),
            ),
        ),
        legend=(*colours.legend("line"), ("ceiling of κ", NEUTRAL["muted"], "dashed")),
    )  # fmt: skip


def _own_end(rows: pl.DataFrame) -> Figure | None:
    if rows.is_empty():
        return None
    colours = tints("variant_a", among(VARIANTS, rows["variant_a"]))
    share = Axis("jaccard", "Common mistakes / wrong by either (share)", domain=[0.0, 1.0])
    frame = Frame(EPOCHS, share, colours)
    text = hover(pl.col("variant_a"), ", epoch ", pl.col("epoch"), ": ", (100 * pl.col("jaccard")).round(1),
                 " % of the mistakes of either are common, mean of ", pl.col("count"), " runs")  # fmt: skip
    mean = _means(rows, "variant_a", "jaccard").with_columns(text)
    return Figure(
        name="end",
        title="When the mistakes of the end are there",
        caption="Test images wrong at this epoch and at the end of the same run, out of those wrong at either. Dots: "
        "runs; lines: their mean. It is 1 at the end; a curve that is high early says that later training changes few "
        "decisions.",
        description="Share of mistakes common to each epoch and the end, for " + ", ".join(colours.colours) + ".",
        panels=(
            frame.panel(
                frame.dots(rows, size=22, opacity=0.4), frame.lines(mean, width=2.4),
                frame.dots(mean, size=70, opacity=0),
            ),
        ),
        columns=1,
        legend=colours.legend("line"),
    )  # fmt: skip


def _means(rows: pl.DataFrame, by: str, *columns: str) -> pl.DataFrame:
    return (
        rows.group_by(by, "epoch", maintain_order=True).agg(pl.col(*columns).mean(), count=pl.len()).sort(by, "epoch")
    )
