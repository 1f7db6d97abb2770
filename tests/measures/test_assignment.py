import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.assignment_reference import best_total, best_wholes_total, correlations
from transferscope.errors import MeasureError
from transferscope.measures.assignment import CrossCorrelation, assign, assign_wholes


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_the_best_of_all_permutations(units, seed) -> None:
    similarity = np.random.default_rng(seed).normal(size=(units, units))
    order = assign(similarity)
    assert sorted(order) == list(range(units))
    assert similarity[np.arange(units), order].sum() == pytest.approx(best_total(similarity))
    # A constant for a unit changes nothing, renumbering moves the partners along.
    assert (assign(similarity + np.random.default_rng(seed).normal(size=(units, 1))) == order).all()
    other = np.random.default_rng(seed + 1).permutation(units)
    assert (other[assign(similarity[:, other])] == order).all()


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_the_best_of_all_permutations_of_wholes(wholes, units, seed) -> None:
    generator = np.random.default_rng(seed)
    inner = [generator.normal(size=(wholes, wholes, size, size)) for size in (units, 2)]
    outer = generator.normal(size=(wholes, wholes))
    order, within = assign_wholes(inner, outer)
    total = sum(outer[k, two] for k, two in enumerate(order))
    for k, two in enumerate(order):
        for similarity, chosen in zip(inner, within[k], strict=True):
            total += similarity[k, two][np.arange(len(chosen)), chosen].sum()
    assert total == pytest.approx(best_wholes_total(inner, outer))


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.zeros(4)])
def test_units_that_do_not_pair_off(bad) -> None:
    with pytest.raises(MeasureError, match="units are matched one to one"):
        assign(bad)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_similarity_that_is_not_finite(bad) -> None:
    with pytest.raises(MeasureError, match="a similarity is not finite"):
        assign([[0.0, bad], [1.0, 0.0]])


def seen(*batches: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
    found = CrossCorrelation()
    for first, second in batches:
        found.add(first, second)
    return found.value().numpy()


@given(st.integers(0, 10**6), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.sampled_from([0.0, 100.0]))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_batches_give_the_correlation_of_all_samples(seed, sizes, mean) -> None:
    generator = torch.Generator().manual_seed(seed)
    pairs = [
        (torch.randn(size, 3, generator=generator) + mean, torch.randn(size, 4, generator=generator)) for size in sizes
    ]
    whole = [torch.cat(side).double().numpy() for side in zip(*pairs, strict=True)]
    if sum(sizes) > 1:
        np.testing.assert_allclose(seen(*pairs), correlations(*whole), atol=2e-4 if mean else 1e-5)
    # Scale and offset of a unit change nothing but the sign.
    turned = [(first * -3 + 1, second) for first, second in pairs]
    np.testing.assert_allclose(seen(*turned), -seen(*pairs), atol=1e-3)


def test_a_unit_that_never_changes_correlates_with_none() -> None:
    values = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    dead = values.clone()
    dead[:, 1] = 0.1
    found = seen((dead[:10], values[:10]), (dead[10:], values[10:]))
    assert (found[1] == 0).all()
    assert found[0, 0] == pytest.approx(1)


@pytest.mark.parametrize(("first", "second"), [((3, 2), (4, 2)), ((3,), (3,)), ((0, 2), (0, 2))])
def test_samples_that_do_not_pair_off(first, second) -> None:
    with pytest.raises(MeasureError, match="both networks are seen on the same samples"):
        CrossCorrelation().add(torch.zeros(first), torch.zeros(second))


def test_nothing_seen_and_nothing_finite() -> None:
    with pytest.raises(MeasureError, match="no batch was added"):
        CrossCorrelation().value()
    with pytest.raises(MeasureError, match="an activation is not finite"):
        seen((torch.tensor([[1.0], [torch.inf]]), torch.ones(2, 1)))
