"""What may import what: the arrows of docs/architecture.md, at the top of a module and within functions."""

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "transferscope"
PACKAGE = "transferscope"

SPINE = {"errors", "factories", "frozen"}
# Part of the package -> the other parts it may import. Types alone (under TYPE_CHECKING) may come from anywhere.
MAY: dict[str, set[str]] = {
    "errors": set(),
    "frozen": set(),
    "bounds": set(),
    "factories": {"errors"},
    "measures": {"bounds", "errors"},
    "store": {"errors"},
    "networks": {*SPINE, "specs", "store"},
    "data": {*SPINE, "store", "training.recipe"},
    "training": {*SPINE, "data", "measures", "networks", "specs", "store"},
    "specs": {"frozen", "data.spec", "networks.settings", "training.recipe"},
    "study": {
        "factories",
        "frozen",
        "analyses",
        "data",
        "networks.settings",
        "training.origin",
        "training.pretraining",
        "training.recipe",
    },
    "published": set(),
    "keys": set(),
    "analyses": {*SPINE, "bounds", "data", "keys", "measures", "networks", "published", "specs", "training"},
    "plots": {"errors", "keys"},
    "report": {
        *SPINE,
        "analyses",
        "bounds",
        "keys",
        "measures.meta_analysis",  # one mean over several finished studies, which no analysis of one study has
        "plots",
        "running.results",
        "store",
        "study_file",
    },
    "running": {*SPINE, "analyses", "data", "networks", "specs", "store", "streams", "study", "training"},
    "streams": {"errors"},
}
# Libraries that only some parts may use.
LIBRARIES: dict[str, set[str]] = {
    "torch": {"analyses", "data", "measures", "networks", "running", "training"},
    "timm": {"networks"},
    "torchvision": {"data", "networks"},
    "altair": {"plots"},
    "vl_convert": {"plots"},
    "jinja2": {"report"},
    "typer": {"cli", "commands"},
    "rich": {"commands", "running"},
    "filelock": {"store"},
}
# The measures are tensors in, tensors out.
MEASURES_MAY = {"torch", "scipy", "numpy", "math", "dataclasses", "typing", "collections", "contextlib", "functools"}
# Modules that hold settings: the command reads them before it loads anything heavy.
LIGHT = (
    "errors",
    "factories",
    "frozen",
    "specs",
    "study",
    "study_file",
    "networks.settings",
    "data.spec",
    "training.recipe",
    "training.origin",
)
HEAVY = {"torch", "timm", "torchvision", "sklearn", "altair", "vl_convert"}
# The top: they may use everything below.
TOP = {"", "__main__", "cli", "commands", "starter"}


@dataclass(frozen=True)
class Arrow:
    """One import: by which module, of what, in which line, for types alone, within a function."""

    module: str
    target: str
    line: int
    types: bool
    late: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def part(module: str) -> str:
    return module.split(".")[0]


def arrows_of(source: str, module: str, package: bool = False) -> list[Arrow]:
    return list(_walk(ast.parse(source), module, package, types=False, late=False))


def _walk(node: ast.AST, module: str, package: bool, *, types: bool, late: bool) -> Iterator[Arrow]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Arrow(module, alias.name, child.lineno, types, late)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = [PACKAGE, *module.split(".")]
                parents = parents[: len(parents) + package - child.level]
                base = ".".join([*parents, *([base] if base else [])])
            # "from transferscope.networks import weights" may name a module: the longer name is tried first.
            for alias in child.names:
                yield Arrow(module, f"{base}.{alias.name}", child.lineno, types, late)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for each in child.body:
                yield from _walk(ast.Module([each], []), module, package, types=True, late=late)
            for each in child.orelse:
                yield from _walk(ast.Module([each], []), module, package, types=types, late=late)
        else:
            within = late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _walk(child, module, package, types=types, late=within)


@functools.cache
def arrows() -> list[Arrow]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        words = path.relative_to(ROOT).with_suffix("").parts
        package = words[-1] == "__init__"
        name = ".".join(words[:-1] if package else words)
        found += arrows_of(path.read_text(encoding="utf-8"), name, package)
    return found


def own(arrow: Arrow) -> str | None:
    """The module of ours that is imported, without the package's name."""
    if part(arrow.target) != PACKAGE:
        return None
    return arrow.target.removeprefix(PACKAGE).removeprefix(".")


def against(found: list[Arrow]) -> list[str]:
    wrong = []
    for arrow in found:
        target, by = own(arrow), part(arrow.module)
        if target is None or arrow.types or by in TOP or by.startswith("study_"):
            continue
        if by not in MAY:
            wrong.append(f"{arrow.module}: a part that these rules do not know")
        elif part(target) != by and not any(f"{target}.".startswith(f"{name}.") for name in MAY[by]):
            wrong.append(str(arrow))
    return wrong


def test_the_arrows_hold() -> None:
    found = arrows()
    assert len(found) > 500
    assert not against(found)


def test_libraries_stay_where_they_belong() -> None:
    wrong = [
        str(arrow)
        for arrow in arrows()
        if not arrow.types and part(arrow.module) not in LIBRARIES.get(part(arrow.target), {part(arrow.module)})
    ]
    assert not wrong


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
    for path in sorted((ROOT / "analyses").glob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        used = [node for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node) == "evidence.tables"]
        wrong += [f"{path.name}:{node.lineno}" for node in used if path.name != "evidence.py"]
    assert not wrong


def test_no_module_is_called_by_what_it_is_not() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "tools"}
    assert [path.parent.name for path in ROOT.rglob("base.py")] == ["sources"]


def test_settings_and_pictures_load_without_torch() -> None:
    plots = [f"plots.{path.stem}" for path in sorted((ROOT / "plots").glob("[a-z]*.py"))]
    report = [f"report.{path.stem}" for path in sorted((ROOT / "report").glob("[a-z]*.py"))]
    program = "\n".join(
        [
            "import importlib, json, sys",
            f"for name in {LIGHT!r}: importlib.import_module('{PACKAGE}.' + name)",
            "light = sorted(sys.modules)",
            f"for name in {(*plots, *report)!r}: importlib.import_module('{PACKAGE}.' + name)",
            "print(json.dumps([light, sorted(sys.modules)]))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    light, pictures = json.loads(done.stdout)
    assert not HEAVY & set(light)
    assert not {"torch", "timm", "torchvision", "sklearn"} & set(pictures)


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("measures.cka", "from transferscope.networks.modules import find_module", True),
        ("measures.cka", "def f():\n    import transferscope.analyses.path", True),
        ("measures.cka", "from transferscope.measures.metrics import metric", False),
        ("networks.weights", "def f():\n    from transferscope.running import run", True),
        ("networks.weights", "from ..running.run import run_study", True),
        ("networks.weights", "from .modules import find_module", False),
        ("training.loop", "from transferscope.analyses import contract", True),
        ("analyses.path", "if TYPE_CHECKING:\n    from transferscope.running.context import Context", False),
        ("analyses.path", "from transferscope.running.context import Context", True),
        ("analyses.path", "class A:\n    def f(self):\n        from transferscope import plots", True),
        ("data.spec", "from transferscope.training.recipe import Recipe", False),
        ("data.spec", "from transferscope.training.loop import train", True),
        ("report.render", "from transferscope.running.run import run_study", True),
        ("report.render", "from transferscope.running import results", False),
        ("strange.part", "from transferscope.errors import DataError", True),
    ],
)
def test_the_rules_can_fail(module: str, source: str, wrong: bool) -> None:
    assert bool(against(arrows_of(source, module))) is wrong
