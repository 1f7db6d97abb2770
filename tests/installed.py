"""Packages that somebody else has installed: what pip leaves on the path of Python."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from transferscope.study.registry import GROUP


def install(folder: Path, name: str, analyses: Mapping[str, str], **modules: str) -> Path:
    """A package with entry points for ``analyses`` and the source of its modules; ``folder`` is to go on the path."""
    facts = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "\n".join(f"{key} = {value}" for key, value in analyses.items())
    (facts / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
    return folder


def on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Python finds what is installed in ``folder``, and forgets its ``modules`` afterwards."""
    monkeypatch.syspath_prepend(folder)
    for module in modules:
        # Noted as it is, absent or of another folder, so that it is so again after the test.
        monkeypatch.setitem(sys.modules, module, sys.modules.get(module))
        del sys.modules[module]
