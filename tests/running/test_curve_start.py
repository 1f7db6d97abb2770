"""The bend of a curve in the store: its start, its training, and a study that asks for curves."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from tests.running import tiny
from transferscope.context.context import Context
from transferscope.context.initial_networks import statistics_batches
from transferscope.context.objectives import objective_of
from transferscope.errors import WeightsError
from transferscope.running.plan import plan_study
from transferscope.running.run import run_study
from transferscope.running.work import TrainJob, do
from transferscope.specs.network import STATISTICS_IMAGES, Curve
from transferscope.store import Store
from transferscope.training.curve_midpoint import CurveMidpoint
from transferscope.training.objective import WholeNetwork
from transferscope.training.optimisers import build_optimiser


@pytest.fixture
def made(tmp_path):
    study, store, context = tiny.bound(tmp_path)
    ends = study.untrained("RI", 0), study.untrained("P", 1)
    bend = study.trained("P_T", 0, 0.05).model_copy(update={"start": Curve(a=ends[0], b=ends[1])})
    return study, store, context, ends, bend


def test_it_starts_at_the_midpoint(made) -> None:
    _, _, context, ends, bend = made
    first, second = (context.state(end) for end in ends)
    for spec in (bend, bend.untrained()):
        found = context.start(spec).state_dict()
        assert found.keys() == first.keys()
        for name, value in found.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (first[name] + second[name]) / 2)
            else:
                assert torch.equal(value, first[name])


def test_the_store_has_the_bend_under_the_names_of_the_architecture(made) -> None:
    study, store, context, ends, bend = made
    events: list[dict] = []
    do(TrainJob(store.root, study, bend, "bend"), events.append)
    entry = store.entry("networks", bend.key)
    stored = load_file(entry.path("weights.safetensors"))
    start = context.start(bend).state_dict()
    assert stored.keys() == start.keys()
    assert not torch.equal(stored["stem.0.weight"], start["stem.0.weight"])
    assert context.history(bend)["epoch"].to_list() == [0, 1, 2]
    assert entry.manifest()["spec"]["start"]["a"] == ends[0].key
    # Ends are read, never written.
    assert not any(store.entry("networks", end.key).exists() for end in ends)
    assert [event["kind"] for event in events][-1] == "trained"


def test_a_killed_training_goes_on_to_the_same_bytes(made, tmp_path) -> None:
    study, store, _, _, bend = made
    do(TrainJob(store.root, study, bend, "bend"), lambda event: None)
    whole = tiny.contents(store.root, "networks")

    def crash(event):
        if event["kind"] == "epoch":
            raise KeyboardInterrupt

    again = Store(tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        do(TrainJob(again.root, study, bend, "bend"), crash)
    assert tiny.contents(again.root, "networks") == {}
    events: list[dict] = []
    do(TrainJob(again.root, study, bend, "bend"), events.append)
    assert ("training_resumed", 1) in [(event["kind"], event.get("epoch")) for event in events]
    assert tiny.contents(again.root, "networks") == whole


def test_only_bends_are_trained_otherwise(made) -> None:
    study, _, context, _, bend = made
    assert objective_of(study.trained("P_T", 0, 0.05), context).func is WholeNetwork
    model = context.start(bend)
    objective = objective_of(bend, context)(model, build_optimiser(model, bend.recipe))
    assert isinstance(objective, CurveMidpoint)
    assert objective.measured() is not model
    images = sum(len(labels) for _, labels in statistics_batches(bend.data, context))
    assert images == min(STATISTICS_IMAGES, len(context.splits()["train"]))


def test_no_curve_ends_at_a_network_that_diverged(made) -> None:
    study, _, context, ends, _ = made

    class Diverged(Context):
        def diverged(self, spec):
            return spec == lost

    lost = study.trained("P_T", 1, 0.05)
    bend = study.trained("P_T", 0, 0.05).model_copy(update={"start": Curve(a=ends[0], b=lost)})
    context = Diverged(context.store, study)
    for call in (lambda: context.start(bend), lambda: objective_of(bend, context)):
        with pytest.raises(WeightsError, match=r"diverged: it has no usable epoch 'last'"):
            call()


def test_a_study_with_curves(finished, tmp_path) -> None:
    shutil.copytree(finished.store, tmp_path / "store")
    settings = {"points": 3, "epochs": 1, "batch_norm_images": 32, "train_images": 16}
    asked = tiny.study(finished.folder, {"analyses": [{"curve": settings}, {"curve": {**settings, "shape": "chain"}}]})
    plan = plan_study(asked, tmp_path / "store")
    # Ends are there; two variants, two shapes: a bend each.
    assert sum(each.trainings - each.trainings_stored for each in plan.rounds) == 4
    results = run_study(asked, tmp_path / "store", quiet=True)
    curves = [result for result in results.analyses if result.analysis.name == "curve"]
    for result, shape in zip(curves, ("bezier", "chain"), strict=True):
        assert result.table["shape"].unique().to_list() == [shape]
        assert result.table.filter(level="point").height == 2 * 2 * 2 * 3
        assert "on the straight line" in result.summary.verdict
    assert len(curves) == 2
    before = tiny.contents(tmp_path / "store")
    run_study(asked, tmp_path / "store", quiet=True)
    assert tiny.contents(tmp_path / "store") == before
