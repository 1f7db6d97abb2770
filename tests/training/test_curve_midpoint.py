import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.callers import gathered
from tests.reference.curve_reference import drawn, on_curve, regularised_gradient
from tests.training.conftest import spec, tiny
from transferscope.data.batches import evaluation_batches
from transferscope.networks.batchnorm import recompute
from transferscope.networks.evaluate import logits
from transferscope.specs.recipe import Recipe
from transferscope.training.curve_midpoint import CurveMidpoint
from transferscope.training.loop import train
from transferscope.training.optimisers import build_optimiser

EVERYTHING = {
    "schedule": "one_cycle", "mixup": 0.4, "label_smoothing": 0.1, "gradient_clip": 1.0, "decay_norm_and_bias": False,
    "module_rates": {"stem": 0.1}, "epochs": 3, "keep": "all", "weight_decay": 0.01,
}  # fmt: skip


class Interrupt:
    """Ctrl-C at an update."""

    def __init__(self, update):
        self.left = update

    def __call__(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return False


def middle(**settings):
    a, b, bend = tiny(1, **settings), tiny(2, **settings), tiny(3, **settings)
    with torch.no_grad():
        for value, first, second in zip(bend.parameters(), a.parameters(), b.parameters(), strict=True):
            value.copy_((first + second) / 2)
    return a, b, bend


def run(images, splits, folder, *, shape="bezier", seed=0, options=None, dropout=0.0, **recipe):
    a, b, bend = middle(dropout=dropout)
    given = spec(2, seed, **recipe)
    data = given.data
    statistics = evaluation_batches(images, splits["train"][:32], data.mean, data.std, 16, "cpu")

    def objective(model, optimiser):
        return CurveMidpoint(
            model, optimiser, first=a.state_dict(), second=b.state_dict(), shape=shape, statistics=statistics, seed=seed
        )

    found = train(bend, images, splits, given, folder, objective=objective, **gathered(train, **(options or {})))
    return found, a, b, bend, statistics


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("shape", ["bezier", "chain"])
@pytest.mark.parametrize("changes", [{}, {"optimiser": "adamw"}, {"decay_norm_and_bias": False}], ids=str)
def test_one_update_by_hand(images, splits, tmp_path, shape, changes):
    """One epoch of one update: the gradient of a literal graph, decay included, then torch's own optimiser."""
    chosen = {"train": splits["train"][:6]}
    settings = {
        "epochs": 1, "batch_size": 6, "schedule": "constant", "weight_decay": 0.1,
        "augmentation": {"flip": False, "crop_padding": 0}, **changes,
    }  # fmt: skip
    training, a, b, _, _ = run(images, chosen, tmp_path, shape=shape, **settings)
    given = spec(**settings)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (given.data.mean, given.data.std))
    inputs = (torch.from_numpy(images.pixels(chosen["train"])).permute(0, 3, 1, 2).float() / 255 - mean) / std
    labels = torch.from_numpy(images.labels[chosen["train"]])
    _, _, bend = middle()
    bend.train()
    first, second = dict(a.named_parameters()), dict(b.named_parameters())
    decays = {
        name: 0.1 if value.ndim > 1 or "decay_norm_and_bias" not in changes else 0.0
        for name, value in bend.named_parameters()
    }
    coupled = {} if changes.get("optimiser") == "adamw" else decays
    t = drawn(0, 1, 0)
    gradients, point, loss = regularised_gradient(
        bend, first, second, shape, t, inputs, labels, {name: coupled.get(name, 0.0) for name in decays}
    )
    factor = {"bezier": 2 * t * (1 - t), "chain": 1 - abs(1 - 2 * t)}[shape]
    for name, value in bend.named_parameters():
        value.grad = gradients[name]
    if coupled:
        torch.optim.SGD(bend.parameters(), lr=0.05, momentum=0.9, nesterov=True).step()
    else:
        with torch.no_grad():
            for name, value in bend.named_parameters():
                value -= 0.05 * 0.1 * factor * point[name]
        torch.optim.AdamW(bend.parameters(), lr=0.05, weight_decay=0.0).step()
    for name, value in bend.named_parameters():
        torch.testing.assert_close(training.state[name], value.detach(), rtol=1e-4, atol=1e-6)
    assert training.history["running_loss"][1] == pytest.approx(float(loss), rel=1e-5)
    assert training.state.keys() == bend.state_dict().keys()


class Points(nn.Module):
    """Gives its parameter: a loss of it is a loss in parameter space."""

    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, images):
        return self.weight


def test_the_bend_of_a_quadratic_loss_in_closed_form():
    """½(θ−w)ᵀH(θ−w): ∫c(t)(θ(t)−w)dt = 0 at φ = 5w/2 − 3(a+b)/4, whatever H; no point gets worse than the ends."""
    a, b, lowest = torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 2.0]), torch.tensor([0.5, -1.0])
    curvature = torch.tensor([1.0, 3.0])

    def loss(value):
        return 0.5 * (curvature * (value - lowest).square()).sum()

    model = Points(((a + b) / 2).tolist())
    optimiser = build_optimiser(model, Recipe(learning_rate=0.1, epochs=1, weight_decay=0.0, momentum=0.0))
    objective = CurveMidpoint(
        model, optimiser, first={"weight": a}, second={"weight": b}, shape="bezier", statistics=[], seed=4
    )
    for step in range(1200):
        for group in optimiser.param_groups:
            group["lr"] = 0.5 / (1 + step / 20)
        optimiser.zero_grad()
        loss(objective.logits(torch.zeros(1), 1, step)).backward()
        objective.before_step()
        optimiser.step()
    bend = model.weight.detach()
    torch.testing.assert_close(bend, 2.5 * lowest - 0.75 * (a + b), rtol=0, atol=0.15)
    at = [step / 50 for step in range(51)]
    along = [float(loss(on_curve("bezier", a, bend, b, t))) for t in at]
    line = [float(loss((1 - t) * a + t * b)) for t in at]
    assert max(along) <= max(line) + 1e-6
    assert sum(along) < 0.7 * sum(line)


@pytest.mark.parametrize("shape", ["bezier", "chain"])
def test_it_lowers_the_loss_along_the_curve(images, splits, tmp_path, shape):
    training, a, b, bend, statistics = run(images, splits, tmp_path, shape=shape, epochs=8)
    given = spec().data
    batches = evaluation_batches(images, splits["train"], given.mean, given.std, 32, "cpu")

    def mean_loss(middle):
        network, losses = tiny(9), []
        for t in np.linspace(0.1, 0.9, 9):
            with torch.no_grad():
                for value, *parts in zip(network.parameters(), a.parameters(), middle, b.parameters(), strict=True):
                    value.copy_(on_curve(shape, *parts, t))
            recompute(network, statistics)
            losses.append(float(nn.functional.cross_entropy(*logits(network, batches, torch.device("cpu")))))
        return float(np.mean(losses))

    before = mean_loss([(one + two) / 2 for one, two in zip(a.parameters(), b.parameters(), strict=True)])
    after = mean_loss([value.detach() for value in bend.parameters()])
    assert after < 0.8 * before
    assert not training.diverged


def test_the_history_is_that_of_the_middle(images, splits, tmp_path):
    training, a, b, _, statistics = run(images, splits, tmp_path, epochs=2, keep="all")
    data = spec().data
    for epoch, path in training.checkpoints.items():
        network, state = tiny(7), load_file(path)
        with torch.no_grad():
            for (name, value), first, second in zip(
                network.named_parameters(), a.parameters(), b.parameters(), strict=True
            ):
                value.copy_((first + second) / 4 + state[name] / 2)
        recompute(network, statistics)
        row = training.history.row(epoch, named=True)
        for split, indices in splits.items():
            batches = evaluation_batches(images, indices, data.mean, data.std, 256, "cpu")
            outputs, labels = logits(network, batches, torch.device("cpu"))
            assert row[f"{split}_loss"] == pytest.approx(float(nn.functional.cross_entropy(outputs, labels)), rel=1e-4)
            assert row[f"{split}_metric"] == pytest.approx(float((outputs.argmax(1) == labels).double().mean()))
    assert sorted(training.checkpoints) == [0, 1, 2]


@pytest.mark.parametrize("update", [3, 7, 17])
@pytest.mark.parametrize(
    "changes", [{}, {"optimiser": "adamw"}, {"precision": "bfloat16", "memory_format": "channels_last"}], ids=str
)
def test_an_interrupted_training_ends_in_the_same_bytes(images, splits, tmp_path, update, changes):
    settings = {**EVERYTHING, **changes, "dropout": 0.3}
    straight, *_ = run(images, splits, tmp_path / "a", **settings)
    with pytest.raises(KeyboardInterrupt):
        run(images, splits, tmp_path / "b", options={"stop_requested": Interrupt(update)}, **settings)
    events = []
    resumed, *_ = run(images, splits, tmp_path / "b", options={"on_event": events.append}, **settings)
    assert (events[0]["kind"], events[0]["epoch"]) == ("training_resumed", update // 7)
    assert same(resumed.state, straight.state)
    assert resumed.history.equals(straight.history)
    for epoch, path in resumed.checkpoints.items():
        assert path.read_bytes() == straight.checkpoints[epoch].read_bytes()


def test_positions_hang_on_the_seed_and_ends_stay(images, splits, tmp_path):
    one, a, b, *_ = run(images, splits, tmp_path / "a", epochs=1)
    other, *_ = run(images, splits, tmp_path / "b", epochs=1, seed=1)
    again, *_ = run(images, splits, tmp_path / "c", epochs=1)
    assert not same(one.state, other.state)
    assert same(one.state, again.state)
    assert same(dict(a.state_dict()), dict(tiny(1).state_dict()))
    assert same(dict(b.state_dict()), dict(tiny(2).state_dict()))


def test_a_frozen_module_keeps_its_bend(images, splits, tmp_path):
    training, *_ = run(images, splits, tmp_path, module_rates={"stem": 0.0}, weight_decay=0.1)
    _, _, start = middle()
    for name, value in start.named_parameters():
        assert torch.equal(training.state[name], value.detach()) == name.startswith("stem")
