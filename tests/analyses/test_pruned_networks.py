"""Networks with masks of pruning: what lies between two, and that weights switched off count nowhere."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

import transferscope as ts
from tests.callers import CPU, FUNCTIONS, gathered
from transferscope.context.initial_networks import _between
from transferscope.errors import TransferscopeError, WeightsError
from transferscope.methods.landscape.linear_path import LinearPath
from transferscope.networks.copies import copied
from transferscope.networks.transplants import transplant

DATA = [(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3)]
CPU_ALONE = ts.Evaluation(**CPU)
BETWEEN = {
    name: FUNCTIONS[name]
    for name in ("linear_path", "curve_path", "basin_networks", "module_paths", "rewind", "criticality")
} | {"plane_through": lambda a, b, d: ts.plane_through([a, b, copied(a)], {"t": d}, CPU_ALONE)}


def plain(seed: int, first: Callable[[], nn.Module] = lambda: nn.Linear(6, 8)) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(first(), nn.ReLU(), nn.Linear(8, 3)).eval()


def half(seed: int) -> Tensor:
    """A mask of which a half is 1."""
    order = torch.randperm(48, generator=torch.Generator().manual_seed(seed))
    return (order < 24).float().reshape(8, 6)


class _Times(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class _Masked(nn.Linear):
    """A user's own masked layer."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(6, 8)
        self.register_buffer("kept", mask)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.kept, self.bias)


def pruned(seed: int, mask: Tensor) -> nn.Module:
    network = plain(seed)
    prune.custom_from_mask(network[0], "weight", mask)
    return network


def parametrised(seed: int, mask: Tensor) -> nn.Module:
    network = plain(seed)
    parametrize.register_parametrization(network[0], "weight", _Times(mask))
    return network


MASKED: dict[str, tuple[Callable[[int, Tensor], nn.Module], str]] = {
    "pruned": (pruned, "0.weight_mask"),
    "parametrised": (parametrised, "0.parametrizations.weight.0.mask"),
    "parametrised by truth values": (lambda seed, mask: parametrised(seed, mask.bool()),
                                     "0.parametrizations.weight.0.mask"),
    "one number a row": (lambda seed, mask: parametrised(seed, mask[:, :1]), "0.parametrizations.weight.0.mask"),
    "a layer of one's own": (lambda seed, mask: plain(seed, lambda: _Masked(mask)), "0.kept"),
    "a layer of one's own, of bytes": (lambda seed, mask: plain(seed, lambda: _Masked(mask.byte())), "0.kept"),
}  # fmt: skip


def losses(found: LinearPath) -> list[float]:
    return [float(point.losses.mean()) for point in found.points["t"]]


def path(a: nn.Module, b: nn.Module, **settings):
    return ts.linear_path(a, b, {"t": DATA}, **gathered(ts.linear_path, alphas=(0, 0.5, 1), **CPU, **settings))


def by_hand(first: Tensor, network_weights: list[Tensor]) -> float:
    """The loss with a first weight, and the first bias, second weight and bias."""
    bias, second, out = network_weights
    images, labels = DATA[0]
    hidden = torch.relu(images.double() @ first.double().T + bias.double())
    return float(nn.functional.cross_entropy(hidden @ second.double().T + out.double(), labels))


@pytest.mark.kind("masks")
@pytest.mark.parametrize("name", BETWEEN)
@pytest.mark.parametrize("form", MASKED)
def test_nothing_is_measured_between_two_masks(form: str, name: str) -> None:
    make, buffer = MASKED[form]
    a, b = make(0, half(0)), make(1, half(1))
    with pytest.raises(TransferscopeError) as caught:
        BETWEEN[name](a, b, DATA)
    assert buffer in str(caught.value)
    assert "prune.remove" in str(caught.value)


@pytest.mark.kind("masks")
@pytest.mark.parametrize("policy", ["recompute", "interpolate", "none"])
@pytest.mark.parametrize("form", MASKED)
def test_no_policy_of_batch_norm_moves_a_mask(form: str, policy: str) -> None:
    make, buffer = MASKED[form]
    with pytest.raises(TransferscopeError, match=buffer.replace(".", r"\.")):
        path(make(0, half(0)), make(1, half(1)), batch_norm=policy)


@pytest.mark.kind("masks")
@pytest.mark.parametrize("form", MASKED)
def test_with_one_mask_a_point_between_is_the_mask_times_the_mean(form: str) -> None:
    make, _ = MASKED[form]
    mask = half(0)[:, :1].expand(8, 6) if form == "one number a row" else half(0)
    a, b = make(0, half(0)), make(1, half(0))
    dense = [[parameter.detach() for parameter in plain(seed).parameters()] for seed in (0, 1)]
    for network, parameters in zip((a, b), dense, strict=True):
        # The same draws as without a mask, whatever the layer draws itself.
        weights = [p for p in network.parameters() if p.shape == (8, 6)] + [
            p for p in network.parameters() if p.shape != (8, 6)
        ]
        order = [parameters[0], *parameters[1:]]
        with torch.no_grad():
            for own, value in zip(weights, order, strict=True):
                own.copy_(value)
    means = [(one + other) / 2 for one, other in zip(*dense, strict=True)]
    expected = [by_hand(mask * each[0], each[1:]) for each in (dense[0], means, dense[1])]
    assert losses(path(a, b)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.kind("masks")
def test_permanent_pruning_gives_the_line_of_dense_weights() -> None:
    a, b = pruned(0, half(0)), pruned(1, half(1))
    weights = [[net[0].weight.detach(), net[0].bias.detach(), net[2].weight.detach(), net[2].bias.detach()]
               for net in (a, b)]  # fmt: skip
    for network in (a, b):
        prune.remove(network[0], "weight")
    means = [(one + other) / 2 for one, other in zip(*weights, strict=True)]
    expected = [by_hand(each[0], each[1:]) for each in (weights[0], means, weights[1])]
    assert losses(path(a, b)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.kind("masks")
def test_weights_that_are_switched_off_count_in_no_distance() -> None:
    mask = half(0)
    a, b = pruned(0, mask), pruned(1, mask)
    other = copied(b)
    with torch.no_grad():
        other[0].weight_orig.add_((1 - mask) * 50)
        used = [mask * (a[0].weight_orig - b[0].weight_orig)]
        used += [one - two for one, two in zip(a.parameters(), b.parameters(), strict=True) if one.shape != (8, 6)]
    expected = math.sqrt(sum(float(part.double().square().sum()) for part in used))
    before = [network[0].weight_orig.clone() for network in (a, b, other)]
    for second in (b, other):
        found = path(a, second)
        assert found.distance == pytest.approx(expected, rel=1e-6)
        assert losses(found) == losses(path(a, b))
        assert ts.align(a, second, DATA, method="weights", **CPU).distance[0] == pytest.approx(expected, rel=1e-6)
        compared = ts.compare(a, second, DATA, CPU_ALONE, path=ts.PathGrid(points=3, refine=None), align_by=None)
        assert compared.distance.l2 == pytest.approx(expected, rel=1e-6)
    assert all(torch.equal(net[0].weight_orig, own) for net, own in zip((a, b, other), before, strict=True))


@pytest.mark.kind("masks")
def test_a_comparison_says_why_there_is_no_path_and_measures_the_rest() -> None:
    a, b = pruned(0, half(0)), pruned(1, half(1))
    found = ts.compare(a, b, DATA, CPU_ALONE, path=ts.PathGrid(points=3, refine=None), align_by=None)
    assert found.path is None
    assert found.average is None
    assert "0.weight_mask" in found.not_measured["path"]
    for network in (a, b):
        prune.remove(network[0], "weight")
    dense = ts.compare(a, b, DATA, CPU_ALONE, path=ts.PathGrid(points=3, refine=None), align_by=None)
    assert found.distance.l2 == pytest.approx(dense.distance.l2, rel=1e-6)
    assert found.mistakes == dense.mistakes
    assert dense.average is not None


@pytest.mark.kind("masks")
@pytest.mark.parametrize("method", ["activations", "weights"])
def test_units_are_matched_across_masks_and_the_function_stays(method: str) -> None:
    a, b = pruned(0, half(0)), pruned(1, half(1))
    aligned = ts.align(a, b, DATA, method=method, **CPU).network
    with torch.no_grad():
        assert torch.allclose(aligned(DATA[0][0]), b(DATA[0][0]), atol=1e-6)
    assert int((aligned[0].weight_mask == 0).sum()) == 24


@pytest.mark.kind("masks")
@pytest.mark.parametrize("name", ["linear_path", "align"])
@pytest.mark.parametrize("make", [pruned, parametrised])
def test_one_that_is_pruned_and_one_that_is_not(make: Callable[[int, Tensor], nn.Module], name: str) -> None:
    for pair in ((make(0, half(0)), plain(1)), (plain(1), make(0, half(0)))):
        with pytest.raises(TransferscopeError, match=r"pruned, or parametrised(?s:.*)remove_parametrizations"):
            FUNCTIONS[name](*pair, DATA)


@pytest.mark.kind("masks")
def test_parts_of_a_network_with_another_mask_are_not_put_in() -> None:
    a, b, alike = pruned(0, half(0)), pruned(1, half(1)), pruned(2, half(0))
    before = {name: tensor.clone() for name, tensor in a.state_dict().items()}
    with pytest.raises(WeightsError, match=r"0\.weight_mask"):
        transplant(a, b.state_dict(), ["0"], "layer", "2")
    with pytest.raises(WeightsError, match=r"0\.weight_mask"):
        _between(a, b.state_dict(), alike.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in a.state_dict().items())
    assert transplant(a, alike.state_dict(), ["0"], "layer", "2") == ("0.bias", "0.weight_orig")
    _between(a, before, alike.state_dict())
    assert torch.equal(a[0].weight_mask, half(0))


def test_tables_that_are_no_masks_may_differ_where_nothing_depends_on_them() -> None:
    a, b = plain(0), plain(1)
    for network, value in ((a, 0), (b, 1)):
        network.register_buffer("started", torch.tensor([value, 1], dtype=torch.uint8))
    assert len(losses(path(a, b))) == 3
