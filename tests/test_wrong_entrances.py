"""Wrong arguments where files, folders, training loops and settings come in: an error of our own that says what to do.

What a user may import is what ``transferscope.__all__`` and the pages of docs name: these, and the functions that
tests/test_wrong_arguments.py walks.
"""

import dataclasses
import importlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import transferscope as ts
from tests.test_wrong_arguments import BATCHES, METHODS, NOT_FITTING, PUBLIC, A, B, X, function_of, refused, variants
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.errors import TransferscopeError
from transferscope.methods.compare.weights import compare_weights
from transferscope.networks.stored_tensors import StoredTensors
from transferscope.running.results import AnalysisResult

pytestmark = pytest.mark.kind("entrances")

PIXELS = np.random.default_rng(0).integers(0, 255, (8, 6, 6, 3)).astype("uint8")
RUN = {"start": B, "out": "run", "keep": ts.Keep(), "recording": ts.Recording(), "probe": X, "name": "n", "group": "g"}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "images_source": (
        ts.images_source,
        {
            "images": PIXELS, "labels": np.arange(8) % 2, "classes": ["a", "b"], "groups": list("aabbccdd"),
            "splits": ["train"] * 4 + [None] * 4, "folder": "images",
        },
    ),
    "lightning_callback": (ts.lightning_callback, {**RUN, "module": ""}),
    "transformers_callback": (ts.transformers_callback, RUN),
    "watch": (ts.watch, {"model": A, **RUN, "architecture": "timm:x", "resume": False}),
    "read_watched": (ts.read_watched, {"folder": "nowhere"}),
    "load_results": (ts.load_results, {"folder": "nowhere", "store": "store", "allow_code": False}),
    "load_study": (ts.load_study, {"path": "nowhere", "overrides": (), "allow_code": False}),
    "compare_weights": (
        compare_weights,
        {"a": StoredTensors(A.state_dict()), "b": StoredTensors(B.state_dict()), "ranks": True},
    ),
    "StoredTensors": (StoredTensors, {"source": A.state_dict(), "which": None}),
    "Keep": (ts.Keep, vars(ts.Keep())),
    "Recording": (ts.Recording, vars(ts.Recording())),
}  # fmt: skip
ABSENT = {"read_watched", "load_results", "load_study"}
"""Rows that are no right call by themselves."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written where nothing was named lies here; whether it outlives a crash is not asked."""
    monkeypatch.chdir(tmp_path)
    for module in ("lightning_callback", "transformers_callback"):  # their packages take seconds to import
        place = importlib.import_module(f"transferscope.watching.{module}")
        monkeypatch.setattr(place, "_callback_class", lambda: lambda *given: given)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def fresh(function: Callable[..., Any], row: dict[str, Any]) -> Callable[..., Any]:
    """A watch that was made is closed, and the next one has a folder of its own."""
    counter = iter(range(1000))

    def call(**given: Any) -> object:
        if function is not ts.watch:
            return function(**given)
        with function(**{**given, "out": f"run-{next(counter)}"} if given["out"] is row["out"] else given):
            return None

    return call


@pytest.mark.parametrize("name", CALLS)
def test_right_arguments_fit_and_wrong_ones_are_named(name: str) -> None:
    function, row = CALLS[name]
    call = fresh(function, row)
    if name not in ABSENT:
        call(**row)
    wrong = [text for word in row for text in refused(call, name, word, row, variants(row[word]))]
    # A probe and groups may be any tensors and names; a callback looks at a batch when it has the network.
    allowed = re.compile(r"\((probe|groups)=(complex tensor|object|complex number|module)\): taken")
    assert not [text for text in wrong if not allowed.search(text)]


SETTINGS: dict[str, tuple[str, str]] = {
    "AverageData": ("average_networks", "data"),
    "AverageStart": ("average_networks", "start"),
    "BasinGrid": ("basin_networks", "grid"),
    "ChoiceData": ("module_choices", "data"),
    "CkaEstimator": ("cka", "estimator"),
    "CriticalitySearch": ("criticality", "search"),
    "Domain": ("domain_distance", "source"),
    "Evaluation": ("linear_path", "evaluation"),
    "Execution": ("cka", "execution"),
    "ModuleSelection": ("rewind", "modules"),
    "PathGrid": ("compare", "path"),
}
"""Settings, and a function and its argument that they are for: they are looked at when they are used."""

TELLING = ("None", "text", "object", "negative", "NaN", "infinite", "empty list", "sparse tensor", "array of text")


def fields_of(name: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(getattr(ts, name)):
        if field.default is not dataclasses.MISSING:
            yield field.name, field.default
        elif field.default_factory is not dataclasses.MISSING:
            yield field.name, field.default_factory()
        else:
            yield field.name, A if field.name == "network" else BATCHES


@pytest.mark.parametrize("name", SETTINGS)
def test_wrong_settings_are_named_where_they_are_used(name: str) -> None:
    taker, argument = SETTINGS[name]
    given = METHODS[taker]
    right = dict(fields_of(name)) | ({"device": "cpu"} if "device" in dict(fields_of(name)) else {})

    def call(**settings: Any) -> object:
        return function_of(taker)(**{**given, argument: getattr(ts, name)(**settings)})

    values = {kind: NOT_FITTING[kind] for kind in TELLING}
    assert not [text for word in right for text in refused(call, name, word, right, values)]


def results(*, drawn: bool = True) -> ts.StudyResults:
    study = ts.Study(
        name="tiny",
        source={"architecture": "timm:test_resnet", "weights": "timm"},
        target={"data": {"kind": "folder", "path": "photos"}, "image_size": 32},
    )
    table = pl.DataFrame({"seed": [0, 1], "value": [0.5, 0.6]}) if drawn else None
    item = AnalysisResult(LearningRate(), table, {}, None, None)
    return ts.StudyResults(
        study=study, headline=pl.DataFrame({"metric": ["top1"]}), gap=(), verdict="", analyses=(item,), manifest={}
    )


OF_RESULTS: dict[str, dict[str, Any]] = {
    "table": {"name": "headline"},
    "figure": {"name": "nothing"},
    "to_pandas": {"name": "headline"},
    "to_xarray": {"name": "learning_rate", "dims": ["seed"]},
    "network": {"variant": "P_T", "seed": 0},
    "export": {"variant": "P_T", "seed": 0, "output": ".", "force": False},
    "write_report": {"folder": None},
}
OF_STUDY: dict[str, dict[str, Any]] = {
    "plan": {"store": "store"}, "run": {"store": "store", "quiet": True}, "results": {"store": "store"},
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_RESULTS, *OF_STUDY])
def test_wrong_arguments_of_studies_and_results_are_named(name: str) -> None:
    found = results(drawn=name != "figure")
    row = (OF_RESULTS | OF_STUDY)[name]
    method = getattr(found if name in OF_RESULTS else found.study, name)
    # A path that fits is where a plan, a run or a report would begin.
    paths = {"text", "no text", "path", "bool"} if name in (*OF_STUDY, "write_report") else set()
    for word in row:
        wrong = {kind: value for kind, value in variants(row[word]).items() if kind not in paths}
        assert not refused(method, name, word, row, wrong)


def test_columns_and_rows_of_a_table_are_named() -> None:
    for where in ({"sede": 0}, {"seed": object()}, {"seed": [1, 2]}, {"seed": "x"}, {"seed": None}):
        with pytest.raises(TransferscopeError):
            results().to_xarray("learning_rate", **where)


def test_everything_public_is_walked() -> None:
    functions = {name for name in ts.__all__ if callable(getattr(ts, name)) and not isinstance(getattr(ts, name), type)}
    assert functions <= {*PUBLIC, *CALLS}
    settings = {name for name in ts.__all__ if dataclasses.is_dataclass(getattr(ts, name))}
    assert settings - {"StudyResults", "Scores"} == {*SETTINGS, "Keep", "Recording"}
    public = {name for name, value in vars(ts.StudyResults).items() if callable(value) and not name.startswith("_")}
    assert public == set(OF_RESULTS)


def test_long_groups_and_splits_tell_two_sets_of_images_apart() -> None:
    """NumPy shows the ends of a long array alone; a folder named after that would be the older one."""
    count = 1200
    pixels = np.zeros((count, 1, 1, 3), np.uint8)
    labels, groups = np.arange(count) % 2, np.arange(count)
    other = groups.copy()
    other[count // 2] = 0
    listings = [ts.images_source(pixels, labels, groups=each, folder="images").listing() for each in (groups, other)]
    assert [listing.groups[count // 2] for listing in listings] == [str(count // 2), "0"]


def test_words_of_data_frames_are_labels_and_splits() -> None:
    series = np.array(["cat", "dog"] * 4, dtype=object)
    splits = np.array(["train", None, float("nan"), "test"] * 2, dtype=object)
    listing = ts.images_source(PIXELS, series, splits=splits, folder="images").listing()
    assert listing.classes == ("cat", "dog")
    assert listing.splits == ["train", None, None, "test"] * 2


def test_what_networks_keep_beside_their_tensors_is_no_weight() -> None:
    state = {**A.state_dict(), "0._extra_state": {"scale": 2}}
    assert list(StoredTensors(state).infos) == list(A.state_dict())
    assert compare_weights(StoredTensors(state), StoredTensors(state)).total.relative == 0


def test_classes_without_an_order_are_refused() -> None:
    for classes in ({"a", "b"}, {0: "a", 1: "b"}):
        with pytest.raises(TransferscopeError, match="as classes"):
            ts.images_source(PIXELS, np.arange(8) % 2, classes=classes, folder="images")


@pytest.mark.parametrize("path", ["a\0b", b"bytes", 3])
def test_what_is_no_path_is_named(path: Any) -> None:
    for call in (ts.load_results, ts.read_watched, ts.load_study):
        with pytest.raises(TransferscopeError):
            call(path)
