"""A study from its settings to its tables; run again; with a pre-training of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

import transferscope.running.run as run_module
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import SMALL, trainings
from transferscope.analyses.contract import checked
from transferscope.analyses.finished import table_of
from transferscope.context.resolve import resolve
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.store.verify import verify
from transferscope.study.registry import BUILT_IN, parse_analysis

# -- one run -------------------------------------------------------------------------------------------------


def test_every_analysis_ends_in_its_declared_table(finished: FinishedStudy) -> None:
    results = finished.results
    names = [result.analysis.name for result in results.analyses]
    asked = [analysis.name for analysis in finished.study.analyses]
    assert sorted(names) == sorted([*asked, "learning_rate", *["learning_curves"] * ("learning_curves" not in asked)])
    for result in results.analyses:
        assert result.skip_reason is None
        assert result.table is not None
        assert result.table.height > 0
        assert checked(result.analysis, result.table).equals(result.table)
        assert result.summary is not None
        assert result.summary.verdict
    assert set(results.headline["variant"]) == {"RI", "P", "RI_T", "P_T"}
    assert [number.basis for number in results.gap] == ["range", "examples"]
    assert len(results.manifest["networks"]) == 10
    assert verify(Store(finished.store)) == []


def test_a_second_run_trains_and_measures_nothing_and_says_the_same(
    finished: FinishedStudy, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    def never(*arguments: Any) -> str:
        raise AssertionError("there is nothing to do")

    monkeypatch.setattr(run_module, "do", never)
    before = tiny.contents(finished.store)
    again = run_study(finished.study, finished.store, quiet=True, command="again")
    for one, other in zip(finished.results.analyses, again.analyses, strict=True):
        assert one.table is not None
        assert other.table is not None
        assert one.table.equals(other.table)
        assert (one.summary, one.files) == (other.summary, other.files)
    assert again.headline.equals(finished.results.headline)
    assert (again.gap, again.verdict) == (finished.results.gap, finished.results.verdict)
    assert tiny.contents(finished.store) == before
    assert {event["kind"] for event in told} <= {"round", "note"}
    rounds = [event for event in told if event["kind"] == "round"]
    assert sum(event["trainings"] + event["units"] for event in rounds) == 0


def test_the_outcome_is_always_among_the_analyses(tmp_path: Path) -> None:
    results = run_study(tiny.study(tmp_path, {**SMALL, "analyses": ["learning_rate"]}), tmp_path / "store", quiet=True)
    assert {result.analysis.name for result in results.analyses} == {"learning_rate", "outcome"} | {"learning_curves"}
    assert results.verdict


def test_an_analysis_that_does_not_apply_gives_its_reason(tmp_path: Path) -> None:
    study = tiny.study(tmp_path, {**SMALL, "analyses": ["outcome", "path"]})
    results = run_study(study, tmp_path / "store", quiet=True)
    path = next(result for result in results.analyses if result.analysis.name == "path")
    assert path.skip_reason == "a path between two networks needs at least two seeds"
    assert path.table is None
    assert path.summary is None


def test_the_memory_format_is_measured_once_per_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferscope.context import resolve as module

    study = tiny.study(tmp_path, {"training": {"recipe": {"memory_format": "auto"}}})
    store = Store(tmp_path / "store")
    first = resolve(study, store)

    def never(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("it was measured before")

    monkeypatch.setattr(module, "probe", never)
    assert resolve(study, store) == first
    assert first.memory_format in ("contiguous", "channels_last")
    assert first.recipe(0.1).memory_format == first.memory_format


# -- a pre-training of our own -------------------------------------------------------------------------------


def test_a_pre_training_is_trained_once_and_first(tmp_path: Path, jobs: list[str]) -> None:
    study = tiny.study(tmp_path, {**SMALL, **tiny.pretrained(tmp_path)})
    results = run_study(study, tmp_path / "store", quiet=True)
    # Whoever needs no parent trains with it.
    assert trainings(jobs) == [
        "train RI-T[1000] at 0.05, rate search",
        "train pre-training[2000] at 0.05",
        "train P-T[1000] at 0.05, rate search",
        "train RI-T[0] at 0.05",
        "train P-T[0] at 0.05",
    ]
    assert trainings(jobs).count("train pre-training[2000] at 0.05") == 1
    assert {network["label"] for network in results.manifest["networks"]} >= {"pre-training[2000] at 0.05"}
    jobs.clear()
    # Its best epoch, and its end, are the same training; of epoch 0 none is needed.
    for checkpoint in ("best", 2, 0):
        changes = tiny.pretrained(tmp_path, checkpoint=checkpoint)
        run_study(tiny.study(tmp_path, {**SMALL, **changes}), tmp_path / "store", quiet=True)
    assert not [job for job in jobs if "pre-training" in job]


def test_epoch_0_of_a_pre_training_needs_no_training(tmp_path: Path, jobs: list[str]) -> None:
    study = tiny.study(tmp_path, {**SMALL, **tiny.pretrained(tmp_path, checkpoint=0)})
    run_study(study, tmp_path / "store", quiet=True)
    assert len(trainings(jobs)) == 4
    assert not [job for job in jobs if "pre-training" in job]


def test_tables_of_units_are_joined_in_order(finished: FinishedStudy) -> None:
    rate = next(result.analysis for result in finished.results.analyses if result.analysis.name == "learning_rate")
    empty = table_of(rate, Store(finished.store), ())
    assert empty.height == 0
    assert checked(rate, empty).equals(empty)


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_analysis_survives_its_text(name: str) -> None:
    analysis = parse_analysis(name)
    again = parse_analysis(json.loads(run_module.analysis_text(analysis)))
    assert again == analysis
    assert again.key == analysis.key
