"""Loss and error along the straight line between two solutions, against alpha and against distance."""

import altair as alt
import polars as pl

from transferscope.keys import OWN_STATISTICS, TRAINED_ON
from transferscope.plots.paths import (
    MEASURES,
    SOLUTIONS,
    faint,
    measured,
    note,
    pointed,
    sides,
    value_axis,
    whole_lines,
)
from transferscope.plots.theme import (
    LIMIT,
    NEUTRAL,
    Figure,
    Panel,
    charted,
    colour,
    hover,
    padded,
    pair_rank,
    shown_column,
)

__all__ = ["chart", "figures"]

_AXES = {
    "alpha": "Position α (0 = first network, 1 = second)",
    "l2": "ℓ2 distance from the first network (units of the parameters)",
}
# Of pairs that share more than their variant (a start, a run, the head): their variant's colour is taken already.
_FURTHER = ("#117733", "#AA4499", "#999933", "#882255", "#44AA99", "#88CCEE")


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``path``; none where the table holds no point inside a path."""
    # Barrier rows are numbers of a whole path; the ends with their own statistics are no points of it.
    points = table.filter((pl.col("level") == "point") & (pl.col("batch_norm") != OWN_STATISTICS))
    rows = _named(points).filter(pl.col("loss").is_not_null())
    if rows.is_empty():
        return ()
    rows, dropped = whole_lines(rows, "line")
    pairs = sorted(set(rows["pair"]), key=pair_rank)
    policy = ", ".join(sorted(set(rows["batch_norm"])))
    tints = _tints(pairs)
    legend = (
        *((pair, tint, "line") for pair, tint in tints.items()),
        ("line between the ends", NEUTRAL["muted"], "dashed"),
        SOLUTIONS,
    )
    highest = ", ".join(
        f"{pair} {value:.3g}" for pair in pairs for value in [_peak(rows, pair)] if value is not None
    )  # fmt: skip
    captions = {
        "alpha": "Networks (1−α)θ₁ + αθ₂, from α = −0.5 to 1.5. Dots: the two solutions; dashed: the straight line "
        "between their values, from which the linear barrier is measured; bands: ±1.96 standard errors over images. "
        "Outside [0, 1] lines may leave the frame; barriers do not count it. Points are closest where a maximum was "
        "looked for." + note(rows, dropped, "paths"),
        "l2": "The same networks against distance: two solutions that lie further apart have a longer way to climb. "
        "The end of each dashed line is the second solution.",
    }
    found = []
    for axis, caption in captions.items():
        panels = tuple(_panel(rows, axis, measure, split, tints) for measure, split in sides(rows))
        found.append(
            Figure(
                name=axis,
                title="Along the line" if axis == "alpha" else "Along the line, by distance",
                caption=caption,
                description=f"Loss and error against {axis} on training and test data. Highest loss over the "
                f"baseline on [0, 1]: {highest or 'not defined'}.",
                panels=panels,
                legend=legend,
            )
        )
    heights = _named(table.filter((pl.col("level") == "barrier") & (pl.col("baseline") == "mean")))
    return (*found, *_barriers(heights.filter(pl.col("barrier").is_not_null()), tints, policy))


chart = charted(figures)
"""The picture of the table of ``path`` against alpha: loss and error, train and test."""


def _barriers(rows: pl.DataFrame, tints: dict[str, str], policy: str) -> tuple[Figure, ...]:
    """Every pair's barrier against the length of its line."""
    rows = rows.filter((pl.col("split") == "test") & pl.col("pair").is_in(list(tints)))
    panels = tuple(
        _heights(rows.filter(pl.col("quantity") == measure), measure, tints)
        for measure in MEASURES
        if not rows.filter(pl.col("quantity") == measure).is_empty()
    )
    if not panels:
        return ()
    pairs = list(dict.fromkeys(rows["pair"]))
    return (
        Figure(
            name="barriers",
            title="Barriers by the length of the line",
            caption="Each dot is a pair: its barrier over the mean of the ends on test images, with 95 % limits over "
            "images, and how far apart the two lie. Barrier over distance is no fair measure by itself: what is "
            f"quadratic grows as the square of the distance. Batch norm: {policy}.",
            description="Barriers of loss and error against distance. "
            + "; ".join(f"{pair}: error {_highest(rows, pair)}" for pair in pairs)
            + ".",
            panels=panels,
            legend=tuple((pair, tint, "point") for pair, tint in tints.items() if pair in pairs),
        ),
    )


def _heights(rows: pl.DataFrame, measure: str, tints: dict[str, str]) -> Panel:
    words, number = MEASURES[measure]
    data = rows.select(
        "pair",
        hover(pl.col("line"), ": ", measure + " barrier ", pl.col("barrier").round(4), " (", pl.col("low").round(4),
              " to ", pl.col("high").round(4), ") at ℓ2 ", pl.col("l2").round(3)),
        place=pl.col("l2"), value=pl.col("barrier"), low=pl.col("low").fill_null(pl.col("barrier")),
        high=pl.col("high").fill_null(pl.col("barrier")),
    ).head(LIMIT)  # fmt: skip
    x = alt.X("place:Q", title="ℓ2 distance of the two networks (units of the parameters)").axis(grid=False)
    x = x.scale(domain=padded([0.0, *data["place"].to_list()], low=0.0), nice=False)
    title = f"Test {measure} barrier {words.removeprefix(measure).strip()}"
    domain = padded([0.0, *data["high"].to_list()], low=0.0, high=1.0 if measure == "error" else None)
    y = alt.Y("value:Q", title=title).axis(format=number, minExtent=38).scale(domain=domain, nice=False)
    tint = alt.Color("pair:N", title=None, scale=_scale(tints))
    drawn = alt.Chart(data)
    low = alt.Y("low:Q", title=title).scale(domain=domain, nice=False)
    limits = drawn.mark_rule(strokeWidth=1.2, clip=True, aria=False).encode(x, low, alt.Y2("high:Q"), tint)
    dots = drawn.mark_circle(size=52, opacity=1).encode(x, y, tint, description="hover:N")
    return alt.layer(limits, dots).properties(width=350, height=200)


def _highest(rows: pl.DataFrame, pair: str) -> str:
    values = rows.filter((pl.col("pair") == pair) & (pl.col("quantity") == "error"))["barrier"].to_list()
    return f"{max(values):.3g} at most" if values else "not defined"


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs and lines as readers know them; where only the trunk moves it is another pair."""
    trunk = pl.when(pl.col("moves") == "trunk").then(pl.lit(", trunk only")).otherwise(pl.lit(""))
    line = pl.concat_str(shown_column("a"), pl.lit(" → "), shown_column("b"), trunk).alias("line")
    return rows.with_columns(pl.concat_str(shown_column("pair"), trunk).alias("pair"), line)


def _tints(pairs: list[str]) -> dict[str, str]:
    further = iter(_FURTHER * len(pairs))
    return {
        pair: NEUTRAL["muted"] if pair == TRAINED_ON else next(further) if "," in pair else colour(pair)
        for pair in pairs
    }


def _scale(tints: dict[str, str]) -> alt.Scale:
    return alt.Scale(domain=list(tints), range=list(tints.values()))


def _peak(rows: pl.DataFrame, pair: str) -> float | None:
    inside = rows.filter((pl.col("pair") == pair) & pl.col("alpha").is_between(0, 1))
    value = inside["loss_gap"].max() if "loss_gap" in inside.columns else None
    return float(value) if isinstance(value, float) else None


def _panel(rows: pl.DataFrame, axis: str, measure: str, split: str, tints: dict[str, str]) -> Panel:
    place = (pl.col("line"), ", α ", pl.col("alpha").round(3))
    columns = ("pair", "line", "alpha", pl.col(axis).alias("place"))
    data = measured(rows, measure, split, place, *columns).sort("line", "alpha")
    ends = data.filter(pl.col("alpha").is_in([0.0, 1.0]))
    domain = _window(rows, measure)
    x = alt.X("place:Q", title=_AXES[axis]).axis(grid=False).scale(nice=False, zero=False)
    y, low = value_axis(measure, split, domain)
    tint = alt.Color("pair:N", title=None, scale=_scale(tints))
    one = alt.Detail("line:N")
    bands = []
    for pair in tints:
        of_pair = data.filter(pl.col("pair") == pair)
        area = alt.Chart(of_pair).mark_area(opacity=faint(of_pair["line"].n_unique()), clip=True, aria=False)
        bands.append(area.encode(x, low, alt.Y2("high:Q"), tint, one))
    line = alt.Chart(data).mark_line(strokeWidth=1.8, clip=True, aria=False).encode(x, y, tint, one)
    dashed = alt.Chart(ends).mark_line(strokeWidth=1.2, strokeDash=[4, 3], aria=False).encode(x, y, tint, one)
    marks = alt.Chart(ends).mark_circle(size=42, opacity=1).encode(x, y, tint, one, description="hover:N")
    within = pointed(data, "line").filter(pl.col("value").is_between(domain[0], domain[1]))
    targets = alt.Chart(within).mark_circle(size=60, opacity=0).encode(x, y, tint, description="hover:N")
    return alt.layer(*bands, line, dashed, targets, marks).properties(width=350, height=200)


def _window(rows: pl.DataFrame, measure: str) -> list[float]:
    """One scale for train and test: the path between the solutions fills it; what lies outside may leave at the top."""
    reach = rows.select(
        "alpha",
        low=pl.col(measure) - 1.96 * pl.col(f"{measure}_se").fill_null(0.0),
        high=pl.col(measure) + 1.96 * pl.col(f"{measure}_se").fill_null(0.0),
    ).drop_nulls()
    between = reach.filter(pl.col("alpha").is_between(0, 1))
    top = max((between if between.height else reach)["high"].to_list())
    highest = min(max(reach["high"].to_list()), 1.6 * top)
    return padded([min(reach["low"].to_list()), highest], low=0.0, high=1.0 if measure == "error" else None)
