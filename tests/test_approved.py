"""The files of approved wording: other words fail, and no section outlives its test."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import approved
from tests.approved import FOLDER, approving


def said(folder: Path, write: bool, *texts: str, name: str = "test_it") -> None:
    """As a test with the fixture would say it."""
    fixture = approving(SimpleNamespace(name=name, nodeid=f"x.py::{name}"), "test_x", write)
    next(fixture)(*texts)
    next(fixture, None)


def test_only_what_was_approved_passes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(approved, "FOLDER", tmp_path)
    with pytest.raises(AssertionError, match=r"--approve x\.py::test_it"):
        said(tmp_path, False, "One thing.")
    said(tmp_path, True, "One thing.", "And\n\nanother.")
    said(tmp_path, True, "Else.", name="test_another[a-b]")
    said(tmp_path, False, "One thing.", "And\n\nanother.")
    said(tmp_path, False, "Else.", name="test_another[a-b]")
    for texts in (("One thing.",), ("One thing!", "And another."), ("One thing.", "And\n\nanother.", "More.")):
        with pytest.raises(AssertionError, match="--approve"):
            said(tmp_path, False, *texts)


def test_every_section_is_of_a_test_that_asks_for_it() -> None:
    asking = {
        (path.stem.removeprefix("test_"), item.name)
        for path in Path(__file__).parent.rglob("test_*.py")
        for item in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(item, ast.FunctionDef) and "approved" in {argument.arg for argument in item.args.args}
    }
    kept = {
        (path.stem, line.removeprefix("## ").split("[")[0])
        for path in FOLDER.glob("*.md")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    }
    assert kept == asking
