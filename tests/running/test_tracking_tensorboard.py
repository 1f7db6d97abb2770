"""TensorBoard's own reader finds in the event files what the store and the results hold."""

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

pytest.importorskip("tensorboard")


def run(finished: FinishedStudy, root: Path, report: Path, **changes: Any) -> Results:
    settings = {"trackers": ["tensorboard"], "analyses": [{"outcome": {"n_bootstrap": 100}}], **changes}
    study = tiny.study(finished.folder, settings)
    with Tracking(study, root) as tracking:
        results = run_study(study, root, quiet=True, tracking=tracking)
        assert tracking.report([report]) == []
    return results


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_curves_final_numbers_limits_and_report_are_read_back(finished: FinishedStudy, tmp_path: Path) -> None:
    root, report = copied(finished, tmp_path), tmp_path / "report.html"
    report.write_bytes(b"<html>\xff")
    results = run(finished, root, report)
    (state,) = results.manifest["trackers"]
    assert (state["trainings"], state["failure"]) == (10, None)
    (study,) = (root / "tensorboard").iterdir()
    assert study.name == f"tiny-{state['key'][:8]}"
    assert (study / "report.html").read_bytes() == report.read_bytes()
    for network in finished.results.manifest["networks"]:
        (folder,) = study.glob(f"*-{network['key'][:8]}")
        found = scalars(folder)
        history = pl.read_parquet(Store(root).entry("networks", network["key"]).path("history.parquet"))
        wanted: dict[str, list[tuple[int, float]]] = {}
        for epoch, row in curves(history):
            for name, value in row.items():
                wanted.setdefault(name, []).append((epoch, value))
        assert wanted.keys() >= {"train_loss", "validation_metric", "test_metric", "learning_rate"}
        for name, points in wanted.items():
            assert [step for step, _ in found[name]] == [step for step, _ in points]
            # Event files hold single precision.
            assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-6)
        assert found["final/test_metric"][0][1] == pytest.approx(history["test_metric"][-1], rel=1e-6)
    estimates = named_estimates(
        [(item.analysis.name, item.summary.estimates) for item in results.analyses if item.summary]
    )
    (folder,) = study.glob("estimates-*")
    found = scalars(folder)
    limits = {key: value for name, item in estimates.items() for key, value in numbers(name, item).items()}
    assert any(key.endswith("/low") for key in limits)
    assert {key: points[0][1] for key, points in found.items()} == pytest.approx(limits, rel=1e-6, abs=1e-30)


def test_a_second_run_writes_what_is_missing_and_nothing_twice(finished: FinishedStudy, tmp_path: Path) -> None:
    root, report = copied(finished, tmp_path), tmp_path / "report.html"
    report.write_bytes(b"one")
    run(finished, root, report)
    (study,) = (root / "tensorboard").iterdir()
    before = files(study)
    lost = next(path for path in study.iterdir() if path.name.startswith("P-T"))
    for path in sorted(lost.rglob("*"), reverse=True):
        path.unlink()
    lost.rmdir()
    report.write_bytes(b"two")
    run(finished, root, report)
    after = files(study)
    assert {name.partition("/")[0] for name in after} == {name.partition("/")[0] for name in before}
    same = {name for name in before if not name.startswith((lost.name, "report"))}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert len(after) == len(before)
    assert after["report.html"] == b"two"


def test_estimates_that_change_replace_those_before(finished: FinishedStudy, tmp_path: Path) -> None:
    from transferscope.analyses.estimates import Estimate
    from transferscope.study.tracker_settings import TensorBoard
    from transferscope.trackers.contract import StudyRun
    from transferscope.trackers.tensorboard import TensorBoardTracker

    tracker = TensorBoardTracker(TensorBoard(folder=str(tmp_path)), tmp_path / "nowhere")
    tracker.begin(StudyRun("k" * 32, "name", {"classes": 2}, {"study": "k"}))
    for value in (0.5, 0.25):
        tracker.log_estimates({"a": Estimate("a", {}, value)})
    (folder,) = tmp_path.glob("name-kkkkkkkk/estimates-*")
    assert scalars(folder) == {"a/value": [(0, 0.25)]}


def test_a_folder_that_cannot_be_made_is_a_warning(finished: FinishedStudy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    study = tiny.study(
        finished.folder,
        {"trackers": [{"kind": "tensorboard", "folder": str(tmp_path / "file" / "in")}], "analyses": ["outcome"]},
    )
    results = run_study(study, copied(finished, tmp_path), quiet=True)
    (state,) = results.manifest["trackers"]
    assert (state["trainings"], state["trainings_missing"]) == (0, 10)
    assert "opening the study" in state["failure"]
