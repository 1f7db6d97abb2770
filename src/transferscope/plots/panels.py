"""Shared panels: dots with intervals, lines with a band, bars and heat maps, alone or one for each label.

A :class:`Frame` holds what all marks of a panel share; its methods make the marks, and ``panel`` puts them together.
Marks of rows that are not there are none. Columns with one name everywhere: ``low`` and ``high`` (the interval),
``simultaneous_low`` and ``simultaneous_high`` (for all rows at once), ``hover`` (what a reader is told on pointing).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import altair as alt
import polars as pl

from transferscope.plots.axes import Axis, Channel, Names, Ramp, Shades, Steps, Tints
from transferscope.plots.theme import NEUTRAL, Figure, Panel, hover, thinned

__all__ = [
    "Frame", "Marks", "dot_panel", "facets", "faint", "heat_map", "interval_text", "kept_names", "line_panel",
    "listed", "pointed", "present", "values_text",
]  # fmt: skip

Marks: TypeAlias = list[alt.Chart]
_Label = TypeVar("_Label")

_INTERVALS = ("low", "high", "simultaneous_low", "simultaneous_high", "hover")


@dataclass(frozen=True)
class Frame:
    """What all marks of a panel share.

    Attributes:
        x: across.
        y: down.
        tint: the colours, or the one colour.
        aside: whether labels of ``tint`` stand beside each other within a name.
        width: in pixels.
        height: in pixels.
        title: above the panel.
        shade: steps of the colour.
    """

    x: Axis | Names
    y: Axis | Names
    tint: Tints | str = NEUTRAL["ink"]
    aside: bool = False
    width: float = 350
    height: float = 200
    title: str | alt.TitleParams = ""
    shade: Shades | None = None

    def dots(self, rows: pl.DataFrame, *, size: int = 44, opacity: float = 1, **style: Any) -> Marks:
        """A dot for each row; with ``hover`` where the rows have it.

        Args:
            rows: to draw.
            size: in square pixels.
            opacity: 0 for marks that only answer to a pointer.
            style: of the mark, as Vega-Lite calls it; with a ``shape`` it is no circle.
        """
        mark = "point" if "shape" in style or "filled" in style else "circle"
        return self._marks(rows, mark, {"size": size, "opacity": opacity, **style}, hover="hover" in rows.columns)

    def ticks(self, rows: pl.DataFrame, column: str | None = None, *, size: int = 14) -> Marks:
        """A short line across each value, as for means.

        Args:
            rows: to draw.
            column: of the values; None takes that of the axis.
            size: in pixels.
        """
        axis, channel = self._value()
        style = {"thickness": 2, "size": size}
        if column is not None:
            rows = rows.drop_nulls(column)
        told = "hover" in rows.columns and column is None
        return self._marks(rows, "tick", style, {channel: axis.encode(channel, column)}, hover=told)

    def means(self, rows: pl.DataFrame) -> Marks:
        """A tick at the mean of each name and label."""
        axis, _ = self._value()
        by = [one.column for one in (self.x, self.y, self.tint) if isinstance(one, Names | Tints)]
        return self.ticks(rows.group_by(*dict.fromkeys(by), maintain_order=True).agg(pl.col(axis.column).mean()))

    def lines(
        self, rows: pl.DataFrame, *, by: Sequence[str] = (), width: float = 2, order: str | None = None, **style: Any
    ) -> Marks:
        """A line through the rows of each label.

        Args:
            rows: in any order.
            by: further columns that tell lines apart.
            width: in pixels.
            order: the column in whose order points are joined; None joins them along x.
            style: of the mark, as Vega-Lite calls it.
        """
        more = {} if order is None else {"order": alt.Order(f"{order}:Q")}
        return self._marks(rows, "line", {"strokeWidth": width, **self._clip(), **style}, more, by=by)

    def dashed(self, rows: pl.DataFrame, *, by: Sequence[str] = (), width: float = 1.4, **style: Any) -> Marks:
        """As :meth:`lines`, dashed: what stands beside, as a baseline or a published value."""
        return self.lines(rows, by=by, width=width, strokeDash=[4, 3], **style)

    def spans(
        self, rows: pl.DataFrame, low: str = "low", high: str = "high", *, width: float = 2, **style: Any
    ) -> Marks:
        """An interval for each row that has one.

        Args:
            rows: to draw.
            low: the column of lower limits.
            high: the column of upper limits.
            width: in pixels.
            style: of the mark, as Vega-Lite calls it.
        """
        if low not in rows.columns or rows.filter(pl.col(low).is_not_null() & pl.col(high).is_not_null()).is_empty():
            return []
        axis, channel = self._value()
        ends = {channel: axis.encode(channel, low), f"{channel}2": f"{high}:Q"}
        found = self._marks(rows, "rule", {"strokeWidth": width, **self._clip(), **style}, ends)
        return [chart.transform_filter(f"isValid(datum.{low}) && isValid(datum.{high})") for chart in found]

    def intervals(self, rows: pl.DataFrame) -> Marks:
        """The interval of each row, thick, on that for all rows at once, thin, where the rows have one."""
        wide = self.spans(rows, "simultaneous_low", "simultaneous_high", width=1)
        return [*wide, *self.spans(rows, width=2.5 if wide else 2)]

    def band(self, rows: pl.DataFrame, *, by: Sequence[str] = (), opacity: float = 0.18) -> Marks:
        """The area between ``low`` and ``high``, for each label.

        Args:
            rows: in any order.
            by: further columns that tell bands apart.
            opacity: of each.
        """
        axis, channel = self._value()
        ends = {channel: axis.encode(channel, "low"), f"{channel}2": "high:Q"}
        rows = rows.drop_nulls(["low", "high"])
        return self._marks(rows, "area", {"opacity": opacity, **self._clip()}, ends, by=by)

    def bars(self, rows: pl.DataFrame) -> Marks:
        """A bar for each row, from the foot of the axis: 0, or where its domain begins."""
        axis, channel = self._value()
        foot = axis.domain[0] if axis.domain is not None else 0.0
        rows = rows.with_columns(foot=pl.lit(float(foot)))
        ends = {channel: axis.encode(channel), f"{channel}2": "foot:Q"}
        return self._marks(rows, "bar", {"opacity": 0.35, **self._clip()}, ends)

    def stacked(self, rows: pl.DataFrame, order: str) -> Marks:
        """The rows of each name as one bar, part behind part.

        Args:
            rows: with ``hover``.
            order: the column in whose order the parts follow each other.
        """
        return self._marks(rows, "bar", {"height": {"band": 0.72}}, {"order": alt.Order(f"{order}:Q")}, hover=True)

    def rule(self, *values: float, channel: Channel | None = None, **style: Any) -> Marks:
        """A dashed line across the panel at each value: chance, no difference, a limit.

        Args:
            values: on the axis.
            channel: whose axis; None takes that of the values.
            style: of the mark, as Vega-Lite calls it.
        """
        at = channel or self._value()[1]
        axis = self.x if at == "x" else self.y
        assert isinstance(axis, Axis)
        rows = pl.DataFrame({axis.column: [float(value) for value in values]})
        style = {"color": NEUTRAL["muted"], "strokeDash": [4, 3], "aria": False, **style}
        return [alt.Chart(rows).mark_rule(**style).encode(**{at: axis.encode(at)})] if values else []

    def panel(self, *marks: Marks) -> Panel:
        """All marks on each other, the first lowest."""
        named: dict[str, Any] = {"title": self.title} if self.title else {}
        return alt.layer(*(chart for each in marks for chart in each)).properties(
            width=self.width, height=self.height, **named
        )

    def _value(self) -> tuple[Axis, Channel]:
        """The axis of values, up where both are."""
        if isinstance(self.y, Axis):
            return self.y, "y"
        assert isinstance(self.x, Axis)
        return self.x, "x"

    def _clip(self) -> dict[str, bool]:
        return {"clip": True} if any(isinstance(axis, Axis) and axis.domain for axis in (self.x, self.y)) else {}

    def _marks(
        self, rows: pl.DataFrame, mark: str, style: dict[str, Any], channels: Mapping[str, Any] | None = None,
        *, by: Sequence[str] = (), hover: bool = False,
    ) -> Marks:  # fmt: skip
        channels = channels or {}
        if rows.is_empty():
            return []
        wanted = {self.x.column, self.y.column, *_INTERVALS, *by}
        encoded: dict[str, Any] = {"x": self.x.encode("x"), "y": self.y.encode("y")}
        if isinstance(self.tint, Tints):
            wanted.add(self.tint.column)
            encoded["color"] = self.tint.encode()
            if self.aside:
                labels = list(self.tint.colours)
                offset = {"x": alt.XOffset, "y": alt.YOffset}["x" if isinstance(self.x, Names) else "y"]
                shift = offset(f"{self.tint.column}:N", sort=labels).scale(domain=labels)
                encoded["xOffset" if isinstance(self.x, Names) else "yOffset"] = shift
        elif "color" not in style:
            style = {"color": self.tint, **style}
        if "color" in style:
            encoded.pop("color", None)
        if self.shade is not None:
            wanted.add(self.shade.column)
            encoded["opacity"] = self.shade.encode()
            style.pop("opacity", None)
        encoded |= channels
        if by:
            encoded["detail"] = [f"{name}:N" for name in by]
        if hover:
            encoded["description"] = "hover:N"
        # A page holds many panels: they carry what is drawn, not the table.
        wanted |= {str(getattr(each, "shorthand", each)).partition(":")[0] for each in channels.values()}
        data = rows.select(name for name in rows.columns if name in wanted)
        drawn = getattr(alt.Chart(data), f"mark_{mark}")(**({} if hover else {"aria": False}), **style)
        return [drawn.encode(**encoded)]


def dot_panel(frame: Frame, rows: pl.DataFrame, *above: Marks, at: Sequence[float] = (), size: int = 44) -> Panel:
    """Dots with intervals, on lines for what they are held against.

    Args:
        frame: names down or across, values along the other axis.
        rows: with ``low`` and ``high``, and ``simultaneous_low`` and ``simultaneous_high``, where there are intervals.
        above: further marks, on the intervals and below the dots.
        at: values with a dashed line.
        size: of the dots.
    """
    return frame.panel(frame.rule(*at), frame.intervals(rows), *above, frame.dots(rows, size=size))


def line_panel(frame: Frame, rows: pl.DataFrame, *behind: Marks, at: Sequence[float] = (), size: int = 36) -> Panel:
    """Lines through dots with intervals, on lines for what they are held against.

    Args:
        frame: values up.
        rows: with ``low`` and ``high`` where there are intervals.
        behind: further marks, below all others.
        at: values with a dashed line.
        size: of the dots.
    """
    bars = frame.spans(rows, width=1.5, opacity=0.5)
    return frame.panel(frame.rule(*at), *behind, bars, frame.lines(rows), frame.dots(rows, size=size))


def heat_map(
    cells: pl.DataFrame, x: Names | Steps, y: Names | Steps, ramp: Ramp, *, title: str | alt.TitleParams,
    width: float, height: float,
) -> Panel:  # fmt: skip
    """One cell for each pair of places.

    Args:
        cells: with a column ``hover``.
        x: across.
        y: down.
        ramp: the colours.
        title: above the panel.
        width: in pixels.
        height: in pixels.
    """
    panel: alt.Chart = (
        alt.Chart(cells.select(x.column, y.column, ramp.column, "hover"), title=title)
        .mark_rect()
        .encode(x.encode("x"), y.encode("y"), ramp.encode(), description="hover:N")
        .properties(width=width, height=height)
    )
    return panel


def facets(
    rows: pl.DataFrame, column: str, labels: Iterable[_Label], draw: Callable[[pl.DataFrame, _Label], Panel]
) -> tuple[Panel, ...]:
    """Small multiples: one panel for each label of which there are rows.

    Args:
        rows: of all panels.
        column: of the labels.
        labels: in their order.
        draw: one panel of some rows and their label.
    """
    parts = ((label, rows.filter(pl.col(column) == label)) for label in labels)
    return tuple(draw(part, label) for label, part in parts if not part.is_empty())


def present(*figures: Figure | None) -> tuple[Figure, ...]:
    """The figures that have something to draw."""
    return tuple(figure for figure in figures if figure is not None and figure.panels)


def kept_names(
    rows: pl.DataFrame, column: str = "module", most: int = 40, what: str = "modules"
) -> tuple[list[str], str]:
    """The names that are drawn, from input to output, and what a caption says of those that are not.

    Args:
        rows: with a column ``position``.
        column: of the names.
        most: that are drawn, evenly spread.
        what: they are called.
    """
    first = rows.group_by(column, maintain_order=True).agg(pl.col("position").min()).sort("position", column)
    names = first[column].to_list()
    kept = thinned(names, most)
    return kept, f" {len(kept)} of {len(names)} {what} are drawn; the table holds all." if kept != names else ""


def interval_text(*place: str | pl.Expr, factor: float = 1, digits: int = 4, unit: str = "") -> pl.Expr:
    """The ``hover`` of a value with its interval: ``P-T at stem: 0.81 (0.79 to 0.83)``.

    Args:
        place: words and columns, of where the value is.
        factor: of all numbers.
        digits: that count.
        unit: behind the numbers.
    """
    value, low, high = ((factor * pl.col(name)).round_sig_figs(digits) for name in ("value", "low", "high"))
    return hover(*place, ": ", value, " (", low, " to ", high, f"){unit}")


def values_text(*place: str | pl.Expr, value: str = "value", digits: int = 4) -> pl.Expr:
    """The ``hover`` of a value without an interval.

    Args:
        place: words and columns, of where the value is.
        value: its column.
        digits: that count.
    """
    return hover(*place, ": ", pl.col(value).round_sig_figs(digits))


def listed(rows: pl.DataFrame, label: str, value: str, number: str = ".3g", order: Iterable[str] | None = None) -> str:
    """The mean of each label, for a description: ``P-T 0.81, RI-T 0.74``.

    Args:
        rows: with both columns.
        label: the column of labels.
        value: the column of values.
        number: the format of the means.
        order: of the labels; None takes that of the rows.
    """
    means = dict(rows.drop_nulls(value).group_by(label, maintain_order=True).agg(pl.col(value).mean()).iter_rows())
    named = [f"{name} {means[name]:{number}}" for name in (means if order is None else order) if name in means]
    return ", ".join(named) or "not defined"


def faint(lines: float) -> float:
    """The opacity of bands that lie on each other: together they are as dark as one.

    >>> faint(1) == 1 - 0.82, faint(4) < faint(2)
    (True, True)
    """
    return float(1 - 0.82 ** (1 / max(1, lines)))


def pointed(data: pl.DataFrame, *line: str) -> pl.DataFrame:
    """The points that answer to a pointer.

    Some twenty places of a line are enough; a mark for each would make the page ten times heavier.

    Args:
        data: points, in order along their lines.
        line: the columns that tell lines apart.
    """
    every = max(1, round(data.height / max(1, data.select(line).n_unique()) / 20))
    return data.filter(pl.int_range(pl.len()).over(line) % every == 0)
