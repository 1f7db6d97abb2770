"""Nothing is decided by sentences: what a program goes by has a key, words are for readers."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "transferscope"
PROSE = {
    "note",
    "notes",
    "verdict",
    "title",
    "sentence",
    "advice",
    "caveat",
    "caveats",
    "doubt",
    "question",
    "reference",
}
"""Variables, attributes, keys and columns that hold sentences."""
KEYED = {"verdict"}
"""Of these, what may also hold one word of a closed list: ``kept``, ``lost``, ``undecided``."""
PARSING = {
    "startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition", "split", "rsplit", "find",
    "rfind", "index", "count", "contains", "starts_with", "ends_with", "strip_prefix", "strip_suffix",
}  # fmt: skip
SEARCHING = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub"}


def has_words(text: str) -> bool:
    """Whether a text is more than one word or one mark: a blank beside something else."""
    return bool(re.search(r"[^ \n\xa0][ \n\xa0]|[ \n\xa0][^ \n\xa0]", text))


class Search(ast.NodeVisitor):
    """Finds decisions by words in one module, as (line, the text they go by)."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[tuple[int, str]] = []
        self.constants: dict[str, ast.expr] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.constants[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self.constants[node.target.id] = node.value
        self.visit(tree)

    def texts(self, node: ast.expr, *, named: bool = False) -> list[str]:
        """The literal texts of an expression; those of a constant of the module too where ``named``."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [node.value]
        if isinstance(node, ast.JoinedStr):
            return ["".join(text for part in node.values for text in self.texts(part))]
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return [text for item in node.elts for text in self.texts(item, named=named)]
        if isinstance(node, ast.BinOp):
            return [*self.texts(node.left, named=named), *self.texts(node.right, named=named)]
        if named and isinstance(node, ast.Name) and node.id in self.constants:
            return self.texts(self.constants[node.id])
        return []

    def said(self, node: ast.expr) -> str | None:
        """The name under which an expression holds a sentence; None where it holds none that is known."""
        if isinstance(node, ast.BoolOp):
            return next((name for value in node.values if (name := self.said(value))), None)
        if isinstance(node, ast.Call):
            of_column = isinstance(node.func, ast.Attribute) and node.func.attr == "col" and node.args
            if of_column and (texts := self.texts(node.args[0])):
                # A column called name holds the names of numbers; networks and modules have columns of their own.
                return next((text for text in texts if text in PROSE | {"name"}), None)
            return self.said(node.func.value) if isinstance(node.func, ast.Attribute) else None
        name = None
        if isinstance(node, ast.Name):
            name = node.id
        elif isinstance(node, ast.Attribute):
            name = node.attr
            if name == "name" and isinstance(node.value, ast.Name) and node.value.id == "number":
                return "number.name"
        elif isinstance(node, ast.Subscript):
            name = next(iter(self.texts(node.slice)), None)
        return name if name in PROSE else None

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        asks = any(isinstance(op, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)) for op in node.ops)
        texts = [text for side in sides for text in self.texts(side)]
        names = [name for side in sides if (name := self.said(side)) is not None]
        if asks and any(map(has_words, texts)):
            self.found += [(node.lineno, text) for text in texts if has_words(text)]
        elif asks and names and not (set(names) <= KEYED and texts):
            others = [side for side in sides if self.said(side) is None]
            if not others or any(not isinstance(side, ast.Constant) or side.value not in (None, "") for side in others):
                self.found.append((node.lineno, names[0]))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.args:
            method, of = node.func.attr, node.func.value
            texts = self.texts(node.args[0], named=True)
            module = isinstance(of, ast.Name) and of.id == "re"
            if (module and method in SEARCHING) or (not module and method in PARSING):
                self.found += [(node.lineno, text) for text in texts if has_words(text)]
                if not module and not any(map(has_words, texts)) and (name := self.said(of)) is not None:
                    self.found.append((node.lineno, name))
        self.generic_visit(node)

    def visit_MatchValue(self, node: ast.MatchValue) -> None:
        self.found += [(node.lineno, text) for text in self.texts(node.value) if has_words(text)]
        self.generic_visit(node)


def decisions(source: str) -> list[str]:
    return [text for _, text in Search(ast.parse(source)).found]


def all_decisions() -> Iterator[tuple[str, int, str]]:
    tools = SRC.parents[1] / "tools"
    for path in sorted([*SRC.rglob("*.py"), *tools.glob("results/*.py"), tools / "analysis_pages.py"]):
        for line, text in Search(ast.parse(path.read_text(encoding="utf-8"))).found:
            yield str(path.relative_to(SRC if path.is_relative_to(SRC) else tools.parent)), line, text


ALLOWED = {
    "analyses/reuse/analysis.py": {", "},  # a column that lists names of modules; tables have no lists
    # Where a setting is made a whole command, for the eye.
    "commands/reporting.py": {"(transferscope [^`();\\n]*)?--set (?='?(?:))"},
    "plots/export.py": {  # what Vega writes
        'viewBox="0 0 ([\\d.]+) ([\\d.]+)"',
        ' (?:role|aria-roledescription|aria-hidden|class|stroke-miterlimit|pointer-events)="[^"]*"',
        ' (?:d|transform)="[^"]*"',
        ' aria-label="([^"]*)"',
    },
    "plots/module_names.py": {" + "},  # names of modules that were changed together, made shorter to be drawn
    "plots/theme.py": {", blocks of (\\d+) px", " ("},  # the colour of a label that is drawn
    "report/cards.py": {"^## +(.+?) *$", "- ", "^- "},  # Markdown
    "report/classes.py": {"\xa0%"},  # a unit that is not said twice
    "tools/results/collect_evidence.py": {"model name"},  # a key of /proc/cpuinfo
    "tools/results/results_study.py": {"The evidence of docs/results.md: "},  # left out of a heading
    "report/sections.py": {"(?<=\\d) (?=%|points?\\b|seeds?\\b|px\\b)"},  # where lines may not break
    "store/system_errors.py": {  # libraries that say what the system answered in words alone
        "\\bos error (\\d+)\\b|\\[Errno (\\d+)\\]",
        "PytorchStreamWriter failed|unexpected pos \\d+|\\d+ requested and \\d+ written",
        "sentence",
    },
    "study/problems.py": {", "},  # how pydantic lists the values of a literal
    "study/schema.py": {"Attributes:\n", "^    (\\w+): (.*(?:\\n {6,}.*)*)", ", or "},  # docstrings
}
"""What is read of others' formats, or changes how something looks and nothing else."""

PLANTED = {
    "still improving": 'doubt = RISING if "still improving" in found["note"] else short(tables, rival)',
    "single pixels": 'if "single pixels" in labels:\n    hardest = 1',
    "all values": 'blocks = [label for label in labels if label != "all values"]',
    "no batch norm": 'if "no batch norm" not in table["batch_norm"].unique():\n    pass',
    "around ": 'where = name if name.startswith("around ") else f"on {name}"',
    "and P": 'if values and title.endswith("and P"):\n    pass',
    "Unknown value": 'if "Unknown value" in str(error):\n    pass',
    "• ": 'shown = label[2:] if label.startswith("• ") else ""',
    "own statistics": 'rows = table.filter(pl.col("batch_norm") != "own statistics")',
    "No claim": 'open_ = verdict.startswith("No claim")',
    " on ": 'title = number.name.partition(" on ")[0]',
    "^error barrier of (.+)$": 'LINE = re.compile("^error barrier of (.+)$")',
    "trained on": 'KNOWN = "trained on"\ndef known(pair):\n    return pair.endswith(KNOWN)',
    "P_T − ": 'rows = table.filter(pl.col("variant") == f"P_T − {name}")',
    " × ": 'names = title.split(" × ")',
    "name": 'rows = numbers.filter(pl.col("name") == wanted)',
    "note": "if RISING in row['note']:\n    pass",
    "verdict": "shown = item.summary.verdict != results.verdict",
    "title": 'unit = title[title.index("("):]',
    "sentence": 'if "beats" in answer.sentence.lower():\n    pass',
    "number.name": "same = number.name == wanted",
    "spectrum slope": 'match quantity:\n    case "spectrum slope":\n        pass',
}
"""Decisions by words, as they stood in this program or could: what the search must find in each."""

KEYED_DECISIONS = (
    'if row["quantity"] == "error":\n    pass',
    'if found.verdict == "kept":\n    pass',
    'if verdict in ("lost", "undecided"):\n    pass',
    "rows = table.filter(pl.col('batch_norm') != OWN_STATISTICS)",
    "if verdict is not Verdict.NOT_MEASURED:\n    pass",
    'words = note or ""\nif not note:\n    pass\nif title == "":\n    pass\nif note is None:\n    pass',
    'parts = text.split(",")\nif name.startswith(f"{head}."):\n    pass',
    'text = " ".join(words)',
    "words = {1: 'part of the gain', -1: 'none of it'}[sign]",
)


@pytest.mark.parametrize("text", PLANTED)
def test_a_decision_by_words_is_found(text: str) -> None:
    assert text in decisions(PLANTED[text])


@pytest.mark.parametrize("source", KEYED_DECISIONS)
def test_a_decision_by_a_key_is_none(source: str) -> None:
    assert not decisions(source)


def test_nothing_is_decided_by_words() -> None:
    found: dict[str, set[str]] = {}
    for module, line, text in all_decisions():
        assert text in ALLOWED.get(module, ()), f"{module}:{line} decides by the words {text!r}: give it a key"
        found.setdefault(module, set()).add(text)
    assert found == ALLOWED, "what is allowed and stands nowhere any more goes"
