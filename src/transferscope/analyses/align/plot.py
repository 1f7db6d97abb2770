"""Loss and error along the straight line between two networks, before and after hidden units were matched."""

import altair as alt
import polars as pl

from transferscope.plots.paths import SOLUTIONS, between, highest_error, measured, note, sides, way_panel, whole_lines
from transferscope.plots.theme import NEUTRAL, OTHERS, Figure, Panel, charted, pair_rank

__all__ = ["chart", "figures"]

_WAYS = {"unaligned": "as trained", "activations": "matched by activations", "weights": "matched by weights"}
# Apart from the colours of variants: what differs here is the way, not the network.
_COLOURS = {"unaligned": NEUTRAL["muted"], "activations": OTHERS[0], "weights": OTHERS[1]}


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``align``, one for each pair of variants; none where the table holds no finite point."""
    rows = between(table)
    return tuple(
        _figure(rows.filter(pl.col("pair") == pair), pair) for pair in sorted(set(rows["pair"]), key=pair_rank)
    )


chart = charted(figures)
"""The first picture of the table of ``align``."""


def _figure(rows: pl.DataFrame, pair: str) -> Figure:
    rows, dropped = whole_lines(rows)
    ways = [way for way in _WAYS if way in set(rows["way"])]
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
            *((_WAYS[way], _COLOURS[way], "dashed" if way == "unaligned" else "line") for way in ways),
            SOLUTIONS,
        ),
    )


def _panel(rows: pl.DataFrame, measure: str, split: str, ways: list[str]) -> Panel:
    place = (pl.col("ends"), ", ", pl.col("way").replace(_WAYS), ", α ", pl.col("alpha").round(3))
    data = measured(rows, measure, split, place, "ends", "way", "alpha").sort("ends", "way", "alpha")
    x = alt.X("alpha:Q", title="Position α (0 = first network, 1 = second)").axis(grid=False).scale(nice=False)
    tint = alt.Color("way:N", title=None, legend=None).scale(domain=ways, range=[_COLOURS[way] for way in ways])
    before = pl.col("way") == "unaligned"
    return way_panel(data, measure, split, x, tint, dashed=before, width=1.4, ends=before)
