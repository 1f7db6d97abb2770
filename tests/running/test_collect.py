"""From finished tables to what a report reads."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.running import tiny
from tests.running.conftest import FinishedStudy
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.outcome.analysis import Outcome
from transferscope.context.resolve import resolve
from transferscope.context.study_network import StudyNetwork
from transferscope.data.sources.arrays import Arrays
from transferscope.errors import AnalysisError
from transferscope.running import collect
from transferscope.running.collect import PHASES
from transferscope.running.finished import Finished
from transferscope.running.rounds import PlannedTask
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.study.registry import parse_analysis


def test_the_order_is_the_outcome_its_rates_what_was_asked_for_and_what_that_needed(finished: FinishedStudy) -> None:
    names = [result.analysis.name for result in finished.results.analyses]
    asked = [analysis.name for analysis in finished.study.analyses]
    assert names[:2] == ["outcome", "learning_rate"]
    assert names[2 : 1 + len(asked)] == [name for name in asked if name != "outcome"]


def test_the_headline_is_what_the_outcome_says(finished: FinishedStudy) -> None:
    table = next(result.table for result in finished.results.analyses if isinstance(result.analysis, Outcome))
    assert table is not None
    headline = finished.results.headline
    assert headline["variant"].to_list() == ["RI", "P", "RI_T", "P_T"] * 2
    search = next(result for result in finished.results.analyses if result.analysis.name == "learning_rate")
    assert search.summary is not None
    rates = {variant: choice["rate"] for variant, choice in search.summary.facts["choices"].items()}
    assert set(rates.values()) <= {0.01, 0.05, 0.2}
    for row in headline.iter_rows(named=True):
        rows = table.filter((pl.col("variant") == row["variant"]) & (pl.col("split") == row["split"]))
        (mean,) = rows.filter(pl.col("level") == "variant").iter_rows(named=True)
        assert {name: row[name] for name in ("value", "low", "high", "basis", "n")} == {
            name: mean[name] for name in ("value", "low", "high", "basis", "n")
        }
        assert row["value"] == pytest.approx(rows.filter(pl.col("level") == "network")["value"].mean())
        if row["variant"] in ("RI", "P"):
            assert (row["learning_rate"], row["epochs"]) == (None, None)
        else:
            assert (row["learning_rate"], row["epochs"]) == (rates[row["variant"]], 2)
    gap = finished.results.gap
    test = headline.filter(pl.col("split") == "test")
    values = dict(zip(test["variant"], test["value"], strict=True))
    place = {"variant": "P_T", "rival": "RI_T", "metric": "top1"}
    assert [(item.quantity, item.at) for item in gap] == [
        ("gap", {**place, "over": over}) for over in ("seeds", "examples")
    ]
    assert [number.value for number in gap] == pytest.approx([values["P_T"] - values["RI_T"]] * 2)


def test_the_manifest_says_where_it_all_comes_from(finished: FinishedStudy) -> None:
    manifest = finished.results.manifest
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["command"] == "again"
    assert manifest["device"] == ["cpu"]
    assert manifest["threads"] == ["1"]
    assert manifest["mixed"] == []
    assert manifest["examples"].keys() == {"train", "validation", "test"}
    assert sum(manifest["examples"].values()) == 90
    assert {"torch", "timm", "transferscope", "python"} <= manifest["versions"].keys()
    labels = [network["label"] for network in manifest["networks"]]
    assert len(set(labels)) == len(labels) == 10
    assert all(Path(network["weights"]).is_file() for network in manifest["networks"])
    for network in manifest["networks"]:
        timings = json.loads((Path(network["weights"]).parent / "provenance.json").read_text())["timings"]
        training = sum(epoch["training_seconds"] + epoch["evaluation_seconds"] for epoch in timings)
        assert network["seconds"] == pytest.approx(training, abs=1e-3)
        assert network["seconds"] > 0
    times = manifest["times"]
    trainings = times["trainings"]
    # Phases are parts of the whole, none of them empty, and the whole is at least that of the epochs.
    assert all(trainings[phase] > 0 for phase in ("forward", "backward", "evaluation", "writing"))
    assert sum(network["seconds"] for network in manifest["networks"]) <= trainings["all"] + 0.05
    assert sum(trainings[phase] for phase in PHASES) <= trainings["all"] + 0.05
    assert set(times["analyses"]) == {item.analysis.title for item in finished.results.analyses}


def test_parts_made_in_another_way_are_named(finished: FinishedStudy, tmp_path: Path) -> None:
    shutil.copytree(finished.store, tmp_path / "store")
    path = next((tmp_path / "store" / "networks").glob("??/*/provenance.json"))
    facts = json.loads(path.read_bytes())
    facts |= {"threads": 7, "device": "cuda", "versions": {**facts["versions"], "torch": "1.0"}}
    path.write_text(json.dumps(facts), encoding="utf-8")
    mixed = run_study(finished.study, tmp_path / "store", quiet=True).manifest["mixed"]
    assert len(mixed) == 3
    assert "different device: cpu, cuda" in mixed[0]
    assert "different threads: 1, 7" in mixed[1]
    assert "different versions of torch: 1.0, " in mixed[2]


def test_a_package_that_is_not_there_is_said_to_be_missing() -> None:
    assert collect._version("transferscope-that-does-not-exist") == "not installed"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "units")


def test_two_files_of_one_name_are_an_error_and_not_the_last_one(finished: FinishedStudy, store: Store) -> None:
    bound = resolve(finished.study, Store(finished.store))
    analysis = parse_analysis("distance")
    done = Finished((analysis,))
    pieces = []
    for seed, name in ((0, "a.png"), (1, "b.png"), (2, "a.png")):
        task = Task(members=(StudyNetwork(variant="RI", seed=seed, spec=bound.untrained("RI", seed)),))
        pieces.append(PlannedTask(analysis, task, f"{seed:04d}"))
        with store.entry("units", f"{seed:04d}").write() as folder:
            (folder / "files").mkdir()
            (folder / "files" / name).write_bytes(str(seed).encode())
    done.tables[analysis.key] = MeasureResult(pl.DataFrame()).table
    done.pieces[analysis.key] = pieces[:2]
    assert collect._result(analysis, store, done).files == {"a.png": b"0", "b.png": b"1"}
    done.pieces[analysis.key] = pieces
    with pytest.raises(AnalysisError, match=r"two units of 'distance' give a file of the same name[\s\S]*a.png"):
        collect._result(analysis, store, done)


def test_an_empty_table_says_why(finished: FinishedStudy, store: Store) -> None:
    analysis = parse_analysis("distance")
    done = Finished((analysis,), tables={analysis.key: pl.DataFrame()}, pieces={analysis.key: []})
    summary = collect._result(analysis, store, done).summary
    assert summary is not None
    assert summary.verdict == "Undecided: there was nothing to measure."


def test_notes_of_the_data_reach_the_report(finished: FinishedStudy, tmp_path: Path) -> None:
    (loaded,) = finished.results.manifest["notes"]
    assert "tensors loaded" in loaded
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 2
    source = Arrays.save(
        tmp_path / "target",
        rng.integers(0, 255, (90, tiny.SIZE, tiny.SIZE, 3)).astype(np.uint8),
        labels,
        groups=[str(number // 4) for number in range(90)],
        splits=["train" if number % 3 else "test" for number in range(90)],
    )
    tiny.weights(tmp_path)
    changes = {"target": {"data": source.model_dump(mode="json")}, "training": {"learning_rates": [0.05]}}
    study = tiny.study(tmp_path, {**changes, "analyses": ["outcome"], "seeds": [0]})
    note, _ = run_study(study, tmp_path / "store", quiet=True).manifest["notes"]
    assert "groups lie in more than one of the splits the source gives: they leak" in note
