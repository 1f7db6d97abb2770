"""Tests draw the same examples whatever else is loaded, in whatever order they run."""

import importlib.util
import random
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

ROOT = Path(__file__).parents[1]
CONSTANTS = {
    "floats": st.floats(),
    "bounded floats": st.floats(-3, 3),
    "whole numbers": st.integers(),
    "bounded whole numbers": st.integers(1000, 1000000),
    "text": st.text(),
    "bytes": st.binary(),
    "lists": st.lists(st.floats(-1, 1), max_size=3),
    "records": st.fixed_dictionaries({"a": st.floats(0, 6.3), "b": st.one_of(st.text(), st.integers())}),
}


def examples(strategy: st.SearchStrategy) -> list[str]:
    drawn: list[str] = []

    @settings(max_examples=300)
    @given(strategy)
    def collect(value) -> None:
        drawn.append(repr(value))

    collect()
    return drawn


@pytest.fixture
def loading(tmp_path: Path) -> Iterator:
    """Loads a module that is full of constants, as a project's own modules are."""
    names = []

    def load() -> None:
        numbers = ", ".join(f"{k + 0.123}, {k / 1000 + 0.0001}, {k + 1200}, 'word {k}', b'byte {k}'" for k in range(90))
        path = tmp_path / "full_of_constants.py"
        path.write_text(f"VALUES = [{numbers}]\n")
        spec = importlib.util.spec_from_file_location("full_of_constants", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["full_of_constants"] = module
        names.append("full_of_constants")

    yield load
    for name in names:
        del sys.modules[name]
    providers.CONSTANTS_CACHE.cache.clear()


@pytest.mark.kind("examples")
@pytest.mark.parametrize("name", CONSTANTS)
def test_examples_do_not_depend_on_what_is_loaded(name: str, loading) -> None:
    before = examples(CONSTANTS[name])
    assert len(before) > 100
    loading()
    assert examples(CONSTANTS[name]) == before


@pytest.mark.kind("examples")
def test_every_property_test_is_repeatable_without_saying_so() -> None:
    now = settings()
    assert (now.derandomize, now.database, now.deadline) == (True, None, None)


DRAWN = (random.random(), float(np.random.random()), float(torch.rand(())))


@pytest.mark.kind("examples")
@pytest.mark.parametrize("round", range(2))
def test_what_tests_draw_from_global_generators_does_not_depend_on_their_order(round: int) -> None:
    """Neither in a test, nor at the top of its module."""
    assert (random.random(), float(np.random.random()), float(torch.rand(()))) == DRAWN
    torch.rand(5)  # the next test must not see this


@pytest.mark.kind("examples")
def test_the_tools_of_the_tests_are_pinned_and_what_runs_is_not() -> None:
    pins = {}
    for line in (ROOT / "tests" / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            pins[_plain(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {_plain(re.split(r"[<>=\[]", text)[0]) for text in project["optional-dependencies"]["test"]}
    assert wanted <= pins.keys()
    assert not pins.keys() & {_plain(re.split(r"[<>=\[]", text)[0]) for text in project["dependencies"]}
    assert not pins.keys() & {"torch", "torchvision", "numpy-typing-compat"}, "these follow what the machine has"
    assert "--constraint tests/constraints.txt" in (ROOT / "Makefile").read_text()


def _plain(name: str) -> str:
    return name.replace("_", "-").lower()
