"""Recall of the classes against how many training images they have."""

import polars as pl

from transferscope.plots.axes import Axis, tints
from transferscope.plots.panels import Frame, facets, line_panel, present
from transferscope.plots.theme import Figure, Panel, among, hover, shown_column

__all__ = ["figures"]


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``imbalance``; none where nothing was trained to an end."""
    known = table.filter((pl.col("level") == "class") & (pl.col("split") == "test")).drop_nulls("value")
    return present(_recalls(known.with_columns(shown_column("variant")))) if known.height else ()


def _recalls(known: pl.DataFrame) -> Figure:
    value = pl.col("value")
    ranks = (
        known.group_by("variant", "ratio", "rank", maintain_order=True)
        .agg(pl.col("images").max(), value.mean(), low=value.min(), high=value.max())
        .sort("images")
        .with_columns(label=pl.format("ratio {}", pl.col("ratio").cast(pl.Int64)))
        .with_columns(hover(pl.col("variant"), ", ", pl.col("images"), " images: ", value.round(3)))
    )
    colours = tints("variant", among(("RI-T", "P-T"), ranks["variant"]))
    # Equal sizes at ratio 1 would be one point: ranks are drawn side by side.
    x = Axis("rank", "Rank of the class: 0 has the most training images (count)")
    y = Axis("value", "Recall (share of the class's test images)", domain=[0.0, 1.0])

    def panel(part: pl.DataFrame, name: str) -> Panel:
        sizes = sorted(part["images"].to_list())
        frame = Frame(x, y, colours, width=240, height=200, title=f"{name}: {sizes[-1]} to {sizes[0]} images")
        return line_panel(frame, part, frame.spans(part, width=1.2))

    labels = list(dict.fromkeys(ranks.sort("ratio")["label"]))
    return Figure(
        name="recall",
        title="Recall by the rank of the class",
        caption="Mean over seeds, each of which draws anew which class has which rank; bars from the lowest to the "
        "highest seed. All ratios have equally many training images in total.",
        description="Recall of classes by rank in the tail, for " + ", ".join(labels) + ".",
        panels=facets(ranks, "label", labels, panel),
        legend=colours.legend("line"),
    )
