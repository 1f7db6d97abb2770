"""A study from its settings to its tables; stopped, hindered, damaged and run again."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tests.running import tiny
from tests.running.conftest import FinishedStudy

import transferscope.running.run as run_module
import transferscope.running.work as work_module
import transferscope.training.loop as loop
from transferscope.analyses.contract import Member, Unit, checked
from transferscope.analyses.registry import ANALYSES, parse_analysis
from transferscope.errors import CorruptEntryError, StopRequested, StoreBusyError, StoreError
from transferscope.running.bind import bind
from transferscope.running.executors import serial
from transferscope.running.run import run_study, table_of
from transferscope.running.work import MeasureJob, TrainJob
from transferscope.store import Store
from transferscope.store.integrity import verify
from transferscope.study import Study

SMALL = {"analyses": ["outcome"], "training": {"learning_rates": [0.05]}, "seeds": [0]}


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


def copied(finished: FinishedStudy, folder: Path) -> Path:
    shutil.copytree(finished.store, folder / "store")
    return folder / "store"


def unit_keys(finished: FinishedStudy, name: str) -> set[str]:
    store = Store(finished.store)
    return {key for key in store.keys("units") if store.entry("units", key).manifest()["analysis"] == name}


def trainings(done: list[str]) -> list[str]:
    return [each for each in done if each.startswith("train")]


# -- one run -------------------------------------------------------------------------------------------------


def test_every_analysis_ends_in_its_declared_table(finished: FinishedStudy) -> None:
    results = finished.results
    names = [result.analysis.name for result in results.analyses]
    asked = [analysis.name for analysis in finished.study.analyses]
    assert sorted(names) == sorted([*asked, "learning_rate", *["learning_curves"] * ("learning_curves" not in asked)])
    for result in results.analyses:
        assert result.inapplicable is None
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
    assert path.inapplicable == "a path between two networks needs at least two seeds"
    assert path.table is None
    assert path.summary is None


def test_the_memory_format_is_measured_once_per_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferscope.running import bind as module

    study = tiny.study(tmp_path, {"training": {"recipe": {"memory_format": "auto"}}})
    store = Store(tmp_path / "store")
    first = bind(study, store)

    def never(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("it was measured before")

    monkeypatch.setattr(module, "probe", never)
    assert bind(study, store) == first
    assert first.memory_format in ("contiguous", "channels_last")
    assert first.recipe(0.1).memory_format == first.memory_format


# -- stopped and resumed -------------------------------------------------------------------------------------


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
    assert trainings(jobs) == ["train RI-T[1000] at 0.05", "train P-T[1000] at 0.05"]
    assert Store(tmp_path / "store").status()["networks"] == 1
    told.clear()

    run_study(study, tmp_path / "store", quiet=True)

    resumed = [event for event in told if event["kind"] == "training_resumed"]
    assert [(event["label"], event["epoch"]) for event in resumed] == [("P-T[1000] at 0.05", 1)]
    run_study(whole, tmp_path / "whole" / "store", quiet=True)
    assert tiny.contents(tmp_path / "store") == tiny.contents(tmp_path / "whole" / "store")


@pytest.mark.parametrize("where", ["bind", "results_of"])
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


# -- two at once ---------------------------------------------------------------------------------------------


def test_the_same_study_started_twice_is_refused_and_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny.study(tmp_path, SMALL)
    refused: list[str] = []

    def started_again(asked: Study, store: Store) -> Any:
        with pytest.raises(StoreBusyError, match=f"this study is already running as process {os.getpid()}") as caught:
            run_study(study, store.root, quiet=True)
        refused.append(str(caught.value))
        return bind(asked, store)

    monkeypatch.setattr(run_module, "bind", started_again)
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
        monkeypatch.setattr(run_module, "bind", bind)
        inner.append(run_study(other, store.root, quiet=True))
        return bind(asked, store)

    monkeypatch.setattr(run_module, "bind", started_too)
    outer = run_study(study, tmp_path / "store", quiet=True)
    assert inner[0].manifest["pretrained"] != outer.manifest["pretrained"]
    assert not inner[0].headline.equals(outer.headline)


def test_studies_share_networks(finished: FinishedStudy, tmp_path: Path, jobs: list[str]) -> None:
    store = copied(finished, tmp_path)
    changes = {"name": "other", "analyses": [{"mistakes": {"draws": 150}}]}
    other = tiny.study(finished.folder, changes)
    run_study(other, store, quiet=True)
    assert trainings(jobs) == []
    assert [job.split(":")[0] for job in jobs].count("measure Mistakes") == 1
    jobs.clear()
    run_study(tiny.study(finished.folder, {**changes, "seeds": [0, 1, 2]}), store, quiet=True)
    assert sorted(trainings(jobs)) == ["train P-T[2] at 0.2", "train RI-T[2] at 0.2"]


# -- executors -----------------------------------------------------------------------------------------------


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
    bound = bind(study, Store(finished.store))
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
    run_module._execute(bound, jobs, print)
    run_module._execute(bound, jobs[:1], print)
    # One job is not worth a process, and has the threads it would have there.
    assert calls == [expected, ("serial", 1, expected[2])]


def test_units_of_one_network_have_one_affinity(finished: FinishedStudy) -> None:
    bound = bind(finished.study, Store(finished.store))
    members = [Member(variant="RI", seed=seed, spec=bound.untrained("RI", seed)) for seed in (0, 1)]
    units = [
        Unit(members=(members[0],)),
        Unit(members=(members[0], members[1])),
        Unit(members=()),
        Unit(members=(members[1],)),
    ]
    found = [run_module._affinity(MeasureJob(finished.store, bound, "", unit, "")) for unit in units]
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
    bound = bind(finished.study, Store(finished.store))
    closed: list[bool] = []

    def executor(do: Any, items: Any, **settings: Any) -> Iterator[tuple[int, str]]:
        try:
            yield 0, "key"
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    monkeypatch.setattr(run_module, "serial", executor)
    with pytest.raises(KeyboardInterrupt):
        run_module._execute(bound, [TrainJob(finished.store, bound, bound.trained("RI_T", 0, 0.1), "")], print)
    assert closed == [True]


# -- diverging -----------------------------------------------------------------------------------------------


def test_a_rate_that_diverges_is_a_result_and_is_not_chosen(tmp_path: Path) -> None:
    changes = {**SMALL, "training": {"learning_rates": [0.05, 1e30], "extensions": 0}}
    results = run_study(tiny.study(tmp_path, changes), tmp_path / "store", quiet=True)
    rates = next(result for result in results.analyses if result.analysis.name == "learning_rate")
    assert rates.table is not None
    assert rates.summary is not None
    lost = rates.table.filter(pl.col("diverged"))
    assert lost["learning_rate"].to_list() == [1e30, 1e30]
    assert lost["validation_metric"].null_count() == 2
    assert any("diverged" in note for note in rates.summary.notes)
    trained = results.headline.filter(pl.col("variant").is_in(["RI_T", "P_T"]))
    assert trained["learning_rate"].to_list() == [0.05] * 4
    assert trained["n"].to_list() == [1] * 4


def test_where_every_seed_of_both_variants_diverges_the_report_says_so(tmp_path: Path) -> None:
    changes = {"training": {"learning_rates": [1e30]}}
    results = run_study(tiny.study(tmp_path, changes), tmp_path / "store", quiet=True)
    assert results.verdict.startswith("Undecided")
    assert results.gap == ()
    trained = results.headline.filter(pl.col("variant").is_in(["RI_T", "P_T"]))
    assert trained["value"].null_count() == 4
    assert trained["n"].to_list() == [0] * 4
    assert trained["note"].str.contains("diverged").all()
    for result in results.analyses:
        assert result.summary is not None
        assert any("diverged" in note for note in result.summary.notes), result.analysis.name
    assert all(network["diverged"] for network in results.manifest["networks"])


def test_where_every_seed_of_one_variant_diverges_the_other_is_still_told(tmp_path: Path) -> None:
    study = tiny.study(tmp_path, {"training": {"learning_rates": [0.2]}})
    path = tmp_path / "weights.safetensors"
    state = load_file(path)
    # Features a thousand times too large: a rate that suits RI-T throws P-T off.
    for name in ("block.1.weight", "block.1.bias"):
        state[name] = state[name] * 3000
    work_module.write_state(path, state, {})
    results = run_study(study, tmp_path / "store", quiet=True)
    facts = {network["label"].split("[")[0]: network["diverged"] for network in results.manifest["networks"]}
    assert facts == {"P-T": True, "RI-T": False}
    values = {row["variant"]: row["value"] for row in results.headline.filter(split="test").iter_rows(named=True)}
    assert values["P_T"] is None
    assert values["RI_T"] is not None
    assert results.gap == ()
    assert results.verdict.startswith("Undecided")
    for result in results.analyses:
        assert result.summary is not None
        if result.analysis.name != "learning_rate":
            assert any("P-T[0]" in note or "P-T[1" in note for note in result.summary.notes), result.analysis.name


# -- damage, and the way on ----------------------------------------------------------------------------------


def damage(entry: Any, name: str) -> None:
    path = entry.folder / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))


def test_a_damaged_network_is_found_and_can_be_made_anew(finished: FinishedStudy, tmp_path: Path) -> None:
    root = copied(finished, tmp_path)
    store = Store(root)
    key = next(each["key"] for each in finished.results.manifest["networks"] if each["label"].startswith("P-T[0]"))
    damage(store.entry("networks", key), "weights.safetensors")
    other = tiny.study(finished.folder, {"analyses": [{"path": {"points": 5, "outer": 0, "extrapolate": 0.0}}]})
    with pytest.raises(CorruptEntryError, match=r"weights.safetensors is not what was written[\s\S]*made anew"):
        run_study(other, root, quiet=True)
    store.discard("networks", key)
    run_study(other, root, quiet=True)
    before = tiny.contents(finished.store, "networks")
    assert tiny.contents(root, "networks") == before


@pytest.mark.parametrize("name", ["table.parquet", "manifest.json"])
def test_a_damaged_unit_is_found_and_can_be_made_anew(finished: FinishedStudy, tmp_path: Path, name: str) -> None:
    root = copied(finished, tmp_path)
    store = Store(root)
    key = sorted(store.keys("units"))[0]
    damage(store.entry("units", key), name)
    with pytest.raises(CorruptEntryError, match=rf"{name} is not (what was written|a manifest)"):
        run_study(finished.study, root, quiet=True)
    shutil.rmtree(store.entry("units", key).folder)
    run_study(finished.study, root, quiet=True)
    assert tiny.contents(root) == tiny.contents(finished.store)


def test_other_data_are_other_networks(tmp_path: Path, jobs: list[str]) -> None:
    study = tiny.study(tmp_path, SMALL)
    first = run_study(study, tmp_path / "store", quiet=True)
    assert len(trainings(jobs)) == 4
    jobs.clear()
    tiny.pictures(tmp_path / "target", seed=9)
    second = run_study(study, tmp_path / "store", quiet=True)
    assert len(trainings(jobs)) == 4
    assert first.manifest["fingerprint"] != second.manifest["fingerprint"]
    jobs.clear()
    tiny.pictures(tmp_path / "target")
    third = run_study(study, tmp_path / "store", quiet=True)
    assert jobs == []
    assert third.headline.equals(first.headline)


def test_other_weights_are_another_p_and_the_same_ri(tmp_path: Path, jobs: list[str]) -> None:
    study = tiny.study(tmp_path, SMALL)
    run_study(study, tmp_path / "store", quiet=True)
    jobs.clear()
    tiny.weights(tmp_path, seed=3)
    run_study(study, tmp_path / "store", quiet=True)
    assert trainings(jobs) == ["train P-T[1000] at 0.05", "train P-T[0] at 0.05"]


def test_a_disk_that_fills_up_in_the_middle_of_a_run_loses_nothing(
    finished: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = work_module.train, 3
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(*arguments: Any, **settings: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
        return real(*arguments, **settings)

    monkeypatch.setattr(work_module, "train", filling)
    try:
        with pytest.raises(StoreError, match=r"cannot write[\s\S]*run again|cannot write[\s\S]*run the same"):
            run_study(finished.study, tmp_path / "store", quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Store(tmp_path / "store").status()["networks"] == 2
    assert verify(Store(tmp_path / "store")) == []
    run_study(finished.study, tmp_path / "store", quiet=True)
    assert tiny.contents(tmp_path / "store") == tiny.contents(finished.store)


def test_a_store_that_becomes_read_only_loses_nothing(
    finished: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    import transferscope.store.entry as entry

    real, left = entry.place, 20

    def read_only(temporary: Path, target: Path) -> bool:
        nonlocal left
        left -= 1
        if left <= 0:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(target))
        return real(temporary, target)

    monkeypatch.setattr(entry, "place", read_only)
    with pytest.raises(StoreError, match=r"Read-only file system[\s\S]*mount the disk writable"):
        run_study(finished.study, tmp_path / "store", quiet=True)
    monkeypatch.undo()
    run_study(finished.study, tmp_path / "store", quiet=True)
    assert tiny.contents(tmp_path / "store") == tiny.contents(finished.store)


# -- a pre-training of our own -------------------------------------------------------------------------------


def test_a_pre_training_is_trained_once_and_first(tmp_path: Path, jobs: list[str]) -> None:
    study = tiny.study(tmp_path, {**SMALL, **tiny.pretrained(tmp_path)})
    results = run_study(study, tmp_path / "store", quiet=True)
    # Whoever needs no parent trains with it.
    assert trainings(jobs) == [
        "train RI-T[1000] at 0.05",
        "train pre-training[2000] at 0.05",
        "train P-T[1000] at 0.05",
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


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_survives_its_text(name: str) -> None:
    analysis = parse_analysis(name)
    again = parse_analysis(json.loads(run_module.analysis_text(analysis)))
    assert again == analysis
    assert again.key == analysis.key
