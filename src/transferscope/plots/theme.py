"""One look for all pictures: colours by variant, names, units, and the figure made of panels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import altair as alt
import polars as pl

from transferscope.keys import shown

Panel: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart
"""One part of a figure."""

__all__ = [
    "LIMIT",
    "NEUTRAL",
    "OTHERS",
    "OURS",
    "VARIANTS",
    "Figure",
    "Panel",
    "among",
    "colour",
    "hover",
    "metric_axis",
    "metric_name",
    "metric_unit",
    "padded",
    "pair_rank",
    "pairs_of",
    "scale",
    "shown_column",
    "themed",
    "thinned",
]

LIMIT = 5_000
"""Rows one picture may hold; tables are aggregated or thinned before."""

VARIANTS = ("RI", "P", "RI-T", "P-T", "RI-T-long")
"""Variants as shown, in their order."""

NEUTRAL = {"ink": "#1b1f24", "muted": "#59636e", "rule": "#d1d9e0", "faint": "#eef1f4"}
"""Greys of text, secondary text, rules and backgrounds."""

OTHERS = ("#1B7F79", "#7A4FA3", "#8A6D00", "#3A4149")
"""Colours of what is neither a variant nor a pair of them: no picture means one of those by another's colour."""

# Okabe-Ito, the palette that stays apart under all common colour deficiencies. What comes from P is blue, what
# comes from the random start is orange to red; untrained networks take the lighter of the two.
_VARIANT_COLOURS = {
    "RI": "#E69F00",
    "P": "#56B4E9",
    "RI-T": "#D55E00",
    "P-T": "#0072B2",
    "RI-T-long": "#8C3800",
}
_PAIR_COLOURS = {
    frozenset({"P-T"}): "#0072B2",
    frozenset({"RI-T"}): "#D55E00",
    frozenset({"P", "P-T"}): "#56B4E9",
    frozenset({"RI", "RI-T"}): "#E69F00",
    frozenset({"P-T", "RI-T"}): "#CC79A7",
    frozenset({"P", "RI-T"}): "#009E73",
    frozenset({"RI", "P-T"}): "#000000",
}
_PAIR_ORDER = (
    "P/P-T", "P/RI-T", "RI/RI-T", "P-T/P-T", "RI-T/RI-T", "P-T/RI-T", "RI/P-T", "RI/P",
)  # fmt: skip
# P-T on shuffled blocks, by the binary logarithm of their side: neighbours of a size differ.
_BLOCK_COLOURS = OTHERS
_BLOCK = re.compile(r"_block_(\d+)")
_SHOWN_BLOCK = re.compile(r", blocks of (\d+) px")
_METRICS = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "auc": "mean AUC"}
_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"


@dataclass(frozen=True)
class Figure:
    """A picture made of panels, each a chart of its own, so that a page can wrap them to its width.

    Attributes:
        name: of its files, unique within its analysis.
        title: a few words.
        caption: what is drawn, and how.
        description: the picture in words, for those who cannot see it.
        panels: unthemed charts.
        columns: panels side by side where there is room.
        legend: label, colour and line style (``line``, ``dashed``, ``point``, ``square``, ``cross``, ``ring``,
            ``tick``) of each entry.
        ramp: labels of both ends and the colours of a continuous scale, low to high.
    """

    name: str
    title: str
    caption: str
    description: str
    panels: tuple[Panel, ...]
    columns: int = 2
    legend: tuple[tuple[str, str, str], ...] = ()
    ramp: tuple[str, str, tuple[str, ...]] | None = None

    def chart(self) -> Any:
        """All panels as one chart, with legends and theme."""
        joined = alt.concat(*self.panels, columns=self.columns, spacing=24)
        # Bands and what stands within them go together: a shared offset would keep the width of the first panel's.
        own: Literal["independent"] = "independent"
        return themed(joined.resolve_scale(x=own, y=own, xOffset=own, yOffset=own, size=own))


def shown_column(column: str) -> pl.Expr:
    """As :func:`shown`, for every value of a column."""
    named = pl.col(column).str.replace(_BLOCK.pattern, ", blocks of $1 px")
    return named.str.replace_all("_", "-", literal=True)


def colour(label: str) -> str:
    """The colour of a variant (``P-T``) or of a pair of variants (``P-T/RI-T``), as hexadecimal digits.

    >>> colour("P-T") == colour("P_T") == colour("P-T/P-T") == "#0072B2"
    True
    >>> colour("P-T/RI-T") == colour("RI-T/P-T")
    True
    """
    name = shown(label)
    if block := _SHOWN_BLOCK.search(name):
        return _BLOCK_COLOURS[int(block[1]).bit_length() % len(_BLOCK_COLOURS)]
    if "/" not in name:
        return _VARIANT_COLOURS.get(name, "#6e7781")
    parts = [part.split(",")[0].split(" (")[0].strip() for part in name.split("/")]
    return _PAIR_COLOURS.get(frozenset(parts), "#6e7781")


def pair_rank(pair: str) -> tuple[int, str]:
    """Sort key that puts pairs of variants in the order in which they are read."""
    name = shown(pair)
    return (_PAIR_ORDER.index(name) if name in _PAIR_ORDER else len(_PAIR_ORDER), name)


def among(order: Iterable[str], values: Iterable[str]) -> list[str]:
    """Those of ``order`` that are in ``values``."""
    found = set(values)
    return [label for label in order if label in found]


def pairs_of(values: Iterable[str]) -> list[str]:
    """The pairs of variants in a column, each once, in the order in which they are read."""
    return sorted(set(values), key=pair_rank)


def scale(labels: Sequence[str]) -> alt.Scale:
    """The colour scale of variants or pairs: the same colour for the same label in every picture."""
    return alt.Scale(domain=list(labels), range=[colour(label) for label in labels])


def metric_name(metric: str) -> str:
    """The metric in words: ``top-1 accuracy``, ``mean AUC``."""
    return _METRICS.get(metric, metric)


def metric_axis(metric: str, split: str = "") -> tuple[str, str]:
    """Title (with unit) and number format of an axis that shows the metric.

    >>> metric_axis("top1", "validation")
    ('Validation top-1 accuracy (%)', '.0%')
    >>> metric_axis("auc")
    ('Mean AUC (0 to 1)', '.2f')
    """
    words = f"{split} {metric_name(metric)}".strip()
    return f"{words[0].upper()}{words[1:]} {metric_unit(metric)}", ".0%" if metric in ("top1", "top5") else ".2f"


def metric_unit(metric: str) -> str:
    """What an axis of the metric, or of a difference of it, counts in: ``(%)`` or ``(0 to 1)``."""
    return "(%)" if metric in ("top1", "top5") else "(0 to 1)"


def padded(values: Iterable[float | None], low: float | None = None, high: float | None = None) -> list[float]:
    """The range of ``values`` with a little air, held within ``low`` and ``high``.

    >>> padded([0.5, None, 0.9], high=1.0)
    [0.476, 0.924]
    """
    known = [value for value in values if value is not None]
    if not known:
        return [low if low is not None else 0.0, high if high is not None else 1.0]
    least, most = min(known), max(known)
    air = 0.06 * (most - least) or 0.05 * abs(most) or 0.05
    bottom = least - air if low is None else max(low, least - air)
    top = most + air if high is None else min(high, most + air)
    return [round(bottom, 9), round(top, 9)]


OURS = "• "
"""What the texts begin with that a chart gives its marks for readers; Vega's own do not."""


def hover(*parts: str | pl.Expr) -> pl.Expr:
    """The text a reader sees on pointing at a mark: words and columns, joined; nulls are shown as –.

    They begin with :data:`OURS`.
    """
    pieces = [pl.lit(part) if isinstance(part, str) else part.cast(pl.String).fill_null("–") for part in parts]
    return pl.concat_str([pl.lit(OURS), *pieces]).alias("hover")


def thinned(names: Sequence[str], most: int) -> list[str]:
    """At most ``most`` of ``names``, evenly spaced, first and last included.

    >>> thinned(["a", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    if len(names) <= most:
        return list(names)
    steps = [round(index * (len(names) - 1) / (most - 1)) for index in range(most)]
    return [names[step] for step in dict.fromkeys(steps)]


def themed(chart: Any, legend: bool = True) -> Any:
    """The chart in the one look; ``legend=False`` leaves the legends to the page around it."""
    ink, muted, rule = NEUTRAL["ink"], NEUTRAL["muted"], NEUTRAL["rule"]
    return chart.configure(
        font=_FONT,
        background="white",
        padding=2,
        view={"stroke": None},
        axis={
            "labelColor": muted, "titleColor": ink, "labelFontSize": 11, "titleFontSize": 11.5,
            "titleFontWeight": "normal", "titlePadding": 8, "labelPadding": 5, "tickColor": rule,
            "domainColor": rule, "gridColor": NEUTRAL["faint"], "tickSize": 4, "tickCount": 5,
        },
        title={"fontSize": 12, "fontWeight": "bold", "color": ink, "anchor": "start", "offset": 8, "frame": "group"},
        legend={
            "disable": not legend, "orient": "top", "titleFontWeight": "normal", "labelColor": ink,
            "titleColor": muted, "labelFontSize": 11, "titleFontSize": 11, "symbolStrokeWidth": 2, "symbolOpacity": 1,
            "titleLimit": 0,
        },
        line={"strokeCap": "round", "strokeJoin": "round"},
        concat={"spacing": 24},
    )  # fmt: skip
