"""One module at a time, for people with two networks and no study."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.callers import gathered
from tests.reference.lines_reference import examples, mixed, restatistics
from tests.studies import Tiny
from transferscope.errors import LoaderError, MeasureError, ModuleNameError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.linear_path import linear_path
from transferscope.methods.modules.paths import ModuleLines, module_paths
from transferscope.networks.modules import parts_parameters

GRID = (0.0, 0.25, 0.5, 1.0)


def batches(count: int = 24, size: int = 10, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(count, 3, 8, 8, generator=generator), torch.randint(3, (count,), generator=generator)
    return list(zip(x.split(size), y.split(size), strict=True))


def network(seed: int, norm: bool = True, width: int = 4) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Tiny(3, width, norm)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0.0))
    return model


def lines(a: nn.Module, b: nn.Module, **changes) -> ModuleLines:
    settings = {"alphas": GRID, "recompute_on": batches(30, 15, seed=3), "device": "cpu", **changes}
    return module_paths(a, b, {"test": batches()}, **gathered(module_paths, **settings))


@pytest.mark.parametrize("granularity", ["block", "layer"])
@pytest.mark.parametrize("memory", [1024, 0])
def test_every_point_is_the_literal_network(granularity: str, memory: int) -> None:
    a, b = network(0), network(1)
    found = lines(a, b, granularity=granularity, memory=memory)
    parts = parts_parameters(a, granularity)
    assert list(found.modules) == list(parts)
    assert found.batch_norm == "recompute"
    for module, names in parts.items():
        for alpha, point in zip(GRID, found.modules[module].points["test"], strict=True):
            literal = restatistics(mixed(a, b, alpha, names), batches(30, 15, seed=3))
            losses, errors = examples(literal, batches())
            np.testing.assert_allclose(point.losses, losses, rtol=2e-5, atol=2e-5)
            assert point.errors.tolist() == errors
        apart = torch.cat([(dict(a.named_parameters())[n] - dict(b.named_parameters())[n]).flatten() for n in names])
        assert found.modules[module].distance == pytest.approx(float(apart.detach().double().norm()), rel=1e-6)
        assert found.modules[module].parameters == apart.numel()
    losses, _ = examples(a, batches())
    np.testing.assert_allclose(found.own["test"].losses, losses, rtol=1e-5)


def test_all_modules_at_once_are_the_straight_line() -> None:
    a, b = network(0), network(1)
    names = [name for name, _ in a.named_parameters()]
    found = lines(a, b, modules={"everything": names})
    path = linear_path(
        a,
        b,
        {"test": batches()},
        evaluation=Evaluation(recompute_on=batches(30, 15, seed=3), device="cpu"),
        alphas=GRID,
    )
    for one, two in zip(found.modules["everything"].points["test"], path.points["test"], strict=True):
        assert np.array_equal(one.losses, two.losses)
    assert found.modules["everything"].distance == path.distance
    assert found.barrier("everything", "test", "loss") == path.barrier("test", "loss")


def test_what_lies_before_a_module_is_kept() -> None:
    found = lines(network(0), network(1))
    assert found.modules["stem"].evaluated == "full pass (nothing lies before)"
    assert found.modules["head"].evaluated.startswith("kept before head")


def test_interpolated_statistics_move_with_their_module_alone() -> None:
    a, b = network(0), network(1)
    found = lines(a, b, batch_norm="interpolate", recompute_on=None, granularity="layer")
    assert found.batch_norm == "interpolate"
    names = parts_parameters(a, "layer")["stem.1"]
    literal = mixed(a, b, 0.25, names)
    for key in ("running_mean", "running_var"):
        own, other = getattr(a.stem[1], key), getattr(b.stem[1], key)
        getattr(literal.stem[1], key).copy_(0.75 * own + 0.25 * other)
    losses, _ = examples(literal, batches())
    np.testing.assert_allclose(found.modules["stem.1"].points["test"][1].losses, losses, rtol=1e-5)
    losses, _ = examples(mixed(a, b, 0.25, parts_parameters(a, "layer")["stem.0"]), batches())
    np.testing.assert_allclose(found.modules["stem.0"].points["test"][1].losses, losses, rtol=1e-5)


def test_statistics_without_parameters_of_their_own_move_with_what_is_around_them() -> None:
    def plain(seed: int) -> nn.Module:
        model = network(seed)
        mean, var = model.stem[1].running_mean, model.stem[1].running_var
        model.stem[1] = nn.BatchNorm2d(4, affine=False)
        model.stem[1].load_state_dict(
            {"running_mean": mean, "running_var": var, "num_batches_tracked": torch.tensor(1)}
        )
        return model.eval()

    a, b = plain(0), plain(1)
    found = lines(a, b, batch_norm="interpolate", recompute_on=None)
    literal = mixed(a, b, 1.0, parts_parameters(a, "block")["stem"])
    literal.stem[1].load_state_dict(b.stem[1].state_dict())
    losses, _ = examples(literal, batches())
    np.testing.assert_allclose(found.modules["stem"].points["test"][-1].losses, losses, rtol=1e-5)
    # They do not move with any other module.
    block = lines(a, b, batch_norm="interpolate", recompute_on=None).modules["block"]
    literal = mixed(a, b, 1.0, parts_parameters(a, "block")["block"])
    literal.block[1].load_state_dict(b.block[1].state_dict())
    losses, _ = examples(literal, batches())
    np.testing.assert_allclose(block.points["test"][-1].losses, losses, rtol=1e-5)


# -- closed forms -----------------------------------------------------------------------------------------------


def test_a_module_that_is_equal_in_both_has_no_path_and_no_barrier() -> None:
    a, b = network(0), network(1)
    b.stem.load_state_dict(a.stem.state_dict())
    b.stem[1].running_mean += 1.0  # statistics are recomputed: they do not make a module another
    told: list[tuple[int, int]] = []
    found = lines(a, b, on_point=lambda done, of: told.append((done, of)))
    stem = found.modules["stem"]
    assert stem.evaluated == "not at all: the module is equal in both networks"
    assert stem.distance == 0
    assert len({point.losses.tobytes() for point in stem.points["test"]}) == 1
    for quantity in ("loss", "error"):
        height = found.barrier("stem", "test", quantity)
        assert (height.linear.value, height.mean.value, height.mean.interval.high) == (0, 0, 0)
    assert told == [(done, 9) for done in range(4, 10)]
    assert found.barrier("head", "test", "loss").mean.value > 0
    # With interpolated statistics it has moved.
    other = lines(a, b, batch_norm="interpolate", recompute_on=None).modules["stem"]
    assert other.distance == 0
    assert len({point.losses.tobytes() for point in other.points["test"]}) == len(GRID)


class Ignoring(nn.Module):
    """A network that runs a module and throws its output away."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.ignored = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x) + 0 * self.ignored(x)


def test_a_module_whose_output_is_ignored_has_no_barrier() -> None:
    torch.manual_seed(0)
    a, b = Ignoring(), Ignoring()
    data = {"test": [(torch.randn(20, 4), torch.arange(20) % 3)]}
    found = module_paths(a, b, data, alphas=GRID, evaluation=Evaluation(device="cpu"))
    assert found.modules["ignored"].distance > 0
    assert found.barrier("ignored", "test", "loss").mean.value == 0
    assert found.barrier("used", "test", "loss").mean.value > 0


def test_a_module_in_which_the_loss_is_convex_has_no_barrier_over_the_line() -> None:
    """The last layer under cross-entropy: linear baseline 0, mean baseline half the difference of the ends."""
    a, b = network(0, norm=False), network(1, norm=False)
    with torch.no_grad():
        b.head.weight.mul_(20)
    found = lines(a, b, recompute_on=None, alphas=None)
    assert found.batch_norm == "no batch norm"
    assert len(found.alphas) == 9
    head = found.barrier("head", "test", "loss")
    assert head.linear.value == pytest.approx(0, abs=1e-7)
    assert head.mean.value == pytest.approx(abs(head.first - head.second) / 2, rel=1e-6)
    assert head.minimum_gap < 0


def test_the_other_direction_starts_at_the_other_network() -> None:
    a, b = network(0, norm=False), network(1, norm=False)
    there, back = lines(a, b, recompute_on=None), lines(b, a, recompute_on=None)
    losses, _ = examples(b, batches())
    np.testing.assert_allclose(back.modules["head"].points["test"][0].losses, losses, rtol=1e-5)
    assert there.modules["head"].distance == back.modules["head"].distance
    forth = there.values("head", "test", "loss").mean(axis=1)
    assert not np.allclose(forth[::-1], back.values("head", "test", "loss").mean(axis=1))


def test_limits_that_hold_for_all_modules_are_wider() -> None:
    found = lines(network(0, norm=False), network(1, norm=False), recompute_on=None)
    for module in found.modules:
        single = found.barrier(module, "test", "loss").mean
        all_of_them = found.barrier(module, "test", "loss", simultaneous=True).mean
        assert single.value == all_of_them.value
        assert single.interval.high < all_of_them.interval.high
        assert all_of_them.interval.confidence == pytest.approx(1 - 0.05 / 3)
    groups = np.arange(24) // 2
    grouped = found.barrier("head", "test", "loss", groups).mean.interval
    assert grouped.n == 12


# -- the caller's networks, and what does not fit ----------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_networks_are_left_as_they_were(fails: bool) -> None:
    a, b = network(0), network(1)
    a.stem.train()
    before = copy.deepcopy(a.state_dict()), copy.deepcopy(b.state_dict())
    if fails:
        with pytest.raises(LoaderError):
            lines(a, b, recompute_on=[])
    else:
        lines(a, b)
    for model, state in zip((a, b), before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert a.stem.training
    assert a.stem[0].training
    assert not a._forward_hooks


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"alphas": (0.0, 0.5)}, MeasureError, "alphas must ascend, each once, with both ends"),
        ({"alphas": (0.0, 1.0, 0.5)}, MeasureError, "alphas must ascend"),
        ({"alphas": (0.0, float("nan"), 1.0)}, MeasureError, "alphas must ascend"),
        ({"modules": {"stem": ["stem.0.wieght"]}}, MeasureError, "the module 'stem' cannot move"),
        ({"modules": {"stem": []}}, MeasureError, "the module 'stem' cannot move"),
        ({"modules": {}}, MeasureError, "there is no module to move"),
        ({"head": "haed"}, ModuleNameError, "haed"),
        ({"recompute_on": None}, MeasureError, "nothing to recompute its statistics on"),
    ],
)
def test_what_does_not_fit_is_named(changes, error, words) -> None:
    with pytest.raises(error, match=words):
        lines(network(0), network(1), **changes)


def test_networks_and_modules_that_do_not_fit_are_named() -> None:
    with pytest.raises(MeasureError, match="their parameters or buffers differ"):
        lines(network(0), network(1, width=5))
    found = lines(network(0, norm=False), network(1, norm=False), recompute_on=None)
    with pytest.raises(MeasureError, match="no line of the module 'haed' was measured"):
        found.barrier("haed", "test", "loss")
