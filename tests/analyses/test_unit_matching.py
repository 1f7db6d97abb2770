"""Both ways of matching against literal versions on networks so small that every permutation can be tried."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from tests.alignable import made
from tests.reference.assignment_reference import best_total, correlations
from transferscope.errors import AlignmentError
from transferscope.methods.alignment.activation_matching import activation_matching
from transferscope.methods.alignment.weight_matching import weight_matching
from transferscope.networks.permutations.groups import permutation_groups
from transferscope.networks.permutations.trace import state_of


def mlp(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def states(*nets: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [{name: tensor.detach() for name, tensor in state_of(net).items()} for net in nets]


def product(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], names: list[str]) -> float:
    return sum(float((one[name].double() * two[name].double()).sum()) for name in names)


@pytest.mark.parametrize("seed", range(5))
def test_one_set_of_units_is_matched_by_the_best_of_all_permutations(seed) -> None:
    a, b = mlp(seed), mlp(seed + 100)
    first, second = states(a, b)
    groups = permutation_groups(b, torch.ones(1, 4))
    found = weight_matching(groups, first, second, list(first))
    totals = [
        product(first, groups.apply(second, {"0.weight": np.array(order)}), list(first))
        for order in permutations(range(5))
    ]
    assert found.after == pytest.approx(max(totals), rel=1e-5)
    assert found.before == pytest.approx(product(first, second, list(first)), rel=1e-5)


@pytest.mark.parametrize("name", ["residual", "attention", "grouped"])
def test_what_is_found_gains_by_no_single_exchange(name) -> None:
    """Of plain units: no two of them could change places to the better; nothing is below where it began."""
    a, b = made(name, 1), made(name, 2)
    first, second = states(a, b)
    names = [key for key, _ in b.named_parameters()]
    groups = permutation_groups(b, torch.zeros(1, 3, 8, 8))
    found = weight_matching(groups, first, second, names)
    assert found.after > found.before
    for group in groups:
        if group.inner or len({slot.tensor for slot in group.slots}) < len(group.slots):
            continue
        for one in range(group.units):
            for two in range(one):
                order = np.arange(group.units)
                order[[one, two]] = two, one
                moved = groups.apply(found.state, {group.name: order})
                assert product(first, moved, names) <= found.after + 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_activations_are_matched_by_their_mean_correlation(seed) -> None:
    a, b = mlp(seed), mlp(seed + 100)
    first, second = states(a, b)
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))
    batches = [(part, torch.zeros(len(part))) for part in inputs.split(11)]
    groups = permutation_groups(b, torch.ones(1, 4))
    found = activation_matching(groups, b, first, second, batches)
    with torch.no_grad():
        before = [net[0](inputs).double().numpy() for net in (a, b)]
    after = [np.maximum(values, 0) for values in before]
    similarity = (correlations(*before) + correlations(*after)) / 2
    assert found.after == pytest.approx(best_total(similarity) / 5, abs=1e-5)
    assert found.before == pytest.approx(np.trace(similarity) / 5, abs=1e-5)
    order = found.orders["0.weight"]
    assert similarity[np.arange(5), order].sum() == pytest.approx(best_total(similarity), abs=1e-5)
    assert found.moved == pytest.approx(float((order != np.arange(5)).mean()))


def test_a_descent_that_is_cut_short_is_an_error() -> None:
    a, b = made("dense", 1), made("dense", 2)
    groups = permutation_groups(b, torch.zeros(1, 3, 8, 8))
    with pytest.raises(AlignmentError, match="did not end in 1 passes"):
        weight_matching(groups, *states(a, b), [name for name, _ in b.named_parameters()], rounds=1)
