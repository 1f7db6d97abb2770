"""The command answers at once: nothing heavy is imported before it is needed."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "timm", "torchvision", "sklearn", "scipy", "altair", "vl_convert", "polars", "numpy")

LIST_MODULES = """
import contextlib, io, json, sys
from transferscope.cli import app
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    app({arguments!r})
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(program: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["--show-completion", "bash"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not modules_after(LIST_MODULES.format(arguments=arguments)) & set(HEAVY)


def test_reading_a_study_does_not_import_torch() -> None:
    modules = "transferscope.study.file, transferscope.study.schema, transferscope.study.template"
    program = f"import json, sys, {modules}\nprint(json.dumps(sorted(sys.modules)))"
    assert not modules_after(program) & {"torch", "timm", "torchvision", "sklearn", "altair", "vl_convert"}


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "transferscope", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("transferscope ")
