"""Loss and error along the straight line between two solutions, against alpha and against distance."""

import polars as pl

from transferscope.keys import OWN_STATISTICS, TRAINED_ON
from transferscope.plots.axes import Axis, Tints
from transferscope.plots.panels import Frame, dot_panel, facets, present
from transferscope.plots.paths import MEASURES, SOLUTIONS, measured, note, sides, value_axis, way_panel, whole_lines
from transferscope.plots.theme import LIMIT, NEUTRAL, Figure, Panel, colour, hover, padded, pairs_of, shown_column

__all__ = ["figures"]

_AXES = {
    "alpha": Axis("alpha", "Position α (0 = first network, 1 = second)", zero=False, grid=False, tight=True),
    "l2": Axis("l2", "ℓ2 distance from the first network (units of the parameters)", zero=False, grid=False,
               tight=True),
}  # fmt: skip
# Of pairs that share more than their variant (a start, a run, the head): their variant's colour is taken already.
_FURTHER = ("#117733", "#AA4499", "#999933", "#882255", "#44AA99", "#88CCEE")


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``path``; none where the table holds no point inside a path."""
    # Barrier rows are numbers of a whole path; the ends with their own statistics are no points of it.
    points = table.filter((pl.col("level") == "point") & (pl.col("batch_norm") != OWN_STATISTICS))
    rows, dropped = whole_lines(_named(points).filter(pl.col("loss").is_not_null()), "line")
    if rows.is_empty():
        return ()
    colours = _colours(pairs_of(rows["pair"]))
    peaks = {pair: _peak(rows.filter(pl.col("pair") == pair)) for pair in colours.colours}
    highest = ", ".join(f"{pair} {value:.3g}" for pair, value in peaks.items() if value is not None)
    captions = {
        "alpha": "Networks (1−α)θ₁ + αθ₂, from α = −0.5 to 1.5. Dots: the two solutions; dashed: the straight line "
        "between their values, from which the linear barrier is measured; bands: ±1.96 standard errors over images. "
        "Outside [0, 1] lines may leave the frame; barriers do not count it. Points are closest where a maximum was "
        "looked for." + note(rows, dropped, "paths"),
        "l2": "The same networks against distance: two solutions that lie further apart have a longer way to climb. "
        "The end of each dashed line is the second solution.",
    }
    along = (
        Figure(
            name=axis,
            title="Along the line" if axis == "alpha" else "Along the line, by distance",
            caption=caption,
            description=f"Loss and error against {axis} on training and test data. Highest loss over the "
            f"baseline on [0, 1]: {highest or 'not defined'}.",
            panels=tuple(_panel(rows, _AXES[axis], measure, split, colours) for measure, split in sides(rows)),
            legend=(*colours.legend("line"), ("line between the ends", NEUTRAL["muted"], "dashed"), SOLUTIONS),
        )
        for axis, caption in captions.items()
    )
    heights = (pl.col("level") == "barrier") & (pl.col("baseline") == "mean") & (pl.col("split") == "test")
    barriers = _named(table.filter(heights & pl.col("barrier").is_not_null()))
    return present(*along, _barriers(barriers.filter(pl.col("pair").is_in(list(colours.colours))), colours, note(rows)))


def _barriers(rows: pl.DataFrame, colours: Tints, policy: str) -> Figure:
    """Every pair's barrier against the length of its line."""
    pairs = list(dict.fromkeys(rows["pair"]))
    errors = rows.filter(pl.col("quantity") == "error")
    tops = dict(errors.group_by("pair", maintain_order=True).agg(pl.col("barrier").max()).iter_rows())
    told = (f"{pair}: error " + (f"{tops[pair]:.3g} at most" if pair in tops else "not defined") for pair in pairs)
    return Figure(
        name="barriers",
        title="Barriers by the length of the line",
        caption="Each dot is a pair: its barrier over the mean of the ends on test images, with 95 % limits over "
        "images, and how far apart the two lie. Barrier over distance is no fair measure by itself: what is "
        f"quadratic grows as the square of the distance.{policy}",
        description="Barriers of loss and error against distance. " + "; ".join(told) + ".",
        panels=facets(rows, "quantity", MEASURES, lambda part, measure: _heights(part, measure, colours)),
        legend=tuple(entry for entry in colours.legend("point") if entry[0] in pairs),
    )


def _heights(rows: pl.DataFrame, measure: str, colours: Tints) -> Panel:
    words, number = MEASURES[measure]
    data = rows.head(LIMIT).with_columns(
        hover(pl.col("line"), ": ", measure + " barrier ", pl.col("barrier").round(4), " (", pl.col("low").round(4),
              " to ", pl.col("high").round(4), ") at ℓ2 ", pl.col("l2").round(3)),
        pl.col("low", "high").fill_null(pl.col("barrier")),
    )  # fmt: skip
    x = Axis("l2", "ℓ2 distance of the two networks (units of the parameters)", grid=False,
             domain=padded([0.0, *data["l2"]], low=0.0))  # fmt: skip
    domain = padded([0.0, *data["high"]], low=0.0, high=1.0 if measure == "error" else None)
    title = f"Test {measure} barrier {words.removeprefix(measure).strip()}"
    return dot_panel(Frame(x, Axis("barrier", title, number, domain=domain), colours), data)


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs and lines as readers know them; where only the trunk moves it is another pair."""
    trunk = pl.when(pl.col("moves") == "trunk").then(pl.lit(", trunk only")).otherwise(pl.lit(""))
    line = pl.concat_str(shown_column("a"), pl.lit(" → "), shown_column("b"), trunk).alias("line")
    return rows.with_columns(pl.concat_str(shown_column("pair"), trunk).alias("pair"), line)


def _colours(pairs: list[str]) -> Tints:
    further = iter(_FURTHER * len(pairs))
    return Tints("pair", {
        pair: NEUTRAL["muted"] if pair == TRAINED_ON else next(further) if "," in pair else colour(pair)
        for pair in pairs
    })  # fmt: skip


def _peak(rows: pl.DataFrame) -> float | None:
    value = rows.filter(pl.col("alpha").is_between(0, 1))["loss_gap"].max() if "loss_gap" in rows.columns else None
    return float(value) if isinstance(value, float) else None


def _panel(rows: pl.DataFrame, x: Axis, measure: str, split: str, colours: Tints) -> Panel:
    data = measured(rows, measure, split, pl.col("line"), ", α ", pl.col("alpha").round(3)).sort("line", "alpha")
    ends = data.filter(pl.col("alpha").is_in([0.0, 1.0]))
    frame = Frame(x, value_axis(measure, split, _window(rows, measure)), colours)
    return way_panel(frame, data, solid=data, dashed=ends, ends=ends, by=("line",))


def _window(rows: pl.DataFrame, measure: str) -> list[float]:
    """One scale for train and test: the path between the solutions fills it; what lies outside may leave at the top."""
    spread = 1.96 * pl.col(f"{measure}_se").fill_null(0.0)
    reach = rows.select("alpha", low=pl.col(measure) - spread, high=pl.col(measure) + spread).drop_nulls()
    inside = reach.filter(pl.col("alpha").is_between(0, 1))
    top = max((inside if inside.height else reach)["high"].to_list())
    highest = min(max(reach["high"].to_list()), 1.6 * top)
    return padded([min(reach["low"].to_list()), highest], low=0.0, high=1.0 if measure == "error" else None)
