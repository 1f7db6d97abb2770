"""Trainings that diverge, files that are damaged or changed, disks that fill up."""

import os
import resource
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.torch import load_file

import transferscope.running.work as work_module
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import SMALL, trainings
from transferscope.errors import StoreError
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.store.verify import verify

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


# -- other data, other weights, full disks ------------------------------------------------------------------


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
    assert trainings(jobs) == ["train P-T[1000] at 0.05, rate search", "train P-T[0] at 0.05"]


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
