"""Numbers printed in the paper, to be drawn behind those of a study. No torch here."""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

__all__ = ["published", "published_of"]


def published(name: str) -> dict[str, Any]:
    """A table of published numbers, with its source and how they were read.

    Args:
        name: of the file.

    Returns:
        ``source, url, figure, setup, reading, definition, image_size, columns, rows``.

    >>> table = published("block_shuffle")
    >>> table["columns"][:2], table["rows"][0][:3]
    (['domain', 'block'], ['quickdraw', '*', 91])
    """
    text = (resources.files("transferscope") / "published" / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def published_of(name: str, domain: str) -> Iterator[dict[str, Any]]:
    """The rows of a published table that are of one target, by column.

    >>> next(published_of("basin", "real"))["domain"]
    'real'
    """
    found = published(name)
    rows = (dict(zip(found["columns"], row, strict=True)) for row in found["rows"])
    return (row for row in rows if row["domain"] == domain)
