"""Ask the tests whether they notice: small mistakes, put into the sources one at a time.

    python -m tools.mutations --seed 0 --count 40 [--root CHECKOUT]

Mistakes are drawn from ``measures``, ``methods`` and ``analyses`` of this checkout, over operators and files alike, and
kept in ``tools/mutations.json`` by what the line says, so that the same mistakes can be made in the sources of another
commit, wherever the line has moved. Each is made in a temporary copy; the tests named after the module run first, then
those that import it, then those that import a module that does, until one fails. ``--also CHECKOUT`` draws only lines
that stand in both. A line that none of these tests reaches is said to be so, and counts apart.
"""

import argparse
import ast
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np  # noqa: F401 - imported here for all forks
import polars as pl  # noqa: F401
import pytest
import torch  # noqa: F401

__all__ = ["Mutation", "applied", "drawn", "main", "mutations", "related_tests"]

ROOT: Final = Path(__file__).parents[1]
KEPT: Final = ROOT / "tools" / "mutations.json"
LAYERS: Final = ("measures", "methods", "analyses")
PER_FILE: Final = 2
_PACKAGE: Final = "src/transferscope"
_WORDS: Final = re.compile(r"note|words|title|sentence|text|message|label|__str__|__repr__|caption|describe")
_SWAPPED: Final[dict[type[ast.cmpop], tuple[str, str]]] = {
    ast.Lt: ("<", ">="),
    ast.LtE: ("<=", ">"),
    ast.Gt: (">", "<="),
    ast.GtE: (">=", "<"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: (" is ", " is not "),
    ast.IsNot: (" is not ", " is "),
    ast.In: (" in ", " not in "),
    ast.NotIn: (" not in ", " in "),
}
_OTHER: Final = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "argmin": "argmax"}
_UNREACHED: Final = 87


@dataclass(frozen=True)
class Mutation:
    """One mistake: in ``function`` of ``file``, the ``occurrence``-th line that reads ``before`` reads ``after``."""

    file: str
    function: str
    occurrence: int
    operator: str
    before: str
    after: str

    def rank(self, seed: int) -> str:
        """A place in a random order that depends on what the mistake says, not on where it stands."""
        said = f"{seed}|{self.function}|{self.occurrence}|{self.operator}|{self.before}|{self.after}"
        return hashlib.sha256(said.encode()).hexdigest()


def _edits(node: ast.AST, line: str) -> Iterator[tuple[str, int, int, str]]:
    """Operator, start and end in the line, and what takes the place."""

    def span(part: ast.expr | ast.keyword) -> tuple[int, int]:
        return part.col_offset, part.end_col_offset or 0

    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            start, end = span(left)[1], span(right)[0]
            old, new = _SWAPPED[type(op)]
            if old in line[start:end]:
                at = start + line[start:end].index(old)
                yield "comparison", at, at + len(old), new
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op, right=right):
            old, new = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}[type(op)]
            start, end = span(left)[1], span(right)[0]
            strings = any(isinstance(item, ast.JoinedStr) or _is_text(item) for item in (left, right))
            if old in line[start:end] and not strings:
                at = start + line[start:end].index(old)
                yield "arithmetic", at, at + 1, new
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not dropped", node.col_offset, span(operand)[0], ""
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name) as func) if name in _OTHER:
            yield "min and max", span(func)[1] - len(name), span(func)[1], _OTHER[name]
        case ast.IfExp(test=test, body=body, orelse=other):
            texts = {part: line[slice(*span(part))] for part in (test, body, other)}
            new = f"{texts[other]} if {texts[test]} else {texts[body]}"
            yield "other branch", node.col_offset, node.end_col_offset or 0, new
        case ast.Subscript(slice=ast.Constant(value=int() as value) as index):
            yield "index", *span(index), str(value + 1)
        case ast.Subscript(slice=ast.Slice(lower=lower, upper=upper)):
            for bound in (lower, upper):
                if isinstance(bound, ast.Constant) and isinstance(bound.value, int):
                    yield "index", *span(bound), str(bound.value + 1)
        case ast.Call(keywords=keywords, func=func) if not _raises(func):
            for keyword in keywords:
                start, end = span(keyword)
                if keyword.arg is not None and line[end : end + 2] == ", ":
                    yield "keyword dropped", start, end + 2, ""
                elif keyword.arg is not None and line[start - 2 : start] == ", ":
                    yield "keyword dropped", start - 2, end, ""
        case ast.Constant(value=bool() as value):
            yield "constant", node.col_offset, node.end_col_offset or 0, str(not value)
        case ast.Constant(value=int() as value):
            yield "constant", node.col_offset, node.end_col_offset or 0, str(value + 1)
        case ast.Constant(value=float() as value):
            yield "constant", node.col_offset, node.end_col_offset or 0, repr(value * 2 if value else 1.0)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _raises(func: ast.expr) -> bool:
    name = getattr(func, "attr", getattr(func, "id", ""))
    return name.endswith(("Error", "Warning")) or name in ("warn", "Field", "field", "sorted", "zip")


def mutations(text: str, file: str) -> Iterator[Mutation]:
    """Every mistake that can be made in the functions of a module; not in messages, annotations and declarations."""
    lines = text.splitlines()

    def walk(node: ast.AST, function: str) -> Iterator[Mutation]:
        if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.arguments) or (
            isinstance(node, ast.Call) and _raises(node.func)
        ):
            return
        if isinstance(node, ast.FunctionDef):
            if _WORDS.search(node.name):
                return
            for item in node.body:
                yield from walk(item, node.name)
            return
        single = getattr(node, "lineno", 0) == getattr(node, "end_lineno", -1)
        if function and single and isinstance(node, ast.expr):
            line = lines[node.lineno - 1]
            if line.isascii():
                for operator, start, end, new in _edits(node, line):
                    mutated = line[:start] + new + line[end:]
                    occurrence = _places(lines, line.strip()).index(node.lineno - 1)
                    yield Mutation(file, function, occurrence, operator, line.strip(), mutated.strip())
        skipped = {"annotation", "returns", "decorator_list", "type_params"}
        for name, value in ast.iter_fields(node):
            if name in skipped or (name == "slice" and isinstance(value, ast.Constant | ast.Slice)):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, function)

    yield from walk(ast.parse(text), "")


def _places(lines: list[str], line: str) -> list[int]:
    return [at for at, other in enumerate(lines) if other.strip() == line]


def _sources(root: Path) -> Iterator[Path]:
    for layer in LAYERS:
        for path in sorted((root / _PACKAGE / layer).rglob("*.py")):
            if path.name not in ("__init__.py", "plot.py"):
                yield path


def found_in(root: Path, mutation: Mutation) -> Path | None:
    """The file in which the line stands: the same file, else one that has it in a function of the same name."""
    same = root / mutation.file
    paths = [same] if same.is_file() else []
    paths += [path for path in sorted((root / _PACKAGE).rglob("*.py")) if path != same]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if mutation.before in text and f"def {mutation.function}(" in text:
            at = _places(text.splitlines(), mutation.before)
            if len(at) > mutation.occurrence or (at and path != same):
                return path
    return None


def applied(text: str, mutation: Mutation) -> tuple[str, int]:
    """The text with the mistake, and the number of its line."""
    lines = text.splitlines(keepends=True)
    places = _places([line.rstrip("\n") for line in lines], mutation.before)
    at = places[min(mutation.occurrence, len(places) - 1)]
    lines[at] = lines[at].replace(mutation.before, mutation.after)
    return "".join(lines), at + 1


def drawn(root: Path, seed: int, also: Path | None = None) -> Iterator[Mutation]:
    """All mistakes in a random order, one operator after the other, at most two of a file."""
    queues: dict[str, list[Mutation]] = {}
    for path in _sources(root):
        file = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        for mutation in mutations(text, file):
            queues.setdefault(mutation.operator, []).append(mutation)
    for queue in queues.values():
        queue.sort(key=lambda item: item.rank(seed), reverse=True)
    per_file: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    while any(queues.values()):
        for operator in sorted(queues):
            while queues[operator]:
                mutation = queues[operator].pop()
                if per_file[mutation.file] == PER_FILE or (also is not None and found_in(also, mutation) is None):
                    continue
                try:
                    ast.parse(applied((root / mutation.file).read_text(encoding="utf-8"), mutation)[0])
                except SyntaxError:
                    continue
                if (mutation.before, mutation.after) in seen:
                    continue
                seen.add((mutation.before, mutation.after))
                per_file[mutation.file] += 1
                yield mutation
                break


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def related_tests(root: Path, source: Path) -> list[list[Path]]:
    """Files of tests in the order they are asked in: named after the module, importing it, importing importers."""
    tests = {path: _imported(path) for path in sorted((root / "tests").rglob("test_*.py"))}
    package = root / "src"
    module = ".".join(source.relative_to(package).with_suffix("").parts)
    general = source.stem in ("analysis", "rows", "summary")
    stem = source.parent.name if general or source.parent.name not in LAYERS else source.stem
    named = [path for path in tests if stem in path.stem or (not general and source.stem in path.stem)]
    paths = [path for path in package.rglob("*.py") if module in _imported(path)]
    users = {".".join(path.relative_to(package).with_suffix("").parts) for path in paths}
    importing = [path for path, names in tests.items() if module in names]
    further = [path for path, names in tests.items() if users & names]
    folder = [path for path in tests if path.parent.name == source.relative_to(package / "transferscope").parts[0]]
    asked: set[Path] = set()
    stages = []
    for stage in (named, importing, further, folder if not (named or importing or further) else []):
        stages.append([path for path in stage if path not in asked])
        asked |= set(stage)
    return [stage for stage in stages if stage]


def _copy(root: Path, to: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, to / name)


def _pytest(copy: Path, arguments: Iterable[str], limit: float) -> tuple[int | None, str]:
    """Exit status and output of pytest, in a fork of this process, so that heavy imports are paid for once.

    The status is None after ``limit`` seconds of processor time: other work on the machine changes no outcome.
    """
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1,) * 2)  # a fork begins at 0
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.chdir(copy)
            os.environ["PYTHONPATH"] = str(copy / "src")
            sys.path[:0] = [str(copy), str(copy / "src")]
            for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "tools", "transferscope")]:
                del sys.modules[name]
            sys.argv = ["pytest"]
            code = pytest.main(
                ["-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE", "--disable-warnings", *arguments]
            )
            sys.stdout.flush()
            os._exit(int(code))
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what tests left running
        output.seek(0)
        return (None if status in (-signal.SIGXCPU, -signal.SIGKILL) else status), output.read()


def _first_failure(said: str) -> str:
    for line in said.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split(" ", 1)[1].split(" - ")[0]
    return ""


def _probed(text: str, line: int) -> str:
    """The text with an end of the process before the statement of this line."""
    tree = ast.parse(text)
    end = ast.parse(f"__import__('os')._exit({_UNREACHED})").body[0]
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                for at, item in enumerate(value):
                    simple = isinstance(item, ast.stmt) and not hasattr(item, "body")
                    header = isinstance(item, ast.If | ast.For | ast.While | ast.With) and (
                        item.lineno <= line < item.body[0].lineno
                    )
                    if (simple and item.lineno <= line <= (item.end_lineno or 0)) or header:
                        value.insert(at, end)
                        return ast.unparse(ast.fix_missing_locations(tree))
    return text


def judged(copy: Path, mutation: Mutation, limit: float) -> tuple[str, str]:
    """Where the line stands, and what catches it, or ``survived``, ``not reached``, ``too slow``, ``gone``."""
    source = found_in(copy, mutation)
    if source is None:
        return mutation.file, "gone"
    text = source.read_text(encoding="utf-8")
    mutated, line = applied(text, mutation)
    place = f"{source.relative_to(copy / _PACKAGE).as_posix()}:{line}"
    stages = related_tests(copy, source)
    left_out: list[str] = []
    try:
        for stage in stages:
            while True:
                source.write_text(mutated, encoding="utf-8")
                asked = [str(path.relative_to(copy)) for path in stage] + [f"--deselect={name}" for name in left_out]
                code, said = _pytest(copy, asked, limit)
                if code is None:
                    source.write_text(text, encoding="utf-8")
                    ends = _pytest(copy, asked, limit)[0] is not None
                    return place, "caught by a run that does not end" if ends else "too slow"
                failed = _first_failure(said)
                if code in (0, 5):
                    break
                if not failed:
                    return place, f"pytest ended with {code}"
                source.write_text(text, encoding="utf-8")
                if _pytest(copy, [failed], limit)[0] == 0:
                    return place, f"caught by {failed}"
                left_out.append(failed)  # it fails without the mistake, too
        source.write_text(_probed(text, line), encoding="utf-8")
        for stage in stages:
            asked = [str(path.relative_to(copy)) for path in stage] + [f"--deselect={name}" for name in left_out]
            if _pytest(copy, asked, limit)[0] not in (0, 5):
                return place, "survived"
        return place, "not reached"
    finally:
        source.write_text(text, encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose sources and tests are asked")
    parser.add_argument("--also", type=Path, help="when drawing: only lines that stand in this checkout, too")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of processor time for one run of tests")
    parser.add_argument("--only", type=int, nargs=2, help="of the kept ones: from this on, and up to that, from 0 on")
    parser.add_argument("--draw", action="store_true", help="draw anew instead of taking those that are kept")
    arguments = parser.parse_args()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() and not arguments.draw else {}
    if (kept.get("seed"), kept.get("count")) != (arguments.seed, arguments.count):
        made = [asdict(item) for item in islice(drawn(ROOT, arguments.seed, arguments.also), arguments.count)]
        kept = {"seed": arguments.seed, "count": arguments.count, "mutations": made}
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        _copy(arguments.root, copy)
        for row in kept["mutations"][slice(*(arguments.only or (None,)))]:
            mutation = Mutation(**row)
            place, outcome = judged(copy, mutation, arguments.limit)
            outcomes["caught" if outcome.startswith("caught") else outcome] += 1
            change = f"{mutation.before}  →  {mutation.after}"
            print(f"| {place} | {mutation.operator} | `{change}` | {outcome} |", flush=True)
    print(", ".join(f"{name}: {count}" for name, count in sorted(outcomes.items())), f"of {outcomes.total()}")


if __name__ == "__main__":
    main()
