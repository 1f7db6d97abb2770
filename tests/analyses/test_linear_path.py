"""The straight line between two networks, for people with networks and no study."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.studies import Tiny
from transferscope.analyses.linear_path import alpha_grid, linear_path
from transferscope.errors import ArchitectureError, LoaderError, MeasureError, ModuleNameError
from transferscope.measures.barriers import barrier
from transferscope.networks.evaluate import logits

CPU = torch.device("cpu")
ALPHAS = (-0.25, 0.0, 0.3, 0.5, 1.0, 1.25)


def images(count: int = 24, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator), torch.randint(3, (count,), generator=generator)


def batches(count: int = 24, size: int = 10, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x, y = images(count, seed)
    return list(zip(x.split(size), y.split(size), strict=True))


def network(seed: int, norm: bool = True, **changes) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Tiny(3, changes.pop("width", 4), norm)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0.0))
            else:
                buffer.fill_(7 + seed)
    return model


def literal(model: nn.Module, data) -> tuple[np.ndarray, np.ndarray]:
    """Losses and errors of every example, one batch at a time."""
    losses, errors = [], []
    model.eval()
    with torch.no_grad():
        for x, y in data:
            out = model(x).double()
            losses.append(nn.functional.cross_entropy(out, y, reduction="none"))
            errors.append((out.argmax(1) != y).double())
    return torch.cat(losses).numpy(), torch.cat(errors).numpy()


def between(a: nn.Module, b: nn.Module, alpha: float) -> nn.Module:
    """θ(α), parameter by parameter; buffers of the first."""
    middle = copy.deepcopy(a)
    ends = dict(a.named_parameters()), dict(b.named_parameters())
    with torch.no_grad():
        for name, parameter in middle.named_parameters():
            parameter.copy_((1 - alpha) * ends[0][name] + alpha * ends[1][name])
    return middle


def recomputed(model: nn.Module, data) -> nn.Module:
    """Running statistics as the pooled mean and variance of all values that a layer sees in training mode."""
    model.train()
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = [[] for _ in layers]
    handles = [
        layer.register_forward_pre_hook(lambda module, inputs, kept=kept: kept.append(inputs[0].detach()))
        for layer, kept in zip(layers, seen, strict=True)
    ]
    with torch.no_grad():
        for x, _ in data:
            model(x)
    for layer, kept, handle in zip(layers, seen, handles, strict=True):
        handle.remove()
        values = torch.cat([batch.transpose(0, 1).flatten(1) for batch in kept], dim=1).double()
        layer.running_mean.copy_(values.mean(1))
        layer.running_var.copy_(values.var(1))
    return model.eval()


def snapshot(model: nn.Module) -> dict:
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "grad": [parameter.requires_grad for parameter in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "ids": [id(parameter) for parameter in model.parameters()],
    }


def same(one: dict, two: dict) -> bool:
    state = one.pop("state"), two.pop("state")
    return one == two and all(torch.equal(state[0][name], state[1][name]) for name in state[0])


# -- the ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [False, True])
def test_the_ends_are_the_networks_themselves_bit_for_bit(norm: bool) -> None:
    a, b, data = network(0, norm), network(1, norm), batches()
    path = linear_path(a, b, {"held-out": data}, batch_norm="interpolate", alphas=ALPHAS, device="cpu")
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
    path = linear_path(a, b, {"x": data}, alphas=ALPHAS, device="cpu")
    for alpha, point in zip(ALPHAS, path.points["x"], strict=True):
        losses, errors = literal(between(a, b, alpha), data)
        np.testing.assert_allclose(point.losses, losses, rtol=1e-5, atol=1e-6)
        assert np.array_equal(point.errors, errors)
    values = (torch.cat([p.flatten() for p in m.parameters()]).double() for m in (a, b))
    assert path.distance == pytest.approx(float((next(values) - next(values)).detach().norm()), rel=1e-9)


def test_statistics_are_recomputed_at_every_point_ends_included() -> None:
    a, b, data, train = network(0), network(1), batches(), batches(30, 15, seed=3)
    path = linear_path(a, b, {"x": data}, recompute_on=train, alphas=ALPHAS, device="cpu")
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
    path = linear_path(a, b, {"x": data}, batch_norm="interpolate", alphas=(0.0, 0.3, 1.0), device="cpu")
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
            linear_path(a, b, {"x": batches()}, recompute_on=[], alphas=(0.0, 1.0), device="cpu")
    else:
        linear_path(a, b, {"x": batches()}, recompute_on=batches(), alphas=(0.0, 0.5, 1.0), device="cpu")
    assert same(before[0], snapshot(a))
    assert same(before[1], snapshot(b))


def test_frozen_parameters_count_in_the_distance() -> None:
    a, b = network(0, False), network(0, False)
    with torch.no_grad():
        b.stem[0].bias += 2.0
    for model in (a, b):
        model.stem.requires_grad_(False)
    path = linear_path(a, b, {"x": batches()}, alphas=(0.0, 1.0), device="cpu")
    assert path.distance == pytest.approx(2 * math.sqrt(4))


def test_channels_last_is_the_same_path() -> None:
    a, b, data = network(0), network(1), batches()
    kinds = [
        linear_path(a, b, {"x": data}, recompute_on=data, alphas=(0.0, 0.5, 1.0), device="cpu", memory_format=kind)
        for kind in ("contiguous", "channels_last")
    ]
    for one, two in zip(*(path.points["x"] for path in kinds), strict=True):
        np.testing.assert_allclose(one.losses, two.losses, rtol=1e-4, atol=1e-5)


def test_progress_is_told_point_by_point() -> None:
    told = []
    linear_path(
        network(0, False), network(1, False), {"x": batches()}, alphas=(0.0, 0.5, 1.0), device="cpu",
        on_point=lambda done, of: told.append((done, of)),
    )  # fmt: skip
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
    found = linear_path(a, b, {"x": [(x, y)]}, alphas=alpha_grid(25, 0.5, 3), device="cpu").barrier("x", "loss")
    assert found.linear.value == pytest.approx(0, abs=1e-7)
    assert found.mean.value == pytest.approx(abs(found.first - found.second) / 2, rel=1e-6)
    assert found.minimum_gap < 0


def test_a_network_and_itself_have_no_barrier() -> None:
    a = network(0)
    path = linear_path(a, a, {"x": batches()}, recompute_on=batches(), alphas=alpha_grid(5, 0.5, 1), device="cpu")
    assert path.distance == 0
    for quantity in ("loss", "error"):
        assert path.barrier("x", quantity).mean.value == 0
    assert len({point.losses.tobytes() for point in path.points["x"]}) == 1


def test_several_labels_have_a_share_of_wrong_labels() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(20, 4, generator=generator)
    y = (torch.rand(20, 3, generator=generator) < 0.5).to(torch.uint8)
    a, b = nn.Linear(4, 3), nn.Linear(4, 3)
    path = linear_path(a, b, {"x": [(x, y)]}, alphas=(0.0, 1.0), metric_name="auc", device="cpu")
    with torch.no_grad():
        wrong = ((a(x) >= 0).int() != y.int()).double().mean(1)
    assert path.points["x"][0].errors.tolist() == pytest.approx(wrong.tolist())


# -- points that overflow ---------------------------------------------------------------------------------------


class Exploding(nn.Module):
    """Overflows for some images where its parameter leaves [0, 1]."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([at]))
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.linear(x)
        bad = ((self.at > 1) | (self.at < 0)) & (x[:, :1] > 0)
        return torch.where(bad, out * float("inf"), out)


def test_examples_that_overflow_have_an_infinite_loss_and_are_wrong() -> None:
    torch.manual_seed(0)
    a, b = Exploding(0.0), Exploding(1.0)
    x, y = torch.randn(16, 4), torch.arange(16) % 3
    path = linear_path(a, b, {"x": [(x, y)]}, alphas=(-0.5, 0.0, 0.5, 1.0, 1.5), device="cpu")
    over = (x[:, 0] > 0).numpy()
    for index in (0, 4):
        point = path.points["x"][index]
        assert np.array_equal(np.isinf(point.losses), over)
        assert not np.isnan(point.losses).any()
        assert 0 <= point.errors.min() <= point.errors.max() <= 1
    assert np.isfinite(path.values("x", "loss")[1:4]).all()
    assert path.barrier("x", "loss").points == 3, "extrapolation is no part of a barrier"


# -- coarse to fine, and fast -----------------------------------------------------------------------------------


def hilly(at: float) -> nn.Module:
    """Its loss on :func:`hills` is a sum of waves of its one parameter."""

    class Hilly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.at = nn.Parameter(torch.tensor([at]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            height = torch.sin(3 * torch.pi * self.at) + 0.8 * torch.sin(5 * torch.pi * self.at)
            return torch.cat([-height * x[:, :1], height * x[:, :1]], dim=1)

    return Hilly()


def test_several_hills_are_found_as_on_the_dense_grid() -> None:
    hills = {"x": [(torch.ones(12, 1), torch.zeros(12, dtype=torch.long))]}
    ends = hilly(0.0), hilly(1.0)
    dense = linear_path(*ends, hills, alphas=alpha_grid(49, 0), device="cpu")
    found = linear_path(*ends, hills, refine=0.021, device="cpu")
    inside = [alpha for alpha in found.alphas if 0 <= alpha <= 1]
    assert found.resolution is not None
    assert found.resolution.bracket <= 0.021
    assert found.resolution.open > 0, "the error, a square wave, may be higher at each of its steps"
    assert len(inside) == found.resolution.evaluations <= 24
    assert found.resolution.equivalent == 49
    assert {-0.5, 1.5} <= set(found.alphas), "extrapolation is kept"
    assert dense.resolution is None
    one, two = (path.barrier("x", "loss").linear for path in (found, dense))
    assert one.value == pytest.approx(two.value, rel=0.01)
    assert one.alpha == pytest.approx(two.alpha, abs=0.021)


def test_limits_of_a_refined_path_allow_for_the_finest_grid() -> None:
    path = linear_path(network(0, False), network(1, False), {"x": batches()}, refine=0.05, device="cpu")
    wanted = barrier(path.alphas, path.values("x", "error"), family=path.resolution.equivalent)
    assert path.barrier("x", "error") == wanted
    narrow = barrier(path.alphas, path.values("x", "error"))
    assert wanted.mean.interval.low <= narrow.mean.interval.low
    assert wanted.mean.interval.high == narrow.mean.interval.high


def test_progress_of_a_refined_path_stays_below_what_it_may_take() -> None:
    told = []
    linear_path(
        network(0, False), network(1, False), {"x": batches()}, refine=0.021, device="cpu",
        on_point=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert all(done <= of for done, of in told)


def test_the_fast_way_says_how_far_off_it_is() -> None:
    a, b, data = network(0), network(1), {"x": batches()}
    options = {"recompute_on": batches(30, 15, seed=3), "alphas": alpha_grid(9, 0.5, 1), "device": "cpu"}
    exact, fast = linear_path(a, b, data, **options), linear_path(a, b, data, fast=True, **options)
    assert exact.recheck is None
    recheck = fast.recheck
    assert recheck.settled
    assert {0.0, 1.0} < set(recheck.alphas), "both ends, and at least one point between"
    apart = np.abs(fast.values("x", "loss") - exact.values("x", "loss")).mean(axis=1)
    for alpha, value in zip(fast.alphas, apart, strict=True):
        if alpha in recheck.alphas:
            assert value < 1e-5, "the values of float32"
    assert max(apart) > 1e-5, "the others are of bfloat16"
    assert 0 < recheck.loss < 0.1
    inside = [alpha for alpha in fast.alphas if 0 <= alpha <= 1]
    for quantity in ("loss", "error"):
        means = dict(zip(fast.alphas, fast.values("x", quantity).mean(axis=1), strict=True))
        for lines in (lambda a, m: (1 - a) * m[0.0] + a * m[1.0], lambda a, m: (m[0.0] + m[1.0]) / 2):
            gaps = {alpha: means[alpha] - lines(alpha, means) for alpha in inside}
            assert max(gaps[alpha] for alpha in recheck.alphas) == max(gaps.values()), "no maximum is of bfloat16 alone"
    for one, two in zip(fast.own["x"], exact.own["x"], strict=True):
        np.testing.assert_allclose(one.losses, two.losses, rtol=1e-4, atol=1e-5)


def test_a_network_and_itself_are_still_checked_between() -> None:
    a = network(0, False)
    path = linear_path(a, a, {"x": batches()}, fast=True, alphas=alpha_grid(5, 0), device="cpu")
    assert len(path.recheck.alphas) >= 3


@pytest.mark.parametrize("alphas", [(0.0, 0.5), (0.5, 1.0)])
def test_only_a_path_with_both_ends_is_refined(alphas) -> None:
    with pytest.raises(MeasureError, match="only a path with both ends can be refined"):
        linear_path(network(0, False), network(1, False), {"x": batches()}, refine=0.1, alphas=alphas, device="cpu")


# -- what moves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 5])
def test_where_only_the_trunk_moves_the_head_is_that_of_the_first(classes: int) -> None:
    a, b = network(0), Tiny(classes, 4, True)
    data = {"x": batches()}
    path = linear_path(a, b, data, batch_norm="interpolate", trunk_of="head", alphas=(0.0, 0.5, 1.0), device="cpu")
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


def test_a_trunk_that_differs_and_a_head_that_is_not_there_are_named() -> None:
    with pytest.raises(MeasureError, match="no straight line between these trunks"):
        linear_path(network(0), network(1, width=5), {"x": batches()}, trunk_of="head", device="cpu")
    with pytest.raises(ModuleNameError, match="no module named 'heads'"):
        linear_path(network(0), network(1), {"x": batches()}, trunk_of="heads", device="cpu")


# -- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (lambda: network(1, width=5), "block.0.weight"),
        (lambda: Tiny(4, 4, True), "head.bias, head.weight"),
        (lambda: network(1, norm=False), "block.1.running_mean"),
        (lambda: network(1).double(), "block.0.weight"),
        (lambda: nn.Linear(3, 3), "bias"),
    ],
)
def test_networks_of_another_shape_have_no_line(other, names) -> None:
    with pytest.raises(MeasureError, match="no straight line between these networks") as caught:
        linear_path(network(0), other(), {"x": batches()}, recompute_on=batches(), device="cpu")
    assert names in str(caught.value)


def test_networks_whose_buffers_differ_have_no_line() -> None:
    a, b = network(0, False), network(1, False)
    a.register_buffer("scale", torch.ones(1))
    with pytest.raises(MeasureError, match=r"parameters or buffers differ\n.*\n  got:      scale"):
        linear_path(a, b, {"x": batches()}, device="cpu")


def test_batch_norm_needs_images_or_an_explicit_no() -> None:
    with pytest.raises(MeasureError, match="nothing to recompute its statistics on") as caught:
        linear_path(network(0), network(1), {"x": batches()}, device="cpu")
    assert "batch_norm='interpolate'" in str(caught.value)


@pytest.mark.parametrize("where", ["data", "recompute_on"])
def test_a_loader_that_does_not_repeat_itself_is_found_first(where: str) -> None:
    shuffled = DataLoader(TensorDataset(*images()), batch_size=8, shuffle=True)
    given = {"data": {"x": batches()}, "recompute_on": batches()}
    given[where] = {"x": shuffled} if where == "data" else shuffled
    with pytest.raises(LoaderError, match="not deterministic"):
        linear_path(network(0), network(1), device="cpu", **given)


def test_a_loader_that_leaves_examples_out_is_found() -> None:
    loader = DataLoader(TensorDataset(*images(25)), batch_size=8, drop_last=True)
    with pytest.raises(LoaderError, match="leaves examples out"):
        linear_path(network(0), network(1), {"x": loader}, recompute_on=batches(), device="cpu")


def test_a_network_that_does_not_repeat_itself_is_found() -> None:
    class Noisy(nn.Linear):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5, training=True)

    with pytest.raises(ArchitectureError, match="other outputs for the same images"):
        linear_path(Noisy(4, 3), Noisy(4, 3), {"x": [(torch.randn(9, 4), torch.arange(9) % 3)]}, device="cpu")


@pytest.mark.parametrize("alphas", [(), (0.5, 0.0), (0.0, 0.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_alphas_must_ascend(alphas) -> None:
    with pytest.raises(MeasureError, match="alphas must ascend, each once"):
        linear_path(network(0), network(1), {"x": batches()}, recompute_on=batches(), alphas=alphas, device="cpu")


def test_a_path_needs_data() -> None:
    with pytest.raises(MeasureError, match="a landscape needs data"):
        linear_path(network(0, False), network(1, False), {}, device="cpu")
    with pytest.raises(LoaderError, match="gives no batch"):
        linear_path(network(0, False), network(1, False), {"x": []}, device="cpu")


def test_a_barrier_needs_both_ends() -> None:
    path = linear_path(network(0, False), network(1, False), {"x": batches()}, alphas=(0.0, 0.5), device="cpu")
    with pytest.raises(MeasureError, match="α = 1 is not in the grid"):
        path.barrier("x", "loss")


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
