"""Loss and error on planes of parameter space, in steps of colour, with the networks marked."""

import itertools
import math
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
import polars as pl

from transferscope.keys import OWN_STATISTICS, RANDOM_DIRECTIONS, shown
from transferscope.plots.axes import Ramp
from transferscope.plots.panels import present
from transferscope.plots.theme import NEUTRAL, OURS, Figure, Panel, hover

__all__ = ["figures"]

Array = npt.NDArray[np.float64]

_QUANTITIES = ("error", "loss")
_SPLITS = ("test", "train")
_FINE = 48
_SIDE, _LEAST_SIDE = 300, 40
_LABEL = (52, 15)  # pixels of a label, across and up
_LEAST_LOSS = 1e-4
_MOST_PLANES = 6


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``plane``: error, then loss; none where no point is finite."""
    return present(*(_figure(table, quantity) for quantity in _QUANTITIES))


def _figure(table: pl.DataFrame, quantity: str) -> Figure | None:
    points = table.filter(pl.col("level") == "point")
    planes = points.filter(pl.col(quantity).is_not_null())["plane"].unique(maintain_order=True).to_list()
    if not planes:
        return None
    drawn = planes[:_MOST_PLANES]
    points = points.filter(pl.col("plane").is_in(drawn))
    marks = table.filter(
        (pl.col("level") == "mark") & (pl.col("batch_norm") != OWN_STATISTICS) & pl.col("plane").is_in(drawn)
    )
    steps = _steps(quantity, points[quantity].drop_nulls().to_numpy())
    panels = tuple(
        _panel(points, marks, quantity, plane, split, steps)
        for plane in drawn
        for split in _SPLITS
        if points.filter((pl.col("plane") == plane) & (pl.col("split") == split)).height
    )
    at = "; ".join(
        f"{row['network']} {_said(quantity, row[quantity])}"
        for row in marks.filter(pl.col("split") == "test").unique("network", maintain_order=True).to_dicts()
        if row[quantity] is not None
    )
    policy = ", ".join(sorted(set(points["batch_norm"])))
    share = 1 - float(points["interpolated"].cast(pl.Float64).to_numpy().mean())
    further = f" {len(planes) - len(drawn)} further planes are in the table." if len(planes) > len(drawn) else ""
    edges = ", ".join(_said(quantity, edge) for edge in steps[1:-1])
    return Figure(
        name=quantity,
        title=f"{quantity.capitalize()} on planes through networks",
        caption=(
            f"{quantity.capitalize()} in equal {'steps' if quantity == 'error' else 'ratios'} of colour, one scale for "
            f"all panels; colours change at {edges}. Both axes are distances in parameter space, to one scale. Through "
            "three networks distances between them are true; around one network the axes are two random "
            f"filter-normalised directions. Dots: evaluated points ({100 * share:.0f} % of the grid); between them "
            f"values are interpolated. Batch norm: {policy}. A plane shows two of all directions and decides "
            f"nothing.{further}"
        ),
        description=f"Heat pictures of {quantity} on the planes {'; '.join(drawn)}. Test {quantity} at the networks: "
        f"{at}.",
        panels=panels,
        legend=(("networks", NEUTRAL["ink"], "ring"), ("evaluated points", NEUTRAL["muted"], "point")),
        ramp=(_said(quantity, steps[0]), _said(quantity, steps[-1]), Ramp.COLOURS),
    )


def _steps(quantity: str, values: Array) -> list[float]:
    """Edges of the steps of colour, one more than there are colours: even for error, in even ratios for loss."""
    low, high = float(values.min()), float(values.max())
    if quantity == "loss":
        low = max(low, _LEAST_LOSS)
        edges = np.geomspace(low, max(high, 1.01 * low), len(Ramp.COLOURS) + 1)
    else:
        edges = np.linspace(low, max(high, low + 0.01), len(Ramp.COLOURS) + 1)
    return [float(edge) for edge in edges]


def _panel(
    points: pl.DataFrame, marks: pl.DataFrame, quantity: str, plane: str, split: str, steps: list[float]
) -> Panel:  # fmt: skip
    here = (pl.col("plane") == plane) & (pl.col("split") == split)
    rows = points.filter(here).sort("y", "x")
    x, y = rows["x"].unique().sort().to_numpy(), rows["y"].unique().sort().to_numpy()
    grid = np.full((len(y), len(x)), np.nan)
    grid[np.searchsorted(y, rows["y"].to_numpy()), np.searchsorted(x, rows["x"].to_numpy())] = (
        rows[quantity].fill_null(math.inf).to_numpy()
    )
    strips = _strips(x, y, grid, steps, quantity)
    scales = [alt.Scale(domain=[float(axis[0]), float(axis[-1])], nice=False, zero=False) for axis in (x, y)]
    random = rows["kind"][0] == RANDOM_DIRECTIONS
    names = (
        ("Along direction 1 (ℓ2)", "Along direction 2 (ℓ2)")
        if random
        else ("Along θ₂ − θ₁ (ℓ2)", "At right angles, towards θ₃ (ℓ2)")
    )
    across = alt.X("x:Q", title=names[0], scale=scales[0]).axis(grid=False, format=".4~g")
    up = alt.Y("y:Q", title=names[1], scale=scales[1]).axis(grid=False, format=".4~g", minExtent=38)
    tint = alt.Color("tint:N", scale=None)
    title = f"{shown(plane)}, {split} {quantity}"
    # A stroke of the same colour closes the hairlines between neighbouring rectangles.
    heat = (
        alt.Chart(strips, title=title)
        .mark_rect(strokeWidth=1.2, clip=True)
        .encode(across, up, alt.X2("right:Q"), alt.Y2("top:Q"), tint, alt.Stroke("tint:N", scale=None),
                description="hover:N")
    )  # fmt: skip
    evaluated = rows.filter(~pl.col("interpolated")).select("x", "y")
    dots = alt.Chart(evaluated).mark_circle(size=4, opacity=0.5, color=NEUTRAL["muted"], aria=False)
    value = pl.col(quantity).round(4)
    networks = marks.filter(here).with_columns(
        hover(pl.col("network"), f", {split} {quantity}: ", value, " ± ", (1.96 * pl.col(f"{quantity}_se")).round(4))
    )
    ratio = float((y[-1] - y[0]) / (x[-1] - x[0]))
    sides = (_SIDE, round(_SIDE * ratio)) if ratio <= 1 else (round(_SIDE / ratio), _SIDE)
    size = (max(_LEAST_SIDE, sides[0]), max(_LEAST_SIDE, sides[1]))
    per_unit = (size[0] / float(x[-1] - x[0]), size[1] / float(y[-1] - y[0]))
    networks = networks.with_columns(below=pl.Series(_below(networks, per_unit), dtype=pl.Boolean))
    named = alt.Chart(networks.select("x", "y", "network", "hover"))
    ring = named.mark_point(shape="circle", size=90, filled=True, fill="white", stroke=NEUTRAL["ink"], strokeWidth=1.6,
                            opacity=1)  # fmt: skip
    labels = []
    for below, dy in ((False, -13), (True, 14)):
        of = alt.Chart(networks.filter(pl.col("below") == below).select("x", "y", "network"))
        halo = of.mark_text(dy=dy, fontSize=11, fontWeight="bold", stroke="white", strokeWidth=3, aria=False)
        label = of.mark_text(dy=dy, fontSize=11, fontWeight="bold", color=NEUTRAL["ink"], aria=False)
        labels += [text.encode(across, up, text="network:N") for text in (halo, label)]
    return alt.layer(
        heat,
        dots.encode(across, up),
        ring.encode(across, up, description="hover:N"),
        *labels,
    ).properties(width=size[0], height=size[1])


def _below(networks: pl.DataFrame, per_unit: tuple[float, float]) -> list[bool]:
    """Which labels stand below their network: those that would lie on one that stands above its own."""
    above: list[tuple[float, float]] = []
    found = []
    for x, y in networks.select("x", "y").iter_rows():
        place = (x * per_unit[0], y * per_unit[1])
        hit = any(abs(place[0] - left) < _LABEL[0] and abs(place[1] - up) < _LABEL[1] for left, up in above)
        found.append(hit)
        if not hit:
            above.append(place)
    return found


def _strips(x: Array, y: Array, grid: Array, steps: list[float], quantity: str) -> pl.DataFrame:
    """Rectangles of one step of colour: a finer grid by bilinear interpolation, equal neighbours joined."""
    factor = max(1, _FINE // (len(x) - 1))
    fine_x, fine_y = (_finer(axis, factor) for axis in (x, y))
    # What is not finite is above all others: the highest step.
    filled = np.minimum(grid, steps[-1])
    fine = _along(_along(filled, factor).T, factor).T
    step = np.clip(np.searchsorted(steps, fine, side="right") - 1, 0, len(Ramp.COLOURS) - 1)
    lefts, rights = _edges(fine_x)
    bottoms, tops = _edges(fine_y)
    rows: list[dict[str, Any]] = []
    above: dict[tuple[int, int, int], dict[str, Any]] = {}
    for row in range(len(fine_y)):
        starts = [0, *(np.flatnonzero(np.diff(step[row])) + 1).tolist(), len(fine_x)]
        now = {}
        for start, stop in itertools.pairwise(starts):
            place = int(step[row, start])
            # A run that goes on from the row before makes that rectangle higher.
            strip = above.get((start, stop, place))
            if strip is None:
                strip = {
                    "x": lefts[start], "right": rights[stop - 1], "y": bottoms[row], "tint": Ramp.COLOURS[place],
                    "hover": f"{OURS}{quantity} {_said(quantity, steps[place])} to {_said(quantity, steps[place + 1])}",
                }  # fmt: skip
                rows.append(strip)
            strip["top"] = tops[row]
            now[start, stop, place] = strip
        above = now
    return pl.DataFrame(rows)


def _finer(axis: Array, factor: int) -> Array:
    found: Array = np.interp(np.arange((len(axis) - 1) * factor + 1) / factor, np.arange(len(axis)), axis)
    return found


def _along(grid: Array, factor: int) -> Array:
    """Linear interpolation along the last axis."""
    columns = grid.shape[1]
    places = np.arange((columns - 1) * factor + 1) / factor
    return np.stack([np.interp(places, np.arange(columns), row) for row in grid])


def _edges(axis: Array) -> tuple[list[float], list[float]]:
    middles = (axis[1:] + axis[:-1]) / 2
    edges = [float(axis[0]), *middles.tolist(), float(axis[-1])]
    return edges[:-1], edges[1:]


def _said(quantity: str, value: float) -> str:
    if quantity == "error":
        return f"{100 * value:.3g} %"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2
    return f"{value:.{min(digits, 4)}f}"
