"""Which share of P-T's gain each control initialisation recovers, and what every network ends with."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, dot_panel, facets, listed, present
from transferscope.plots.theme import (
    NEUTRAL,
    Figure,
    Panel,
    among,
    colour,
    hover,
    metric_axis,
    metric_name,
    padded,
    shown_column,
)  # fmt: skip

__all__ = ["figures"]

_CONTROL = "#009E73"
_WORDS = {"metric": "final test metric", "speed": "optimisation speed"}
_SPLITS = {"metric": "final test", "speed": "mean training"}
_WIDEST = 4.0
"""Shares beyond ±400 % are cut off: an interval may be as wide as it likes where the gain is small."""


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``control``: shares, and values; none where no network has a value."""
    # Of each quantity what is reported: the final metric on test data, the speed on training data.
    rows = table.with_columns(shown_column("variant")).filter(pl.col("split") != "validation")
    controls = table.select(shown_column("variant")).to_series().unique(maintain_order=True)
    order = [name for name in controls if name not in ("RI-T", "P-T")]
    return present(_shares(rows.filter(pl.col("level") == "share"), order), _values(rows, order, metric))


def _shares(rows: pl.DataFrame, order: list[str]) -> Figure | None:
    shares = rows.filter(pl.col("value").is_not_null())
    missing = ", ".join(
        f"{row['variant']} ({_WORDS[row['quantity']]}: {row['note']})"
        for row in rows.filter(pl.col("value").is_null()).to_dicts()
    )
    told = ", ".join(
        f"{row['variant']} {row['value']:.0%} of the gain in {_WORDS[row['quantity']]}" for row in shares.to_dicts()
    )
    return Figure(
        name="shares",
        title="Share of the gain that is left without features",
        caption="0 % is RI-T, 100 % is P-T. Dots: ratio of mean gains; thick bars: 95 % Fieller interval over seeds "
        "(two seeds: their range); thin bars: for all controls at once. Not clipped; bars may leave the frame."
        + (f" Not defined: {missing}." if missing else ""),
        description=f"Shares of the gain of P-T over RI-T: {told}.",
        panels=facets(shares, "quantity", _WORDS, lambda part, quantity: _share_panel(part, order, quantity)),
        legend=(("control", _CONTROL, "point"), ("RI-T, P-T", NEUTRAL["muted"], "dashed")),
    )


def _share_panel(rows: pl.DataFrame, order: list[str], quantity: str) -> Panel:
    ends = (value for name in ("value", "low", "high") for value in rows[name].drop_nulls())
    domain = padded([0.0, 1.0, *(max(-_WIDEST, min(_WIDEST, value)) for value in ends)])
    x = Axis("value", f"Share of the gain in {_WORDS[quantity]} (%)", ".0%", domain=domain, grid=False)
    names = Names("variant", "Control (name)", order)
    frame = Frame(x, names, _CONTROL, width=330, height=26 * len(order) + 20)
    data = rows.with_columns(hover(pl.col("variant"), ": ", *(
        piece for name, word in (("value", " % ("), ("low", " to "), ("high", " %)"))
        for piece in ((pl.col(name) * 100).round(1), word)
    )))  # fmt: skip
    within = data.filter(pl.col("value").is_between(domain[0], domain[1]))
    return frame.panel(frame.rule(0.0, 1.0), frame.intervals(data), frame.dots(within, size=70))


def _values(rows: pl.DataFrame, controls: list[str], metric: str) -> Figure:
    known = rows.filter((pl.col("level") == "network") & pl.col("value").is_not_null())
    order = ["RI-T", *controls, "P-T"]
    told = listed(known.filter(pl.col("split") == "test"), "variant", "value", ".3f", order)
    colours = {"P-T": colour("P-T"), "control": _CONTROL, "RI-T": colour("RI-T")}
    return Figure(
        name="values",
        title="What every start ends with",
        caption="One dot per seed, a tick at the mean, each variant at its own chosen rate. Optimisation speed is the "
        "clean training metric, averaged over the epochs from 1.",
        description=f"Final test {metric_name(metric)}: {told}.",
        panels=facets(known, "quantity", _SPLITS, lambda part, quantity: _value_panel(part, order, quantity, metric)),
        legend=Tints("variant", colours).legend("point"),
    )


def _value_panel(rows: pl.DataFrame, order: list[str], quantity: str, metric: str) -> Panel:
    names = among(order, rows["variant"])
    title, number = metric_axis(metric, _SPLITS[quantity])
    colours = {name: colour(name) if name in ("RI-T", "P-T") else _CONTROL for name in names}
    x = Axis("value", title, number, domain=padded(rows["value"], low=0.0, high=1.0), grid=False)
    frame = Frame(x, Names("variant", "Start (name)", names), Tints("variant", colours), width=330,
                  height=24 * len(names) + 16)  # fmt: skip
    text = hover(pl.col("variant"), "[", pl.col("seed"), "]: ", pl.col("value").round(4))
    return dot_panel(frame, rows.drop("low", "high", "simultaneous_low", "simultaneous_high").with_columns(text),
                     frame.means(rows))  # fmt: skip
