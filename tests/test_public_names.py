"""The public names are a promise: a name appears or goes on purpose, together with this list."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import transferscope

NAMES = [
    "AverageData",
    "AverageStart",
    "BasinGrid",
    "ChoiceData",
    "CkaEstimator",
    "CriticalitySearch",
    "Domain",
    "Evaluation",
    "Execution",
    "Keep",
    "ModuleSelection",
    "NetworkSpec",
    "PathGrid",
    "Recording",
    "Scores",
    "Study",
    "StudyResults",
    "TransferscopeError",
    "__version__",
    "align",
    "average_checkpoints",
    "average_networks",
    "basin_networks",
    "cka",
    "cka_networks",
    "compare",
    "criticality",
    "curve_path",
    "domain_distance",
    "hessian",
    "images_source",
    "lightning_callback",
    "linear_path",
    "load_results",
    "load_study",
    "measures",
    "module_choices",
    "module_paths",
    "plane_around",
    "plane_through",
    "radius_curves",
    "read_watched",
    "rewind",
    "run_study",
    "score",
    "spectra",
    "transformers_callback",
    "watch",
    "write_report",
]


def test_public_names() -> None:
    assert transferscope.__all__ == NAMES
    assert dir(transferscope) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there_and_documented(name: str) -> None:
    value = getattr(transferscope, name)
    assert isinstance(value, str) or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ckaa'"):
        _ = transferscope.ckaa


def test_a_star_import_gives_them_all() -> None:
    names: dict[str, object] = {}
    exec("from transferscope import *", names)
    assert set(NAMES) <= set(names)


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import json, sys, transferscope, transferscope.specs.network, transferscope.errors, transferscope.frozen\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"torch", "timm", "torchvision", "sklearn", "scipy", "altair", "vl_convert", "polars"}
    assert not heavy & set(json.loads(done.stdout))


def test_declared_names_are_there_and_those_of_a_module_have_no_underscore() -> None:
    wrong = []
    for found in pkgutil.walk_packages(transferscope.__path__, "transferscope."):
        if found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        names = getattr(module, "__all__", ())
        wrong += [f"{found.name} has no {name}" for name in names if not hasattr(module, name)]
        private = [name for name in names if name.startswith("_") and name != "__version__"]
        wrong += [f"{found.name}: {name} is private" for name in private]
        if len(set(names)) != len(names):
            wrong.append(f"{found.name}: a name twice")
    assert not wrong
