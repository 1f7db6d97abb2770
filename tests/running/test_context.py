"""The only door to weights and data."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import transferscope.context.context as module
import transferscope.context.initial_networks as starts_module
from tests.running import tiny
from tests.running.conftest import FinishedStudy
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.data.batches import training_batches
from transferscope.errors import DataError, StoreError, WeightsError
from transferscope.running.work import TrainJob, do
from transferscope.specs.network import Checkpoint, NetworkSpec
from transferscope.store import Store


def silent(event: dict[str, Any]) -> None:
    del event


@pytest.fixture
def context(finished: FinishedStudy) -> Context:
    store = Store(finished.store)
    return Context(store, resolve(finished.study, store))


def tuned(context: Context, variant: str) -> NetworkSpec:
    return context.study.trained(variant, 1000, 0.05)


# -- pairs ---------------------------------------------------------------------------------------------------


def test_p_t_and_ri_t_of_one_seed_have_the_same_head_and_see_the_same_images_in_the_same_order(
    context: Context,
) -> None:
    heads, batches = {}, {}
    for variant in ("P_T", "RI_T"):
        for seed in (0, 1):
            spec = context.study.trained(variant, seed, 0.1)
            assert spec.recipe is not None
            heads[variant, seed] = context.start(spec).state_dict()["head.weight"]
            loader = training_batches(
                context.images(),
                context.splits()["train"],
                context.study.data.mean,
                context.study.data.std,
                spec.recipe,
                spec.seed,
                1,
                torch.device("cpu"),
            )
            batches[variant, seed] = torch.cat([images for images, _ in loader])
    for seed in (0, 1):
        assert torch.equal(heads["P_T", seed], heads["RI_T", seed])
        assert torch.equal(batches["P_T", seed], batches["RI_T", seed])
    assert not torch.equal(heads["P_T", 0], heads["P_T", 1])
    assert not torch.equal(batches["P_T", 0], batches["P_T", 1])


def test_p_and_p_t_start_alike_and_ri_does_not(context: Context) -> None:
    study = context.study
    starts = {name: context.start(study.untrained(name, 0)).state_dict() for name in ("P", "RI")}
    trained = context.start(study.trained("P_T", 0, 0.1)).state_dict()
    assert all(torch.equal(starts["P"][name], tensor) for name, tensor in trained.items())
    assert not torch.equal(starts["P"]["stem.0.weight"], starts["RI"]["stem.0.weight"])
    assert torch.equal(starts["P"]["head.weight"], starts["RI"]["head.weight"])


# -- networks ------------------------------------------------------------------------------------------------


def test_a_trained_network_is_the_stored_one_in_evaluation_mode(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tuned(context, "P_T")

    def never(*arguments: Any) -> Any:
        raise AssertionError("the source's weights are not needed for a network that is trained")

    monkeypatch.setattr(starts_module, "take", never)
    model = context.network(spec)
    assert not any(part.training for part in model.modules())
    stored = context.state(spec)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())


def test_epoch_0_is_the_start(context: Context) -> None:
    spec = tuned(context, "P_T")
    start = context.start(spec).state_dict()
    assert all(torch.equal(tensor, start[name]) for name, tensor in context.state(spec, 0).items())
    assert not torch.equal(context.state(spec)["head.weight"], start["head.weight"])


def test_the_last_epoch_by_name_and_by_number(context: Context) -> None:
    spec = tuned(context, "RI_T")
    assert torch.equal(context.state(spec, 2)["head.weight"], context.state(spec, "last")["head.weight"])


def test_the_best_epoch_is_the_best_on_validation_data(context: Context) -> None:
    spec = tuned(context, "RI_T")
    history = context.history(spec)
    best = int(history.sort(["validation_metric", "epoch"], descending=[True, False])["epoch"][0])
    assert context.store.entry("networks", spec.key).manifest()["best_epoch"] == best
    assert torch.equal(context.state(spec, "best")["head.weight"], context.state(spec, best)["head.weight"])


def test_an_epoch_that_was_not_kept_is_named(tmp_path: Path) -> None:
    found, store, context = tiny.bound(tmp_path, {"training": {"recipe": {"epochs": 4, "keep": [1]}}})
    spec = found.trained("RI_T", 0, 0.01)
    do(TrainJob(store.root, found, spec, "one"), silent)
    facts = store.entry("networks", spec.key).manifest()
    lost = next(epoch for epoch in (2, 3) if epoch != facts["best_epoch"])
    assert context.state(spec, 1).keys() == context.state(spec).keys()
    with pytest.raises(
        StoreError, match=rf"epoch {lost} of the network \w+ was not kept[\s\S]*one of 0, 1, [\s\S]*last"
    ):
        context.state(spec, lost)


def test_a_network_that_is_not_trained_yet_is_named(context: Context) -> None:
    spec = context.study.trained("RI_T", 99, 0.01)
    for read in (context.state, context.network, context.history, context.diverged):
        with pytest.raises(StoreError, match=f"the network {spec.key} is not in the store"):
            read(spec)
    assert not context.diverged(context.study.untrained("P", 99))


# -- a pre-training of our own -------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", [0, 1, "best", "last"])
def test_every_checkpoint_of_a_pre_training_can_be_p(tmp_path: Path, checkpoint: Any) -> None:
    found, store, context = tiny.bound(tmp_path, tiny.pretrained(tmp_path, checkpoint=checkpoint))
    assert isinstance(found.pretrained, Checkpoint)
    parent = found.pretrained.of
    do(TrainJob(store.root, found, parent, "pre-training"), silent)
    p = context.start(found.untrained("P", 0)).state_dict()
    source = context.state(parent, checkpoint)
    assert source["head.weight"].shape == (3, 8)
    assert p["head.weight"].shape == (2, 8)
    assert torch.equal(p["head.weight"], context.start(found.untrained("RI", 0)).state_dict()["head.weight"])
    for name in p:
        if not name.startswith("head"):
            assert torch.equal(p[name], source[name]), name
    start = context.start(parent).state_dict()
    assert torch.equal(p["stem.0.weight"], start["stem.0.weight"]) is (checkpoint == 0)


def test_a_recipe_changes_only_where_a_checkpoint_needs_it(tmp_path: Path) -> None:
    keys = {}
    for checkpoint in (0, 1, 2, "best", "last"):
        found, _, _ = tiny.bound(tmp_path, tiny.pretrained(tmp_path, checkpoint=checkpoint))
        assert isinstance(found.pretrained, Checkpoint)
        keys[checkpoint] = found.pretrained.of.key
    assert keys[0] == keys[2] == keys["best"] == keys["last"] != keys[1]
    kept = tiny.pretrained(tmp_path, checkpoint=1, recipe={**tiny.FAST, "keep": "all"})
    found, _, _ = tiny.bound(tmp_path, kept)
    assert isinstance(found.pretrained, Checkpoint)
    assert found.pretrained.of.recipe is not None
    assert found.pretrained.of.recipe.keep == "all"


def test_a_pre_training_that_diverged_is_no_p(tmp_path: Path) -> None:
    errors = {}
    for checkpoint in ("last", 2):
        found, store, context = tiny.bound(
            tmp_path, tiny.pretrained(tmp_path, checkpoint=checkpoint, learning_rate=1e30)
        )
        assert isinstance(found.pretrained, Checkpoint)
        do(TrainJob(store.root, found, found.pretrained.of, "pre-training"), silent)
        with pytest.raises(
            WeightsError, match=r"diverged: it has no usable epoch[\s\S]*source.pretrain.learning_rate"
        ) as e:
            context.start(found.untrained("P", 0))
        errors[checkpoint] = str(e.value)
        assert context.diverged(found.pretrained.of)
    assert "'last'" in errors["last"]
    found, _, context = tiny.bound(tmp_path, tiny.pretrained(tmp_path, checkpoint="best", learning_rate=1e30))
    context.start(found.untrained("P", 0))  # its best epoch is the start: finite, and asked for


def test_no_best_epoch_is_named(finished: FinishedStudy, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tuned(context, "RI_T")
    entry = type(context.store.entry("networks", spec.key))
    real = entry.manifest
    for facts, words in (
        ({"best_epoch": None}, "has no best epoch[\\s\\S]*validation images of every class"),
        ({"best_epoch": None, "diverged": True}, "diverged: it has no usable epoch 'best'"),
    ):
        monkeypatch.setattr(entry, "manifest", lambda self, facts=facts: {**real(self), **facts})
        with pytest.raises(WeightsError, match=words):
            context.state(spec, "best")


# -- what changes under a run --------------------------------------------------------------------------------


def test_images_that_change_under_a_run_are_an_error(tmp_path: Path) -> None:
    found, store, _ = tiny.bound(tmp_path)
    tiny.pictures(tmp_path / "target", seed=9)
    with pytest.raises(DataError, match=r"images of 'arrays' changed since the study was started[\s\S]*own keys"):
        Context(store, found).images()
    with pytest.raises(DataError, match="changed since the study was started"):
        do(TrainJob(store.root, found, found.trained("RI_T", 0, 0.1), "one"), silent)
    assert store.status()["networks"] == 0


def test_weights_that_change_under_a_run_are_an_error(tmp_path: Path) -> None:
    found, _, context = tiny.bound(tmp_path)
    tiny.weights(tmp_path, seed=3)
    with pytest.raises(WeightsError, match=r"weights changed since the study was started[\s\S]*own keys"):
        context.network(found.untrained("P", 0))
    context.network(found.untrained("RI", 0))


# -- data and artefacts --------------------------------------------------------------------------------------


def test_splits_are_disjoint_and_a_fraction_cuts_training_images_alone(tmp_path: Path) -> None:
    found, store, whole = tiny.bound(tmp_path)
    part = tiny.bound(tmp_path, {"target": {"fraction": 0.5}})[2]
    splits, cut = whole.splits(), part.splits()
    every = np.concatenate(list(splits.values()))
    assert sorted(every) == list(range(90))
    assert len(cut["train"]) == pytest.approx(len(splits["train"]) / 2, abs=1)
    assert set(cut["train"]) < set(splits["train"])
    for split in ("validation", "test"):
        assert np.array_equal(cut[split], splits[split])
    assert found.data.key != part.study.data.key
    splits["train"] = splits["train"][:1]
    assert len(whole.splits()["train"]) > 1  # the caller's own dictionary
    del store


def test_a_limit_gives_the_same_stratified_images_each_time(context: Context) -> None:
    indices = context.indices("train", 20)
    assert len(indices) == pytest.approx(20, abs=2)
    assert np.array_equal(indices, context.indices("train", 20))
    assert set(indices) < set(context.indices("train"))
    assert np.array_equal(context.indices("test", 10_000), context.indices("test"))
    labels = torch.cat([labels for _, labels in context.batches("train", 20, 8)])
    assert torch.equal(labels, context.labels("train", 20))
    assert set(labels.tolist()) == {0, 1}


def test_outputs_are_computed_once_and_are_the_networks(
    context: Context, finished: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(finished.store, tmp_path / "store")
    own = Context(Store(tmp_path / "store"), context.study)
    spec = tuned(context, "RI_T")
    assert own.store.status()["artefacts"] == context.store.status()["artefacts"]
    first = own.outputs(spec, "validation")
    assert own.store.status()["artefacts"] == context.store.status()["artefacts"] + 1
    with torch.no_grad():
        direct = torch.cat([own.network(spec)(images) for images, _ in own.batches("validation")])
    assert torch.equal(first.logits, direct)
    assert torch.equal(first.labels, own.labels("validation"))

    def never(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("they are stored")

    monkeypatch.setattr(module, "logits", never)
    second = own.outputs(spec, "validation")
    assert torch.equal(first.logits, second.logits)


def test_seeds_name_their_purpose(context: Context) -> None:
    assert context.seed("a") != context.seed("b")
    assert context.seed("a", 1) == Context(context.store, context.study).seed("a", 1)


def test_a_history_has_a_row_for_every_epoch(context: Context) -> None:
    history = context.history(tuned(context, "P_T"))
    assert history["epoch"].to_list() == [0, 1, 2]
    assert isinstance(history, pl.DataFrame)


def test_what_of_a_weights_file_went_into_the_network_is_told(tmp_path: Path) -> None:
    study = tiny.study(tmp_path, {"seeds": [0]})
    store = Store(tmp_path / "store")
    bound = resolve(study, store)
    context = Context(store, bound)

    assert context.loaded(bound.untrained("RI", 0)) is None
    report = context.loaded(bound.untrained("P", 0))

    names = set(context.start(bound.untrained("P", 0)).state_dict())
    assert report is not None
    assert set(report.loaded) | set(report.replaced) | set(report.missing) == names
    assert report.replaced, "a head of the source is not that of the target"
