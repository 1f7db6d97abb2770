"""Aligning two networks: exact for permuted copies, the same function for any, and nothing of the caller's changed."""

import copy
import dataclasses

import numpy as np
import pytest
import timm
import torch
from torch import nn

from tests.alignable import NETWORKS, made, sorting, tangled, unseen, vgg
from transferscope.errors import AlignmentError, LoaderError, MeasureError
from transferscope.methods.alignment.align import Aligned, _check_function, align
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.linear_path import linear_path
from transferscope.networks.permutations.groups import permutation_groups
from transferscope.networks.permutations.trace import state_of

METHODS = ("activations", "weights")


def images(count: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def loader(count: int = 24, size: int = 8, batch: int = 10) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of which the last is shorter."""
    labels = torch.arange(count) % 3
    return list(zip(images(count, size).split(batch), labels.split(batch), strict=True))


def permuted(net: nn.Module, size: int = 8, seed: int = 3) -> nn.Module:
    """The same function with units in other places."""
    copied = copy.deepcopy(net)
    groups = permutation_groups(net, images(1, size))
    moved = groups.apply({name: tensor.detach() for name, tensor in state_of(net).items()}, groups.random(seed))
    with torch.no_grad():
        for name, tensor in state_of(copied).items():
            tensor.copy_(moved[name])
    return copied


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_permuted_copy_comes_back(name, method) -> None:
    net = made(name)
    found = align(net, permuted(net), loader(), method=method, device="cpu")
    assert found.distance[0] > 0.1
    assert found.objective[1] > found.objective[0]
    with torch.no_grad():
        np.testing.assert_allclose(found.network(images(9)), net(images(9)), atol=1e-5)
    if method == "activations":
        assert found.distance[1] < 1e-5
    else:
        # A local optimum: never further apart than before.
        assert found.distance[1] < found.distance[0]


FAMILIES = {
    "resnet": ("test_resnet", {}, 32),
    "vgg": (None, {}, 32),
    "mobilenet": ("test_efficientnet", {}, 32),
    "convnext": ("test_convnext", {}, 32),
}
SLOW_FAMILIES = {
    "mobilenet-v3": ("mobilenetv3_small_050", {}, 32),
    "vit": ("test_vit", {"img_size": 32}, 32),
    "resnet18": ("resnet18", {}, 32),
    "efficientnet-lite": ("efficientnet_lite0", {}, 64),
    "convnext-atto": ("convnext_atto", {}, 64),
    "densenet": ("densenet121", {}, 64),
    "regnet": ("regnety_002", {}, 64),
    "resnext": ("resnext26ts", {}, 64),
    "swin": ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "num_heads": (3, 6)}, 224),
    "vit-tiny": ("vit_tiny_patch16_224", {"img_size": 32, "depth": 4}, 32),
    "levit": ("levit_128s", {}, 224),
}


@pytest.mark.parametrize("family", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_FAMILIES)])
def test_a_permuted_copy_of_a_known_family_has_no_barrier(family) -> None:
    name, options, size = {**FAMILIES, **SLOW_FAMILIES}[family]
    torch.manual_seed(0)
    net = (timm.create_model(name, num_classes=3, **options) if name else vgg()).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            # Scales of zero (the last norm of a block, layer scale) would switch branches off.
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.rand_like(parameter))
    data = loader(12, size, batch=12)
    other = permuted(net, size)
    found = align(net, other, data, device="cpu")
    assert found.share > 0.95
    assert found.moved > 0.5
    barriers = [
        linear_path(
            net, end, {"test": data}, evaluation=Evaluation(recompute_on=data, device="cpu"), alphas=(0.0, 0.5, 1.0)
        ).barrier("test", "loss")
        for end in (other, found.network)
    ]
    assert barriers[1].linear.value <= 1e-5
    assert barriers[1].mean.value <= 1e-5
    # The check can fail: the middle of the unaligned line is another function.
    assert abs(barriers[0].midpoint_gap) > 2e-5


@pytest.mark.parametrize("name", ["residual", "attention", "grouped"])
@pytest.mark.parametrize("method", METHODS)
def test_two_networks_come_nearer_and_nothing_else_changes(name, method) -> None:
    a, b = made(name, 1), made(name, 2).train()
    kept = [copy.deepcopy(net.state_dict()) for net in (a, b)]
    modes = [[module.training for module in net.modules()] for net in (a, b)]
    found = align(a, b, loader(), method=method, device="cpu")
    for net, before, mode in zip((a, b), kept, modes, strict=True):
        assert [module.training for module in net.modules()] == mode
        assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
        assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    with torch.no_grad():
        np.testing.assert_allclose(found.network(images(7)), b.eval()(images(7)), rtol=1e-3, atol=1e-5)
    assert found.unchanged_to < 1e-10
    assert found.objective[1] > found.objective[0]
    assert not found.network.training
    if method == "weights":
        assert found.distance[1] < found.distance[0]
        # ‖θ_a − θ_b‖² = ‖θ_a‖² + ‖θ_b‖² − 2⟨θ_a, θ_b⟩, and the norms stay.
        gain = (found.distance[0] ** 2 - found.distance[1] ** 2) / 2
        assert found.objective[1] - found.objective[0] == pytest.approx(gain, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_orders_are_those_of_the_network(method) -> None:
    """What is reported, applied to b, is the aligned network."""
    for name in ("residual", "attention", "grouped", "multiplied"):
        a, b = made(name, 1), made(name, 2)
        found = align(a, b, loader(), method=method, device="cpu")
        state = {key: tensor.detach() for key, tensor in state_of(b).items()}
        wholes = {group.name for group in found.groups if group.inner}
        applied = found.groups.apply(state, {key: order for key, order in found.orders.items() if key in wholes})
        applied = found.groups.apply(applied, {key: o for key, o in found.orders.items() if key not in wholes})
        for key, tensor in state_of(found.network).items():
            assert torch.equal(applied[key], tensor), key
        units = moved = 0
        for group in found.groups:
            for leaf in [part for whole in group.inner for part in whole] or [group]:
                assert sorted(found.orders[leaf.name]) == list(range(leaf.units))
                units += leaf.units
                if leaf is group:
                    moved += int((found.orders[leaf.name] != np.arange(leaf.units)).sum())
        assert moved / units <= found.moved <= 1
        assert found.moved > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_same_call_gives_the_same(method) -> None:
    a, b = made("attention", 1), made("attention", 2)
    one, two = (align(a, b, loader(), method=method, seed=5, device="cpu") for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(one.network.parameters(), two.network.parameters(), strict=True))
    assert (one.objective, one.distance, one.moved) == (two.objective, two.distance, two.moved)


def test_activations_do_not_mind_the_order_b_comes_in() -> None:
    a, b = made("residual", 1), made("residual", 2)
    one, two = align(a, b, loader(), device="cpu"), align(a, permuted(b), loader(), device="cpu")
    for x, y in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(x, y)


def test_more_descents_are_never_worse() -> None:
    a, b = made("dense", 1), made("dense", 2)
    few, many = (align(a, b, loader(), method="weights", restarts=n, device="cpu") for n in (1, 6))
    assert many.objective[1] >= few.objective[1]


def test_a_network_with_itself_stays() -> None:
    net = made("residual")
    for method in METHODS:
        found = align(net, net, loader(), method=method, device="cpu")
        assert (found.moved, found.distance) == (0.0, (0.0, 0.0))


def test_a_frozen_network_with_a_cache_is_left_alone() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.ReLU(), nn.Linear(6, 3)).requires_grad_(False)
    found = align(net, permuted(net), loader(), device="cpu")
    assert found.distance[1] < 1e-5
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_two_architectures_are_refused() -> None:
    with pytest.raises(AlignmentError, match=r"parameters or buffers differ\n(.*\n)*.*0\.bias"):
        align(made("residual"), made("flat"), loader(), device="cpu")


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(MeasureError, match="cannot take this as method"):
        align(made("flat"), made("flat"), loader(), method="magic", device="cpu")


@pytest.mark.parametrize("options", [{"restarts": 0}])
def test_no_descent_is_refused(options) -> None:
    with pytest.raises(MeasureError, match="cannot take this as restarts"):
        align(made("flat"), made("flat", 1), loader(), method="weights", device="cpu", **options)


def test_no_images_are_refused() -> None:
    with pytest.raises(LoaderError, match="no batch"):
        align(made("flat"), made("flat", 1), [], device="cpu")


def test_images_in_another_order_each_time_are_refused() -> None:
    class Restless:
        count = 0

        def __iter__(self):
            Restless.count += 1
            yield images(4, seed=Restless.count), torch.zeros(4)

    with pytest.raises(LoaderError):
        align(made("flat"), made("flat", 1), Restless(), device="cpu")


@pytest.mark.parametrize(("method", "match"), [("activations", "not finite"), ("weights", "not finite")])
def test_a_diverged_network_is_named(method, match) -> None:
    broken = made("flat", 1)
    with torch.no_grad():
        broken[0].weight[0] = torch.nan
    with pytest.raises(MeasureError, match=match):
        align(made("flat"), broken, loader(), method=method, device="cpu")


@pytest.mark.parametrize(
    ("make", "match"),
    [(unseen, "the units of 'gains' are seen in no convolution"), (tangled, "are only seen together with others")],
)
def test_units_that_activations_do_not_show_are_named_and_matched_by_weights(make, match) -> None:
    torch.manual_seed(0)
    net = make()
    with pytest.raises(AlignmentError, match=match):
        align(net, permuted(net), loader(), device="cpu")
    found = align(net, permuted(net), loader(), method="weights", device="cpu")
    assert found.distance[1] < found.distance[0]


def test_an_operation_without_a_rule_is_named() -> None:
    with pytest.raises(AlignmentError, match=r"aten\.sort"):
        align(sorting(), sorting(), loader(), device="cpu")


class Forgetful(nn.Module):
    """One unit counts more by its place, which no weight shows: a constant that the trace takes for a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(192, 6), nn.Linear(6, 3)
        self.register_buffer("place", torch.arange(6.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x.flatten(1)) * self.place)


def test_a_saved_constant_moves_along_and_one_made_anew_holds_its_units() -> None:
    torch.manual_seed(0)
    net = Forgetful().eval()
    (group,) = permutation_groups(net, images(1)).groups
    assert ("place", 0) in {(slot.tensor, slot.axis) for slot in group.slots}
    net._non_persistent_buffers_set.add("place")
    assert permutation_groups(net, images(1)).groups == ()


def test_a_misread_group_is_noticed() -> None:
    """Where a group lacks a tensor the outputs differ, and nothing is returned."""
    net = made("residual")
    groups = permutation_groups(net, images(1))
    broken = dataclasses.replace(
        groups,
        groups=tuple(
            dataclasses.replace(group, slots=tuple(slot for slot in group.slots if slot.tensor != "stem.bias"))
            for group in groups
        ),
    )
    found = align(net, permuted(net), loader(), device="cpu")
    match = type("Match", (), {"state": state_of(net)})()
    with pytest.raises(AlignmentError, match="changed what it computes"):
        _check_function(broken, net, match, images(4))
    assert isinstance(found, Aligned)


def test_images_that_do_not_stand_alone_are_noticed() -> None:
    class Together(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(192, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x.flatten(1))
            return self.head(x if len(x) == 1 else x - x.flip(1))

    torch.manual_seed(0)
    with pytest.raises(AlignmentError, match="are others for 10 images than for one"):
        align(Together(), Together(), loader(), device="cpu")
    with pytest.raises(AlignmentError, match="changed what it computes"):
        align(Together(), Together(), loader(), method="weights", device="cpu")
