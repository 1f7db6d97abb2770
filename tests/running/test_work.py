"""One training, one unit: what an executor runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import transferscope.running.work as work
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from transferscope.analyses.contract import Task
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.errors import AnalysisError
from transferscope.frozen import content_key
from transferscope.networks.weight_files import read_file, read_metadata, write_state
from transferscope.running.progress import Tally
from transferscope.running.run import analysis_text
from transferscope.running.work import MeasureJob, TrainJob, do, task_key
from transferscope.specs.architecture import FileWeights
from transferscope.specs.network import File
from transferscope.store import Store
from transferscope.study.registry import parse_analysis

Events = list[dict[str, Any]]


@pytest.fixture
def copy(finished: FinishedStudy, tmp_path: Path) -> tuple[ResolvedStudy, Store]:
    shutil.copytree(finished.store, tmp_path / "store")
    store = Store(tmp_path / "store")
    return resolve(finished.study, store), store


def unit_of(bound: ResolvedStudy, seed: int = 1000) -> Task:
    """As the search over rates makes it."""
    member = StudyNetwork(variant="RI_T", seed=seed, spec=bound.trained("RI_T", seed, 0.05))
    return Task(members=(member,), settings={"rate_rule": bound.settings.training.rate_rule})


def measure(bound: ResolvedStudy, store: Store, analysis: str = "learning_rate") -> MeasureJob:
    return MeasureJob(store.root, bound, analysis_text(parse_analysis(analysis)), unit_of(bound), "RI-T")


# -- keys ----------------------------------------------------------------------------------------------------


def test_the_key_of_a_unit_names_all_it_hangs_on(copy: tuple[ResolvedStudy, Store], finished: FinishedStudy) -> None:
    bound, store = copy
    analysis, task = parse_analysis("learning_rate"), unit_of(bound)
    key = task_key(analysis, task, bound)
    assert key == task_key(parse_analysis("learning_rate"), unit_of(bound), bound)

    def changed(**changes: Any) -> ResolvedStudy:
        return ResolvedStudy(**{**vars(bound), **changes})

    def computed(**changes: Any) -> ResolvedStudy:
        settings = bound.settings
        compute = settings.compute.model_copy(update=changes)
        return changed(settings=settings.model_copy(update={"compute": compute}))

    others = {
        "analysis": task_key(parse_analysis("outcome"), task, bound),
        "settings": task_key(parse_analysis({"outcome": {"n_bootstrap": 700}}), task, bound),
        "network": task_key(analysis, unit_of(bound, 1001), bound),
        "unit": task_key(analysis, Task(members=task.members, settings={"split": "test"}), bound),
        "data": task_key(analysis, task, changed(data=bound.data.model_copy(update={"fingerprint": "0" * 64}))),
        "metric": task_key(analysis, task, changed(metric="auc")),
        "memory format": task_key(analysis, task, changed(memory_format="channels_last")),
        "batch": task_key(analysis, task, computed(evaluation_batch=64)),
    }
    assert len({key, *others.values()}) == len(others) + 1
    # Where and how it runs, and under which name, is not what is asked for.
    assert task_key(analysis, task, computed(executor="processes", workers=8, threads=3, device="cpu")) == key
    renamed = bound.settings.model_copy(update={"name": "other"})
    assert task_key(analysis, task, changed(settings=renamed)) == key
    moved = bound.data.source.model_copy(update={"images": "/elsewhere/images.npy"})
    assert task_key(analysis, task, changed(data=bound.data.model_copy(update={"source": moved}))) == key
    del store


def test_a_manifest_holds_what_was_asked_for_and_no_place(copy: tuple[ResolvedStudy, Store]) -> None:
    bound, store = copy
    spec = bound.trained("P_T", 1000, 0.05)
    entry = store.entry("networks", spec.key)
    assert content_key(entry.manifest()["spec"]) == spec.key
    assert isinstance(bound.pretrained, File)
    assert isinstance(bound.pretrained.weights, FileWeights)
    place = bound.pretrained.weights.path
    assert place not in (entry.folder / "manifest.json").read_text(encoding="utf-8")
    assert entry.provenance()["settings"]["start"]["weights"]["path"] == place


def test_weights_say_what_they_are(copy: tuple[ResolvedStudy, Store]) -> None:
    bound, store = copy
    spec = bound.trained("P_T", 1000, 0.05)
    facts = read_metadata(store.entry("networks", spec.key).path("weights.safetensors"))
    assert facts["network"] == spec.key
    assert (facts["classes"], facts["image_size"]) == ("2", str(tiny.SIZE))


def test_equal_weights_are_equal_bytes(tmp_path: Path) -> None:
    # safetensors alone writes the words beside the tensors in another order each time.
    metadata = {f"word {number}": 'é "\\\n' * number for number in range(8)}
    state = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int64)}
    written = set()
    for _ in range(5):
        write_state(tmp_path / "weights.safetensors", state, metadata)
        written.add((tmp_path / "weights.safetensors").read_bytes())
    assert len(written) == 1
    assert read_metadata(tmp_path / "weights.safetensors").items() >= metadata.items()
    again = read_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


# -- what is there is not done again --------------------------------------------------------------------------


def test_a_training_another_process_finished_meanwhile_counts_as_trained(
    copy: tuple[ResolvedStudy, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, store = copy
    spec = bound.trained("P_T", 1000, 0.05)
    # What the other process, had it been killed at the last moment, would have left.
    left = store.working("networks", spec.key)
    (left / "partial.safetensors").write_bytes(b"")

    def never(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("it is in the store")

    monkeypatch.setattr(work, "train", never)
    events: Events = []
    assert do(TrainJob(store.root, bound, spec, "P-T"), events.append) == spec.key
    (event,) = events
    assert event == {"kind": "trained", "network": spec.key, "label": "P-T", "diverged": False, "seconds": 0.0}
    assert not left.exists()


def test_a_unit_another_process_finished_meanwhile_counts_as_measured(
    copy: tuple[ResolvedStudy, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, store = copy
    monkeypatch.setattr(work, "checked", lambda *arguments: pytest.fail("it is in the store"))
    events: Events = []
    do(measure(bound, store), events.append)
    assert [event["kind"] for event in events] == ["unit", "measured"]


def test_every_event_can_be_shown(tmp_path: Path) -> None:
    found, store, _ = tiny.bound(tmp_path)
    spec = found.trained("RI_T", 1000, 0.05)
    tally = Tally()
    events: Events = []

    def take(event: dict[str, Any]) -> None:
        tally.take(event)
        events.append(event)

    take({"kind": "round", "trainings": 1, "units": 1})
    do(TrainJob(store.root, found, spec, "RI-T[1000]"), take)
    do(measure(found, store), take)
    kinds = [event["kind"] for event in events]
    assert [kind for kind in kinds if kind != "training"] == ["round", "epoch", "epoch", "trained", "unit", "measured"]
    assert (tally.trainings.done, tally.units.done) == (1, 1)
    assert {event["label"] for event in events[1:]} == {"RI-T[1000]", "RI-T"}


def test_two_who_want_one_network_wait_for_each_other(tmp_path: Path) -> None:
    import threading

    found, store, _ = tiny.bound(tmp_path)
    spec = found.trained("RI_T", 1000, 0.05)
    events: Events = []
    with store.lock(f"networks-{spec.key}"):
        thread = threading.Thread(target=do, args=(TrainJob(store.root, found, spec, "RI-T"), events.append))
        thread.start()
        while not events:
            thread.join(0.01)
        assert events[0]["kind"] == "note"
        assert events[0]["text"].startswith("waiting: ")
        assert not store.entry("networks", spec.key).exists()
    thread.join()
    assert store.entry("networks", spec.key).exists()


def test_a_table_that_breaks_its_contract_is_not_stored(
    copy: tuple[ResolvedStudy, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, store = copy
    analysis = parse_analysis("learning_rate")
    key = task_key(analysis, unit_of(bound), bound)
    shutil.rmtree(store.entry("units", key).folder)
    real: Callable[..., Any] = type(analysis).measure

    def broken(self: Any, task: Task, context: Any) -> Any:
        measured = real(self, task, context)
        return type(measured)(measured.table.drop("updates"))

    monkeypatch.setattr(type(analysis), "measure", broken)
    with pytest.raises(AnalysisError, match="does not have its declared columns"):
        do(measure(bound, store), lambda event: None)
    assert not store.entry("units", key).exists()
    monkeypatch.undo()
    do(measure(bound, store), lambda event: None)
    assert store.entry("units", key).exists()


def test_a_context_serves_one_study_at_a_time(finished: FinishedStudy, tmp_path: Path) -> None:
    bound, store, _ = tiny.bound(tmp_path)
    first = work._context(store.root, bound)
    assert work._context(store.root, ResolvedStudy(**vars(bound))) is first
    other = ResolvedStudy(**{**vars(bound), "metric": "auc"})
    assert work._context(store.root, other) is not first
    assert work._context(store.root, other).study.metric == "auc"
    assert work._context(tmp_path / "store", bound).study.metric == "top1"
