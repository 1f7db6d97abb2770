"""What holds for all tests: nothing they draw depends on which other tests or modules were there before."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.approved import Approved, approving
from tools.reliability import Collected, collected

# Where bytecode is not kept, every process that tests start compiles the package anew, and every session the tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Hypothesis also draws numbers and strings that it reads from the source of whatever local modules are loaded, so the
# same test has other examples alone than beside others, and in one worker than in another. It has no setting for that.
providers._get_local_constants = Constants

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Before a module of tests is imported: it may draw at its top level."""
    if isinstance(collector, pytest.Module):
        _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before the fixtures of a test are made, those it shares with others among them."""
    _seed()


# Files whose single tests take long: begun first, so that no worker waits for another at the end.
_FIRST = (
    "test_end_to_end.py",
    "test_wording.py",
    "test_run_stopped.py",
    "test_run_side_by_side.py",
    "test_run_mended.py",
)


_KINDS = pytest.StashKey[Collected]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first; what the tests tell about kinds of faults is kept before slow tests are left out."""
    config.stash[_KINDS] = collected(items)
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else len(_FIRST))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--approve", action="store_true", help="write tests/approved anew from what is said now")


@pytest.fixture
def approved(request: pytest.FixtureRequest) -> Iterator[Approved]:
    """Wording that this test pins, kept in tests/approved."""
    yield from approving(request.node, request.path.stem, request.config.getoption("--approve"))


@pytest.fixture(scope="session")
def kinds_of_faults(request: pytest.FixtureRequest) -> Collected:
    """Of each kind and test function the tests, if all of them are collected."""
    if [Path(argument).resolve() for argument in request.config.args] != [Path(__file__).parent]:
        pytest.skip("asks for all tests, and some were asked for")
    return request.config.stash[_KINDS]
