"""Share of P's channels that are found again, by module, beside chance."""

import polars as pl

from transferscope.plots.axes import Axis, Names, tints
from transferscope.plots.panels import Frame, kept_names
from transferscope.plots.theme import Figure, Panel, among, hover, shown_column

__all__ = ["figures"]

_ORDER = ("P-T", "RI-T", "RI")
_COLUMNS = {"reused": "Found again above r = {:g} (%)", "same_index": "At the same index above r = {:g} (%)"}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figure of ``reused_channels``; none where no share is defined."""
    rows = table.filter((pl.col("level") == "module") & pl.col("reused").is_not_null())
    if rows.is_empty():
        return ()
    kept, less = kept_names(rows, most=60)
    rows = rows.filter(pl.col("module").is_in(kept)).with_columns(shown_column("variant"))
    colours = tints("variant", among(_ORDER, rows["variant"]))
    names = Names("module", "Module (name), from input to output", kept, limit=100)

    def panel(column: str, title: str) -> Panel:
        y = Axis(column, title.format(rows["threshold"][0]), ".0%", domain=[0, 1])
        frame = Frame(names, y, colours, width=340, height=210)
        text = hover(pl.col("network"), " at ", pl.col("module"), ": ", (100 * pl.col(column)).round(1), " % of ",
                     pl.col("channels"))  # fmt: skip
        data = rows.drop_nulls(column).with_columns(text)
        means = data.group_by("variant", "module", maintain_order=True).agg(pl.col(column).mean())
        return frame.panel(frame.lines(means), frame.dots(data, size=30, opacity=0.9))

    return (
        Figure(
            name="reused",
            title="Channels of P found again",
            caption="Share of P's living channels whose one-to-one match in the other network correlates above the "
            "threshold, on images that the matching did not see; a dot for each seed, a line through their means. RI "
            "and RI-T show what matching finds by chance." + less,
            description="Share of the channels of P found again, by module, in " + ", ".join(colours.colours) + ".",
            panels=tuple(panel(column, title) for column, title in _COLUMNS.items() if rows[column].count()),
            legend=colours.legend("line"),
        ),
    )
