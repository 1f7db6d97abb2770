"""The picture of linear probes: test metric along the network, and the gaps between variants."""

import polars as pl

from transferscope.plots.axes import Axis, Names, tints
from transferscope.plots.panels import Frame, dot_panel, facets, interval_text, kept_names, line_panel, listed, present
from transferscope.plots.theme import Figure, Panel, among, colour, metric_axis, metric_unit, shown_column

__all__ = ["figures"]

_VARIANTS = ("RI", "P", "RI-T", "P-T")
_GAPS = {"P − RI": "P/P-T", "P-T − RI-T": "P-T/RI-T", "P-T − P": "P-T"}


def figures(table: pl.DataFrame, metric: str = "top1") -> tuple[Figure, ...]:
    """The figures of ``probe``; none where nothing could be probed."""
    known = table.filter(pl.col("value").is_not_null()).with_columns(shown_column("variant"))
    lines = known.filter(pl.col("level") == "variant")
    if lines.is_empty():
        return ()
    kept, less = kept_names(lines, what="parts")
    over_seeds = pl.col("basis").is_null() | (pl.col("basis") != "examples")
    gaps = known.filter((pl.col("level") == "gap") & over_seeds & pl.col("variant").is_in(list(_GAPS)))
    return present(_depth(lines, kept, less, metric), _gaps(gaps, kept, metric))


def _depth(rows: pl.DataFrame, kept: list[str], less: str, metric: str) -> Figure:
    colours = tints("variant", among(_VARIANTS, rows["variant"]))
    last = rows.filter(pl.col("position") == pl.col("position").max())
    x, y = Names("module", "Part (name), from input to output", kept, limit=100), metric_axis(metric, "test")
    frame = Frame(x, Axis("value", *y, zero=False), colours, width=max(370, 16 * len(kept)), height=240)
    text = interval_text(pl.col("variant"), " at ", pl.col("module"))
    return Figure(
        name="depth",
        title="Linear probes along the network",
        caption="Test metric of a linear classifier on the pooled output of each part, mean over seeds; bars are 95 % "
        "intervals over seeds, or the range of two. The last place is what enters the head." + less,
        description=f"Test metric of linear probes by depth; at the end: {listed(last, 'variant', 'value', '.3f')}.",
        panels=(line_panel(frame, rows.filter(pl.col("module").is_in(kept)).with_columns(text)),),
        legend=colours.legend("line"),
    )


def _gaps(rows: pl.DataFrame, kept: list[str], metric: str) -> Figure | None:
    if rows.is_empty():
        return None
    most = rows.sort("value", descending=True).row(0, named=True)
    names, number = Names("module", "Part (name)", kept), metric_axis(metric)[1]
    data = rows.filter(pl.col("module").is_in(kept)).with_columns(
        interval_text(pl.col("variant"), " at ", pl.col("module"))
    )

    def panel(part: pl.DataFrame, name: str) -> Panel:
        x = Axis("value", f"{name} {metric_unit(metric)}", number)
        frame = Frame(x, names, colour(_GAPS[name]), width=210, height=max(15 * len(kept), 60), title=name)
        return dot_panel(frame, part, at=[0.0])

    return Figure(
        name="gaps",
        title="What pre-training offers, and what is left of it",
        caption="Differences of probes at the same part, mean over seeds, with 95 % intervals over seeds (thick: "
        "of this part alone; thin: of all parts at once), or the range of two seeds.",
        description=f"Differences of probes by part; the largest is {most['variant']} at {most['module']}, "
        f"{most['value']:+.3f}.",
        panels=facets(data, "variant", _GAPS, panel),
        columns=3,
    )
