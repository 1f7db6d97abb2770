"""Loss and error along a trained curve and along the straight line between its ends, by position and by length."""

import polars as pl

from transferscope.plots.axes import Axis, tints
from transferscope.plots.panels import Frame
from transferscope.plots.paths import (
    SOLUTIONS,
    between,
    highest_error,
    measured,
    note,
    sides,
    value_axis,
    way_panel,
    whole_lines,
)  # fmt: skip
from transferscope.plots.theme import NEUTRAL, Figure, Panel, padded, pairs_of

__all__ = ["figures"]

_AXES = {
    "alpha": Axis("alpha", "Position (t of the curve, α of the line)", zero=False, grid=False, tight=True),
    "l2": Axis("l2", "ℓ2 length of the way from the first network (units of the parameters)", zero=False, grid=False,
               tight=True),
}  # fmt: skip
_SHAPES = {"bezier": "quadratic Bézier curves", "chain": "chains of two straight pieces"}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``curve``; none where the table holds no finite point."""
    rows, dropped = whole_lines(between(table))
    if rows.is_empty():
        return ()
    pairs = pairs_of(rows["pair"])
    shapes = ", ".join(sorted({_SHAPES[shape] for shape in rows["shape"]}))
    captions = {
        "alpha": f"Solid: {shapes}, whose bend was trained to keep the loss low; dashed: the straight line between the "
        "same two solutions (dots). Bands: ±1.96 standard errors over images."
        + note(rows, dropped, "pairs of networks"),
        "l2": "The same against length: the curve is the longer way. Each way ends at its second solution.",
    }
    highest = ", ".join(f"{pair} {_highest(rows.filter(pl.col('pair') == pair))}" for pair in pairs)
    return tuple(
        Figure(
            name="position" if axis == "alpha" else "length",
            title="Along the curve and the line" if axis == "alpha" else "Along the curve and the line, by length",
            caption=caption,
            description=f"Loss and error on training and test images, along the trained curve and the straight line. "
            f"Highest test error: {highest}.",
            panels=tuple(_panel(rows, _AXES[axis], measure, split, pairs) for measure, split in sides(rows)),
            legend=(*tints("pair", pairs).legend("line"), ("straight line", NEUTRAL["muted"], "dashed"), SOLUTIONS),
        )
        for axis, caption in captions.items()
    )


def _highest(rows: pl.DataFrame) -> str:
    return " and ".join(f"{way} {highest_error(rows.filter(pl.col('way') == way))}" for way in ("curve", "line"))


def _panel(rows: pl.DataFrame, x: Axis, measure: str, split: str, pairs: list[str]) -> Panel:
    place = pl.col("ends"), ", ", pl.col("way"), " at ", pl.col("alpha").round(3)
    data = measured(rows, measure, split, *place).sort("ends", "way", "alpha")
    domain = padded([*data["low"], *data["high"]], low=0.0, high=1.0 if measure == "error" else None)
    straight = pl.col("way") == "line"
    return way_panel(
        Frame(x, value_axis(measure, split, domain), tints("pair", pairs)), data, solid=data.filter(~straight),
        dashed=data.filter(straight), ends=data.filter(pl.col("alpha").is_in([0.0, 1.0])), by=("ends", "way"),
    )  # fmt: skip
