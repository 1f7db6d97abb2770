"""A landscape moves a copy of a network, exactly at the networks it is spanned by."""

import pytest
import torch
from torch import nn

from transferscope.errors import MeasureError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.landscape import Landscape
from transferscope.networks.batchnorm import batch_norm_state, recompute


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    with torch.no_grad():
        net[1].running_mean.normal_()
    return net.eval()


def batches(seed: int = 9, count: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(6, 3, 8, 8, generator=generator), torch.randint(3, (6,), generator=generator))
        for _ in range(count)
    ]


def three(**options) -> tuple[list[nn.Module], Landscape]:
    networks = [network(seed) for seed in range(3)]
    return networks, Landscape(
        networks, {"test": batches()}, evaluation=Evaluation(**{"recompute_on": batches(5), "device": "cpu", **options})
    )


def test_at_a_network_every_tensor_is_its_own_bit_for_bit() -> None:
    networks, land = three()
    for index, given in enumerate(networks):
        land.combine([float(index == other) for other in range(3)])
        for name, tensor in given.state_dict().items():
            assert torch.equal(land.network.state_dict()[name], tensor), name


def test_a_combination_is_the_weighted_sum() -> None:
    networks, land = three()
    land.combine((0.2, 0.5, -0.4))
    states = [given.state_dict() for given in networks]
    for name in land.parameters:
        wanted = 0.2 * states[0][name] + 0.5 * states[1][name] - 0.4 * states[2][name]
        torch.testing.assert_close(land.network.state_dict()[name], wanted)


def test_only_named_tensors_move() -> None:
    networks, land = three()
    land.combine((0.0, 1.0, 0.0), only={"5.weight", "5.bias"})
    state = land.network.state_dict()
    assert torch.equal(state["5.weight"], networks[1][5].weight)
    assert torch.equal(state["0.weight"], networks[0][0].weight)


def test_statistics_follow_the_policy() -> None:
    middle = (0.5, 0.5, 0.0)
    found = {}
    for policy in ("recompute", "interpolate", "none"):
        networks, land = three(batch_norm=policy)
        land.combine(middle)
        land.evaluate()
        found[policy] = batch_norm_state(land.network)["1.running_mean"]
        if policy == "recompute":
            recompute(land.network, batches(5))
            assert torch.equal(found[policy], batch_norm_state(land.network)["1.running_mean"])
    torch.testing.assert_close(found["interpolate"], (networks[0][1].running_mean + networks[1][1].running_mean) / 2)
    assert torch.equal(found["none"], networks[0][1].running_mean)


def test_a_shift_moves_along_a_direction_and_back() -> None:
    networks, land = three()
    land.combine((1.0, 0.0, 0.0))
    direction = {name: torch.ones_like(value) for name, value in networks[0].named_parameters()}
    land.shift(direction, 0.5)
    torch.testing.assert_close(land.parameters["0.weight"], networks[0][0].weight + 0.5)


def test_the_networks_given_are_left_alone() -> None:
    networks, land = three()
    before = [{name: value.clone() for name, value in given.state_dict().items()} for given in networks]
    land.combine((0.3, 0.3, 0.4))
    land.evaluate()
    for given, state in zip(networks, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in given.state_dict().items())


def test_the_distance_is_of_parameters_alone() -> None:
    networks, land = three()
    wanted = sum(
        float((a - b).detach().double().square().sum())
        for a, b in zip(networks[0].parameters(), networks[2].parameters(), strict=True)
    )
    assert land.distance(0, 2) == pytest.approx(wanted**0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda land: land.combine((1.0, 0.0)), "one finite weight for each network"),
        (lambda land: land.combine((1.0, float("nan"), 0.0)), "one finite weight"),
        (lambda land: land.shift({"nothing": torch.zeros(1)}), "does not fit the network"),
        (lambda land: land.shift({"5.bias": torch.zeros(4)}), "does not fit the network"),
    ],
)
def test_bad_input_is_named(call, match) -> None:
    _, land = three()
    with pytest.raises(MeasureError, match=match):
        call(land)


def test_it_needs_networks_and_data() -> None:
    with pytest.raises(MeasureError, match="a landscape needs a network"):
        Landscape([], {"test": batches()})
    with pytest.raises(MeasureError, match="a landscape needs data"):
        Landscape([network(0)], {})
