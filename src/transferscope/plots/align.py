"""Loss and error along the straight line between two networks, before and after hidden units were matched."""

from typing import Any

import altair as alt
import polars as pl

from transferscope.plots.theme import LIMIT, Figure, Panel, first, hover, padded, pair_rank, shown_column

__all__ = ["chart", "figures"]

_MEASURES = {"loss": ("loss (nats)", "~g"), "error": ("error (%)", ".0%")}
_WAYS = {"unaligned": "as trained", "activations": "matched by activations", "weights": "matched by weights"}
# Apart from the colours of variants: what differs here is the way, not the network.
_COLOURS = {"unaligned": "#59636e", "activations": "#009E73", "weights": "#CC79A7"}


def chart(table: pl.DataFrame) -> Any:
    """The first picture of the table of ``align``.

    Args:
        table: in the declared columns of the analysis.

    Returns:
        An Altair chart.

    Raises:
        AnalysisError: the table holds nothing that can be drawn.
    """
    return first(figures(table))


def figures(table: pl.DataFrame) -> tuple[Figure, ...]:
    """The figures of ``align``, one for each pair of variants; none where the table holds no finite point."""
    rows = table.filter((pl.col("level") == "point") & pl.col("loss").is_not_null()).with_columns(
        shown_column("pair"), ends=pl.concat_str(shown_column("a"), pl.lit(" → "), shown_column("b"))
    )
    return tuple(
        _figure(rows.filter(pl.col("pair") == pair), pair) for pair in sorted(set(rows["pair"]), key=pair_rank)
    )


def _figure(rows: pl.DataFrame, pair: str) -> Figure:
    rows, dropped = _within_limit(rows)
    ways = [way for way in _WAYS if way in set(rows["way"])]
    note = f" Batch norm: {', '.join(sorted(set(rows['batch_norm'])))}."
    note += f" {dropped} further pairs of networks are in the table." if dropped else ""
    highest = ", ".join(f"{_WAYS[way]} {_highest(rows, way)}" for way in ways)
    return Figure(
        name=pair.replace("/", "-").lower(),
        title=f"Before and after matching: {pair}",
        caption="Networks between two solutions (dots) on the straight line: as trained (dashed), and with the hidden "
        "units of the second one brought to the places of their counterparts. Its function is the same on all lines. "
        "Bands: ±1.96 standard errors over images." + note,
        description=f"Loss and error between two {pair.split('/')[0]} networks on training and test images, before "
        f"and after matching. Highest test error: {highest}.",
        panels=tuple(
            _panel(rows, measure, split, ways)
            for measure in _MEASURES
            for split in ("train", "test")
            if not rows.filter(pl.col("split") == split).is_empty()
        ),
        legend=(
            *((_WAYS[way], _COLOURS[way], "dashed" if way == "unaligned" else "line") for way in ways),
            ("solutions", _COLOURS["unaligned"], "point"),
        ),
    )


def _within_limit(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The first pairs of networks, as many as a panel may hold."""
    drawn = rows["ends"].unique(maintain_order=True)
    per_panel = rows.height // max(1, rows["split"].n_unique())
    if per_panel <= LIMIT:
        return rows, 0
    kept = drawn.head(max(1, LIMIT * len(drawn) // per_panel))
    return rows.filter(pl.col("ends").is_in(kept.to_list())), len(drawn) - len(kept)


def _highest(rows: pl.DataFrame, way: str) -> str:
    top = rows.filter((pl.col("split") == "test") & (pl.col("way") == way))["error"].max()
    return f"{100 * top:.1f} %" if isinstance(top, float) else "not measured"


def _panel(rows: pl.DataFrame, measure: str, split: str, ways: list[str]) -> Panel:
    words, number = _MEASURES[measure]
    title = f"{split.capitalize()} {words}"
    spread = 1.96 * pl.col(f"{measure}_se").fill_null(0.0)
    data = (
        rows.filter((pl.col("split") == split) & pl.col(measure).is_not_null())
        .with_columns(low=pl.col(measure) - spread, high=pl.col(measure) + spread)
        .select(
            "ends", "way", "alpha", "low", "high",
            hover(pl.col("ends"), ", ", pl.col("way").replace(_WAYS), ", α ", pl.col("alpha").round(3),
                  f": {measure} ", pl.col(measure).round(4), " ± ", (1.96 * pl.col(f"{measure}_se")).round(4)),
            value=pl.col(measure),
        )
        .sort("ends", "way", "alpha")
    )  # fmt: skip
    domain = padded([*data["low"], *data["high"]], low=0.0, high=1.0 if measure == "error" else None)
    x = alt.X("alpha:Q", title="Position α (0 = first network, 1 = second)").axis(grid=False).scale(nice=False)
    y = alt.Y("value:Q", title=title).axis(format=number, minExtent=38).scale(domain=domain, nice=False)
    tint = alt.Color("way:N", title=None, legend=None).scale(domain=ways, range=[_COLOURS[way] for way in ways])
    one = alt.Detail(["ends:N", "way:N"])
    low = alt.Y("low:Q", title=title).scale(domain=domain, nice=False)
    # Bands of many pairs lie on each other: together they are as dark as one.
    faint = 1 - 0.82 ** (1 / max(1, data["ends"].n_unique()))
    bands = alt.Chart(data).mark_area(opacity=faint, clip=True, aria=False).encode(x, low, alt.Y2("high:Q"), tint, one)
    before, after = data.filter(pl.col("way") == "unaligned"), data.filter(pl.col("way") != "unaligned")
    dashed = alt.Chart(before).mark_line(strokeWidth=1.4, strokeDash=[4, 3], clip=True, aria=False)
    solid = alt.Chart(after).mark_line(strokeWidth=1.8, clip=True, aria=False)
    ends = alt.Chart(before.filter(pl.col("alpha").is_in([0.0, 1.0]))).mark_circle(size=42, opacity=1)
    # Pointing at some twenty places of a line is enough; a mark for each would make the page ten times heavier.
    every = max(1, round(data.height / max(1, data.select("ends", "way").n_unique()) / 20))
    pointed = data.filter(pl.int_range(pl.len()).over("ends", "way") % every == 0)
    targets = alt.Chart(pointed).mark_circle(size=60, opacity=0).encode(x, y, tint, description="hover:N")
    return alt.layer(
        bands, dashed.encode(x, y, tint, one), solid.encode(x, y, tint, one), targets,
        ends.encode(x, y, tint, one, description="hover:N"),
    ).properties(width=350, height=200)  # fmt: skip
