"""MLflow's own client finds in a local store what the store and the results hold."""

import socket
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import copied
from transferscope.running.results import Results
from transferscope.running.run import run_study
from transferscope.running.tracking import Tracking
from transferscope.store import Store
from transferscope.trackers.contract import curves, named_estimates, numbers

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One local store for all: making its tables takes seconds; each test has its own experiment."""
    return tmp_path_factory.mktemp("mlflow")


def run(finished: FinishedStudy, root: Path, report: Path, **mlflow: Any) -> Results:
    settings = {"trackers": [{"kind": "mlflow", **mlflow}], "analyses": [{"outcome": {"n_bootstrap": 100}}]}
    study = tiny.study(finished.folder, settings)
    with Tracking(study, root) as tracking:
        results = run_study(study, root, quiet=True, tracking=tracking)
        assert tracking.report([report]) == []
    return results


def runs(folder: Path, experiment: str) -> tuple[Any, Any, list[Any]]:
    """The client, the parent and its children."""
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (parent,) = (each for each in found if "mlflow.parentRunId" not in each.data.tags)
    children = [each for each in found if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(found) - 1
    return client, parent, children


def test_a_study_is_read_back_whole(finished: FinishedStudy, tmp_path: Path, folder: Path) -> None:
    root, report = copied(finished, tmp_path), tmp_path / "report.html"
    report.write_bytes(b"<html>\xff")
    results = run(finished, root, report, folder=str(folder), experiment="whole")
    (state,) = results.manifest["trackers"]
    client, parent, children = runs(folder, "whole")
    networks = {each["key"]: each for each in finished.results.manifest["networks"]}
    assert {child.data.tags["network"] for child in children} == set(networks)
    assert len(children) == len(networks)
    store = Store(root)
    for child in children:
        key = child.data.tags["network"]
        entry = store.entry("networks", key)
        settings = entry.provenance()["settings"]
        assert child.info.status == "FINISHED"
        assert child.info.run_name == networks[key]["label"]
        assert child.data.tags["seed"] == str(settings["seed"])
        assert child.data.tags["variant"] in ("P_T", "RI_T")
        assert child.data.tags["study"] == state["key"]
        for name, value in settings["recipe"].items():
            if isinstance(value, (str, int, float)):
                assert child.data.params[name] == str(value)
        history = pl.read_parquet(entry.path("history.parquet"))
        wanted: dict[str, list[tuple[int, float]]] = {}
        for epoch, row in curves(history):
            for name, number in row.items():
                wanted.setdefault(name, []).append((epoch, number))
        assert wanted.keys() >= {"running_loss", "train_loss", "validation_metric", "test_metric", "learning_rate"}
        for name, points in wanted.items():
            found = client.get_metric_history(child.info.run_id, name)
            assert sorted((each.step, each.value) for each in found) == points
        assert child.data.metrics["final/test_metric"] == history["test_metric"][-1]
        assert child.data.metrics["final/diverged"] == 0.0
        assert (child.info.end_time - child.info.start_time) / 1000 == pytest.approx(networks[key]["seconds"], abs=0.01)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "tiny"
    assert parent.data.tags["study_key"] == results.study.key
    groups = [(item.analysis.name, item.summary.estimates) for item in results.analyses if item.summary]
    limits = {
        key: value for name, item in named_estimates(groups).items() for key, value in numbers(name, item).items()
    }
    assert {key.rpartition("/")[2] for key in limits} >= {"value", "low", "high", "n"}
    assert parent.data.metrics == limits
    place = client.download_artifacts(parent.info.run_id, "report.html", str(tmp_path))
    assert Path(place).read_bytes() == report.read_bytes()


def test_a_second_run_writes_what_is_missing_and_nothing_twice(
    finished: FinishedStudy, tmp_path: Path, folder: Path
) -> None:
    root, report = copied(finished, tmp_path), tmp_path / "report.html"
    report.write_bytes(b"one")
    run(finished, root, report, folder=str(folder), experiment="again")
    client, parent, children = runs(folder, "again")
    # As a run leaves them that is killed: one training not begun, one half written, a limit not there or no more.
    gone, half, *kept = children
    client.delete_run(gone.info.run_id)
    client.update_run(half.info.run_id, status="RUNNING")
    client.log_metric(parent.info.run_id, "outcome/stale/value", 1.0)
    report.write_bytes(b"two")
    results = run(finished, root, report, folder=str(folder), experiment="again")
    assert results.manifest["trackers"][0]["failure"] is None
    client, same, now = runs(folder, "again")
    assert same.info.run_id == parent.info.run_id
    assert len(now) == len(children)
    assert {each.data.tags["network"] for each in now} == {each.data.tags["network"] for each in children}
    assert {each.info.run_id for each in kept} <= {each.info.run_id for each in now}
    assert {gone.info.run_id, half.info.run_id}.isdisjoint(each.info.run_id for each in now)
    for child in now:
        points = client.get_metric_history(child.info.run_id, "test_metric")
        assert [each.step for each in points] == [0, 1, 2]
    for name, value in parent.data.metrics.items():
        assert [each.value for each in client.get_metric_history(same.info.run_id, name)] == [value]
    stale = [each.value for each in client.get_metric_history(same.info.run_id, "outcome/stale/value")]
    assert str(stale) == "[1.0, nan]"
    assert Path(client.download_artifacts(same.info.run_id, "report.html", str(tmp_path))).read_bytes() == b"two"


def test_a_server_that_is_down_is_a_warning(finished: FinishedStudy, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    tracker = {"kind": "mlflow", "uri": uri}
    study = tiny.study(finished.folder, {"trackers": [tracker], "analyses": [{"outcome": {"n_bootstrap": 100}}]})
    results = run_study(study, copied(finished, tmp_path), quiet=True)
    assert results.headline.equals(finished.results.headline)
    (state,) = results.manifest["trackers"]
    assert (state["place"], state["trainings"], state["trainings_missing"]) == (uri, 0, 10)
    assert "opening the study" in state["failure"]
    assert any(uri in note for note in results.manifest["notes"])


def test_the_environment_names_the_place_and_its_password_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transferscope.study.tracker_settings import Mlflow
    from transferscope.trackers.mlflow import MlflowTracker

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert MlflowTracker(Mlflow(), tmp_path).place == f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host/path")
    assert MlflowTracker(Mlflow(), tmp_path).place == "https://host/path"
    assert MlflowTracker(Mlflow(folder="here"), tmp_path).place == f"sqlite:///{Path.cwd() / 'here' / 'mlflow.db'}"
