"""Method cards: one small Markdown file per analysis, read into parts and turned into HTML."""

import re
import sys
from dataclasses import dataclass
from html import escape
from importlib import resources

from transferscope.errors import AnalysisError
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.registry import beside

SECTIONS = ("Question", "Definition", "How to read", "When not to trust", "Reference")
"""What every card has, in this order."""


@dataclass(frozen=True)
class Card:
    """A method card."""

    name: str
    sections: dict[str, str]

    def html(self) -> list[tuple[str, str]]:
        """Title and HTML of each section."""
        return [(title, html(text)) for title, text in self.sections.items()]


def card(kind: type[AnalysisSettings]) -> Card | None:
    """The card that lies beside the class of an analysis, or is ``CARD`` of its module; None if there is none."""
    if (text := getattr(sys.modules[kind.__module__], "CARD", None)) is not None:
        return parse(kind.name, text)
    package = beside(kind)
    file = None if package is None else resources.files(package) / "card.md"
    return parse(kind.name, file.read_text(encoding="utf-8")) if file is not None and file.is_file() else None


def parse(name: str, text: str) -> Card:
    """A card from its text: ``## Title`` starts a section."""
    pieces = re.split(r"^## +(.+?) *$", text.strip(), flags=re.MULTILINE)
    sections = {title: body.strip("\n").rstrip() for title, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    if tuple(sections) != SECTIONS:
        raise AnalysisError(
            f"the method card of {name!r} does not have its sections",
            expected=", ".join(SECTIONS),
            got=", ".join(sections) or "none",
        )
    return Card(name, sections)


def html(markdown: str) -> str:
    """The little Markdown of the cards as HTML; everything else in it is escaped.

    Paragraphs, ``- `` lists, four-space indented equations, ``**strong**``, ``*emphasis*``, ```code```, bare links,
    ``_{sub}`` and ``^{sup}``.

    >>> html("a *b* <c> x_{i}")
    '<p>a <em>b</em> &lt;c&gt; x<sub>i</sub></p>'
    """
    blocks = [block for block in re.split(r"\n\s*\n", markdown.strip("\n")) if block.strip()]
    return "\n".join(_block(block) for block in blocks)


def _block(block: str) -> str:
    lines = block.splitlines()
    if all(line.startswith("    ") for line in lines):
        return '<div class="equation">' + "<br>".join(_inline(line.strip()) for line in lines) + "</div>"
    if lines[0].startswith("- "):
        items = re.split(r"^- ", block, flags=re.MULTILINE)[1:]
        return "<ul>" + "".join(f"<li>{_inline(' '.join(item.split()))}</li>" for item in items) + "</ul>"
    return f"<p>{_inline(' '.join(block.split()))}</p>"


def _inline(text: str) -> str:
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        f"<code>{escape(part[1:-1])}</code>" if part.startswith("`") and len(part) > 2 else _prose(part)
        for part in parts
    )


def _prose(text: str) -> str:
    text = escape(text, quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"\*(\S(?:.*?\S)?)\*", r"<em>\1</em>", text)
    text = re.sub(r"_\{([^}]*)\}", r"<sub>\1</sub>", text)
    text = re.sub(r"\^\{([^}]*)\}", r"<sup>\1</sup>", text)
    return re.sub(r"(https://[^\s<)]+[^\s<).,])", r'<a href="\1" rel="noreferrer">\1</a>', text)
