"""CKA as a measure: golden values, the float64 brute force, invariances, nulls, errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.cka_reference import cka_matrix, gram, hsic0, minibatch_cka
from tests.reference.cka_reference import hsic1 as literal_hsic1
from transferscope.errors import MeasureError
from transferscope.measures.cka import (
    centred_gram,
    cka_compute,
    cka_update,
    hsic1,
    hsic_pairs,
    linear_cka,
    smallest_batch,
    u_centred,
)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def golden() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.RandomState(1337)
    x = random.randn(100, 10)
    return torch.from_numpy(x), torch.from_numpy(random.randn(100, 10) + x)


def matrix_of(batches: list[list[torch.Tensor]], kind: str = "unbiased") -> torch.Tensor:
    sums = None
    for batch in batches:
        grams, offsets = (torch.stack(items) for items in zip(*map(centred_gram, batch), strict=True))
        sums = cka_update(sums, grams, offsets, kind=kind)
    result = cka_compute(sums)
    assert not result.null.any()
    return result.values


def test_golden_values():
    x, y = golden()
    assert linear_cka(x, y, "biased") == pytest.approx(0.55761, abs=5e-6)
    assert linear_cka(x, y) == pytest.approx(0.51346, abs=5e-6)
    assert linear_cka(x.float(), y.float()) == pytest.approx(0.51346, abs=5e-6)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    examples=st.integers(4, 33),
    widths=st.lists(st.integers(1, 9000), min_size=1, max_size=4),
    batches=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_all_pairs_equal_the_literal_formula(examples, widths, batches, seed):
    features = [
        [randn(examples, width, seed=seed + 10 * b + p) + 3 for p, width in enumerate(widths)] for b in range(batches)
    ]
    for kind, hsic in (("unbiased", literal_hsic1), ("biased", hsic0)):
        if kind == "unbiased" and examples < 8:
            continue  # with so few examples self terms come near 0, where CKA amplifies any rounding
        expected = cka_matrix([[f.numpy() for f in batch] for batch in features], hsic)
        np.testing.assert_allclose(matrix_of(features, kind).numpy(), expected, atol=1e-6, rtol=0)


def test_hsic_of_pairs_is_the_literal_formula_in_every_block():
    grams = torch.stack([centred_gram(randn(37, 50, seed=s).double())[0] for s in range(5)])
    pairs = hsic_pairs(grams)
    biased = hsic_pairs(grams, "biased")
    for i in range(5):
        for j in range(5):
            a, b = grams[i].numpy(), grams[j].numpy()
            assert pairs[i, j].item() == pytest.approx(literal_hsic1(a, b), rel=1e-10)
            assert hsic1(grams[i], grams[j]).item() == pytest.approx(literal_hsic1(a, b), rel=1e-10)
            assert biased[i, j].item() == pytest.approx(hsic0(a, b), rel=1e-10)
    assert torch.equal(pairs, pairs.T)


def test_u_centred_grams_have_their_properties():
    K, L = (centred_gram(randn(12, 7, seed=s).double())[0] for s in (0, 1))
    U = u_centred(K)
    assert U.sum(-1).abs().max() < 1e-12
    assert U.diagonal().abs().max() == 0
    assert ((U * u_centred(L)).sum() / (12 * 9)).item() == pytest.approx(hsic1(K, L).item(), rel=1e-10)
    a = randn(12, seed=5).double()
    assert torch.allclose(u_centred(K + a[:, None] + a[None, :]), U, atol=1e-12)


@pytest.mark.parametrize("examples", [2, 3, 4, 5, 99, 100])
@pytest.mark.parametrize("shape", [(1,), (4095,), (4096,), (4097,), (6, 5, 3)])
def test_gram_is_that_of_centred_features(examples, shape):
    x = randn(examples, *shape) + 7
    found, offset = centred_gram(x)
    expected = gram(x.numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5 * np.trace(expected) / examples)
    assert torch.equal(found, found.T)
    flat = x.flatten(1).double()
    assert offset.item() == pytest.approx((flat.mean(0) ** 2).sum().item(), rel=1e-4)


def test_gram_does_not_depend_on_memory_format_and_leaves_features_alone():
    x = randn(10, 8, 6, 5)
    before = x.clone()
    channels_last = x.contiguous(memory_format=torch.channels_last)
    expected = centred_gram(x)[0]
    assert torch.allclose(centred_gram(channels_last)[0], expected, atol=1e-4)
    transposed = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.allclose(centred_gram(transposed)[0], expected, atol=1e-4)
    assert torch.equal(x, before)


def test_gram_keeps_all_digits_inside_autocast_and_with_lower_matmul_precision():
    x = randn(20, 300)
    expected = centred_gram(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(centred_gram(x)[0], expected)
    before = torch.get_float32_matmul_precision()
    try:
        for precision in ("high", "medium"):
            torch.set_float32_matmul_precision(precision)
            assert torch.equal(centred_gram(x)[0], expected)
            assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_gram_with_the_newer_precision_setting():
    matmul = torch.backends.mkldnn.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch before 2.9 has no such setting")
    x = randn(20, 300)
    expected, before = centred_gram(x)[0], matmul.fp32_precision
    try:
        matmul.fp32_precision = "bf16"
        assert torch.equal(centred_gram(x)[0], expected)
        assert matmul.fp32_precision == "bf16"
    finally:
        matmul.fp32_precision = before


@pytest.mark.parametrize("offset", [0.0, 20.0, 100.0, 1000.0])
def test_offset_costs_no_digits_in_float32(offset):
    batches = [[randn(50, 2000, seed=s) + offset, randn(50, 300, seed=s + 9) + offset] for s in range(3)]
    for batch in batches:
        batch[1][:, :200] += batch[0][:, :200] - offset
    found = matrix_of(batches)
    expected = cka_matrix([[f.numpy() for f in batch] for batch in batches])
    assert expected[0, 1] > 0.05
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert (found.diagonal() - 1).abs().max() <= 1e-12


def test_a_short_batch_counts_with_its_examples():
    features = [[randn(n, 30, seed=n), randn(n, 20, seed=n) + randn(n, 20, seed=n + 1)] for n in (20, 20, 6)]
    expected = minibatch_cka([f[0].numpy() for f in features], [f[1].numpy() for f in features])
    assert matrix_of(features)[0, 1].item() == pytest.approx(expected, abs=1e-7)
    sums = None
    for batch in features:
        sums = cka_update(sums, torch.stack([centred_gram(f)[0] for f in batch]))
    assert (sums.examples, sums.batches) == (46, 3)


def test_invariances_and_what_it_is_not_invariant_to():
    x, y = randn(60, 20).double(), randn(60, 12, seed=3).double()
    y[:, :6] += x[:, :6]
    base = linear_cka(x, y)
    orthogonal = torch.linalg.qr(randn(20, 20, seed=4).double())[0]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    for changed in (x @ orthogonal, -3.5 * x, x + 100 * randn(20, seed=6).double()):
        assert linear_cka(changed, y) == pytest.approx(base, abs=1e-9)
    assert linear_cka(y, x) == pytest.approx(base, abs=1e-12)
    assert linear_cka(x[order], y[order]) == pytest.approx(base, abs=1e-12)
    assert abs(linear_cka(x @ torch.diag(torch.arange(1.0, 21).double()), y) - base) > 1e-2
    assert abs(linear_cka(x[order], y) - base) > 1e-2


def test_independent_features_biased_high_unbiased_zero_and_negatives_kept():
    a, b = ([randn(64, 500, seed=s + shift) for s in range(40)] for shift in (0, 1000))
    values = torch.tensor([linear_cka(x, y) for x, y in zip(a, b, strict=True)])
    biased = torch.tensor([linear_cka(x, y, "biased") for x, y in zip(a, b, strict=True)])
    assert biased.mean().item() == pytest.approx(0.886, abs=0.01)
    assert abs(values.mean().item()) < 0.03
    assert values.min() < 0


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), examples=st.integers(4, 12), points=st.integers(2, 6))
def test_absolute_value_is_at_most_one(seed, examples, points):
    batches = [[randn(examples, 3, seed=seed + p + 50 * b) for p in range(points)] for b in range(2)]
    assert matrix_of(batches).abs().max() <= 1 + 1e-9


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1234.567])
def test_constant_features_have_no_cka(value):
    x = randn(30, 40)
    assert linear_cka(x, torch.full((30, 7), value)) is None
    sums = cka_update(None, *(torch.stack(i) for i in zip(*map(centred_gram, (x, x * 0 + value)), strict=True)))
    result = cka_compute(sums)
    assert result.null.tolist() == [[False, True], [True, True]]
    assert result.values.isfinite().all()
    assert result.reasons == (None, "the same for all examples, up to rounding")


def test_features_at_rounding_level_have_no_cka_but_small_real_ones_do():
    shaken = torch.full((40, 500), 100.0) + randn(40, 500) * 3e-6
    assert linear_cka(shaken, randn(40, 5)) is None
    assert linear_cka(torch.full((40, 500), 1.0) + randn(40, 500) * 1e-3, randn(40, 5)) is not None
    assert linear_cka(1e-12 * randn(40, 50), 1e-12 * randn(40, 50)) == pytest.approx(1.0, abs=1e-9)
    # All examples equally far from each other: no direction is shared, the unbiased self term is rounding alone.
    assert linear_cka(torch.eye(10), randn(10, 3)) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_have_no_cka_and_spoil_no_other(bad):
    x, y = randn(20, 6), randn(20, 6, seed=1)
    z = x.clone()
    z[3, 2] = bad
    grams = torch.stack([centred_gram(f)[0] for f in (x, z, y)])
    result = cka_compute(cka_update(None, grams))
    assert result.reasons == (None, "not finite", None)
    assert result.null.tolist() == [[False, True, False], [True, True, True], [False, True, False]]
    assert result.values.isfinite().all()
    assert result.values[0, 2].item() == pytest.approx(linear_cka(x, y), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_update_changes_nothing_in_place(dtype):
    grams = torch.stack([centred_gram(randn(9, 5, seed=s).to(dtype))[0] for s in range(2)])
    kept = grams.clone()
    first = cka_update(None, grams)
    hsic = first.hsic.clone()
    second = cka_update(first, grams)
    assert torch.equal(grams, kept)
    assert torch.equal(first.hsic, hsic)
    assert torch.allclose(second.hsic, 2 * hsic)


def test_errors():
    with pytest.raises(MeasureError, match="a batch of 3 examples is too small for unbiased CKA"):
        hsic1(torch.eye(3), torch.eye(3))
    with pytest.raises(MeasureError, match="a batch of 3 examples"):
        u_centred(torch.eye(3))
    with pytest.raises(MeasureError, match="a batch of 1 examples is too small for biased CKA"):
        hsic_pairs(torch.ones(2, 1, 1), "biased")
    with pytest.raises(MeasureError, match="Gram matrices are square"):
        hsic_pairs(torch.ones(2, 5, 4))
    with pytest.raises(MeasureError, match="two Gram matrices of different examples"):
        hsic1(torch.eye(5), torch.eye(6))
    with pytest.raises(MeasureError, match="these features have no Gram matrix"):
        centred_gram(torch.ones(5))
    with pytest.raises(MeasureError, match="these features have no Gram matrix"):
        centred_gram(torch.ones(5, 2, dtype=torch.int64))
    with pytest.raises(MeasureError, match="features of the same examples"):
        linear_cka(torch.ones(5, 2), torch.ones(6, 2))
    with pytest.raises(MeasureError, match="does not continue the ones before"):
        cka_update(cka_update(None, torch.stack([torch.eye(5)] * 2)), torch.stack([torch.eye(5)] * 3))
    assert smallest_batch("unbiased") == 4
    assert smallest_batch("biased") == 2
