"""Lines between states: each state is evaluated once, and every line is the line of linear_path."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.analyses.test_module_paths import batches, network
from transferscope.errors import MeasureError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.checkpoint_lines import TrainingLines
from transferscope.methods.landscape.landscape import Landscape
from transferscope.methods.landscape.linear_path import linear_path

ALPHAS = (0.0, 0.5, 1.0)


class Counting(list[tuple[torch.Tensor, torch.Tensor]]):
    """Batches that count how often they are read."""

    read = 0

    def __iter__(self):
        self.read += 1
        return super().__iter__()


def land(networks: list[nn.Module], data, **changes) -> Landscape:
    return Landscape(
        networks,
        {"test": data},
        evaluation=Evaluation(**{"recompute_on": batches(30, 15, seed=3), "device": "cpu", **changes}),
    )


@pytest.mark.parametrize("policy", ["recompute", "interpolate"])
def test_lines_are_those_of_linear_path(policy: str) -> None:
    models = [network(seed) for seed in range(3)]
    states = {seed: model.state_dict() for seed, model in enumerate(models)}
    lines = TrainingLines(land([models[0], models[0]], batches(), batch_norm=policy), ALPHAS)
    for i, j in ((0, 1), (1, 2), (0, 2)):
        found = lines.between((i, states[i]), (j, states[j]))
        wanted = linear_path(
            models[i],
            models[j],
            {"test": batches()},
            evaluation=Evaluation(recompute_on=batches(30, 15, seed=3), batch_norm=policy, device="cpu"),
            alphas=ALPHAS,
        )
        assert (found.distance, found.batch_norm, found.alphas) == (wanted.distance, wanted.batch_norm, ALPHAS)
        for one, two in zip(found.points["test"], wanted.points["test"], strict=True):
            assert np.array_equal(one.losses, two.losses)
        for one, two in zip(found.own["test"], wanted.own["test"], strict=True):
            assert np.array_equal(one.losses, two.losses)


@pytest.mark.parametrize(("norm", "of_a_state"), [(True, 2), (False, 1)])
def test_a_state_is_evaluated_once_however_many_lines_it_ends(norm: bool, of_a_state: int) -> None:
    data = Counting(batches())
    models = [network(seed, norm) for seed in range(3)]
    lines = TrainingLines(land([models[0], models[0]], data), ALPHAS)
    data.read = 0
    states = [(seed, model.state_dict()) for seed, model in enumerate(models)]
    for i, j in ((0, 1), (1, 2), (0, 2)):
        lines.between(states[i], states[j])
    assert data.read == 3 * of_a_state + 3  # one point between the ends of each line
    lines.visit(*states[1])
    assert data.read == 3 * of_a_state + 3


def test_what_does_not_fit_is_named() -> None:
    model = network(0)
    with pytest.raises(MeasureError, match="a line has two ends"):
        TrainingLines(land([model], batches()), ALPHAS)
    two = land([model, model], batches())
    for alphas in ((0.0, 0.5), (0.5, 1.0), (0.0, 1.0, 0.5), (0.0, 0.0, 1.0)):
        with pytest.raises(MeasureError, match="alphas must ascend from 0 to 1"):
            TrainingLines(two, alphas)
    with pytest.raises(MeasureError, match="the state 'x' was not visited"):
        TrainingLines(two, ALPHAS).own("x")


def test_an_end_is_replaced_and_the_network_follows() -> None:
    models = [network(seed) for seed in range(3)]
    one = land(models[:2], batches())
    one.combine((0.0, 1.0))
    one.replace(1, models[2].state_dict())
    one.combine((0.0, 1.0))
    two = land([models[0], models[2]], batches())
    two.combine((0.0, 1.0))
    assert np.array_equal(one.evaluate()["test"].losses, two.evaluate()["test"].losses)
    assert one.distance() == two.distance()


@pytest.mark.parametrize(
    ("index", "change", "words"),
    [
        (2, {}, "there is no such end"),
        (0, {"head.weight": None}, "'head.weight' is missing or differs"),
        (0, {"head.weight": torch.zeros(3, 5)}, "'head.weight' is missing or differs"),
        (0, {"head.weight": torch.zeros(3, 4).double()}, "'head.weight' is missing or differs"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(index: int, change: dict, words: str) -> None:
    models = [network(0), network(1)]
    here = land(models, batches())
    before = {name: tensor.clone() for name, tensor in here.ends[0].items()}
    state = {**network(2).state_dict(), **change}
    with pytest.raises(MeasureError, match=words):
        here.replace(index, {name: tensor for name, tensor in state.items() if tensor is not None})
    assert all(torch.equal(tensor, before[name]) for name, tensor in here.ends[0].items())
