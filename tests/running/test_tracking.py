"""What trackers are told: everything that is finished, once, by one process; what they raise stops nothing."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import transferscope.running.tracking as tracking_module
import transferscope.trackers.kinds as kinds_module
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import SMALL, copied
from transferscope.analyses.estimates import Estimate
from transferscope.errors import MissingExtraError, StudyError
from transferscope.running.run import run_study
from transferscope.running.tracking import Tracking
from transferscope.store import Store
from transferscope.study.file import dump_study, load_study
from transferscope.study.settings import Study
from transferscope.study.tracker_settings import TrackerSettings
from transferscope.trackers.contract import StudyRun, Training, named_estimates, numbers

METHODS = ("begin", "log_training", "log_estimates", "end")


class Recording:
    """A tracker in memory: what it holds, every call, and the methods that raise."""

    place = "memory"

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.calls: list[str] = []
        self.processes: set[int] = set()
        self.stored: list[int] = []
        self.study: StudyRun | None = None
        self.trainings: dict[str, Training] = {}
        self.estimates: Mapping[str, Estimate] = {}
        self.artifacts: dict[str, bytes] = {}
        self.finished: list[bool] = []
        self.root = Path()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.processes.add(os.getpid())
        if name in self.broken:
            raise ConnectionError(f"no {name} today")

    def begin(self, study: StudyRun) -> None:
        self._called("begin")
        assert self.study is None or (self.study.key, self.study.parameters) == (study.key, study.parameters)
        self.study = study

    def log_training(self, training: Training) -> None:
        self._called("log_training")
        self.stored.append(len(list(Store(self.root).keys("networks"))))
        self.trainings[training.key] = training

    def log_estimates(self, estimates: Mapping[str, Estimate]) -> None:
        self._called("log_estimates")
        self.estimates = estimates

    def log_artifact(self, path: Path) -> None:
        self._called("log_artifact")
        self.artifacts[path.name] = path.read_bytes()

    def end(self, *, finished: bool) -> None:
        self._called("end")
        self.finished.append(finished)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """What is written by studies that ask for TensorBoard."""
    made = Recording()

    def tracker_of(settings: TrackerSettings, store_root: Path) -> Recording:
        made.root = store_root
        return made

    monkeypatch.setattr(tracking_module, "tracker_of", tracker_of)
    return made


OUTCOME = [{"outcome": {"n_bootstrap": 100}}]
"""What takes least to summarise; all trainings are those of this analysis and what it needs."""


def tracked(finished: FinishedStudy) -> Study:
    return tiny.study(finished.folder, {"trackers": ["tensorboard"], "analyses": OUTCOME})


# -- what is told --------------------------------------------------------------------------------------------


def test_each_training_is_written_when_it_ends_and_changes_no_byte(
    finished: FinishedStudy, tmp_path: Path, recording: Recording
) -> None:
    study = tiny.study(finished.folder, {**SMALL, "analyses": OUTCOME, "trackers": ["tensorboard"]})
    results = run_study(study, tmp_path / "store", quiet=True)
    # One after the other: when the first is written there is no second one yet.
    assert recording.stored == [1, 2, 3, 4]
    assert recording.calls == ["begin", *["log_training"] * 4, "log_estimates", "end"]
    (state,) = results.manifest["trackers"]
    assert (state["kind"], state["place"], state["failure"]) == ("tensorboard", "memory", None)
    assert (state["trainings"], state["trainings_missing"]) == (4, 0)
    # Networks that a study without trackers has as well: of the same keys, in the same bytes.
    ours, theirs = tiny.contents(tmp_path / "store", "networks"), tiny.contents(finished.store, "networks")
    both = ours.keys() & theirs.keys()
    assert len([name for name in both if name.endswith("weights.safetensors")]) >= 2
    assert {name: ours[name] for name in both} == {name: theirs[name] for name in both}


@pytest.mark.slow
def test_workers_write_to_no_tracker(tmp_path: Path, recording: Recording) -> None:
    compute = {"executor": "processes", "workers": 2}
    study = tiny.study(tmp_path, {**SMALL, "trackers": ["tensorboard"], "compute": compute})
    run_study(study, tmp_path / "store", quiet=True)
    assert recording.processes == {os.getpid()}
    assert len(recording.trainings) == 4


def test_trainings_of_earlier_runs_are_written_as_the_store_has_them(
    finished: FinishedStudy, tmp_path: Path, recording: Recording
) -> None:
    root = copied(finished, tmp_path)
    run_study(tracked(finished), root, quiet=True)
    assert set(recording.trainings) == {each["key"] for each in finished.results.manifest["networks"]}
    store = Store(root)
    for each in finished.results.manifest["networks"]:
        training = recording.trainings[each["key"]]
        entry = store.entry("networks", each["key"])
        assert training.history.equals(pl.read_parquet(entry.path("history.parquet")))
        spec = entry.provenance()["settings"]
        assert training.label == each["label"]
        assert training.parameters["learning_rate"] == spec["recipe"]["learning_rate"] == each["learning_rate"]
        assert training.parameters["augmentation.flip"] == spec["recipe"]["augmentation"]["flip"]
        assert training.tags["seed"] == str(each["seed"])
        assert training.tags["rate_search"] == ("true" if each["seed"] == 1000 else "false")
        assert training.tags["variant"] in ("P_T", "RI_T")
        assert training.tags["network"] == each["key"]
        last = training.history.row(-1, named=True)
        assert training.final["final/test_metric"] == last["test_metric"]
        assert training.final["final/diverged"] == 0.0
        times = list(training.ended.values())
        assert sorted(times) == times
        assert len(times) == training.history.height
        assert times[-1] - training.began == pytest.approx(each["seconds"], abs=0.01)
    assert recording.study is not None
    assert {training.tags["study"] for training in recording.trainings.values()} == {recording.study.key}


def test_estimates_stand_under_unique_names_with_their_limits(
    finished: FinishedStudy, tmp_path: Path, recording: Recording
) -> None:
    study = tiny.study(finished.folder, {"trackers": ["tensorboard"]})
    results = run_study(study, copied(finished, tmp_path), quiet=True)
    every = [item for each in results.analyses if each.summary for item in each.summary.estimates]
    assert len(every) > 30
    assert list(recording.estimates.values()) == every
    name = "outcome/gap/variant.P_T/rival.RI_T/metric.top1/over.examples"
    gap, written = results.gap[1], numbers(name, recording.estimates[name])
    assert (written[f"{name}/value"], written[f"{name}/n"]) == (gap.value, gap.n)
    assert (written[f"{name}/low"], written[f"{name}/high"]) == (gap.low, gap.high)


def test_names_of_estimates_tell_apart_what_sanitising_joins() -> None:
    items = [Estimate("d", {"pair": text}, 0.1) for text in ("a/b", "a b", "c", "e" * 300, "e" * 299 + "f", "größe")]
    names = list(named_estimates([("distance", items)]))
    assert len(set(names)) == len(items)
    assert names[2] == "distance/d/pair.c"
    assert all(len(name) < 250 and name.isascii() for name in names)
    # Of an analysis that stands there twice the second is numbered, though the first has no estimates.
    assert list(named_estimates([("path", ()), ("path", items[2:3])])) == ["path-2/d/pair.c"]


def test_the_study_is_the_same_wherever_it_lies_and_runs(tmp_path: Path) -> None:
    def key(folder: Path, changes: Mapping[str, Any]) -> str:
        return tracking_module.study_run(tiny.bound(folder, dict(changes))[0]).key

    first = key(tmp_path / "a", {})
    assert key(tmp_path / "b", {"compute": {"evaluation_batch": 16}, "trackers": ["mlflow"]}) == first
    assert key(tmp_path / "a", {"seeds": [0]}) != first
    tiny.pictures(tmp_path / "c" / "target", seed=9)
    tiny.weights(tmp_path / "c")
    assert key(tmp_path / "c", {}) != first


def test_the_report_is_written_too(finished: FinishedStudy, tmp_path: Path, recording: Recording) -> None:
    (tmp_path / "report.html").write_bytes(b"<html>")
    with Tracking(tracked(finished), tmp_path / "store") as tracking:
        run_study(tracked(finished), copied(finished, tmp_path), quiet=True, tracking=tracking)
        assert recording.finished == []
        assert tracking.report([tmp_path / "report.html"]) == []
        recording.broken = {"log_artifact"}
        (words,) = tracking.report([tmp_path / "report.html"])
        assert "writing report.html: ConnectionError: no log_artifact today" in words
    assert recording.artifacts == {"report.html": b"<html>"}
    assert recording.finished == [False]


# -- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_tracker_that_fails_stops_nothing_and_the_next_run_makes_it_good(
    finished: FinishedStudy, tmp_path: Path, recording: Recording, told: list[dict[str, Any]], method: str
) -> None:
    root = copied(finished, tmp_path)
    recording.broken = {method}
    if method == "end":
        with pytest.warns(UserWarning, match="no end today"):
            results = run_study(tracked(finished), root, quiet=True)
    else:
        results = run_study(tracked(finished), root, quiet=True)
        (state,) = results.manifest["trackers"]
        assert f"ConnectionError: no {method} today" in state["failure"]
        assert state["trainings_missing"] == {"begin": 10, "log_training": 10, "log_estimates": 0}[method]
        assert any(f"no {method} today" in note for note in results.manifest["notes"])
        assert any(event["kind"] == "note" and f"no {method} today" in event["text"] for event in told)
        # Down for ten trainings: asked twice, not ten times.
        assert recording.calls.count(method) <= 2
        assert recording.finished in ([], [False])
    assert results.headline.equals(finished.results.headline)
    assert tiny.contents(root) == tiny.contents(finished.store)
    recording.broken = set()
    results = run_study(tracked(finished), root, quiet=True)
    assert results.manifest["trackers"][0]["failure"] is None
    assert len(recording.trainings) == 10
    assert recording.estimates
    assert recording.finished[-1]


def test_a_tracker_that_comes_back_has_everything_at_the_end(
    finished: FinishedStudy, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = recording.log_training, []

    def once_down(training: Training) -> None:
        calls.append(training.key)
        if len(calls) == 3:
            raise TimeoutError("gone for a moment")
        real(training)

    monkeypatch.setattr(recording, "log_training", once_down)
    results = run_study(tracked(finished), copied(finished, tmp_path), quiet=True)
    (state,) = results.manifest["trackers"]
    assert (state["trainings"], state["trainings_missing"], state["failure"]) == (10, 0, None)
    assert len(calls) == 11
    assert recording.finished == [True]


def test_two_runs_do_not_write_one_study_at_once(finished: FinishedStudy, tmp_path: Path, recording: Recording) -> None:
    root = copied(finished, tmp_path)
    first = tracked(finished)
    # Elsewhere computed, so not held back as the same study.
    other = first.model_copy(update={"compute": first.compute.model_copy(update={"workers": 3})})
    with Tracking(first, root) as tracking:
        run_study(first, root, quiet=True, tracking=tracking)
        results = run_study(other, root, quiet=True)
        assert "already running" in results.manifest["trackers"][0]["failure"]
        assert recording.calls.count("begin") == 1
    results = run_study(other, root, quiet=True)
    assert results.manifest["trackers"][0]["failure"] is None


def test_a_history_that_cannot_be_read_is_said(
    finished: FinishedStudy, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = finished.results.manifest["networks"][0]["key"]
    real: Callable[..., Training] = tracking_module.training_of

    def unreadable(store: Store, spec: Any, *arguments: Any) -> Training:
        if spec.key == key:
            raise OSError("a disk that does not read")
        return real(store, spec, *arguments)

    monkeypatch.setattr(tracking_module, "training_of", unreadable)
    results = run_study(tracked(finished), copied(finished, tmp_path), quiet=True)
    assert any("OSError: a disk that does not read" in note for note in results.manifest["notes"])
    (state,) = results.manifest["trackers"]
    assert (state["trainings"], state["trainings_missing"], state["failure"]) == (9, 1, None)


def test_a_run_that_is_stopped_does_not_close_the_study_as_finished(
    finished: FinishedStudy, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking_module.Tracking, "results", stop)
    with pytest.raises(Exception, match="stopped"):
        run_study(tracked(finished), copied(finished, tmp_path), quiet=True)
    assert recording.finished == [False]


@pytest.mark.parametrize(
    ("tracker", "package"),
    [
        ("mlflow", "mlflow"),
        ({"kind": "mlflow", "uri": "http://localhost:1"}, "mlflow"),
        ("tensorboard", "tensorboard"),
        ("wandb", "wandb"),
    ],
)
def test_a_missing_package_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: Any, package: str
) -> None:
    monkeypatch.setattr(kinds_module.importlib.util, "find_spec", lambda name: None)
    study = tiny.study(tmp_path, {**SMALL, "trackers": [tracker]})
    with pytest.raises(MissingExtraError) as raised:
        run_study(study, tmp_path / "store", quiet=True)
    assert (raised.value.package, raised.value.extra) == (package, package)
    assert f"pip install '.[{package}]'" in str(raised.value)
    assert not (tmp_path / "store").exists()


def test_a_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "site" / "tensorboard").mkdir(parents=True)
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    monkeypatch.delitem(kinds_module.importlib.import_module("sys").modules, "tensorboard", raising=False)
    with pytest.raises(MissingExtraError):
        Tracking(tiny.study(tmp_path, {"trackers": ["tensorboard"]}), tmp_path / "store")


# -- settings ------------------------------------------------------------------------------------------------


def written(folder: Path, trackers: Any) -> Path:
    settings = tiny.settings(folder, {"trackers": trackers})
    (folder / "study.yaml").write_text(json.dumps(settings), encoding="utf-8")
    return folder / "study.yaml"


def test_a_name_is_enough_and_folders_start_at_the_study(tmp_path: Path) -> None:
    path = written(tmp_path, ["mlflow", {"kind": "tensorboard", "folder": "curves"}])
    study = load_study(path, allow_code=True)
    assert [tracker.kind for tracker in study.trackers] == ["mlflow", "tensorboard"]
    assert study.trackers[1].model_dump() == {"kind": "tensorboard", "folder": str(tmp_path / "curves")}
    assert study.key == tiny.study(tmp_path).key
    (tmp_path / "again.yaml").write_text(dump_study(study), encoding="utf-8")
    assert load_study(tmp_path / "again.yaml", allow_code=True) == study
    changed = load_study(path, ["trackers=[{kind: tensorboard, folder: here}]"], allow_code=True)
    assert changed.trackers[0].model_dump()["folder"] == str(Path.cwd() / "here")


@pytest.mark.parametrize(
    ("trackers", "words"),
    [
        (["mlfow"], "did you mean 'mlflow'"),
        ("mlflow", "expected a list"),
        (["mlflow", {"kind": "mlflow"}], "trackers holds the same tracker twice"),
        ([{"kind": "mlflow", "uri": "http://a:secret@host"}], "MLFLOW_TRACKING_PASSWORD"),
        ([{"kind": "mlflow", "uri": "http://host", "folder": "x"}], "give either uri or folder"),
        ([{"kind": "tensorboard", "uri": "x"}], "there is no such setting"),
    ],
)
def test_what_cannot_be_is_said_with_its_place(tmp_path: Path, trackers: Any, words: str) -> None:
    with pytest.raises(StudyError) as raised:
        load_study(written(tmp_path, trackers), allow_code=True)
    assert words in str(raised.value)
    assert "trackers" in str(raised.value)


def test_numbers_that_are_not_there_are_left_out() -> None:
    assert numbers("a", Estimate("a", {}, None, n=2)) == {"a/n": 2.0}
    assert all(math.isfinite(value) for value in numbers("a", Estimate("a", {}, 1.0, 0.0, 2.0)).values())


def test_two_runs_of_different_trackers_are_one_study(tmp_path: Path) -> None:
    one, other = (tiny.study(tmp_path, {"trackers": names}) for names in ([], ["mlflow"]))
    assert one != other
    assert one.key == other.key
