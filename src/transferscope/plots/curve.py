"""Loss and error along a trained curve and along the straight line between its ends, by position and by length."""

from typing import Any

import altair as alt
import polars as pl

from transferscope.plots.theme import LIMIT, Figure, Panel, colour, first, hover, padded, pair_rank, scale, shown_column

__all__ = ["chart", "figures"]

_AXES = {
    "alpha": "Position (t of the curve, α of the line)",
    "l2": "ℓ2 length of the way from the first network (units of the parameters)",
}
_MEASURES = {"loss": ("loss (nats)", "~g"), "error": ("error (%)", ".0%")}
_SHAPES = {"bezier": "quadratic Bézier curves", "chain": "chains of two straight pieces"}


def chart(table: pl.DataFrame) -> Any:
    """The picture of the table of ``curve`` against position: loss and error, train and test.

    Args:
        table: in the declared columns of the analysis.

    Returns:
        An Altair chart.

    Raises:
        AnalysisError: the table holds nothing that can be drawn.
    """
    return first(figures(table))


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``curve``; none where the table holds no finite point."""
    rows = table.filter((pl.col("level") == "point") & pl.col("loss").is_not_null()).with_columns(
        shown_column("pair"), ends=pl.concat_str(shown_column("a"), pl.lit(" → "), shown_column("b"))
    )
    if rows.is_empty():
        return ()
    rows, dropped = _within_limit(rows)
    pairs = sorted(set(rows["pair"]), key=pair_rank)
    shapes = ", ".join(sorted({_SHAPES[shape] for shape in rows["shape"]}))
    note = f" Batch norm: {', '.join(sorted(set(rows['batch_norm'])))}."
    note += f" {dropped} further pairs of networks are in the table." if dropped else ""
    legend = (
        *((pair, colour(pair), "line") for pair in pairs),
        ("straight line", "#59636e", "dashed"),
        ("solutions", "#59636e", "point"),
    )
    captions = {
        "alpha": f"Solid: {shapes}, whose bend was trained to keep the loss low; dashed: the straight line between the "
        "same two solutions (dots). Bands: ±1.96 standard errors over images." + note,
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
            panels=tuple(
                _panel(rows, axis, measure, split, pairs)
                for measure in _MEASURES
                for split in ("train", "test")
                if not rows.filter(pl.col("split") == split).is_empty()
            ),
            legend=legend,
        )
        for axis, caption in captions.items()
    )


def _within_limit(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Whole pairs of networks, turn about over the variants, as many as a panel may hold."""
    drawn = rows.select("pair", "ends").unique(maintain_order=True)
    per_panel = rows.height // max(1, rows["split"].n_unique())
    if per_panel <= LIMIT:
        return rows, 0
    keep = max(1, LIMIT * drawn.height // per_panel)
    turns = drawn.with_columns(pl.int_range(pl.len()).over("pair").alias("turn")).sort("turn", maintain_order=True)
    return rows.filter(pl.col("ends").is_in(turns.head(keep)["ends"].to_list())), max(0, drawn.height - keep)


def _words(rows: pl.DataFrame, pair: str) -> str:
    said = []
    for way in ("curve", "line"):
        of = rows.filter((pl.col("pair") == pair) & (pl.col("split") == "test") & (pl.col("way") == way))
        top = of["error"].max()
        said.append(f"{way} {100 * top:.1f} %" if isinstance(top, float) else f"{way} not measured")
    return " and ".join(said)


def _panel(rows: pl.DataFrame, axis: str, measure: str, split: str, pairs: list[str]) -> Panel:
    words, number = _MEASURES[measure]
    title = f"{split.capitalize()} {words}"
    spread = 1.96 * pl.col(f"{measure}_se").fill_null(0.0)
    data = (
        rows.filter((pl.col("split") == split) & pl.col(measure).is_not_null())
        .with_columns(low=pl.col(measure) - spread, high=pl.col(measure) + spread)
        .select(
            "pair", "ends", "way", "alpha", "low", "high",
            hover(pl.col("ends"), ", ", pl.col("way"), " at ", pl.col("alpha").round(3), f": {measure} ",
                  pl.col(measure).round(4), " ± ", (1.96 * pl.col(f"{measure}_se")).round(4)),
            place=pl.col(axis), value=pl.col(measure),
        )
        .sort("ends", "way", "alpha")
    )  # fmt: skip
    domain = padded([*data["low"], *data["high"]], low=0.0, high=1.0 if measure == "error" else None)
    x = alt.X("place:Q", title=_AXES[axis]).axis(grid=False).scale(nice=False, zero=False)
    y = alt.Y("value:Q", title=title).axis(format=number, minExtent=38).scale(domain=domain, nice=False)
    tint = alt.Color("pair:N", title=None, scale=scale(pairs))
    one = alt.Detail(["ends:N", "way:N"])
    curve, line = (data.filter(pl.col("way") == way) for way in ("curve", "line"))
    low = alt.Y("low:Q", title=title).scale(domain=domain, nice=False)
    faint = 1 - 0.82 ** (1 / max(1, data["ends"].n_unique()))
    bands = alt.Chart(data).mark_area(opacity=faint, clip=True, aria=False).encode(x, low, alt.Y2("high:Q"), tint, one)
    dashed = alt.Chart(line).mark_line(strokeWidth=1.2, strokeDash=[4, 3], clip=True, aria=False)
    solid = alt.Chart(curve).mark_line(strokeWidth=1.8, clip=True, aria=False)
    ends = alt.Chart(data.filter(pl.col("alpha").is_in([0.0, 1.0]))).mark_circle(size=42, opacity=1)
    # Pointing at some twenty places of a way is enough; a mark for each would make the page ten times heavier.
    every = max(1, round(data.height / max(1, data.select("ends", "way").n_unique()) / 20))
    pointed = data.filter(pl.int_range(pl.len()).over("ends", "way") % every == 0)
    targets = alt.Chart(pointed).mark_circle(size=60, opacity=0).encode(x, y, tint, description="hover:N")
    return alt.layer(
        bands, dashed.encode(x, y, tint, one), solid.encode(x, y, tint, one), targets,
        ends.encode(x, y, tint, one, description="hover:N"),
    ).properties(width=350, height=200)  # fmt: skip
