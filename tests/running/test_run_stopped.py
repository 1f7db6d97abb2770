"""A run that is killed or stopped, and run again."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import transferscope.running.run as run_module
import transferscope.training.loop as loop
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import SMALL, trainings
from transferscope.errors import StopRequested
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.store.verify import verify


def test_killed_anywhere_and_run_again_it_ends_in_the_same_bytes(finished: FinishedStudy, tmp_path: Path) -> None:
    settings = tmp_path / "study.json"
    settings.write_text(finished.study.model_dump_json(), encoding="utf-8")
    program = Path(__file__).with_name("killed_work.py")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(program), str(settings), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    killed = [f"{name} {signal.SIGKILL}" for name in ("in_the_middle_of_a_training", "between_units")]
    assert done.stdout.splitlines() == [*killed, f"while_an_entry_is_written {signal.SIGKILL}"], done.stderr
    half = tiny.contents(tmp_path / "store", "networks", "units")
    assert 0 < len(half) < len(tiny.contents(finished.store, "networks", "units"))

    results = run_study(finished.study, tmp_path / "store", quiet=True)

    assert tiny.contents(tmp_path / "store") == tiny.contents(finished.store)
    assert results.headline.equals(finished.results.headline)
    assert verify(Store(tmp_path / "store")) == []


def test_ctrl_c_keeps_what_is_finished_and_the_running_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[str], told: list[dict[str, Any]]
) -> None:
    study = tiny.study(tmp_path, SMALL)
    whole = tiny.study(tmp_path / "whole", SMALL)
    real, calls = loop._train_epoch, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "_train_epoch", interrupted)
    with pytest.raises(StopRequested, match=r"what was finished is kept[\s\S]*run the same command again"):
        run_study(study, tmp_path / "store", quiet=True)
    assert trainings(jobs) == ["train RI-T[1000] at 0.05, rate search", "train P-T[1000] at 0.05, rate search"]
    assert Store(tmp_path / "store").status()["networks"] == 1
    told.clear()

    run_study(study, tmp_path / "store", quiet=True)

    resumed = [event for event in told if event["kind"] == "training_resumed"]
    assert [(event["label"], event["epoch"]) for event in resumed] == [("P-T[1000] at 0.05, rate search", 1)]
    run_study(whole, tmp_path / "whole" / "store", quiet=True)
    assert tiny.contents(tmp_path / "store") == tiny.contents(tmp_path / "whole" / "store")


@pytest.mark.parametrize("where", ["resolve", "results_of"])
def test_ctrl_c_before_and_after_the_work_says_the_same(
    finished: FinishedStudy, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, where, interrupted)
    with pytest.raises(StopRequested, match="what was finished is kept"):
        run_study(finished.study, finished.store, quiet=True)
    monkeypatch.undo()
    run_study(finished.study, finished.store, quiet=True)  # and the lock is free
