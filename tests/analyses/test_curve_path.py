"""A curve through three networks, for people with networks and no study."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.analyses.lines_by_hand import batches, literal, network, recomputed
from tests.callers import gathered
from tests.reference.curve_reference import length, on_curve
from transferscope.errors import MeasureError
from transferscope.measures.barriers import barrier
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.curve import curve_path
from transferscope.methods.landscape.landscape import Landscape
from transferscope.methods.landscape.linear_path import linear_path
from transferscope.networks.curve import CurveNetwork, curve_weights

ON_CPU = Evaluation(device="cpu")

POSITIONS = (0.0, 0.2, 0.5, 0.7, 1.0)
SHAPES = ("bezier", "chain")


def walk(norm=True, shape="bezier", **changes):
    networks = tuple(network(seed, norm) for seed in (1, 2, 3))
    settings = {"recompute_on": batches(seed=5), "positions": POSITIONS, "device": "cpu", "shape": shape, **changes}
    return networks, curve_path(*networks, {"test": batches()}, **gathered(curve_path, **settings))


def there(networks, shape, t):
    """θ(t), parameter by parameter."""
    a, b, bend = (dict(model.named_parameters()) for model in networks)
    made = copy.deepcopy(networks[0])
    with torch.no_grad():
        for name, value in made.named_parameters():
            value.copy_(on_curve(shape, a[name], bend[name], b[name], t))
    return made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", [True, False])
def test_every_point_is_that_of_a_literal_curve(shape, norm):
    networks, path = walk(norm, shape)
    assert path.positions == POSITIONS
    assert path.batch_norm == ("recompute" if norm else "no batch norm")
    for t, on, beside in zip(POSITIONS, path.points("test"), path.points("test", "line"), strict=True):
        line = copy.deepcopy(networks[0])
        with torch.no_grad():
            for value, one, two in zip(*(model.parameters() for model in (line, *networks[:2])), strict=True):
                value.copy_((1 - t) * one + t * two)
        for found, model in ((on, there(networks, shape, t)), (beside, line)):
            losses, errors = literal(recomputed(model, batches(seed=5)) if norm else model, batches())
            assert found.losses == pytest.approx(losses, rel=1e-4, abs=1e-5)
            assert (found.errors == errors).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ends_are_the_networks_bit_for_bit(shape):
    networks, path = walk(False, shape)
    for place, model in ((0, networks[0]), (-1, networks[1])):
        alone = linear_path(model, model, {"test": batches()}, alphas=(0.0,), evaluation=ON_CPU).points["test"][0]
        for found in (path.points("test")[place], path.points("test", "line")[place], path.own["test"][place]):
            assert (found.losses == alone.losses).all()
    land = Landscape(networks, {"test": batches()}, evaluation=ON_CPU)
    for t, model in ((0.0, networks[0]), (1.0, networks[1])):
        land.combine(curve_weights(shape, 0.4))
        land.combine(curve_weights(shape, t))
        for name, value in model.state_dict().items():
            assert torch.equal(land.network.state_dict()[name], value)


def test_ends_with_their_own_statistics_are_listed_apart():
    networks, path = walk()
    for model, own in zip(networks[:2], path.own["test"], strict=True):
        assert own.losses == pytest.approx(literal(model, batches())[0], rel=1e-5, abs=1e-6)
    assert not np.allclose(path.own["test"][0].losses, path.points("test")[0].losses)


def test_the_line_is_that_of_a_linear_path():
    networks, path = walk()
    straight = linear_path(
        *networks[:2],
        {"test": batches()},
        evaluation=Evaluation(recompute_on=batches(seed=5), device="cpu"),
        alphas=POSITIONS,
    )
    for one, other in zip(path.points("test", "line"), straight.points["test"], strict=True):
        assert (one.losses == other.losses).all()
    for quantity in ("loss", "error"):
        assert path.barrier("test", quantity, "line") == straight.barrier("test", quantity)
    assert path.distance == pytest.approx(straight.distance, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_what_a_bend_is_trained_on(shape):
    a, b, bend = (network(seed) for seed in (1, 2, 3))
    curve = CurveNetwork(bend, a.state_dict(), b.state_dict(), shape)
    land = Landscape(
        (a, b, bend), {"test": batches()}, evaluation=Evaluation(recompute_on=batches(seed=5), device="cpu")
    )
    for t in POSITIONS:
        land.combine(curve_weights(shape, t))
        for name, value in curve.point(t).items():
            torch.testing.assert_close(land.parameters[name].detach(), value.detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_lengths_and_barriers(shape):
    networks, path = walk(shape=shape)
    a, b, bend = (
        np.concatenate([value.detach().double().flatten().numpy() for value in model.parameters()])
        for model in networks
    )
    assert path.distance == pytest.approx(np.linalg.norm(a - b))
    assert path.lengths == pytest.approx([length(shape, a, bend, b, t) for t in POSITIONS], rel=1e-5)
    values = np.stack([point.errors for point in path.points("test")])
    assert path.barrier("test", "error") == barrier(POSITIONS, values)


def test_a_bend_on_the_line_makes_the_line():
    a, b = network(1), network(2)
    middle = copy.deepcopy(a)
    with torch.no_grad():
        for value, one, two in zip(middle.parameters(), a.parameters(), b.parameters(), strict=True):
            value.copy_((one + two) / 2)
    for shape in SHAPES:
        path = curve_path(
            a,
            b,
            middle,
            {"test": batches()},
            shape=shape,
            evaluation=Evaluation(recompute_on=batches(seed=5), device="cpu"),
            positions=POSITIONS,
        )
        for one, other in zip(path.points("test"), path.points("test", "line"), strict=True):
            assert one.losses == pytest.approx(other.losses, rel=1e-4, abs=1e-5)
        assert path.lengths == pytest.approx([t * path.distance for t in POSITIONS], rel=1e-5)


def test_networks_are_left_as_they_are_and_progress_is_told():
    networks = tuple(network(seed).train() for seed in (1, 2, 3))
    before = [copy.deepcopy(model.state_dict()) for model in networks]
    told = []
    curve_path(
        *networks,
        {"test": batches()},
        evaluation=Evaluation(recompute_on=batches(seed=5), device="cpu"),
        positions=(0.0, 0.5, 1.0),
        on_point=lambda done, of: told.append((done, of)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    for model, state in zip(networks, before, strict=True):
        assert model.training
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_default_is_fine_enough_for_a_barrier():
    _, path = walk(False, positions=None)
    assert len(path.positions) == 25
    assert 0.5 in path.positions


@pytest.mark.parametrize("positions", [(0.0, 0.5), (0.5, 1.0), (0.0, 0.7, 0.3, 1.0), (0.0, 0.0, 1.0), (), (0.0, 2.0)])
def test_positions_run_from_end_to_end(positions):
    with pytest.raises(MeasureError, match="positions must ascend from one end of the curve to the other"):
        walk(positions=positions)


def test_a_bend_of_another_size_and_missing_statistics_are_named():
    with pytest.raises(MeasureError, match="their parameters or buffers differ"):
        curve_path(network(1), network(2), network(3, width=5), {"test": batches()}, evaluation=ON_CPU)
    with pytest.raises(MeasureError, match="nothing to recompute its statistics on"):
        walk(recompute_on=None)


def test_a_convex_loss_has_no_barrier_over_the_chord_of_a_line():
    """Of a linear network the loss is convex: along a line, and along a chain whose bend is no worse than its ends."""

    def linear(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

    a, b, bend = linear(1), linear(2), linear(3)
    with torch.no_grad():
        bend[1].weight.mul_(0.01)
    path = curve_path(a, b, bend, {"test": batches()}, shape="chain", evaluation=ON_CPU)
    losses = [point.losses.mean() for point in path.points("test")]
    assert max(losses) <= max(losses[0], losses[-1]) + 1e-9
    assert path.barrier("test", "loss", "line").linear.value == pytest.approx(0, abs=1e-9)
