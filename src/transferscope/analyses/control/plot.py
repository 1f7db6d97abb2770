"""Which share of P-T's gain each control initialisation recovers, and what every network ends with."""

from typing import Any

import altair as alt
import polars as pl

from transferscope.plots.theme import (
    NEUTRAL,
    Figure,
    Panel,
    charted,
    colour,
    hover,
    metric_axis,
    metric_name,
    padded,
    shown_column,
)

__all__ = ["chart", "figures"]

_CONTROL = "#009E73"
_PANELS = (("metric", "test"), ("speed", "train"))
_WORDS = {"metric": "final test metric", "speed": "optimisation speed"}
_WIDEST = 4.0
"""Shares beyond ±400 % are cut off: an interval may be as wide as it likes where the gain is small."""


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``control``: shares, and values; none where no network has a value."""
    rows = table.with_columns(shown_column("variant"))
    return tuple(figure for figure in (_shares(rows), _values(rows, metric)) if figure is not None)


chart = charted(figures)
"""The shares of the gain, of the table of ``control``."""


def _shares(rows: pl.DataFrame) -> Figure | None:
    shares = rows.filter((pl.col("level") == "share") & pl.col("value").is_not_null())
    shares = shares.filter(pl.col("split") != "validation")
    if shares.is_empty():
        return None
    order = _controls(rows)
    panels = tuple(
        _share_panel(part, order, quantity)
        for quantity, _ in _PANELS
        if not (part := shares.filter(pl.col("quantity") == quantity)).is_empty()
    )
    missing = [
        f"{row['variant']} ({_WORDS[row['quantity']]}: {row['note']})"
        for row in rows.filter(
            (pl.col("level") == "share") & pl.col("value").is_null() & (pl.col("split") != "validation")
        ).iter_rows(named=True)
    ]
    told = ", ".join(
        f"{row['variant']} {row['value']:.0%} of the gain in {_WORDS[row['quantity']]}" for row in shares.to_dicts()
    )
    return Figure(
        name="shares",
        title="Share of the gain that is left without features",
        caption=(
            "0 % is RI-T, 100 % is P-T. Dots: ratio of mean gains; thick bars: 95 % Fieller interval over seeds (two "
            "seeds: their range); thin bars: for all controls at once. Not clipped; bars may leave the frame."
            + (f" Not defined: {', '.join(missing)}." if missing else "")
        ),
        description=f"Shares of the gain of P-T over RI-T: {told}.",
        panels=panels,
        legend=(("control", _CONTROL, "point"), ("RI-T, P-T", NEUTRAL["muted"], "dashed")),
    )


def _share_panel(rows: pl.DataFrame, order: list[str], quantity: str) -> Panel:
    text = hover(
        pl.col("variant"), ": ", (pl.col("value") * 100).round(1), " % (", (pl.col("low") * 100).round(1), " to ",
        (pl.col("high") * 100).round(1), " %)",
    )  # fmt: skip
    data = rows.select(
        "variant", "value", "low", "high", text, wide_low="simultaneous_low", wide_high="simultaneous_high"
    )
    ends = [value for name in ("value", "low", "high") for value in data[name].to_list() if value is not None]
    inside = [max(-_WIDEST, min(_WIDEST, value)) for value in ends]
    domain = padded([0.0, 1.0, *inside])
    title = f"Share of the gain in {_WORDS[quantity]} (%)"
    x = alt.X("value:Q", title=title).scale(domain=domain, nice=False).axis(format=".0%", grid=False)
    y = alt.Y("variant:N", title="Control (name)", sort=order).axis(ticks=False, domain=False, grid=True, minExtent=80)
    marks = alt.Chart(pl.DataFrame({"value": [0.0, 1.0]})).mark_rule(
        strokeDash=[4, 3], color=NEUTRAL["muted"], aria=False
    )
    drawn = alt.Chart(data)
    layers: list[Any] = [marks.encode(x)]
    for low, high, width in (("wide_low", "wide_high", 1.0), ("low", "high", 3.0)):
        known = alt.Chart(data.drop_nulls([low, high]))
        bars = known.mark_rule(strokeWidth=width, color=_CONTROL, clip=True, aria=False)
        layers.append(bars.encode(alt.X(f"{low}:Q", title=title), y, alt.X2(f"{high}:Q")))
    layers.append(drawn.mark_circle(size=70, opacity=1, color=_CONTROL, clip=True).encode(x, y, description="hover:N"))
    return alt.layer(*layers).properties(width=330, height=26 * len(order) + 20)


def _values(rows: pl.DataFrame, metric: str) -> Figure | None:
    known = rows.filter((pl.col("level") == "network") & pl.col("value").is_not_null())
    order = ["RI-T", *_controls(rows), "P-T"]
    panels = tuple(
        _value_panel(
            known.filter((pl.col("quantity") == quantity) & (pl.col("split") == split)), order, quantity, metric
        )
        for quantity, split in _PANELS
        if not known.filter((pl.col("quantity") == quantity) & (pl.col("split") == split)).is_empty()
    )
    if not panels:
        return None
    means = known.filter(pl.col("split") == "test").group_by("variant").agg(pl.col("value").mean())
    values = dict(means.iter_rows())
    told = ", ".join(f"{name} {values[name]:.3f}" for name in order if name in values)
    return Figure(
        name="values",
        title="What every start ends with",
        caption="One dot per seed, a tick at the mean, each variant at its own chosen rate. Optimisation speed is the "
        "clean training metric, averaged over the epochs from 1.",
        description=f"Final test {metric_name(metric)}: {told or 'not defined'}.",
        panels=panels,
        legend=(("P-T", colour("P-T"), "point"), ("control", _CONTROL, "point"), ("RI-T", colour("RI-T"), "point")),
    )


def _value_panel(rows: pl.DataFrame, order: list[str], quantity: str, metric: str) -> Panel:
    title, number = metric_axis(metric, "final test" if quantity == "metric" else "mean training")
    data = rows.select(
        "variant", "value", hover(pl.col("variant"), "[", pl.col("seed"), "]: ", pl.col("value").round(4))
    )
    means = data.group_by("variant").agg(pl.col("value").mean())
    present = [name for name in order if name in set(data["variant"])]
    tints = [colour(name) if name in ("RI-T", "P-T") else _CONTROL for name in present]
    x = alt.X("value:Q", title=title).scale(domain=padded(data["value"], low=0.0, high=1.0), nice=False)
    x = x.axis(format=number, grid=False)
    y = alt.Y("variant:N", title="Start (name)", sort=present).axis(ticks=False, domain=False, grid=True, minExtent=80)
    tint = alt.Color("variant:N", title=None, scale=alt.Scale(domain=present, range=tints))
    dots = alt.Chart(data).mark_circle(size=46, opacity=0.85).encode(x, y, tint, description="hover:N")
    ticks = alt.Chart(means).mark_tick(thickness=2, size=16, aria=False).encode(x, y, tint)
    return alt.layer(ticks, dots).properties(width=330, height=24 * len(present) + 16)


def _controls(rows: pl.DataFrame) -> list[str]:
    names = rows["variant"].unique(maintain_order=True).to_list()
    return [name for name in names if name not in ("RI-T", "P-T")]
