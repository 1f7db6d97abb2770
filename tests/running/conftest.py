import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.running import tiny

from transferscope.running.results import Results
from transferscope.running.run import run_study
from transferscope.study import Study


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
