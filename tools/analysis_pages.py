"""One page of documentation per analysis, from its card and its class: neither can fall behind the other.

``python -m tools.analysis_pages docs/analyses`` writes them anew.
"""

import re
import sys
from pathlib import Path

import yaml

from transferscope.errors import AnalysisError
from transferscope.report.cards import card
from transferscope.study.analysis_settings import AnalysisSettings
from transferscope.study.registry import BUILT_IN, analysis_type

__all__ = ["page", "write_pages"]

_TYPES = {str: "text", int: "integer", float: "number", bool: "yes or no"}
_HEADINGS = {"Question": "Question", "Definition": "Method", "How to read": "How to read",
             "When not to trust": "When not to trust", "Reference": "Reference"}  # fmt: skip


def page(kind: type[AnalysisSettings]) -> str:
    """The page of an analysis: question, method, columns, how to read, when not to trust, settings.

    Args:
        kind: the class.

    Returns:
        Markdown.

    Raises:
        AnalysisError: the analysis has no method card.
    """
    found = card(kind)
    if found is None:
        raise AnalysisError(
            f"the analysis {kind.name!r} has no method card",
            hint=f"write card.md beside {kind.__module__}",
        )
    parts = [f"# {kind.title}", f"`{kind.name}`, version {kind.version}"]
    for heading, text in found.sections.items():
        if heading == "Reference":
            parts += ["## Columns", _columns(kind), "## Settings", _settings(kind)]
        # Links in angle brackets are links for every reader of Markdown; indices need tags outside of the cards.
        text = re.sub(r"(https://\S+)", r"<\1>", text)
        parts += [f"## {_HEADINGS[heading]}", _indices(text)]
    return "\n\n".join(parts) + "\n"


def write_pages(folder: Path) -> list[Path]:
    """Write the pages of all analyses of this package into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in BUILT_IN:
        place = folder / f"{name}.md"
        place.write_text(page(analysis_type(name)), encoding="utf-8")
        written.append(place)
    return written


def _columns(kind: type[AnalysisSettings]) -> str:
    lines = ["| column | type | unit | meaning | measured on | null means |", "|---|---|---|---|---|---|"]
    for name, column in kind.columns.items():
        unit = "" if column.dtype in (str, bool) else column.unit
        split = {"row": "see `split`", None: ""}.get(column.measured_on, str(column.measured_on))
        meaning = column.meaning.replace("|", "\\|")
        lines.append(
            f"| `{name}` | {_TYPES[column.dtype]} | {unit} | {meaning} | {split} | {column.null or 'never null'} |"
        )
    return "\n".join(lines)


def _settings(kind: type[AnalysisSettings]) -> str:
    dumped = kind().model_dump(mode="json")
    values = {name: dumped[name] for name in kind.setting_names()}
    text = yaml.safe_dump({"analyses": [{kind.name: values} if values else kind.name]}, sort_keys=False)
    return f"```yaml\n{text}```"


def _indices(text: str) -> str:
    def line(words: str) -> str:
        if words.startswith("    "):  # an equation stays as it is typed: tags are not read inside of code
            return re.sub(r"([_^])\{(\w+)\}", r"\1\2", words)
        return re.sub(r"\^\{([^}]*)\}", r"<sup>\1</sup>", re.sub(r"_\{([^}]*)\}", r"<sub>\1</sub>", words))

    return "\n".join(line(words) for words in text.splitlines())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.analysis_pages FOLDER")
    for path in write_pages(Path(sys.argv[1])):
        print(path)
