"""Feature similarity against the size of the training set."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Shades, tints
from transferscope.plots.panels import Frame, facets, kept_names, line_panel, present
from transferscope.plots.theme import Figure, Panel, colour, hover, pairs_of

__all__ = ["figures"]

_DRAWN = ("P/P-T", "P/RI-T", "RI/RI-T", "P-T/P-T", "RI-T/RI-T", "P-T/RI-T")


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``similarity_by_size``; none where no value is defined."""
    known = table.filter(pl.col("cka").is_not_null() & pl.col("pair").is_in(_DRAWN))
    return present(_sizes(known), _modules(known)) if known.height else ()


def _sizes(known: pl.DataFrame) -> Figure:
    single = known.group_by("pair", "images", "a", "b", maintain_order=True).agg(pl.col("cka").mean())
    means = single.group_by("pair", "images", maintain_order=True).agg(pl.col("cka").mean())
    text = hover(pl.col("pair"), ", ", pl.col("images"), " training images: ", pl.col("cka").round(3))
    colours = tints("pair", pairs_of(known["pair"]))
    x = Axis("images", "Training images (count, log scale)", kind="log")
    y = Axis("cka", "Mean CKA of like modules (0 to 1)", domain=[min([0.0, *single["cka"]]), 1.0])
    frame = Frame(x, y, colours, width=370, height=230)
    return Figure(
        name="sizes",
        title="Similarity by the number of training images",
        caption="A small dot for each pair of networks, a line through their means. If features from a random start "
        "came near to P with more data, P/RI-T would rise to the right.",
        description="Mean CKA of like modules by training-set size for " + ", ".join(colours.colours) + ".",
        panels=(line_panel(frame, means.with_columns(text), frame.dots(single, size=24, opacity=0.5), size=44),),
        columns=1,
        legend=colours.legend("line"),
    )


def _modules(known: pl.DataFrame) -> Figure:
    kept, less = kept_names(known)
    means = (
        known.filter(pl.col("module").is_in(kept))
        .group_by("pair", "images", "module", maintain_order=True)
        .agg(pl.col("cka").mean())
    )
    text = hover(pl.col("module"), ", ", pl.col("images"), " images: ", pl.col("cka").round(3))
    names = Names("module", "Module (name), from input to output", kept, limit=100)
    y = Axis("cka", "CKA (0 to 1)", domain=[min([0.0, *known["cka"]]), 1.0])
    sizes = sorted(set(known["images"]))
    shades = Shades("images", "Training images (count)", sizes)

    def panel(part: pl.DataFrame, pair: str) -> Panel:
        frame = Frame(names, y, colour(pair), width=320, title=pair, shade=shades)
        return line_panel(frame, part.with_columns(text), size=30)

    listed = ", ".join(map(str, sizes))
    return Figure(
        name="modules",
        title="By module and number of training images",
        caption=f"CKA with the same module of P, averaged over seeds; the fainter the line, the fewer training images "
        f"({listed}).{less}",
        description=f"CKA with P by module, for {listed} training images.",
        panels=facets(means, "pair", ("P/P-T", "P/RI-T"), panel),
    )
