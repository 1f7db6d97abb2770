"""Runs at the same time, and processes of one run."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import transferscope.running.run as run_module
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import SMALL, copied, trainings, unit_keys
from transferscope.analyses.contract import Task
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.errors import StoreBusyError
from transferscope.running.executors import serial
from transferscope.running.finished import Finished
from transferscope.running.interim import Interim
from transferscope.running.run import run_study
from transferscope.running.work import MeasureJob, TrainJob
from transferscope.store import Store
from transferscope.study.settings import Study

# -- two at once ---------------------------------------------------------------------------------------------


def silent(study: ResolvedStudy, finished: FinishedStudy) -> Interim:
    return Interim(study, Store(finished.store), Finished(()), "", None)


def test_the_same_study_started_twice_is_refused_and_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny.study(tmp_path, SMALL)
    refused: list[str] = []

    def started_again(asked: Study, store: Store) -> Any:
        with pytest.raises(StoreBusyError, match=f"this study is already running as process {os.getpid()}") as caught:
            run_study(study, store.root, quiet=True)
        refused.append(str(caught.value))
        return resolve(asked, store)

    monkeypatch.setattr(run_module, "resolve", started_again)
    results = run_study(study, tmp_path / "store", quiet=True)
    assert len(refused) == 1
    assert "wait for it to end, or stop it; what it finishes is shared" in refused[0]
    assert results.headline.height == 8


def test_studies_that_differ_in_a_path_alone_do_not_refuse_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny.study(tmp_path, SMALL)
    other = tiny.study(tmp_path, {**SMALL, "source": {"weights": str(tiny.weights(tmp_path / "other", seed=3))}})
    assert study.key == other.key
    inner: list[Any] = []

    def started_too(asked: Study, store: Store) -> Any:
        monkeypatch.setattr(run_module, "resolve", resolve)
        inner.append(run_study(other, store.root, quiet=True))
        return resolve(asked, store)

    monkeypatch.setattr(run_module, "resolve", started_too)
    outer = run_study(study, tmp_path / "store", quiet=True)
    assert inner[0].manifest["pretrained"] != outer.manifest["pretrained"]
    assert not inner[0].headline.equals(outer.headline)


def test_studies_share_networks(finished: FinishedStudy, tmp_path: Path, jobs: list[str]) -> None:
    store = copied(finished, tmp_path)
    changes = {"name": "other", "analyses": [{"mistakes": {"n_bootstrap": 150}}]}
    other = tiny.study(finished.folder, changes)
    run_study(other, store, quiet=True)
    assert trainings(jobs) == []
    assert [job.split(":")[0] for job in jobs].count("measure Mistakes") == 1
    jobs.clear()
    run_study(tiny.study(finished.folder, {**changes, "seeds": [0, 1, 2]}), store, quiet=True)
    search = next(item for item in finished.results.analyses if item.analysis.name == "learning_rate")
    assert search.summary is not None
    rates = {item.at["variant"]: item.value for item in search.summary.estimates if item.quantity == "chosen_rate"}
    assert sorted(trainings(jobs)) == [f"train P-T[2] at {rates['P_T']}", f"train RI-T[2] at {rates['RI_T']}"]


# -- executors -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_serial_and_processes_give_the_same_bytes(finished: FinishedStudy, tmp_path: Path) -> None:
    # What chose the learning rates is there; the networks of the report and all that is measured on them are not.
    root = copied(finished, tmp_path)
    tuning = {network["key"] for network in finished.results.manifest["networks"] if network["seed"] >= 1000}
    rates = unit_keys(finished, "learning_rate")
    for kind, kept in (("networks", tuning), ("units", rates), ("artefacts", set())):
        for folder in (root / kind).glob("??/*"):
            if folder.name not in kept:
                shutil.rmtree(folder)
    assert Store(root).status()["networks"] == 6
    changes = {"compute": {"executor": "processes", "workers": 2}}
    results = run_study(tiny.study(finished.folder, changes), root, quiet=True)
    assert tiny.contents(tmp_path / "store") == tiny.contents(finished.store)
    for one, other in zip(finished.results.analyses, results.analyses, strict=True):
        assert one.table is not None
        assert one.table.equals(other.table)
        assert one.summary == other.summary
    assert results.manifest["threads"] == ["1"]
    assert results.manifest["mixed"] == []


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        ({"executor": "processes", "workers": 3}, ("processes", 3, 1)),
        ({"executor": "processes", "workers": 3, "threads": 2}, ("processes", 3, 2)),
        ({"threads": 2}, ("serial", 1, 2)),
        ({}, ("serial", 1, None)),
    ],
)
def test_the_executor_gets_the_studys_threads_and_keeps_units_of_a_network_together(
    finished: FinishedStudy, monkeypatch: pytest.MonkeyPatch, compute: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    study = finished.study.model_copy(update={"compute": type(finished.study.compute)(device="cpu", **compute)})
    bound = resolve(study, Store(finished.store))
    jobs = [TrainJob(finished.store, bound, bound.trained("RI_T", seed, 0.1), "") for seed in (0, 1)]
    calls: list[Any] = []

    def fake(name: str) -> Callable[..., Iterator[tuple[int, str]]]:
        def executor(do: Any, items: Any, *, on_event: Any, affinity: Any, threads: Any, workers: int = 1) -> Any:
            calls.append((name, workers, threads))
            assert [affinity(job) for job in items] == [job.spec.key for job in items]
            yield from ()

        return executor

    for name in ("serial", "processes"):
        monkeypatch.setattr(run_module, name, fake(name))
    run_module._execute(bound, jobs, print, interim=silent(bound, finished))
    run_module._execute(bound, jobs[:1], print, interim=silent(bound, finished))
    # One job is not worth a process, and has the threads it would have there.
    assert calls == [expected, ("serial", 1, expected[2])]


def test_units_of_one_network_have_one_affinity(finished: FinishedStudy) -> None:
    bound = resolve(finished.study, Store(finished.store))
    members = [StudyNetwork(variant="RI", seed=seed, spec=bound.untrained("RI", seed)) for seed in (0, 1)]
    units = [
        Task(members=(members[0],)),
        Task(members=(members[0], members[1])),
        Task(members=()),
        Task(members=(members[1],)),
    ]
    found = [run_module._affinity(MeasureJob(finished.store, bound, "", task, "")) for task in units]
    assert found == [members[0].spec.key, members[0].spec.key, "", members[1].spec.key]


def test_threads_hold_during_the_run_and_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    seen: set[int] = set()

    def counting(function: Any, items: Any, **settings: Any) -> Any:
        def counted(job: Any, on_event: Any) -> str:
            seen.add(torch.get_num_threads())
            return str(function(job, on_event))

        return serial(counted, items, **settings)

    monkeypatch.setattr(run_module, "serial", counting)
    study = tiny.study(tmp_path, {**SMALL, "compute": {"threads": before + 1}})
    results = run_study(study, tmp_path / "store", quiet=True)
    assert seen == {before + 1}
    assert results.manifest["threads"] == [str(before + 1)]
    assert torch.get_num_threads() == before


def test_an_executor_is_closed_when_a_listener_fails(finished: FinishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = resolve(finished.study, Store(finished.store))
    closed: list[bool] = []

    def executor(do: Any, items: Any, **settings: Any) -> Iterator[tuple[int, str]]:
        try:
            yield 0, "key"
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    monkeypatch.setattr(run_module, "serial", executor)
    with pytest.raises(KeyboardInterrupt):
        run_module._execute(
            bound,
            [TrainJob(finished.store, bound, bound.trained("RI_T", 0, 0.1), "")],
            print,
            interim=silent(bound, finished),
        )
    assert closed == [True]
