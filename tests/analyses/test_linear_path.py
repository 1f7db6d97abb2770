"""The path between two networks against every point evaluated by hand; where there is none; and its grid."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.analyses.lines_by_hand import CPU, Exploding, batches, between, literal, network, recomputed, same, snapshot
from tests.studies import Tiny
from transferscope.errors import LoaderError, MeasureError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.linear_path import alpha_grid, linear_path
from transferscope.networks.evaluate import logits

ON_CPU = Evaluation(device="cpu")

ALPHAS = (-0.25, 0.0, 0.3, 0.5, 1.0, 1.25)


# -- the ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [False, True])
def test_the_ends_are_the_networks_themselves_bit_for_bit(norm: bool) -> None:
    a, b, data = network(0, norm), network(1, norm), batches()
    path = linear_path(
        a, b, {"held-out": data}, evaluation=Evaluation(batch_norm="interpolate", device="cpu"), alphas=ALPHAS
    )
    for model, alpha, own in zip((a, b), (0.0, 1.0), path.own["held-out"], strict=True):
        values, labels = logits(model, data, CPU)
        losses = nn.functional.cross_entropy(values.double(), labels, reduction="none").numpy()
        errors = (values.argmax(1) != labels).double().numpy()
        point = path.points["held-out"][ALPHAS.index(alpha)]
        for found in (point, own):
            assert np.array_equal(found.losses, losses)
            assert np.array_equal(found.errors, errors)
            assert found.metric == pytest.approx(1 - errors.mean())
    assert path.batch_norm == ("interpolate" if norm else "no batch norm")


def test_every_point_without_batch_norm_is_the_literal_network() -> None:
    a, b, data = network(0, False), network(1, False), batches()
    path = linear_path(a, b, {"x": data}, alphas=ALPHAS, evaluation=ON_CPU)
    for alpha, point in zip(ALPHAS, path.points["x"], strict=True):
        losses, errors = literal(between(a, b, alpha), data)
        np.testing.assert_allclose(point.losses, losses, rtol=1e-5, atol=1e-6)
        assert np.array_equal(point.errors, errors)
    values = (torch.cat([p.flatten() for p in m.parameters()]).double() for m in (a, b))
    assert path.distance == pytest.approx(float((next(values) - next(values)).detach().norm()), rel=1e-9)


def test_statistics_are_recomputed_at_every_point_ends_included() -> None:
    a, b, data, train = network(0), network(1), batches(), batches(30, 15, seed=3)
    path = linear_path(a, b, {"x": data}, evaluation=Evaluation(recompute_on=train, device="cpu"), alphas=ALPHAS)
    assert path.batch_norm == "recompute"
    for alpha, point in zip(ALPHAS, path.points["x"], strict=True):
        losses, errors = literal(recomputed(between(a, b, alpha), train), data)
        np.testing.assert_allclose(point.losses, losses, rtol=2e-5, atol=2e-5)
        assert np.array_equal(point.errors, errors)
    for model, own in zip((a, b), path.own["x"], strict=True):
        np.testing.assert_allclose(own.losses, literal(model, data)[0], rtol=1e-6)
    assert not np.allclose(path.own["x"][0].losses, path.points["x"][1].losses), "own statistics differ from these"


def test_interpolated_statistics_are_those_of_the_line() -> None:
    a, b, data = network(0), network(1), batches()
    path = linear_path(
        a, b, {"x": data}, evaluation=Evaluation(batch_norm="interpolate", device="cpu"), alphas=(0.0, 0.3, 1.0)
    )
    middle = between(a, b, 0.3)
    buffers = dict(a.named_buffers()), dict(b.named_buffers())
    for name, buffer in middle.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(0.7 * buffers[0][name] + 0.3 * buffers[1][name])
    np.testing.assert_allclose(path.points["x"][1].losses, literal(middle, data)[0], rtol=1e-5)


# -- the caller's networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_networks_are_left_as_they_were(fails: bool) -> None:
    a, b = network(0), network(1)
    calls = []
    for model in (a, b):
        model.stem.train()
        model.head.eval()
        model.block[0].weight.requires_grad_(False)
        model.head.register_forward_hook(lambda *_: calls.append(1))
    before = snapshot(a), snapshot(b)
    if fails:
        with pytest.raises(LoaderError):
            linear_path(a, b, {"x": batches()}, evaluation=Evaluation(recompute_on=[], device="cpu"), alphas=(0.0, 1.0))
    else:
        linear_path(
            a, b, {"x": batches()}, evaluation=Evaluation(recompute_on=batches(), device="cpu"), alphas=(0.0, 0.5, 1.0)
        )
    assert same(before[0], snapshot(a))
    assert same(before[1], snapshot(b))


def test_frozen_parameters_count_in_the_distance() -> None:
    a, b = network(0, False), network(0, False)
    with torch.no_grad():
        b.stem[0].bias += 2.0
    for model in (a, b):
        model.stem.requires_grad_(False)
    path = linear_path(a, b, {"x": batches()}, alphas=(0.0, 1.0), evaluation=ON_CPU)
    assert path.distance == pytest.approx(2 * math.sqrt(4))


def test_channels_last_is_the_same_path() -> None:
    a, b, data = network(0), network(1), batches()
    kinds = [
        linear_path(
            a,
            b,
            {"x": data},
            evaluation=Evaluation(recompute_on=data, device="cpu", memory_format=kind),
            alphas=(0.0, 0.5, 1.0),
        )
        for kind in ("contiguous", "channels_last")
    ]
    for one, two in zip(*(path.points["x"] for path in kinds), strict=True):
        np.testing.assert_allclose(one.losses, two.losses, rtol=1e-4, atol=1e-5)


def test_progress_is_told_point_by_point() -> None:
    told = []
    linear_path(
        network(0, False),
        network(1, False),
        {"x": batches()},
        alphas=(0.0, 0.5, 1.0),
        evaluation=ON_CPU,
        on_point=lambda done, of: told.append((done, of)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


# -- laws -------------------------------------------------------------------------------------------------------


def test_a_convex_loss_has_no_barrier_over_the_line() -> None:
    """Cross-entropy of a linear model is convex: linear baseline 0, mean baseline |L₁ − L₂| / 2."""
    generator = torch.Generator().manual_seed(4)
    x, y = torch.randn(60, 5, generator=generator), torch.randint(3, (60,), generator=generator)
    a, b = (nn.Linear(5, 3) for _ in range(2))
    with torch.no_grad():
        for k, model in enumerate((a, b)):
            for parameter in model.parameters():
                parameter.copy_(2 * torch.randn(parameter.shape, generator=generator) * (k + 1))
    found = linear_path(a, b, {"x": [(x, y)]}, alphas=alpha_grid(25, 0.5, 3), evaluation=ON_CPU).barrier("x", "loss")
    assert found.linear.value == pytest.approx(0, abs=1e-7)
    assert found.mean.value == pytest.approx(abs(found.first - found.second) / 2, rel=1e-6)
    assert found.minimum_gap < 0


def test_a_network_and_itself_have_no_barrier() -> None:
    a = network(0)
    path = linear_path(
        a,
        a,
        {"x": batches()},
        evaluation=Evaluation(recompute_on=batches(), device="cpu"),
        alphas=alpha_grid(5, 0.5, 1),
    )
    assert path.distance == 0
    for quantity in ("loss", "error"):
        assert path.barrier("x", quantity).mean.value == 0
    assert len({point.losses.tobytes() for point in path.points["x"]}) == 1


def test_several_labels_have_a_share_of_wrong_labels() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(20, 4, generator=generator)
    y = (torch.rand(20, 3, generator=generator) < 0.5).to(torch.uint8)
    a, b = nn.Linear(4, 3), nn.Linear(4, 3)
    path = linear_path(a, b, {"x": [(x, y)]}, alphas=(0.0, 1.0), evaluation=Evaluation(metric="auc", device="cpu"))
    with torch.no_grad():
        wrong = ((a(x) >= 0).int() != y.int()).double().mean(1)
    assert path.points["x"][0].errors.tolist() == pytest.approx(wrong.tolist())


def test_examples_that_overflow_have_an_infinite_loss_and_are_wrong() -> None:
    torch.manual_seed(0)
    a, b = Exploding(0.0), Exploding(1.0)
    x, y = torch.randn(16, 4), torch.arange(16) % 3
    path = linear_path(a, b, {"x": [(x, y)]}, alphas=(-0.5, 0.0, 0.5, 1.0, 1.5), evaluation=ON_CPU)
    over = (x[:, 0] > 0).numpy()
    for index in (0, 4):
        point = path.points["x"][index]
        assert np.array_equal(np.isinf(point.losses), over)
        assert not np.isnan(point.losses).any()
        assert 0 <= point.errors.min() <= point.errors.max() <= 1
    assert np.isfinite(path.values("x", "loss")[1:4]).all()
    assert path.barrier("x", "loss").points == 3, "extrapolation is no part of a barrier"


# -- what moves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 5])
def test_where_only_the_trunk_moves_the_head_is_that_of_the_first(classes: int) -> None:
    a, b = network(0), Tiny(classes, 4, True)
    data = {"x": batches()}
    path = linear_path(
        a,
        b,
        data,
        evaluation=Evaluation(batch_norm="interpolate", device="cpu"),
        trunk_of="head",
        alphas=(0.0, 0.5, 1.0),
    )
    assert path.moved == "trunk"
    mixed = copy.deepcopy(a)
    mixed.stem.load_state_dict(b.stem.state_dict())
    mixed.block.load_state_dict(b.block.state_dict())
    np.testing.assert_allclose(path.points["x"][2].losses, literal(mixed, data["x"])[0], rtol=1e-6)
    np.testing.assert_allclose(path.points["x"][0].losses, literal(a, data["x"])[0], rtol=1e-6)
    trunk = [p.detach().double() for name, p in a.named_parameters() if not name.startswith("head")]
    other = [p.detach().double() for name, p in b.named_parameters() if not name.startswith("head")]
    squares = sum(float((p - q).square().sum()) for p, q in zip(trunk, other, strict=True))
    assert path.distance == pytest.approx(squares**0.5)


# -- the grid ---------------------------------------------------------------------------------------------------


def test_grids_hold_both_ends_and_the_middle() -> None:
    grid = alpha_grid()
    assert (len(grid), grid[0], grid[-1]) == (37, -0.5, 1.5)
    assert {0.0, 0.5, 1.0} <= set(grid)
    assert list(grid) == sorted(set(grid))
    assert alpha_grid(2, 0.5, 0) == alpha_grid(2, 0.0, 6) == (0.0, 1.0)


@pytest.mark.parametrize("numbers", [(1, 0.5, 6), (25, -0.1, 6), (25, 0.5, -1)])
def test_a_grid_that_cannot_be_made_is_named(numbers) -> None:
    with pytest.raises(MeasureError, match="no grid of α"):
        alpha_grid(*numbers)
