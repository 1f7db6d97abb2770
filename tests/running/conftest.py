import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import transferscope.running.run as run_module
import transferscope.running.work as work_module
from tests.running import tiny
from transferscope.running.results import Results
from transferscope.running.run import run_study
from transferscope.running.work import TrainJob
from transferscope.study.settings import Study


@dataclass(frozen=True)
class FinishedStudy:
    """A study that was run once: nobody may write into its folder."""

    folder: Path
    study: Study
    results: Results

    @property
    def store(self) -> Path:
        return self.folder / "store"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    folder = tmp_path_factory.mktemp("finished")
    study = tiny.study(folder)
    return FinishedStudy(folder, study, run_study(study, folder / "store", quiet=True, command="again"))


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No power fails during these tests (tests/store has the crashes): forcing bytes to the disk only takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is really done in this process: the kind and label of every job."""
    done: list[str] = []
    real = work_module.do

    def spy(job: Any, on_event: Any) -> str:
        done.append(("train " if isinstance(job, TrainJob) else "measure ") + job.label)
        return real(job, on_event)

    monkeypatch.setattr(run_module, "do", spy)
    return done


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The events of quiet runs."""
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(run_module, "_silent", events.append)
    return events
