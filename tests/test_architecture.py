"""What may import what: all imports, within functions and for types alone included."""

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.layers import HEAVY, LIBRARIES, LIGHT, MAY, MEASURES_MAY, NEEDS, SHARED_MAY, SPINE
from transferscope.study.registry import BUILT_IN

ROOT = Path(__file__).parents[1] / "src" / "transferscope"
PACKAGE = "transferscope"


@dataclass(frozen=True)
class Arrow:
    """One import: by which module, of what, in which line, within a function."""

    module: str
    target: str
    line: int
    late: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def part(module: str) -> str:
    return module.split(".")[0]


def arrows_of(source: str, module: str, package: bool = False) -> list[Arrow]:
    return list(_walk(ast.parse(source), module, package, late=False))


def _walk(node: ast.AST, module: str, package: bool, *, late: bool) -> Iterator[Arrow]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Arrow(module, alias.name, child.lineno, late)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = [PACKAGE, *module.split(".")]
                parents = parents[: len(parents) + package - child.level]
                base = ".".join([*parents, *([base] if base else [])])
            # "from transferscope.networks import weights" may name a module: the longer name is tried first.
            for alias in child.names:
                yield Arrow(module, f"{base}.{alias.name}", child.lineno, late)
        else:
            within = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, module, package, late=within)


@functools.cache
def sources() -> Mapping[str, Path]:
    """Every module without the package's name, but the package itself, which only passes names on."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        words = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return {name: path for name, path in found.items() if name}


@functools.cache
def arrows() -> list[Arrow]:
    return [
        arrow
        for name, path in sources().items()
        for arrow in arrows_of(path.read_text(encoding="utf-8"), name, path.stem == "__init__")
    ]


def own(arrow: Arrow) -> str | None:
    """What is imported of ours, without the package's name."""
    if part(arrow.target) != PACKAGE:
        return None
    return arrow.target.removeprefix(PACKAGE).removeprefix(".")


def question(module: str) -> str | None:
    """The question whose folder a module lies in."""
    words = module.split(".")
    return words[1] if words[0] == "analyses" and len(words) > 1 and words[1] in BUILT_IN else None


def against(found: Iterable[Arrow]) -> list[str]:
    """The arrows that the layers do not have."""
    wrong = []
    for arrow in found:
        target, by = own(arrow), part(arrow.module)
        if target is None:
            continue
        if by not in MAY:
            wrong.append(f"{arrow.module}: a part that these rules do not know")
        elif part(target) != by and part(target) not in MAY[by]:
            wrong.append(str(arrow))
    return wrong


def across(found: Iterable[Arrow]) -> list[str]:
    """The arrows between questions, and from what questions share, that no declared need explains."""
    wrong = []
    for arrow in found:
        target = own(arrow)
        to = None if target is None else question(target)
        if target is None or to is None or part(arrow.module) != "analyses" or to == (by := question(arrow.module)):
            continue
        declared = SHARED_MAY.get(arrow.module, (set(), ""))[0] if by is None else NEEDS.get(by, set())
        if to not in declared or not target.startswith(f"analyses.{to}.analysis."):
            wrong.append(str(arrow))
    return wrong


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Sets of modules that reach each other."""
    reached = {start: _reached(graph, start) for start in graph}
    together = {
        frozenset({start, *(other for other in reached[start] if start in reached.get(other, ()))})
        for start in graph
        if start in reached[start]
    }
    return sorted(sorted(circle) for circle in together)


def _reached(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += graph.get(module, ())
    return reached


def graph_of(found: Iterable[Arrow], modules: Iterable[str]) -> dict[str, set[str]]:
    """The modules that each module imports."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for arrow in found:
        target = own(arrow)
        while target and target not in graph:
            target = target.rpartition(".")[0]
        if target and target != arrow.module:
            graph[arrow.module].add(target)
    return graph


def test_no_layer_imports_a_higher_one() -> None:
    assert set(MAY) == {part(name) for name in sources()}
    order = list(MAY)
    assert [part for part, lower in MAY.items() if any(order.index(each) >= order.index(part) for each in lower)] == []
    found = arrows()
    assert len(found) > 500
    assert against(found) == []


def test_the_picture_in_the_docs_is_what_is_imported() -> None:
    text = (ROOT.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = dict(re.findall(r"^(\w+)/?  .*(?:\n {13}.*)*?\(([a-z ]+)\)$", text, re.MULTILINE))
    small = {name for name, lower in MAY.items() if not lower - SPINE} - {"measures", "plots", "published", "store"}
    imported: dict[str, set[str]] = {}
    for arrow in arrows():
        target, by = own(arrow), part(arrow.module)
        if target is not None and part(target) not in {by, *small}:
            imported.setdefault(by, set()).add(part(target))
    del imported["__main__"]
    assert {layer: set(names.split()) for layer, names in drawn.items()} == imported


def test_no_module_reaches_itself() -> None:
    assert circles(graph_of(arrows(), sources())) == []


def test_a_question_imports_no_other_but_what_it_needs() -> None:
    assert across(arrows()) == []


def test_declared_needs_are_used() -> None:
    used = {(question(arrow.module) or arrow.module, question(own(arrow) or "")) for arrow in arrows()}
    needs = NEEDS | {name: allowed for name, (allowed, _) in SHARED_MAY.items()}
    assert [(name, need) for name, each in needs.items() for need in each if (name, need) not in used] == []


def test_every_question_has_its_folder() -> None:
    """The class in ``analysis``, its card, nothing but a line in ``__init__``; a plot where there is one."""
    folders = {path.name for path in (ROOT / "analyses").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(BUILT_IN)
    for name in sorted(folders):
        folder = ROOT / "analyses" / name
        assert (folder / "analysis.py").is_file(), name
        assert (folder / "card.md").is_file(), name
        assert len(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body) == 1, name


def test_libraries_stay_where_they_belong() -> None:
    wrong = []
    for arrow in arrows():
        by = part(arrow.module)
        if by == "analyses" and arrow.module.split(".")[-1].startswith("plot"):
            by = "plots"
        if by not in LIBRARIES.get(part(arrow.target), {by}):
            wrong.append(str(arrow))
    assert wrong == []


def test_nothing_in_the_package_imports_the_tools_of_the_repository() -> None:
    assert [str(arrow) for arrow in arrows() if part(arrow.target) in ("tools", "tests", "benchmarks")] == []


def test_measures_are_tensors_in_tensors_out() -> None:
    found = [arrow for arrow in arrows() if part(arrow.module) == "measures" and own(arrow) is None]
    assert found
    assert not [str(arrow) for arrow in found if part(arrow.target) not in MEASURES_MAY]


def test_ray_and_multiprocessing_appear_in_the_executors_alone() -> None:
    allowed = {"multiprocessing": {"running.executors", "running.workers"}, "ray": {"running.executors_ray"}}
    wrong = [str(arrow) for arrow in arrows() if arrow.module not in allowed.get(part(arrow.target), {arrow.module})]
    assert not wrong


def test_no_pickle_on_disk() -> None:
    wrong = [
        str(arrow)
        for arrow in arrows()
        if part(arrow.target) in ("pickle", "dill", "cloudpickle", "joblib", "shelve")
        # The third takes nothing but the error that torch raises where it refuses a file.
        and arrow.module not in ("running.executors", "running.workers", "networks.weight_pickles")
    ]
    assert not wrong


def test_analyses_read_evidence_through_its_door() -> None:
    """``Evidence.tables`` shows test data also to a decision: only ``table`` and ``has`` are for analyses."""
    wrong = []
    for path in sorted((ROOT / "analyses").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        used = [node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node) == "evidence.tables"]
        wrong += [f"{path.name}:{node.lineno}" for node in used if path.name != "evidence.py"]
    assert not wrong


def test_no_module_is_called_by_what_it_is_not() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "tools"}
    assert [path.parent.name for path in ROOT.rglob("base.py")] == ["sources"]


def test_settings_pictures_and_analyses_load_without_torch() -> None:
    light = [name for name in sources() if name in LIGHT or part(name) in ("specs", "study")]
    pictures = [name for name in sources() if part(name) in ("plots", "report")]
    questions = [name for name in sources() if question(name) and name.split(".")[-1] in ("analysis", "plot")]
    assert len(questions) > 50
    program = "\n".join(
        [
            "import importlib, json, sys",
            f"for name in {light!r}: importlib.import_module('{PACKAGE}.' + name)",
            "light = sorted(sys.modules)",
            f"for name in {(*pictures, *questions)!r}: importlib.import_module('{PACKAGE}.' + name)",
            "print(json.dumps([light, sorted(sys.modules)]))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    settings, all_of_them = json.loads(done.stdout)
    assert not HEAVY & set(settings)
    assert not {"torch", "timm", "torchvision", "sklearn"} & set(all_of_them)


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("measures.cka", "from transferscope.networks.modules import find_module", True),
        ("measures.cka", "def f():\n    import transferscope.analyses.path.analysis", True),
        ("measures.cka", "from transferscope.measures.metrics import metric", False),
        ("networks.weights", "def f():\n    from transferscope.running import run", True),
        ("networks.weights", "from ..running.run import run_study", True),
        ("networks.weights", "from .modules import find_module", False),
        ("training.loop", "from transferscope.analyses import contract", True),
        ("methods.compare.compare", "from transferscope.context.context import Context", True),
        ("methods.compare.compare", "if TYPE_CHECKING:\n    from transferscope.study.settings import Study", True),
        ("methods.compare.compare", "def f():\n    from transferscope.analyses.summary import Summary", True),
        ("context.resolved_study", "if TYPE_CHECKING:\n    from transferscope.analyses.evidence import Evidence", True),
        ("context.resolved_study", "if TYPE_CHECKING:\n    from transferscope.study.settings import Study", False),
        ("analyses.path.analysis", "from transferscope.context.context import Context", False),
        ("analyses.path.analysis", "class A:\n    def f(self):\n        from transferscope import report", True),
        ("data.spec", "from transferscope.specs.recipe import Recipe", True),
        ("specs.recipe", "from transferscope.data.spec import Augmentation", False),
        ("report.render", "from transferscope.running import results", False),
        ("report.render", "from transferscope.commands import printing", True),
        ("strange.part", "from transferscope.errors import DataError", True),
    ],
)
def test_the_layers_can_fail(module: str, source: str, wrong: bool) -> None:
    assert bool(against(arrows_of(source, module))) is wrong


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("analyses.path.analysis", "from transferscope.analyses.basin.rows import row", True),
        ("analyses.path.analysis", "from transferscope.analyses.path.rows import row", False),
        ("analyses.path.analysis", "from transferscope.analyses.path_rows import row", False),
        ("analyses.control.analysis", "from transferscope.analyses.learning_rate.analysis import choose", False),
        ("analyses.control.analysis", "from transferscope.analyses.learning_rate.plot import figures", True),
        ("analyses.trends", "from transferscope.analyses.learning_curves.analysis import LearningCurves", True),
    ],
)
def test_the_rule_of_questions_can_fail(module: str, source: str, wrong: bool) -> None:
    assert bool(across(arrows_of(source, module))) is wrong


def test_circles_are_found() -> None:
    types = "if TYPE_CHECKING:\n    from transferscope.store.store import Store"
    found = [*arrows_of(types, "store.entry"), *arrows_of("from .entry import Entry", "store.store")]
    found += arrows_of("from .store import Store", "store.verify")
    assert circles(graph_of(found, ("store.entry", "store.store", "store.verify"))) == [["store.entry", "store.store"]]
