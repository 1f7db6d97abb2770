"""What the loop computes: updates, history, and what each setting does."""

import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training.conftest import image_set, spec, tiny
from tests.training.small_trainings import run, same
from transferscope.networks.evaluate import logits
from transferscope.training.loop import train
from transferscope.training.phases import Phases


def test_learns_what_can_be_learnt(images, splits, tmp_path):
    events = []
    training = run(images, splits, tmp_path, epochs=8, options={"on_event": events.append})
    last = training.history.row(-1, named=True)
    assert training.history["train_metric"][0] < 0.6
    assert last["train_metric"] > 0.9
    assert last["validation_metric"] > 0.9
    assert last["test_metric"] > 0.9
    assert last["train_loss"] < training.history["train_loss"][0] / 2
    assert training.history["epoch"].to_list() == list(range(9))
    assert training.history["updates"].to_list() == [7 * epoch for epoch in range(9)]
    assert not training.diverged
    assert training.state_epoch == 8
    assert [timing.images for timing in training.timings] == [0] + [50] * 8
    assert [event["epoch"] for event in events if event["kind"] == "epoch"] == list(range(1, 9))
    for timing in training.timings[1:]:
        parts = (timing.images_seconds, timing.forward_seconds, timing.backward_seconds)
        assert min(parts) > 0
        assert sum(parts) <= timing.training_seconds


def test_phases_take_the_time_of_what_they_name():
    phases = Phases(torch.device("cpu"))
    for phase, seconds in (("images", 0.02), ("forward", 0.04), ("images", 0.02)):
        time.sleep(seconds)
        phases.ended(phase)
    phases.settle()
    assert phases.seconds["images"] >= 0.04
    assert phases.seconds["forward"] >= 0.04
    assert phases.seconds["backward"] == 0


def test_history_is_the_clean_measurement_of_the_states(images, splits, tmp_path):
    """Every row, by hand, from the kept weights: normalised pixels, eval mode, cross-entropy, share right."""
    given = spec(keep="all", mixup=0.4, label_smoothing=0.1)
    model = tiny(dropout=0.5)
    training = train(model, images, splits, given, tmp_path)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (given.data.mean, given.data.std))
    assert sorted(training.checkpoints) == [0, 1, 2]
    for epoch, path in training.checkpoints.items():
        network = tiny(dropout=0.5).eval()
        network.load_state_dict(load_file(path))
        row = training.history.row(epoch, named=True)
        for name, indices in splits.items():
            inputs = (torch.from_numpy(images.pixels(indices)).permute(0, 3, 1, 2).float() / 255 - mean) / std
            labels = torch.from_numpy(images.labels[indices])
            with torch.no_grad():
                outputs = network(inputs)
            assert row[f"{name}_loss"] == pytest.approx(float(nn.functional.cross_entropy(outputs, labels)), rel=1e-4)
            assert row[f"{name}_metric"] == pytest.approx(float((outputs.argmax(1) == labels).double().mean()))
    assert same(load_file(training.checkpoints[2]), training.state)
    assert same(dict(model.state_dict()), training.state)
    assert same(load_file(training.checkpoints[0]), dict(tiny(dropout=0.5).state_dict()))
    assert training.history.row(0, named=True)["running_loss"] is None
    assert training.history.row(0, named=True)["learning_rate"] is None


def test_first_update_by_hand(images, splits, tmp_path):
    """One epoch of one update, against torch written out."""
    chosen = {"train": splits["train"][:6]}
    settings = {
        "epochs": 1,
        "batch_size": 6,
        "schedule": "constant",
        "weight_decay": 0.01,
        "augmentation": {"flip": False, "crop_padding": 0},
        "label_smoothing": 0.1,
        "gradient_clip": 0.1,
    }
    training = run(images, chosen, tmp_path, **settings)
    model, given = tiny(), spec(**settings)
    model.train()
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (given.data.mean, given.data.std))
    inputs = (torch.from_numpy(images.pixels(chosen["train"])).permute(0, 3, 1, 2).float() / 255 - mean) / std
    labels = torch.from_numpy(images.labels[chosen["train"]])
    loss = nn.functional.cross_entropy(model(inputs), labels, label_smoothing=0.1)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01).step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(training.state[name], value, rtol=1e-4, atol=1e-6)
    assert training.history["running_loss"][1] == pytest.approx(float(loss.detach()), rel=1e-5)


class TestOptions:
    """Each setting changes what it should."""

    @pytest.fixture
    def plain(self, images, splits, tmp_path):
        return run(images, splits, tmp_path / "plain", tiny(dropout=0.1))

    @pytest.mark.parametrize(
        "change",
        [
            {"optimiser": "adamw"},
            {"learning_rate": 0.02},
            {"momentum": 0.5},
            {"nesterov": False},
            {"weight_decay": 0.1},
            {"schedule": "constant"},
            {"schedule": "step"},
            {"schedule": "one_cycle"},
            {"warmup_epochs": 1.0},
            {"batch_size": 16},
            {"label_smoothing": 0.1},
            {"mixup": 0.5},
            {"gradient_clip": 0.01},
            {"module_rates": {"head": 0.1}},
            {"augmentation": {"flip": False, "crop_padding": 0}},
            {"precision": "bfloat16"},
        ],
        ids=str,
    )
    def test_changes_the_weights(self, images, splits, tmp_path, plain, change):
        changed = run(images, splits, tmp_path / "changed", tiny(dropout=0.1), **change)
        assert not same(changed.state, plain.state)
        assert not changed.diverged

    def test_the_seed_changes_the_order(self, images, splits, tmp_path, plain):
        assert not same(run(images, splits, tmp_path / "b", tiny(dropout=0.1), seed=1).state, plain.state)

    def test_the_memory_format_changes_rounding_alone(self, images, splits, tmp_path):
        first = run(images, splits, tmp_path / "a", epochs=1)
        second = run(images, splits, tmp_path / "b", epochs=1, memory_format="channels_last")
        for name in first.state:
            torch.testing.assert_close(first.state[name], second.state[name], rtol=1e-2, atol=1e-3)

    def test_dropout_is_drawn_from_the_seed_alone(self, images, splits, tmp_path, plain):
        torch.manual_seed(99)
        before = torch.get_rng_state()
        again = run(images, splits, tmp_path / "b", tiny(dropout=0.1))
        assert same(again.state, plain.state)
        assert torch.equal(torch.get_rng_state(), before)
        assert not same(run(images, splits, tmp_path / "c").state, plain.state)

    def test_decay_stays_off_norms_and_biases(self, images, splits, tmp_path):
        """With a gradient of zero only decay moves a weight."""

        class Constant(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear, self.norm = nn.Linear(2, 2), nn.LayerNorm(2)

            def forward(self, inputs):
                out = self.norm(self.linear(inputs.mean((2, 3))[:, :2]))
                return out * 0

        for spared in (True, False):
            model = Constant()
            before = {name: value.clone() for name, value in model.state_dict().items()}
            training = run(
                images, splits, tmp_path / str(spared), model, weight_decay=0.1, decay_norm_and_bias=not spared
            )
            moved = {name for name in before if not torch.equal(before[name], training.state[name])}
            assert moved == ({"linear.weight"} if spared else {"linear.weight", "linear.bias", "norm.weight"})

    @pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
    def test_frozen_modules_stay_as_they_are_to_the_bit(self, images, splits, tmp_path, optimiser):
        model = tiny().eval()
        training = run(images, splits, tmp_path, model, module_rates={"stem": 0}, optimiser=optimiser)
        start = tiny().state_dict()
        for name, value in training.state.items():
            unchanged = torch.equal(value, start[name])
            assert unchanged == name.startswith("stem"), name
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert not any(module.training for module in model.modules())

    def test_factors_scale_the_first_step(self, images, splits, tmp_path):
        one = {"train": splits["train"][:8]}
        full = run(images, one, tmp_path / "a", epochs=1)
        part = run(images, one, tmp_path / "b", epochs=1, module_rates={"head": 0.25})
        start = tiny().state_dict()
        name = "head.weight"
        torch.testing.assert_close(
            part.state[name] - start[name], 0.25 * (full.state[name] - start[name]), rtol=1e-3, atol=1e-7
        )
        torch.testing.assert_close(part.state["stem.0.weight"], full.state["stem.0.weight"])

    def test_the_rate_of_the_last_update_is_in_the_history(self, images, splits, tmp_path):
        rates = run(images, splits, tmp_path, epochs=4, schedule="step").history["learning_rate"].to_list()
        assert rates[0] is None
        assert rates[1:] == pytest.approx([0.05, 0.05, 0.005, 0.0005])

    def test_tests_can_be_left_out(self, images, splits, tmp_path, plain):
        without = run(images, splits, tmp_path / "b", tiny(dropout=0.1), options={"tests": False})
        assert without.history["test_loss"].null_count() == 3
        assert without.history.drop("test_loss", "test_metric").equals(plain.history.drop("test_loss", "test_metric"))
        assert same(without.state, plain.state)

    def test_the_training_split_can_be_measured_in_part(self, images, splits, tmp_path, plain):
        part = run(images, splits, tmp_path / "b", tiny(dropout=0.1), options={"train_examples": 10})
        shares = [10 * value for value in part.history["train_metric"]]
        assert shares == pytest.approx([round(share) for share in shares])
        assert part.history["train_loss"].to_list() != plain.history["train_loss"].to_list()
        assert part.history["validation_loss"].equals(plain.history["validation_loss"])
        assert same(part.state, plain.state)
        asked = run(images, splits, tmp_path / "recipe", tiny(dropout=0.1), train_evaluation=10)
        assert asked.history.equals(part.history)
        more = run(images, splits, tmp_path / "c", tiny(dropout=0.1), options={"train_examples": 50})
        assert more.history.equals(plain.history)

    def test_no_validation_no_best(self, images, splits, tmp_path):
        training = run(images, {"train": splits["train"], "validation": np.array([], dtype=np.int64)}, tmp_path)
        assert training.best_epoch is None
        assert training.checkpoints == {}
        assert training.history["validation_loss"].null_count() == 3


def test_several_labels(many_labels, splits, tmp_path):
    options = {"task": "multi", "metric": "auc"}
    settings = {"classes": 3, "epochs": 8, "mixup": 0.1, "label_smoothing": 0.05, "options": options}
    training = run(many_labels, splits, tmp_path, tiny(classes=3), **settings)
    assert training.history["validation_metric"][-1] > 0.9
    assert training.history["train_loss"][-1] < training.history["train_loss"][0]


def test_the_metric_is_the_recipes(images, splits, tmp_path):
    accuracy = run(images, splits, tmp_path / "a").history["train_metric"].to_list()
    area = run(images, splits, tmp_path / "b", metric="auc").history["train_metric"].to_list()
    asked = run(images, splits, tmp_path / "c", options={"metric": "auc"}).history["train_metric"].to_list()
    assert accuracy != area == asked


def test_the_state_gives_the_last_rows_logits(images, splits, tmp_path):
    training = run(images, splits, tmp_path)
    network = tiny()
    network.load_state_dict(training.state)
    from transferscope.data.batches import EvaluationBatches

    data = spec().data
    batches = EvaluationBatches(images, splits["test"], data.mean, data.std, 256, torch.device("cpu"), "contiguous")
    outputs, labels = logits(network, batches, torch.device("cpu"))
    share = float((outputs.argmax(1) == labels).double().mean())
    assert share == training.history["test_metric"][-1]


def test_a_last_batch_of_one_image_is_left_out(tmp_path):
    labels = np.arange(17, dtype=np.int64) % 2
    small = image_set(tmp_path / "images", labels)
    training = run(small, {"train": np.arange(17)}, tmp_path / "work", epochs=1)
    assert training.history["updates"][-1] == 2
    assert training.timings[-1].images == 16
