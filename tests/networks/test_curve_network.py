import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from tests.reference.curve_reference import on_curve
from transferscope.errors import ArchitectureError, MeasureError
from transferscope.networks.curve import CurveNetwork, curve_weights

SHAPES = ("bezier", "chain")
POSITION = st.floats(0, 1)


def network(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
        )
        nn.init.normal_(made[1].weight)
        return made


def parts(shape="bezier"):
    a, b, bend = network(1), network(2), network(3)
    return CurveNetwork(bend, a.state_dict(), b.state_dict(), shape), a, b, bend


@settings(derandomize=True, deadline=None)
@given(POSITION)
def test_weights_of_every_point_sum_to_one(t):
    for shape in SHAPES:
        weights = curve_weights(shape, t)
        assert sum(weights) == pytest.approx(1, abs=1e-12)
        assert min(weights) >= 0
        # Read backwards it is the curve from the second end to the first.
        first, second, bend = curve_weights(shape, 1 - t)
        assert (second, first, bend) == pytest.approx(weights, abs=1e-12)
        a, b, middle = (torch.tensor([value], dtype=torch.float64) for value in (1.0, 10.0, 100.0))
        by_hand = on_curve(shape, a, middle, b, t)
        assert weights[0] * 1 + weights[1] * 10 + weights[2] * 100 == pytest.approx(float(by_hand), rel=1e-12)


def test_closed_forms():
    for shape in SHAPES:
        assert curve_weights(shape, 0.0) == (1, 0, 0)
        assert curve_weights(shape, 1.0) == (0, 1, 0)
    assert curve_weights("bezier", 0.5) == (0.25, 0.25, 0.5)
    assert curve_weights("chain", 0.5) == (0, 0, 1)
    assert curve_weights("chain", 0.25) == (0.5, 0, 0.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ends_are_the_networks_bit_for_bit(shape):
    curve, a, b, _ = parts(shape)
    for t, end in ((0.0, a), (1.0, b)):
        point = curve.point(t)
        assert point.keys() == dict(end.named_parameters()).keys()
        for name, value in end.named_parameters():
            assert torch.equal(point[name], value)
            assert not point[name].requires_grad


def test_the_middle_in_closed_form():
    curve, a, b, bend = parts("bezier")
    chain, *_ = parts("chain")
    for name, value in bend.named_parameters():
        ends = dict(a.named_parameters())[name] + dict(b.named_parameters())[name]
        torch.testing.assert_close(curve.point(0.5)[name], ends / 4 + value / 2)
        torch.testing.assert_close(chain.point(0.5)[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("t", [0.2, 0.5, 0.9])
def test_outputs_and_gradients_are_those_of_the_point(shape, t):
    curve, a, b, bend = parts(shape)
    images, labels = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    first, second = dict(a.named_parameters()), dict(b.named_parameters())
    leaf = {
        name: on_curve(shape, first[name], value, second[name], t).detach().requires_grad_()
        for name, value in bend.named_parameters()
    }
    there = functional_call(copy.deepcopy(bend), leaf, (images,))
    here = curve(images, curve.point(t))
    torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-6)
    nn.functional.cross_entropy(here, labels).backward()
    gradients = torch.autograd.grad(nn.functional.cross_entropy(there, labels), list(leaf.values()))
    factor = curve_weights(shape, t)[2]
    for value, gradient in zip(bend.parameters(), gradients, strict=True):
        torch.testing.assert_close(value.grad, factor * gradient, rtol=1e-4, atol=1e-6)
    assert all(value.grad is None for end in (a, b) for value in end.parameters())


def test_it_holds_the_bend_and_nothing_else():
    curve, a, _, bend = parts()
    assert list(curve.state_dict()) == [f"bend.{name}" for name in bend.state_dict()]
    assert all(mine is theirs for mine, theirs in zip(curve.parameters(), bend.parameters(), strict=True))
    before = {name: value.clone() for name, value in curve.point(0.0).items()}
    with torch.no_grad():
        for value in (*bend.parameters(), *a.parameters()):
            value.add_(1)
    # Ends are copies: neither training nor the caller moves them.
    assert all(torch.equal(value, before[name]) for name, value in curve.point(0.0).items())


def test_train_mode_moves_the_running_statistics_of_the_bend():
    curve, *_, bend = parts()
    curve.train()
    curve(torch.randn(8, 3, 6, 6), curve.point(0.3))
    assert bend[1].num_batches_tracked == 1
    assert not torch.equal(bend[1].running_mean, torch.zeros(4))


@pytest.mark.parametrize("t", [-0.1, 1.5, float("nan")])
def test_there_is_no_curve_beyond_its_ends(t):
    with pytest.raises(MeasureError, match="a curve runs from its first end to its second"):
        curve_weights("bezier", t)


def test_ends_of_another_architecture_are_named():
    bend, state = network(3), network(1).state_dict()
    with pytest.raises(
        ArchitectureError, match=r"the second end of the curve is of another architecture[\s\S]*4.weight"
    ):
        CurveNetwork(bend, state, {**state, "4.weight": torch.zeros(3, 64)}, "bezier")
    with pytest.raises(ArchitectureError, match=r"the first end of the curve[\s\S]*no such parameter"):
        CurveNetwork(bend, {}, state, "bezier")
