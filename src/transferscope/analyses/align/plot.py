"""Loss and error along the straight line between two networks, before and after hidden units were matched."""

import polars as pl

from transferscope.plots.axes import Axis, Tints
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
from transferscope.plots.theme import NEUTRAL, OTHERS, Figure, Panel, among, padded, pairs_of

__all__ = ["figures"]

_WAYS = {"unaligned": "as trained", "activations": "matched by activations", "weights": "matched by weights"}
# Apart from the colours of variants: what differs here is the way, not the network.
_COLOURS = {"unaligned": NEUTRAL["muted"], "activations": OTHERS[0], "weights": OTHERS[1]}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``align``, one for each pair of variants; none where the table holds no finite point."""
    rows = between(table)
    return tuple(_figure(rows.filter(pl.col("pair") == pair), pair) for pair in pairs_of(rows["pair"]))


def _figure(rows: pl.DataFrame, pair: str) -> Figure:
    rows, dropped = whole_lines(rows)
    ways = among(_WAYS, rows["way"])
    highest = ", ".join(f"{_WAYS[way]} {highest_error(rows.filter(pl.col('way') == way))}" for way in ways)
    return Figure(
        name=pair.replace("/", "-").lower(),
        title=f"Before and after matching: {pair}",
        caption="Networks between two solutions (dots) on the straight line: as trained (dashed), and with the hidden "
        "units of the second one brought to the places of their counterparts. Its function is the same on all lines. "
        "Bands: ±1.96 standard errors over images." + note(rows, dropped, "pairs of networks"),
        description=f"Loss and error between two {pair.split('/')[0]} networks on training and test images, before "
        f"and after matching. Highest test error: {highest}.",
        panels=tuple(_panel(rows, measure, split, ways) for measure, split in sides(rows)),
        legend=(
            *((_WAYS[way], _COLOURS[way], "dashed" if way == "unaligned" else "line") for way in ways), SOLUTIONS,
        ),
    )  # fmt: skip


def _panel(rows: pl.DataFrame, measure: str, split: str, ways: list[str]) -> Panel:
    rows = rows.with_columns(words=pl.col("way").replace(_WAYS))
    place = pl.col("ends"), ", ", pl.col("words"), ", α ", pl.col("alpha").round(3)
    data = measured(rows, measure, split, *place).sort("ends", "way", "alpha")
    domain = padded([*data["low"], *data["high"]], low=0.0, high=1.0 if measure == "error" else None)
    x = Axis("alpha", "Position α (0 = first network, 1 = second)", grid=False, tight=True)
    frame = Frame(x, value_axis(measure, split, domain), Tints("words", {_WAYS[way]: _COLOURS[way] for way in ways}))
    trained = pl.col("way") == "unaligned"
    return way_panel(
        frame, data, solid=data.filter(~trained), dashed=data.filter(trained),
        ends=data.filter(pl.col("alpha").is_in([0.0, 1.0]) & trained), by=("ends",),
    )  # fmt: skip
