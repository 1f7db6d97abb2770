import os

import pytest

from tests.studies import RECIPE, Trained, bound, study
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.running.run import run_study
from transferscope.store import Store


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """The tiny study, run from end to end once."""
    folder = tmp_path_factory.mktemp("study")
    asked = study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Context:
    """A bound study of which nothing is trained."""
    return bound(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def started(tmp_path_factory) -> Trained:
    """A study of starts other than P and RI: two controls and all transplants, three seeds."""
    folder = tmp_path_factory.mktemp("started")
    asked = study(
        folder,
        training={"recipe": {**RECIPE, "epochs": 2}, "learning_rates": [0.02, 0.1], "extensions": 0},
        seeds=[0, 1, 2],
        analyses=[{"outcome": {"n_bootstrap": 100}}, {"control": {"methods": ["permuted", "spectrum"]}}, "transplant"],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)
