"""Measure the house: lines by kind, files and lines of an analysis, parameters, imports in a circle.

``python -m tools.house [FOLDER]`` prints one table; ``FOLDER`` is a checkout, this one where none is given.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["circles", "lines_by_kind", "main", "parameters"]

_FORMAT: Final = "{:<28}{:>7}{:>9}{:>9}{:>11}{:>9}"


def lines_by_kind(text: str) -> Counter[str]:
    """Lines of a module: ``code``, ``docstring``, ``comment`` (alone on its line) and ``blank``."""
    total = text.count("\n") + (not text.endswith("\n") and bool(text))
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        for item in body:
            if (
                isinstance(item, ast.Expr)
                and isinstance(item.value, ast.Constant)
                and isinstance(item.value.value, str)
            ):
                docstrings |= set(range(item.lineno, (item.end_lineno or item.lineno) + 1))
    code: set[int] = set()
    comments: set[int] = set()
    skipped = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        where = set(range(token.start[0], token.end[0] + 1))
        if token.type == tokenize.COMMENT:
            comments |= where
        elif token.type not in skipped:
            code |= where
    code -= docstrings
    comments -= code | docstrings
    blank = total - len(code) - len(docstrings) - len(comments)
    return Counter(code=len(code), docstring=len(docstrings), comment=len(comments), blank=blank)


def parameters(text: str) -> Iterator[tuple[int, str]]:
    """How many parameters each function and method takes, ``self`` and ``cls`` left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            names = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            yield sum(name not in ("self", "cls") for name in names), node.name


def imports(folder: Path) -> dict[str, set[str]]:
    """Modules of the package, and which of them each imports, within functions and for types too."""
    modules = {".".join(path.relative_to(folder.parent).with_suffix("").parts): path for path in folder.rglob("*.py")}
    names = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            asked: list[str] = []
            if isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                asked = [f"{node.module}.{alias.name}" for alias in node.names]
            for each in asked:
                known = each if each in names else each.rpartition(".")[0]
                if known in names and known != name:
                    found[name].add(known)
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by others (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def _rows(folder: Path, depth: int = 1) -> Iterator[tuple[str, int, Counter[str]]]:
    parts: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.py")):
        parts.setdefault("/".join(path.relative_to(folder).parts[:-1][:depth]) or ".", []).append(path)
    for name, paths in parts.items():
        yield name, len(paths), sum((lines_by_kind(path.read_text(encoding="utf-8")) for path in paths), Counter())


def main(words: list[str]) -> None:
    """The command."""
    sys.setrecursionlimit(10_000)
    root = Path(words[0]) if words else Path(__file__).resolve().parents[1]
    package = root / "src" / "transferscope"
    print(_FORMAT.format("", "files", "lines", "code", "docstring", "comment"))
    for title, folder in (("src", package), ("tests", root / "tests"), ("tools", root / "tools")):
        whole: Counter[str] = Counter()
        files = 0
        for name, count, kinds in _rows(folder):
            whole, files = whole + kinds, files + count
            if title == "src":
                print(_FORMAT.format(name, count, kinds.total(), kinds["code"], kinds["docstring"], kinds["comment"]))
        line = (files, whole.total(), whole["code"], whole["docstring"], whole["comment"])
        print(_FORMAT.format(f"{title} in all", *line))
    print()
    questions = package / "analyses"
    for name, count, kinds in sorted(_rows(questions), key=lambda row: row[2].total()):
        if name != ".":
            print(_FORMAT.format(name, count, kinds.total(), kinds["code"], kinds["docstring"], kinds["comment"]))
    longest = sorted(
        (
            (count, f"{path.relative_to(package)}: {name}")
            for path in package.rglob("*.py")
            for count, name in parameters(path.read_text(encoding="utf-8"))
        ),
        reverse=True,
    )
    print("\nlongest lists of parameters")
    for count, place in longest[:10]:
        print(f"{count:>4}  {place}")
    print(f"functions with more than 10: {sum(count > 10 for count, _ in longest)}")
    print(f"circles of imports: {len(circles(imports(package)))}")


if __name__ == "__main__":
    main(sys.argv[1:])
