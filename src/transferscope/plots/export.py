"""Charts as files: SVG and PNG, made without a browser and without a network."""

import re
from typing import Any

import vl_convert

from transferscope.errors import printable
from transferscope.plots.theme import OURS

__all__ = ["inline_svg", "png", "svg"]


def svg(chart: Any) -> str:
    """The chart as an SVG document."""
    # Altair checks what it is given as a chart is made; checking the whole again would take most of the time.
    # A control character in a text would abort the process there, not raise.
    text: str = vl_convert.vegalite_to_svg(_printable(chart.to_dict(validate=False)))
    # Vega reads some texts (the titles it tells screen readers) as expressions, in which an escape is a character.
    return _numbered(printable(text, keep="\n\t"))


_ID = re.compile(r'(?<=id=")[a-z_]+\d+(?=")|(?<=url\(#)[a-z_]+\d+(?=\))')


def _numbered(text: str) -> str:
    """Number ids as they come: Vega goes on counting from chart to chart, and no picture may depend on those before."""
    numbers: dict[str, int] = {}
    return _ID.sub(lambda found: f"id{numbers.setdefault(found[0], len(numbers) + 1)}", text)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, keep="\n\t")
    if isinstance(value, dict):
        return {_printable(name): _printable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


def png(drawn: str, scale: float = 2.0) -> bytes:
    """A chart drawn by :func:`svg` as a PNG file, ``scale`` pixels per unit of length."""
    image: bytes = vl_convert.svg_to_png(drawn, scale=scale)
    return image


_OPENING = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_ROLES = re.compile(r' (?:role|aria-roledescription|aria-hidden|class|stroke-miterlimit|pointer-events)="[^"]*"')
_PLACES = re.compile(r' (?:d|transform)="[^"]*"')
_LONG = re.compile(r"(\.\d\d)\d+")


def inline_svg(chart: Any, prefix: str) -> str:
    """The chart as an SVG element for the inside of a page.

    It scales to the width it is given. The roles Vega writes on every mark are dropped (the page names the
    whole picture instead), the text of each mark is kept as ``data-value`` for pointing at it, and ids begin
    with ``prefix``, since a page holds many charts.

    Args:
        chart: a themed chart.
        prefix: unique within the page.

    Returns:
        One ``<svg>`` element.
    """
    text = svg(chart)
    found = _SIZE.search(text)
    if found is None:  # vl-convert always writes it; without it the picture could not scale
        raise ValueError("the SVG has no viewBox")
    width, height = found.groups()
    opening = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" focusable="false">'
    body = _OPENING.sub("", text, count=1)
    body = _ROLES.sub("", body)
    # A label without our mark is Vega's own account of an axis or a group: the page has a better one.
    body = re.sub(r' aria-label="([^"]*)"', lambda match: _value(match.group(1)), body)
    # Hundredths of a pixel are enough for a place; the texts of marks are left as they are.
    body = _PLACES.sub(lambda match: _LONG.sub(r"\1", match.group(0)), body)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    return opening + body


def _value(label: str) -> str:
    return f' data-value="{label.removeprefix(OURS)}"' if label.startswith(OURS) else ""
