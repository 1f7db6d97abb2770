import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.reference.flatness_reference import direction as literal
from tests.studies import tiny_network
from transferscope.errors import MeasureError
from transferscope.networks.directions import direction_norm, filter_normalised, moved_names


def parameters(seed: int = 0, **changes: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {n: p.detach() for n, p in tiny_network(3, width=4, **changes).named_parameters()}


@pytest.mark.parametrize("policy", ["zero", "normalise"])
def test_every_filter_has_the_norm_of_the_networks_own(policy: str) -> None:
    own = parameters()
    found = filter_normalised(own, 5, policy)
    assert tuple(found) == moved_names(own, policy)
    assert ("head.bias" in found) == (policy == "normalise")
    slow = literal(own, 5, policy == "normalise")
    for name, part in found.items():
        assert part.dtype == own[name].dtype
        torch.testing.assert_close(part.double(), slow[name], rtol=1e-5, atol=1e-7)
        if part.ndim >= 2:
            for row, theirs in zip(part, own[name], strict=True):
                assert float(row.norm()) == pytest.approx(float(theirs.norm()), rel=1e-5)
    assert direction_norm(found.values()) == pytest.approx(direction_norm(own[name] for name in found), rel=1e-6)


@given(st.floats(1e-3, 1e3), st.integers(0, 3))
@settings(derandomize=True, deadline=None, max_examples=20)
def test_scaling_a_filter_scales_its_part_of_the_direction_and_no_other(factor: float, row: int) -> None:
    own = {name: value.detach().clone() for name, value in parameters().items()}
    before = filter_normalised(own, 1)
    own["stem.0.weight"][row] *= factor
    after = filter_normalised(own, 1)
    torch.testing.assert_close(after["stem.0.weight"][row], factor * before["stem.0.weight"][row], rtol=1e-4, atol=0)
    others = [index for index in range(4) if index != row]
    assert torch.equal(after["stem.0.weight"][others], before["stem.0.weight"][others])
    assert torch.equal(after["block.0.weight"], before["block.0.weight"])


def test_channels_in_another_order_get_another_direction() -> None:
    own = {name: value.detach().clone() for name, value in parameters().items()}
    before = filter_normalised(own, 1)["stem.0.weight"]
    own["stem.0.weight"] = own["stem.0.weight"].flip(0)
    assert not torch.allclose(filter_normalised(own, 1)["stem.0.weight"].flip(0), before)


def test_the_draws_are_those_of_the_seed_the_name_and_the_shape() -> None:
    one, other = parameters(0), parameters(1)
    a, b = filter_normalised(one, 3), filter_normalised(other, 3)
    for name in a:
        cosines = nn.functional.cosine_similarity(a[name].flatten(1), b[name].flatten(1))
        torch.testing.assert_close(cosines, torch.ones_like(cosines))  # the same draws, another scale
    state = torch.get_rng_state()
    assert not torch.equal(filter_normalised(one, 4)["head.weight"], a["head.weight"])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(filter_normalised(dict(reversed(one.items())), 3)["head.weight"], a["head.weight"])


def test_a_filter_of_zeros_stays_where_it_is() -> None:
    own = {"weight": torch.cat([torch.zeros(1, 3), torch.ones(1, 3)]), "scale": torch.tensor(0.5)}
    found = filter_normalised(own, 0, "normalise")
    assert not found["weight"][0].any()
    assert float(found["weight"][1].norm()) == pytest.approx(3**0.5)
    assert abs(float(found["scale"])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"weight": torch.zeros(2, 2)}, "no parameter that would move is other than zero"),
        ({"bias": torch.ones(2)}, "one_dimensional='normalise' moves tensors of one axis too"),
        ({"weight": torch.full((2, 2), float("nan"))}, "there is no direction at the parameter 'weight'"),
        ({"weight": torch.ones(2, 2, dtype=torch.long)}, "finite numbers in floating point"),
    ],
)
def test_what_has_no_direction_is_named(own: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(MeasureError, match=message):
        filter_normalised(own, 0)
