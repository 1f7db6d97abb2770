"""Damaged entries, images that change, things that vanish, threads that change: while a study runs, or between runs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import transferscope.running.work as work_module
import transferscope.training.loop as loop
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from tests.running.small_runs import SMALL
from transferscope.errors import CorruptEntryError, StoreError
from transferscope.running.plan import study_status
from transferscope.running.results import Results
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.store.verify import verify


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    folder = tmp_path_factory.mktemp("small")
    study = tiny.study(folder, SMALL)
    return FinishedStudy(folder, study, run_study(study, folder / "store", quiet=True))


@pytest.fixture
def root(small: FinishedStudy, tmp_path: Path) -> Path:
    shutil.copytree(small.store, tmp_path / "store")
    return tmp_path / "store"


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def file_instead_of_entry(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"rows")


Damage = Callable[[Path], None]
DAMAGED = [
    ("networks", "weights.safetensors", flip),
    ("networks", "weights.safetensors", folder_instead),
    ("networks", "history.parquet", halve),
    ("networks", "manifest.json", flip),
    ("networks", "manifest.json", Path.unlink),
    ("artefacts", "outputs.safetensors", halve),
    ("artefacts", "manifest.json", flip),
    ("units", "table.parquet", flip),
    ("units", "table.parquet", Path.unlink),
    ("units", "manifest.json", folder_instead),
    ("units", "manifest.json", file_instead_of_entry),
    ("images", "images.npy", flip),
    ("images", "labels.npy", empty),
    ("images", "manifest.json", halve),
]


def network(small: FinishedStudy, label: str = "P-T[0]") -> str:
    found = [each["key"] for each in small.results.manifest["networks"] if each["label"].startswith(label)]
    return str(found[0])


def all_tables_equal(a: Results, b: Results) -> bool:
    pairs = zip(a.analyses, b.analyses, strict=True)
    return a.headline.equals(b.headline) and all(x.table.equals(y.table) for x, y in pairs if x.table is not None)


@pytest.mark.kind("R2")
@pytest.mark.parametrize(("kind", "name", "damage"), DAMAGED)
def test_a_damaged_entry_is_set_aside_said_and_made_anew(
    small: FinishedStudy, root: Path, kind: str, name: str, damage: Damage, told: list[dict[str, Any]]
) -> None:
    entry = sorted((root / kind).glob("??/*"))[0]
    if kind == "networks":
        entry = Store(root).entry(kind, network(small, "P-T[1000]" if name == "history.parquet" else "P-T[0]")).folder
    if kind in ("networks", "artefacts"):
        # What rests on it is made again as well: else nothing reads its files.
        shutil.rmtree(root / "units")
    if kind == "networks":
        shutil.rmtree(root / "artefacts")
    damage(entry / name)
    results = run_study(small.study, root, quiet=True)
    assert all_tables_equal(results, small.results)
    kinds = ("networks", "units", "artefacts", "images")
    assert tiny.contents(root, *kinds) == tiny.contents(small.store, *kinds)
    assert [problem for problem in verify(Store(root)) if problem.harmful] == []
    (aside,) = (root / "discarded").iterdir()
    assert aside.name.startswith(f"{kind}-{entry.name}-")
    said = [event["text"] for event in told if event["kind"] == "note"]
    assert any(str(aside) in text and "set aside" in text for text in said)
    assert any(str(aside) in note for note in results.manifest["notes"])


@pytest.mark.kind("R2")
def test_many_damaged_entries_are_all_made_anew(small: FinishedStudy, root: Path) -> None:
    for kind, damage in (("networks", halve), ("units", flip), ("artefacts", empty), ("images", flip)):
        for path in (root / kind).glob("??/*/manifest.json"):
            damage(path)
    assert all_tables_equal(run_study(small.study, root, quiet=True), small.results)
    assert tiny.contents(root) == tiny.contents(small.store)


@pytest.mark.kind("R2")
def test_a_disk_that_keeps_nothing_is_an_error_and_no_endless_loop(
    small: FinishedStudy, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transferscope.store.integrity as integrity

    table = sorted((root / "units").glob("??/*/table.parquet"))[0]
    real = integrity._sha256
    monkeypatch.setattr(integrity, "_sha256", lambda path: "0" * 64 if path == table else real(path))
    integrity.forget_checks()
    with pytest.raises(CorruptEntryError, match=r"table.parquet is not what was written"):
        run_study(small.study, root, quiet=True)


@pytest.mark.kind("R2")
@pytest.mark.parametrize(
    ("kind", "damage"), [("networks", halve), ("networks", Path.unlink), ("units", empty), ("images", folder_instead)]
)
def test_provenance_is_needed_by_no_result(
    small: FinishedStudy, root: Path, kind: str, damage: Damage, jobs: list[str]
) -> None:
    paths = sorted((root / kind).glob("??/*/provenance.json"))
    damage(paths[0])
    results = run_study(small.study, root, quiet=True)
    assert jobs == []
    assert all_tables_equal(results, small.results)
    lost = [text for text in results.manifest["mixed"] if "provenance of 1 parts of this study is lost" in text]
    assert len(lost) == (kind != "images")


@pytest.mark.kind("R2")
@pytest.mark.parametrize(
    ("kind", "name"), [("units", "table.parquet"), ("units", "manifest.json"), ("networks", "manifest.json")]
)
def test_status_counts_what_is_damaged_as_still_to_do(small: FinishedStudy, root: Path, kind: str, name: str) -> None:
    whole = study_status(small.study, root)
    assert (whole.trainings_pending, whole.units_pending) == (0, 0)
    flip(sorted((root / kind).glob("??/*"))[0] / name)
    state = study_status(small.study, root)
    assert state.trainings_pending + state.units_pending > 0
    assert not (root / "discarded").exists()


# -- images that change while a study runs -----------------------------------------------------------------


def in_the_second_epoch(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], at: int = 2) -> None:
    real, calls = loop._train_epoch, 0

    def acting(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            act()
        return real(*arguments)

    monkeypatch.setattr(loop, "_train_epoch", acting)


def before_the_first_measurement(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    work_module.forget()
    monkeypatch.setattr(work_module, "_measure", acting_first(act, work_module._measure))


def acting_first(act: Callable[[], None], real: Callable[..., Any]) -> Callable[..., Any]:
    done: list[bool] = []

    def acting(job: Any, context: Any, on_event: Any) -> Any:
        context.images()
        if not done:
            done.append(True)
            act()
        return real(job, context, on_event)

    return acting


def zeroed(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(200)
        file.write(bytes(path.stat().st_size - 200))


def cut(path: Path) -> None:
    os.truncate(path, 5000)


def replaced(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-9000] + bytes(9000))


@pytest.mark.kind("R8")
@pytest.mark.parametrize(
    ("where", "change"),
    [
        *(("training", change) for change in (zeroed, cut, replaced, Path.unlink)),
        *(("measuring", change) for change in (zeroed, cut, empty)),
    ],
)
def test_images_that_change_while_a_study_runs_are_an_error_and_nothing_is_stored(
    small: FinishedStudy, root: Path, monkeypatch: pytest.MonkeyPatch, change: Damage, where: str
) -> None:

    def act() -> None:
        change(next((root / "images").glob("??/*/images.npy")))

    if where == "training":
        shutil.rmtree(Store(root).entry("networks", network(small)).folder)
        in_the_second_epoch(monkeypatch, act)
    else:
        shutil.rmtree(root / "units")
        shutil.rmtree(root / "artefacts")
        before_the_first_measurement(monkeypatch, act)
    before = tiny.contents(root, "networks", "units", "artefacts")
    with pytest.raises(StoreError, match=r"images changed while they were in use[\s\S]*run the same command again"):
        run_study(small.study, root, quiet=True)
    assert tiny.contents(root, "networks", "units", "artefacts") == before
    monkeypatch.undo()
    results = run_study(small.study, root, quiet=True)
    assert all_tables_equal(results, small.results)
    assert tiny.contents(root) == tiny.contents(small.store)


@pytest.mark.kind("R8")
def test_images_that_are_only_touched_hinder_nothing(
    small: FinishedStudy, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(Store(root).entry("networks", network(small)).folder)
    in_the_second_epoch(monkeypatch, lambda: os.utime(next((root / "images").glob("??/*/images.npy")), (1, 1)))
    assert all_tables_equal(run_study(small.study, root, quiet=True), small.results)


# -- what vanishes -----------------------------------------------------------------------------------------


@pytest.mark.kind("R9")
@pytest.mark.parametrize("what", ["networks", "networks and units", "store moved", "store deleted", "mark deleted"])
def test_what_vanishes_while_a_study_runs_is_named(
    small: FinishedStudy, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    shutil.rmtree(root / "units")
    shutil.rmtree(root / "artefacts")

    def act() -> None:
        if what == "networks":
            shutil.rmtree(root / "networks")
        elif what == "networks and units":
            shutil.rmtree(root / "units", ignore_errors=True)
            shutil.rmtree(root / "networks")
        elif what == "store moved":
            root.rename(tmp_path / "moved")
        elif what == "store deleted":
            shutil.rmtree(root)
        else:
            (root / "store.json").unlink()

    before_the_first_measurement(monkeypatch, act)
    with pytest.raises(StoreError, match=r"was there and is gone[\s\S]*run the same command again"):
        run_study(small.study, root, quiet=True)
    monkeypatch.undo()
    assert all_tables_equal(run_study(small.study, root, quiet=True), small.results)


@pytest.mark.kind("R9")
def test_a_store_that_is_moved_in_a_training_is_named(
    small: FinishedStudy, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(Store(root).entry("networks", network(small)).folder)
    in_the_second_epoch(monkeypatch, lambda: root.rename(tmp_path / "moved") and None)
    with pytest.raises(StoreError, match=r"was there and is gone"):
        run_study(small.study, root, quiet=True)
    monkeypatch.undo()
    assert all_tables_equal(run_study(small.study, tmp_path / "moved", quiet=True), small.results)


# -- threads, seconds --------------------------------------------------------------------------------------


@pytest.mark.kind("S13")
@pytest.mark.parametrize(("name", "was"), [("threads", 7), ("device", "cuda:3"), ("torch", None)])
def test_what_changes_within_a_training_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]], name: str, was: object
) -> None:
    study, root = tiny.study(tmp_path, SMALL), tmp_path / "store"
    real = loop.timed
    other = {name: was}
    monkeypatch.setattr(loop, "timed", lambda *a: type(real(*a))(**{**vars(real(*a)), **other}))

    def stop() -> None:
        raise KeyboardInterrupt

    in_the_second_epoch(monkeypatch, stop)
    with pytest.raises(Exception, match="stopped"):
        run_study(study, root, quiet=True)
    monkeypatch.setattr(loop, "timed", real)
    told.clear()
    results = run_study(study, root, quiet=True)
    said = [event["text"] for event in told if event["kind"] == "note"]
    assert any(f"goes on with {name}" in text for text in said) is (was is not None)
    provenances = [json.loads(path.read_text()) for path in (root / "networks").glob("??/*/provenance.json")]
    values = [{epoch[name] for epoch in each["timings"]} for each in provenances]
    assert max(len(each) for each in values) == 2
    assert any(f"{name} changed within 1 trainings" in text for text in results.manifest["mixed"]) is (was is not None)
    assert {epoch["threads"] for each in provenances for epoch in each["timings"]} >= {torch.get_num_threads()}


@pytest.mark.kind("contact")
def test_provenance_has_the_seconds_of_the_work_and_not_of_its_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def passing() -> float:
        now[0] += 1000.0
        return now[0]

    monkeypatch.setattr(work_module.time, "perf_counter", passing)
    root = tmp_path / "store"
    run_study(tiny.study(tmp_path, SMALL), root, quiet=True)
    for kind in ("networks", "units"):
        seconds = [json.loads(path.read_text())["seconds"] for path in (root / kind).glob("??/*/provenance.json")]
        assert seconds
        assert min(seconds) >= 1000
