"""Loss and error along the straight line between two solutions, against alpha and against distance."""

from typing import Any

import altair as alt
import polars as pl

from transferscope.plots.theme import (
    LIMIT,
    Figure,
    Panel,
    colour,
    first,
    hover,
    padded,
    pair_rank,
    scale,
    shown_column,
)

__all__ = ["chart", "figures"]

_AXES = {
    "alpha": "Position α (0 = first network, 1 = second)",
    "l2": "ℓ2 distance from the first network (units of the parameters)",
}
_MEASURES = {"loss": ("loss (nats)", "~g"), "error": ("error (%)", ".0%")}


def chart(table: pl.DataFrame) -> Any:
    """The picture of the table of ``path`` against alpha: loss and error, train and test.

    Args:
        table: in the declared columns of the analysis.

    Returns:
        An Altair chart.

    Raises:
        AnalysisError: the table holds nothing that can be drawn.
    """
    return first(figures(table))


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``path``; none where the table holds no point inside a path."""
    # Barrier rows are numbers of a whole path; the ends with their own statistics are no points of it.
    points = table.filter((pl.col("level") == "point") & (pl.col("batch_norm") != "own statistics"))
    rows = points.with_columns(
        shown_column("pair"),
        pl.concat_str(shown_column("a"), pl.lit(" → "),
                      shown_column("b")).alias("line"),
    )  # fmt: skip
    rows = rows.filter(pl.col("loss").is_not_null())
    if rows.is_empty():
        return ()
    rows, dropped = _within_limit(rows)
    pairs = sorted(set(rows["pair"]), key=pair_rank)
    policy = ", ".join(sorted(set(rows["batch_norm"])))
    note = (
        f" Batch norm: {policy}." + (f" {dropped} further paths are in the table." if dropped else "")
    )  # fmt: skip
    legend = (
        *((pair, colour(pair), "line") for pair in pairs),
        ("line between the ends", "#59636e", "dashed"),
        ("solutions", "#59636e", "point"),
    )
    highest = ", ".join(
        f"{pair} {value:.3g}" for pair in pairs for value in [_peak(rows, pair)] if value is not None
    )  # fmt: skip
    captions = {
        "alpha": "Networks (1−α)θ₁ + αθ₂, from α = −0.5 to 1.5. Dots: the two solutions; dashed: the straight line "
        "between their values, from which the linear barrier is measured; bands: ±1.96 standard errors over images. "
        "Outside [0, 1] lines may leave the frame; barriers do not count it." + note,
        "l2": "The same networks against distance: two solutions that lie further apart have a longer way to climb. "
        "The end of each dashed line is the second solution.",
    }
    found = []
    for axis, caption in captions.items():
        panels = tuple(
            _panel(rows, axis, measure, split, pairs)
            for measure in _MEASURES
            for split in ("train", "test")
            if not rows.filter((pl.col("split") == split) & pl.col(measure).is_not_null()).is_empty()
        )
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
    return tuple(found)


def _within_limit(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Whole paths, dropped from the end until a panel holds no more rows than a picture may."""
    per_panel = rows.height // max(1, rows["split"].n_unique())
    lines = rows.select("pair", "line").unique(maintain_order=True)
    if per_panel <= LIMIT:
        return rows, 0
    keep = max(1, LIMIT * lines.height // per_panel)
    # Turn about over the pairs of variants, so that none loses all of its paths.
    turns = lines.with_columns(pl.int_range(pl.len()).over("pair").alias("turn")).sort("turn", maintain_order=True)
    kept = turns.head(keep)["line"].to_list()
    return rows.filter(pl.col("line").is_in(kept)), lines.height - keep


def _peak(rows: pl.DataFrame, pair: str) -> float | None:
    inside = rows.filter((pl.col("pair") == pair) & pl.col("alpha").is_between(0, 1))
    value = inside["loss_gap"].max() if "loss_gap" in inside.columns else None
    return float(value) if isinstance(value, float) else None


def _panel(rows: pl.DataFrame, axis: str, measure: str, split: str, pairs: list[str]) -> Panel:
    words, number = _MEASURES[measure]
    title = f"{split.capitalize()} {words}"
    data = rows.filter((pl.col("split") == split) & pl.col(measure).is_not_null())
    spread = pl.col(f"{measure}_se").fill_null(0.0) * 1.96
    data = data.select(
        "pair", "line", "alpha",
        hover(pl.col("line"), ", α ", pl.col("alpha").round(3), ": ", measure + " ", pl.col(measure).round(4),
              " ± ", (pl.col(f"{measure}_se") * 1.96).round(4)),
        place=pl.col(axis), value=pl.col(measure), low=pl.col(measure) - spread, high=pl.col(measure) + spread,
    ).sort("line", "alpha")  # fmt: skip
    ends = data.filter(pl.col("alpha").is_in([0.0, 1.0]))
    domain = _window(rows, measure)
    x = alt.X("place:Q", title=_AXES[axis]).axis(grid=False).scale(nice=False, zero=False)
    y = alt.Y("value:Q", title=title).axis(format=number, minExtent=38).scale(domain=domain, nice=False)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    one = alt.Detail("line:N")
    drawn = alt.Chart(data)
    bands = []
    for pair in pairs:
        of_pair = data.filter(pl.col("pair") == pair)
        # Bands of many paths of one pair lie on each other: together they are as dark as one.
        faint = 1 - 0.82 ** (1 / max(1, of_pair["line"].n_unique()))
        area = alt.Chart(of_pair).mark_area(opacity=faint, clip=True, aria=False)
        low = alt.Y("low:Q", title=title).scale(domain=domain, nice=False)
        bands.append(area.encode(x, low, alt.Y2("high:Q"), tint, one))
    line = drawn.mark_line(strokeWidth=1.8, clip=True, aria=False).encode(x, y, tint, one)
    dashed = alt.Chart(ends).mark_line(strokeWidth=1.2, strokeDash=[4, 3], aria=False).encode(x, y, tint, one)
    marks = alt.Chart(ends).mark_circle(size=42, opacity=1).encode(x, y, tint, one, description="hover:N")
    # Pointing at some twenty places of a path is enough; a mark for each would make the page ten times heavier.
    every = max(1, round(data.height / max(1, data["line"].n_unique()) / 20))
    pointed = data.filter(
        (pl.int_range(pl.len()).over("line") % every == 0) & pl.col("value").is_between(domain[0], domain[1])
    )
    targets = alt.Chart(pointed).mark_circle(size=60, opacity=0).encode(x, y, tint, description="hover:N")
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
