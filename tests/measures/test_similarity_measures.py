"""RBF CKA, mean squared CCA, Procrustes, RSA and rank agreement against literal references; nulls; errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import similarity_reference as literal
from transferscope.errors import MeasureError
from transferscope.measures.agreement import rank_agreement
from transferscope.measures.cka import centred_gram, cka_compute, cka_update, linear_cka, rbf_cka, rbf_grams
from transferscope.measures.linear_similarity import (
    canonical_correlation,
    decompose,
    mean_squared_cca,
    procrustes_distance,
    procrustes_of,
    procrustes_similarity,
)
from transferscope.measures.rsa import dissimilarities, rank_scores, rsa, rsa_of

QUICK = settings(derandomize=True, deadline=None, max_examples=25)


def golden() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    return torch.from_numpy(x), torch.from_numpy(random.randn(100, 10) + x)


def pair(seed: int, examples: int = 20, a: int = 5, b: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(examples, a))
    y = np.concatenate([x, np.zeros((examples, max(0, b - a)))], 1)[:, :b] + random.normal(size=(examples, b))
    return torch.from_numpy(x), torch.from_numpy(y)


def test_golden_cca_is_the_centred_one() -> None:
    x, y = golden()
    assert mean_squared_cca(x, y) == pytest.approx(0.54540, abs=5e-6)
    assert literal.mean_squared_cca(x.numpy(), y.numpy(), centre=False) == pytest.approx(0.54312, abs=5e-6)


@QUICK
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 6))
def test_measures_equal_their_literal_references(seed: int, a: int, b: int) -> None:
    x, y = pair(seed, 18, a, b)
    first, second = x.numpy(), y.numpy()
    assert mean_squared_cca(x, y) == pytest.approx(literal.mean_squared_cca(first, second), abs=1e-9)
    distance, similarity = literal.procrustes(first, second)
    assert procrustes_similarity(x, y) == pytest.approx(similarity, abs=1e-9)
    assert procrustes_distance(x, y) == pytest.approx(distance, abs=1e-7)
    assert rsa(x, y) == pytest.approx(literal.rsa(first, second, "euclidean"), abs=1e-9)
    if a > 2 and b > 2:
        assert rsa(x, y, "correlation") == pytest.approx(literal.rsa(first, second, "correlation"), abs=1e-9)
    assert rbf_cka(x, y) == pytest.approx(literal.rbf_cka([first], [second]), abs=1e-9)
    assert rbf_cka(x, y, 0.4) == pytest.approx(literal.rbf_cka([first], [second], 0.4), abs=1e-9)


def test_rbf_over_minibatches_is_averaged_first_and_divided_last() -> None:
    batches = [pair(seed, size) for seed, size in ((0, 20), (1, 20), (2, 7))]
    sums = None
    for batch in batches:
        grams, offsets = (torch.stack(items) for items in zip(*(centred_gram(x.float()) for x in batch), strict=True))
        sums = cka_update(sums, grams, offsets, kind="rbf")
    expected = literal.rbf_cka([x.numpy() for x, _ in batches], [y.numpy() for _, y in batches])
    assert sums is not None
    found = cka_compute(sums)
    assert found.values[0, 1].item() == pytest.approx(expected, abs=1e-6)
    assert found.values.diagonal().tolist() == pytest.approx([1, 1], abs=1e-12)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_rbf_in_float32_keeps_its_digits_under_an_offset_and_for_wide_features(offset: float) -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(40, 900)) + offset
    y = np.concatenate([x[:, :400], random.normal(size=(40, 300))], 1)
    grams, offsets = (torch.stack(i) for i in zip(*(centred_gram(torch.from_numpy(z).float()) for z in (x, y)),
                                                  strict=True))  # fmt: skip
    found = cka_compute(cka_update(None, grams, offsets, kind="rbf")).values[0, 1].item()
    exact = literal.rbf_cka([x.astype(np.float32)], [y.astype(np.float32)])
    assert found == pytest.approx(exact, abs=1e-4 if offset else 1e-6)


def test_a_wide_rbf_kernel_is_the_linear_one_and_a_narrow_one_is_not() -> None:
    x, y = pair(3, 60)
    assert rbf_cka(x, y, 100.0) == pytest.approx(linear_cka(x, y), abs=1e-3)
    assert abs(rbf_cka(x, y, 0.3) - linear_cka(x, y)) > 0.05


def test_rbf_grams_take_the_median_of_each_batch_in_every_block(monkeypatch) -> None:
    grams = torch.stack([centred_gram(pair(seed, 12)[0])[0] for seed in range(5)])
    whole, medians = rbf_grams(grams)
    monkeypatch.setattr("transferscope.measures.grams.BLOCK_BYTES", 1)
    blocks, again = rbf_grams(grams)
    assert torch.equal(whole, blocks)
    assert torch.equal(medians, again)
    for index in range(5):
        np.testing.assert_allclose(whole[index].numpy(), literal.rbf(pair(index, 12)[0].numpy()), atol=1e-12)


def test_features_without_variation_have_none_of_them() -> None:
    x, same = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.full((20, 3), 7.3)
    for measure in (mean_squared_cca, procrustes_similarity, procrustes_distance, rbf_cka, rsa):
        assert measure(x, same) is None
        assert measure(same, same) is None
    few = torch.zeros(20, 3)
    few[0] = 1.0
    assert rbf_cka(x, few) is None
    sums = cka_update(None, torch.stack([centred_gram(z)[0] for z in (x, few)]), kind="rbf")
    assert cka_compute(sums).reasons == (None, "the same for most examples, up to rounding")
    broken = x.clone()
    broken[2, 1] = math.nan
    sums = cka_update(None, torch.stack([centred_gram(z)[0] for z in (x, broken)]), kind="rbf")
    assert cka_compute(sums).reasons == (None, "not finite")


def test_cca_says_nothing_where_features_fill_all_examples_allow() -> None:
    x, y = (torch.randn(10, 9, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert mean_squared_cca(x, y) is None
    assert mean_squared_cca(x, y[:, :3]) is None
    found = canonical_correlation(decompose(x[:, :4]), decompose(y[:, :3]))
    assert (found.chance, found.directions) == (4 / 9, 3)


def test_cca_of_independent_features_is_its_chance_level_on_average() -> None:
    def features(width: int, seed: int) -> torch.Tensor:
        return torch.randn(60, width, generator=torch.Generator().manual_seed(100 * seed + width))

    values = [mean_squared_cca(features(6, seed), features(9, seed)) for seed in range(60)]
    assert np.mean(values) == pytest.approx(9 / 59, abs=0.01)


def test_a_direction_that_is_a_sum_of_others_does_not_count() -> None:
    x, y = pair(0)
    doubled = torch.cat([x, x.sum(1, keepdim=True)], 1)
    assert decompose(doubled).rank == decompose(x).rank == 5
    assert mean_squared_cca(doubled, y) == pytest.approx(mean_squared_cca(x, y), abs=1e-9)


def test_procrustes_distance_is_a_metric() -> None:
    x, y = pair(0)
    z = pair(7)[1]
    xy, yz, xz = (procrustes_distance(*sides) for sides in ((x, y), (y, z), (x, z)))
    assert xz <= xy + yz + 1e-12
    assert procrustes_distance(x, x) == pytest.approx(0, abs=1e-7)
    assert 0 < xy < math.sqrt(2)


def test_correlation_dissimilarity_of_a_flat_example_is_none_and_ties_share_ranks() -> None:
    x = torch.tensor([[1.0, 1.0], [0.0, 2.0], [3.0, 1.0]])
    assert dissimilarities(x, "correlation") is None
    assert rsa(x, x, "correlation") is None
    scores = rank_scores(torch.tensor([2.0, 1.0, 2.0]))
    np.testing.assert_allclose(scores.numpy(), np.array([0.5, -1, 0.5]) / math.sqrt(1.5))
    assert rank_scores(torch.ones(4)) is None
    assert rsa_of(None, scores) is None


@QUICK
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=9))
def test_rank_agreement_equals_its_definition_with_ties(rows: list[tuple[int, int]]) -> None:
    a, b = ([float(row[side]) for row in rows] for side in (0, 1))
    found = rank_agreement(a, b)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert (found.kendall, found.spearman) == (None, None)
        assert "equal" in found.note
        return
    assert found.kendall == pytest.approx(literal.kendall(a, b), abs=1e-12)
    assert found.spearman == pytest.approx(literal.spearman(a, b), abs=1e-12)


def test_rank_agreement_leaves_out_what_one_measure_lacks() -> None:
    found = rank_agreement([0.1, None, 0.3, 0.4], [1.0, 9.0, 2.0, 3.0])
    assert (found.kendall, found.n) == (1.0, 3)
    few = rank_agreement([0.1, None, 0.3], [1.0, 9.0, None])
    assert (few.kendall, few.n, few.note) == (None, 1, "fewer than 3 values of both")


def test_errors() -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    cases = [
        ("no Gram matrix|cannot be decomposed", lambda: decompose(torch.ones(4))),
        ("cannot be decomposed", lambda: decompose(torch.ones(4, 2, dtype=torch.int64))),
        ("features are not finite", lambda: decompose(x / 0)),
        ("the same examples", lambda: mean_squared_cca(x, x[:5])),
        ("the same examples", lambda: procrustes_of(decompose(x), decompose(x[:5]))),
        ("the same examples", lambda: rsa(x, x[:5])),
        ("no dissimilarities", lambda: dissimilarities(x[:2])),
        ("features are not finite", lambda: dissimilarities(x / 0)),
        ("cannot take this as kind", lambda: dissimilarities(x, "cosine")),
        ("of the same examples", lambda: rsa_of(torch.ones(3), torch.ones(4))),
        ("two measures of different things", lambda: rank_agreement([1.0], [1.0, 2.0])),
        ("a value is not finite", lambda: rank_agreement([1.0, math.nan], [1.0, 2.0])),
        ("the width of the RBF kernel does not fit", lambda: rbf_cka(x, x, 0)),
        ("a batch of 3 examples is too small for rbf CKA", lambda: rbf_cka(x[:3], x[:3])),
        ("does not continue the ones before", lambda: cka_update(
            cka_update(None, torch.stack([centred_gram(x)[0]] * 2), kind="rbf"),
            torch.stack([centred_gram(x)[0]] * 2), kind="rbf", bandwidth=0.5)),
    ]  # fmt: skip
    for message, wrong in cases:
        with pytest.raises(MeasureError, match=message):
            wrong()
