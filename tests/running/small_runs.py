"""Runs of one seed at one rate, and what is looked at after them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import transferscope.running.run as run_module
from tests.running.conftest import FinishedStudy
from transferscope.running.run import run_study
from transferscope.running.work import MeasureJob, TrainJob
from transferscope.store import Store
from transferscope.study.settings import Study

SMALL = {"analyses": ["outcome"], "training": {"learning_rates": [0.05]}, "seeds": [0]}


def copied(finished: FinishedStudy, folder: Path) -> Path:
    shutil.copytree(finished.store, folder / "store")
    return folder / "store"


def unit_keys(finished: FinishedStudy, name: str) -> set[str]:
    store = Store(finished.store)
    return {key for key in store.keys("units") if store.entry("units", key).manifest()["analysis"] == name}


def trainings(done: list[str]) -> list[str]:
    return [each for each in done if each.startswith("train")]


def rounds_done(study: Study, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """Labels of the trainings and measurements of each round of a run."""
    rounds: list[tuple[list[str], list[str]]] = []
    expand, execute = run_module.expand, run_module._execute

    def spied_expand(*arguments: Any) -> Any:
        rounds.append(([], []))
        return expand(*arguments)

    def spied_execute(bound: Any, jobs: Any, on_event: Any, **options: Any) -> Any:
        rounds[-1][0].extend(job.label for job in jobs if isinstance(job, TrainJob))
        rounds[-1][1].extend(job.label for job in jobs if isinstance(job, MeasureJob))
        return execute(bound, jobs, on_event, **options)

    monkeypatch.setattr(run_module, "expand", spied_expand)
    monkeypatch.setattr(run_module, "_execute", spied_execute)
    run_study(study, root, quiet=True)
    monkeypatch.undo()
    return [each for each in rounds if each != ([], [])]
