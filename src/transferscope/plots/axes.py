"""Axes and colours of panels: quantities, names, and one colour for each label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import altair as alt

from transferscope.plots.theme import colour

__all__ = ["EPOCHS", "Axis", "Channel", "Names", "Ramp", "Shades", "Steps", "Tints", "tints"]

Channel: TypeAlias = Literal["x", "y"]
_CHANNELS: dict[Channel, type[alt.X] | type[alt.Y]] = {"x": alt.X, "y": alt.Y}


@dataclass(frozen=True)
class Axis:
    """A quantity.

    Attributes:
        column: of its values.
        title: with the unit in brackets.
        number: the format of its labels; None for Vega's own.
        domain: lowest and highest, kept as they are; None takes what is drawn.
        zero: whether 0 is in it, where there is no domain.
        kind: of the scale.
        constant: up to which a ``symlog`` scale is linear.
        ticks: the values that are named; None names as many as fit.
        labels: a Vega expression in place of the format.
        grid: whether lines are drawn at the ticks.
        padding: pixels left free at both ends.
        whole: whether only whole numbers are named.
        tight: whether it ends with what is drawn, where there is no domain.
    """

    column: str
    title: str
    number: str | None = None
    domain: Sequence[float] | None = None
    zero: bool | None = None
    kind: Literal["linear", "log", "symlog"] = "linear"
    constant: float | None = None
    ticks: Sequence[float] | None = None
    labels: str | None = None
    grid: bool = True
    padding: float | None = None
    whole: bool = False
    tight: bool = False

    def encode(self, channel: Channel, column: str | None = None) -> alt.X | alt.Y:
        """The channel of a mark; all marks of a panel say the same of it.

        Args:
            channel: across or down.
            column: drawn in place of the axis's own.
        """
        scale = _given(
            type=None if self.kind == "linear" else self.kind, constant=self.constant, domain=self.domain,
            nice=False if self.domain is not None or self.kind != "linear" or self.padding or self.tight else None,
            zero=self.zero, padding=self.padding,
        )  # fmt: skip
        # Axes of quantities up the side begin at one place, so that panels above each other line up.
        axis = _given(
            format=self.number, values=self.ticks, labelExpr=self.labels, grid=None if self.grid else False,
            tickCount=len(self.ticks) if self.ticks else None, minExtent=38 if channel == "y" else None,
            labelOverlap=False if self.labels else "greedy" if self.ticks else None,
            tickMinStep=1 if self.whole else None,
        )  # fmt: skip
        return _CHANNELS[channel](f"{column or self.column}:Q", title=self.title, scale=scale, axis=axis)


EPOCHS = Axis("epoch", "Epoch (passes over the training images)", "d", grid=False, padding=6, whole=True)


@dataclass(frozen=True)
class Names:
    """Names beside each other, in an order of their own.

    Attributes:
        column: of the names.
        title: with what they are of in brackets.
        order: all of them, first to last.
        limit: pixels of a label; 0 shows all of it.
        size: of the labels; None takes what fits their number.
        named: those with a label; None names as many as fit.
        lines: whether each has a line of its own, from its label to its marks.
        cells: whether they are rows or columns of a heat map.
    """

    column: str
    title: str
    order: Sequence[str]
    limit: int = 130
    size: int | None = None
    named: Sequence[str] | None = None
    lines: bool = True
    cells: bool = False

    def encode(self, channel: Channel) -> alt.X | alt.Y:
        """The channel of a mark."""
        many = len(self.order) > 22
        style: dict[str, Any] = {"ticks": False, "labelLimit": self.limit, "labelOverlap": many or self.cells}
        if channel == "x":
            style |= {"labelAngle": -90 if self.cells else -60, "labelFontSize": self.size or 9, "grid": False}
        else:
            size = 10 if len(self.order) > 12 else 11
            style |= {"labelFontSize": self.size or size, "grid": self.lines and not self.cells, "minExtent": 52}
        style |= {"domain": False} if self.cells or channel == "y" else {}
        if self.named is not None:
            style |= {"values": list(self.named), "tickCount": len(self.named), "labelOverlap": False}
        order = list(self.order)
        return _CHANNELS[channel](f"{self.column}:N", title=self.title, sort=order, scale={"domain": order}, axis=style)


@dataclass(frozen=True)
class Steps:
    """Numbers or their words, one cell beside the other, in a heat map.

    Attributes:
        column: of the steps.
        title: with the unit in brackets.
        order: first to last; None sorts them.
        named: those with a label; None names as many as fit.
    """

    column: str
    title: str
    order: Sequence[Any] | None = None
    named: Sequence[Any] | None = None

    def encode(self, channel: Channel) -> alt.X | alt.Y:
        """The channel of a cell."""
        style = _given(
            ticks=False, domain=False, labelAngle=0 if channel == "x" else None, labelOverlap=True, values=self.named,
            tickCount=len(self.named) if self.named else None, minExtent=42 if channel == "y" else None,
        )  # fmt: skip
        order = alt.Undefined if self.order is None else list(self.order)
        return _CHANNELS[channel](f"{self.column}:O", title=self.title, sort=order, axis=style)


@dataclass(frozen=True)
class Tints:
    """One colour for each label of a column; the labels are in the order in which they are read.

    Attributes:
        column: of the labels.
        colours: of each.
        named: whether a chart on its own says what they mean.
    """

    column: str
    colours: Mapping[str, str]
    named: bool = True

    def encode(self) -> alt.Color:
        """The colour of a mark."""
        scale = alt.Scale(domain=list(self.colours), range=list(self.colours.values()))
        legend = alt.Undefined if self.named else None
        return alt.Color(f"{self.column}:N", title=None, scale=scale, legend=legend)

    def legend(self, mark: str) -> tuple[tuple[str, str, str], ...]:
        """Entries of a figure's legend.

        Args:
            mark: of all of them.
        """
        return tuple((label, tint, mark) for label, tint in self.colours.items())


def tints(column: str, labels: Sequence[str]) -> Tints:
    """The colours of variants or of pairs of them: the same for one label in every picture.

    Args:
        column: of the labels.
        labels: in their order.
    """
    return Tints(column, {label: colour(label) for label in labels})


@dataclass(frozen=True)
class Shades:
    """Steps of one colour, from faint to full.

    Attributes:
        column: of the steps.
        title: of what they count.
        steps: from the faintest.
    """

    column: str
    title: str
    steps: Sequence[float]

    def encode(self) -> alt.Opacity:
        """The opacity of a mark."""
        reach = [0.3, 1.0] if len(self.steps) > 1 else [1.0, 1.0]
        return alt.Opacity(f"{self.column}:O", title=self.title, sort=list(self.steps)).scale(range=reach)


@dataclass(frozen=True)
class Ramp:
    """Colours from least to most, of one quantity.

    Attributes:
        column: of the quantity.
        title: of the colour bar.
        low: has the first colour; what is below it too.
        high: has the last colour; what is above it too.
    """

    column: str
    title: str
    low: float
    high: float

    COLOURS = ("#f7fbff", "#d6e5f2", "#a8cbe3", "#67a5cf", "#2f79b5", "#134f8c", "#06264d")
    """One hue, darker is more, readable in grey."""

    def encode(self) -> alt.Color:
        """The colour of a cell."""
        scale = alt.Scale(domain=[self.low, self.high], range=list(self.COLOURS), clamp=True)
        return alt.Color(f"{self.column}:Q", title=self.title, scale=scale)

    def legend(self, low: str, high: str) -> tuple[str, str, tuple[str, ...]]:
        """The ``ramp`` of a figure.

        Args:
            low: what the first colour means.
            high: what the last colour means.
        """
        return low, high, self.COLOURS


def _given(**values: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
            if value is not None}  # fmt: skip
