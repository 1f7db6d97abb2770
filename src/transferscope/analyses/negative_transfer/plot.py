"""How much more error than RI-T each pre-trained start has."""

import polars as pl

from transferscope.plots.axes import Axis, Names, Tints
from transferscope.plots.panels import Frame, present
from transferscope.plots.theme import OTHERS, Figure, Panel, hover, metric_axis, metric_name, padded

__all__ = ["figures"]

_TINTS = Tints("stage", dict(zip(("first", "confirm"), OTHERS, strict=False)))
_STAGES = {"first": "the study's seeds", "confirm": "seeds that confirm"}


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figure of ``negative_transfer``: gaps over seeds on test data; none where no gap has a value."""
    gaps = table.filter((pl.col("level") == "gap") & (pl.col("split") == "test"))
    # The rows over examples speak of the same gaps.
    rows = gaps.filter(pl.col("basis").ne_missing("examples") & pl.col("value").is_not_null())
    return present(_gaps(rows, metric))


def _gaps(rows: pl.DataFrame, metric: str) -> Figure | None:
    told = "; ".join(f"{row['candidate']} ({row['stage']}) {row['value']:+.3f}" for row in rows.iter_rows(named=True))
    return Figure(
        name="gaps",
        title="Error of each start beyond that of RI-T",
        caption=f"1 − test {metric_name(metric)} of networks trained from each start, minus that of RI-T of the same "
        "seeds. Right of 0 it hurts. Bars: 95 % intervals over seeds (two seeds: their range). Rates: both P-T and "
        "RI-T at that rate, which shows instability and not harm.",
        description=f"Error beyond that of RI-T: {told}.",
        panels=() if rows.is_empty() else (_panel(rows, metric),),
        legend=tuple((_STAGES[stage], tint, mark) for stage, tint, mark in _TINTS.legend("point")),
    )


def _panel(rows: pl.DataFrame, metric: str) -> Panel:
    names = rows["candidate"].unique(maintain_order=True).to_list()
    title, number = metric_axis(metric, "error beyond RI-T's, 1 − test")
    limits = [value for name in ("value", "low", "high") for value in rows[name].drop_nulls()]
    x = Axis("value", title, "+" + number, domain=padded([0.0, *limits]), grid=False)
    frame = Frame(x, Names("candidate", "Start (name)", names), _TINTS, aside=True, width=320,
                  height=34 * len(names) + 20)  # fmt: skip
    numbers = (pl.col(name).round(4) for name in ("value", "low", "high"))
    value, low, high = numbers
    data = rows.with_columns(hover(pl.col("candidate"), ": ", value, " (", low, " to ", high, ")"))
    return frame.panel(frame.rule(0.0), frame.intervals(data), frame.dots(data, size=64))
