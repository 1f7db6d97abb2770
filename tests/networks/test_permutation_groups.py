"""Permutation groups read from the graph: the function stays, and what should move does."""

import copy

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from tests.alignable import NETWORKS, branching, made, sorting
from transferscope.errors import AlignmentError
from transferscope.networks.permutations.groups import PermutationGroups, permutation_groups
from transferscope.networks.permutations.trace import state_of

IMAGES = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def read() -> dict[str, tuple[nn.Module, PermutationGroups]]:
    found = {}
    for name in NETWORKS:
        net = made(name).double()
        found[name] = net, permutation_groups(net, IMAGES)
    return found


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in state_of(net).items()}


def difference(net: nn.Module, moved: dict[str, torch.Tensor], images: torch.Tensor = IMAGES) -> float:
    with torch.no_grad():
        return float((net(images) - functional_call(net, moved, (images,))).abs().max())


@given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 2**31), st.data())
@settings(derandomize=True, deadline=None, max_examples=40)
def test_any_permutation_of_any_groups_keeps_the_function(read, name, seed, data) -> None:
    net, groups = read[name]
    orders = groups.random(seed)
    chosen = data.draw(st.lists(st.sampled_from(sorted(orders)), unique=True, min_size=1))
    moved = groups.apply(state(net), {group: orders[group] for group in chosen})
    assert difference(net, moved) < 1e-12


def sizes(groups: PermutationGroups) -> dict[str, int]:
    return {group.name: group.units for group in groups}


EXPECTED = {
    "residual": {"stem.weight": 6, "squeeze.weight": 4},
    "flat": {"0.weight": 5, "4.weight": 7},
    "dense": {"one.weight": 4, "two.weight": 5, "three.weight": 3, "four.weight": 4},
    "halves": {"stem.weight[from 0]": 4, "stem.weight[from 4]": 2},
    "grouped": {"first.weight": 3, "third.weight": 2},
    "multiplied": {"0.weight": 4},
    "padded": {"stem.weight": 4, "down.weight[from 0]": 2, "down.weight[from 6]": 3},
    "standardised": {"one.weight": 12, "two.weight": 6},
    "attention": {"token[axis 2]": 12, "qkv.weight": 3, "up.weight": 10},
    "mixer": {"patches.weight": 6, "tokens.weight": 5},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_groups_are_those_there_are(read, name) -> None:
    found = {"qkv.weight" if key == "bias[axis 1]" else key: units for key, units in sizes(read[name][1]).items()}
    assert found == EXPECTED[name]


def test_wholes_hold_the_groups_within_them(read) -> None:
    inner = {name: [[part.units for part in whole] for g in read[name][1] for whole in g.inner] for name in NETWORKS}
    # Of each of 3 heads the units of queries with keys, and of values.
    assert inner["attention"] == [[4, 4]] * 3
    assert inner["torch_attention"] == [[4, 4]] * 2
    # Between channels queries and keys do not meet: each has its units.
    assert inner["channel_attention"] == [[4, 4, 4]] * 2 or inner["channel_attention"] == [[4, 4]] * 2
    # Of each of 3 groups its 4 channels in and 2 out; of each half of the group norm its channels.
    assert inner["grouped"] == [[4, 2]] * 3 + [[4]] * 2
    # Each channel with its two copies.
    assert inner["multiplied"] == [[2]] * 4


def test_inputs_and_outputs_stay(read) -> None:
    for name, (net, groups) in read.items():
        slots = {(slot.tensor, slot.axis) for group in groups.every() for slot in group.slots}
        last = "6" if name in ("flat", "multiplied") else "one" if name == "halves" else "head"
        assert (f"{last}.weight", 0) not in slots
        first = next(n for n, p in net.named_parameters() if n.endswith("weight") and p.ndim == 4)
        assert (first, 1) not in slots
        assert all(group.units > 1 for group in groups.every())
        assert len({group.name for group in groups.every()}) == len(list(groups.every()))


def test_the_network_is_read_without_a_change() -> None:
    net = made("residual").train()
    before = copy.deepcopy(net.state_dict())
    hook = net.stem.register_forward_hook(lambda *_: None)
    net.stem.weight.requires_grad_(False)
    permutation_groups(net, IMAGES.float())
    assert net.training
    assert not net.stem.weight.requires_grad
    assert list(net.stem._forward_hooks) == [hook.id]
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert torch.backends.mha.get_fastpath_enabled()


def test_one_reading_is_like_another(read) -> None:
    net, groups = read["attention"]
    again = permutation_groups(net, IMAGES)
    assert [group.name for group in again.every()] == [group.name for group in groups.every()]
    for one, two in zip(groups.every(), again.every(), strict=True):
        np.testing.assert_array_equal(one.atoms, two.atoms)


def test_what_nothing_moves_is_named(read) -> None:
    _, groups = read["residual"]
    assert (groups.share, groups.fixed) == (pytest.approx(1, abs=0.05), ("head.bias",))


def test_a_wrong_group_would_be_noticed(read) -> None:
    """The check of these tests can fail: one tensor of a group left behind changes the function."""
    net, groups = read["residual"]
    (group,) = (group for group in groups if group.units == 6)
    moved = groups.apply(state(net), {group.name: np.roll(np.arange(6), 1)})
    moved["stem.bias"] = net.stem.bias.detach()
    assert difference(net, moved) > 1e-6


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 4], [0, 1, 2], [1, 2, 3, 4, 5, 6]])
def test_what_is_no_permutation_is_refused(read, order) -> None:
    net, groups = read["residual"]
    with pytest.raises(AlignmentError, match=r"no permutation of the group 'stem.weight'"):
        groups.apply(state(net), {"stem.weight": np.array(order)})


def test_an_unknown_group_is_refused(read) -> None:
    net, groups = read["residual"]
    with pytest.raises(AlignmentError, match=r"no permutation of the group 'nobody'"):
        groups.apply(state(net), {"nobody": np.arange(3)})


def test_an_operation_without_a_rule_is_named() -> None:
    with pytest.raises(AlignmentError, match=r"pass the operation aten\.sort\.default\n(.*\n)*.*node 'sort'"):
        permutation_groups(sorting(), torch.zeros(1, 3, 8, 8))


def test_a_network_that_looks_at_values_cannot_be_traced() -> None:
    with pytest.raises(AlignmentError, match=r"cannot be traced\n(.*\n)*.*DataDependent"):
        permutation_groups(branching(), torch.zeros(1, 3, 8, 8))


# Small ones of the common families are aligned, and checked, in tests/analyses/test_align_networks.py.
NETWORKS_OF_TIMM = {
    "vgg11_bn": 32, "efficientnet_b0": 64, "densenet121": 64, "regnety_002": 64, "resnext50_32x4d": 64,
    "swin_tiny_patch4_window7_224": 224, "convnextv2_atto": 64, "vit_tiny_patch16_224": 224, "mixer_s16_224": 224,
    "nf_resnet26": 64, "xcit_nano_12_p16_224": 224, "resnet50_gn": 64, "ghostnet_050": 64, "coatnet_nano_rw_224": 224,
    "poolformer_s12": 64, "hrnet_w18_small": 64, "dla34": 64, "resmlp_12_224": 224, "mobilevit_xxs": 256,
    "levit_128s": 224, "cait_xxs24_224": 224, "swinv2_tiny_window8_256": 256, "eva02_tiny_patch14_224": 224,
    "resnet18": 64, "res2net50_26w_4s": 64, "maxvit_tiny_rw_224": 224, "edgenext_xx_small": 256, "repvgg_a0": 64,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), NETWORKS_OF_TIMM.items())
def test_networks_of_timm(name, size) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=5).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            # No branch may be switched off by a scale or a matrix of zeros.
            parameter.add_(0.02 * torch.rand_like(parameter))
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    groups = permutation_groups(net, images)
    moved = groups.apply(state(net), groups.random(0))
    with torch.no_grad():
        before, after = net.train().eval()(images), functional_call(net.train().eval(), moved, (images,))
    assert float((before - after).abs().max()) < 1e-9 * float(before.abs().max())
    assert groups.share > 0.9
    assert any(not torch.equal(tensor, moved[key]) for key, tensor in state(net).items())
