"""Pieces of Markdown."""

from collections.abc import Iterable

__all__ = ["folded", "table"]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; vertical bars in cells are escaped.

    >>> print(table(("a", "b"), [("1|2", "3")]))
    | a | b |
    |---|---|
    | 1\\|2 | 3 |
    """
    names = list(heads)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def folded(title: str, text: str) -> str:
    """Text that opens on request."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"
