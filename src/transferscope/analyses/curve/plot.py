"""Loss and error along a trained curve and along the straight line between its ends, by position and by length."""

import altair as alt
import polars as pl

from transferscope.plots.paths import SOLUTIONS, between, highest_error, measured, note, sides, way_panel, whole_lines
from transferscope.plots.theme import NEUTRAL, Figure, Panel, charted, colour, pair_rank, scale

__all__ = ["chart", "figures"]

_AXES = {
    "alpha": "Position (t of the curve, α of the line)",
    "l2": "ℓ2 length of the way from the first network (units of the parameters)",
}
_SHAPES = {"bezier": "quadratic Bézier curves", "chain": "chains of two straight pieces"}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``curve``; none where the table holds no finite point."""
    rows = between(table)
    if rows.is_empty():
        return ()
    rows, dropped = whole_lines(rows)
    pairs = sorted(set(rows["pair"]), key=pair_rank)
    shapes = ", ".join(sorted({_SHAPES[shape] for shape in rows["shape"]}))
    legend = (
        *((pair, colour(pair), "line") for pair in pairs),
        ("straight line", NEUTRAL["muted"], "dashed"),
        SOLUTIONS,
    )
    captions = {
        "alpha": f"Solid: {shapes}, whose bend was trained to keep the loss low; dashed: the straight line between the "
        "same two solutions (dots). Bands: ±1.96 standard errors over images."
        + note(rows, dropped, "pairs of networks"),
        "l2": "The same against length: the curve is the longer way. Each way ends at its second solution.",
    }
    highest = ", ".join(f"{pair} {_words(rows, pair)}" for pair in pairs)
    return tuple(
        Figure(
            name="position" if axis == "alpha" else "length",
            title="Along the curve and the line" if axis == "alpha" else "Along the curve and the line, by length",
            caption=caption,
            description=f"Loss and error on training and test images, along the trained curve and the straight line. "
            f"Highest test error: {highest}.",
            panels=tuple(_panel(rows, axis, measure, split, pairs) for measure, split in sides(rows)),
            legend=legend,
        )
        for axis, caption in captions.items()
    )


chart = charted(figures)
"""The picture of the table of ``curve`` against position: loss and error, train and test."""


def _words(rows: pl.DataFrame, pair: str) -> str:
    of = rows.filter(pl.col("pair") == pair)
    return " and ".join(f"{way} {highest_error(of.filter(pl.col('way') == way))}" for way in ("curve", "line"))


def _panel(rows: pl.DataFrame, axis: str, measure: str, split: str, pairs: list[str]) -> Panel:
    place = (pl.col("ends"), ", ", pl.col("way"), " at ", pl.col("alpha").round(3))
    columns = ("pair", "ends", "way", "alpha", pl.col(axis).alias("place"))
    data = measured(rows, measure, split, place, *columns).sort("ends", "way", "alpha")
    x = alt.X("place:Q", title=_AXES[axis]).axis(grid=False).scale(nice=False, zero=False)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    return way_panel(data, measure, split, x, tint, dashed=pl.col("way") == "line", width=1.2)
