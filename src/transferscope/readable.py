"""What a notebook or a prompt shows of a result: a few lines, never its arrays."""

import dataclasses
from collections.abc import Mapping
from html import escape
from typing import Any, TypeVar

_T = TypeVar("_T")
_LONGEST = 60
_FEW = 4
_SCALARS = (str, bool, int, float, type(None))


def readable(kind: type[_T]) -> type[_T]:
    """Give a dataclass a short ``repr`` and, for notebooks, its ``text`` or a table of its fields.

    >>> @readable
    ... @dataclasses.dataclass
    ... class Found:
    ...     loss: float
    ...     points: tuple[float, ...]
    >>> Found(0.123456789, tuple(range(100)))
    Found(loss=0.1235, points=<100 of int>)
    """
    # Not by inheritance: a dataclass writes a repr of its own over an inherited one.
    setattr(kind, "__repr__", _line)  # noqa: B010  # mypy knows no methods of a type variable
    setattr(kind, "_repr_html_", _page)  # noqa: B010
    return kind


def _fields(found: Any) -> list[tuple[str, str]]:
    return [(field.name, _short(getattr(found, field.name))) for field in dataclasses.fields(found) if field.repr]


def _line(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in _fields(self))})"


def _page(self: Any) -> str:
    text = getattr(self, "text", None)
    if isinstance(text, str):
        return f"<pre>{escape(text)}</pre>"
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _fields(self))
    return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, _SCALARS):
        said = repr(value)
        return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    if (shape := getattr(value, "shape", None)) is not None:
        return f"<{type(value).__name__} {' × '.join(map(str, shape)) or 'of one number'}>"
    if isinstance(value, Mapping):
        return f"<{len(value)} by name: {', '.join(map(str, list(value)[:_FEW]))}{', …' if len(value) > _FEW else ''}>"
    if isinstance(value, (tuple, list, set, frozenset)):
        items = list(value)
        if len(items) <= _FEW and all(isinstance(item, _SCALARS) for item in items):
            return f"({', '.join(map(_short, items))})"
        return f"<{len(items)} of {type(items[0]).__name__}>"
    return f"<{type(value).__name__}>"
