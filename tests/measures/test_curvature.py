"""Eigenvalues and traces of symmetric matrices known by their products, against dense ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import MeasureError
from transferscope.measures.curvature import hutchinson_trace, top_eigenpairs


def symmetric(size: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(draw.standard_normal((size, size)))
    return basis @ np.diag(draw.standard_normal(size) * np.geomspace(1, 100, size)) @ basis.T


@pytest.mark.parametrize(("size", "count"), [(1, 1), (3, 3), (10, 2), (11, 2), (60, 1), (60, 4), (300, 3)])
def test_the_largest_eigenvalues_of_dense_matrices(size: int, count: int) -> None:
    matrix = symmetric(size)
    found = top_eigenpairs(lambda v: matrix @ v, size, count, tolerance=1e-10, most_products=5000)
    assert found.converged
    assert found.values == pytest.approx(np.linalg.eigvalsh(matrix)[::-1][:count].tolist(), rel=1e-8)
    assert found.vectors.T @ found.vectors == pytest.approx(np.eye(count), abs=1e-8)
    for index, value in enumerate(found.values):
        vector = found.vectors[:, index]
        assert matrix @ vector == pytest.approx(value * vector, abs=1e-6)
        assert found.residuals[index] == pytest.approx(np.linalg.norm(matrix @ vector - value * vector), abs=1e-9)


def test_the_largest_is_not_the_largest_in_size() -> None:
    diagonal = np.concatenate([[-1000.0], np.linspace(0, 5, 99)])
    assert top_eigenpairs(lambda v: diagonal * v, 100, 1).values == pytest.approx((5.0,), rel=1e-3)
    negative = top_eigenpairs(lambda v: -np.arange(1.0, 101) * v, 100, 1, tolerance=1e-6, most_products=2000)
    assert negative.values == pytest.approx((-1.0,), rel=1e-5)


def test_single_precision_gives_the_same_to_its_accuracy() -> None:
    matrix = symmetric(200)
    seen = []

    def product(vector: np.ndarray) -> np.ndarray:
        seen.append(vector.dtype)
        return matrix @ vector

    found = top_eigenpairs(product, 200, 2, tolerance=1e-4, precision="float32")
    assert found.values == pytest.approx(np.linalg.eigvalsh(matrix)[::-1][:2].tolist(), rel=1e-4)
    assert set(seen) == {np.dtype("float32")}


@given(st.integers(0, 1000), st.floats(-50, 50))
@settings(derandomize=True, deadline=None, max_examples=15)
def test_a_multiple_of_the_identity_shifts_and_a_permutation_leaves(seed: int, shift: float) -> None:
    matrix = symmetric(30, seed)
    order = np.random.default_rng(seed).permutation(30)
    values = [
        top_eigenpairs(lambda v, m=m: m @ v, 30, 2, tolerance=1e-9, most_products=3000).values
        for m in (matrix, matrix + shift * np.eye(30), matrix[order][:, order])
    ]
    assert np.array(values[1]) == pytest.approx(np.array(values[0]) + shift, abs=1e-5)
    assert np.array(values[2]) == pytest.approx(np.array(values[0]), abs=1e-5)


def test_a_search_that_ends_too_early_says_so_and_keeps_what_it_has() -> None:
    diagonal = 1 - 1e-6 * np.arange(3000.0)
    found = top_eigenpairs(lambda v: diagonal * v, 3000, 3, tolerance=1e-12, most_products=20)
    assert not found.converged
    assert len(found.values) == len(found.residuals) == found.vectors.shape[1] < 3
    trace = hutchinson_trace(lambda v: diagonal * v, 3000, 4, pairs=found)
    assert trace.value == pytest.approx(diagonal.sum())


def test_the_zero_matrix_has_zeros() -> None:
    found = top_eigenpairs(lambda v: 0 * v, 50, 2)
    assert (found.values, found.residuals, found.converged) == ((0.0, 0.0), (0.0, 0.0), True)
    trace = hutchinson_trace(lambda v: 0 * v, 50, 3, pairs=found)
    assert (trace.value, trace.standard_error) == (0.0, 0.0)


@pytest.mark.parametrize("deflated", [False, True])
def test_a_trace_is_within_its_errors_and_they_are_of_the_right_size(deflated: bool) -> None:
    matrix = symmetric(60)
    pairs = top_eigenpairs(lambda v: matrix @ v, 60, 3, tolerance=1e-10, most_products=2000) if deflated else None
    found = [hutchinson_trace(lambda v: matrix @ v, 60, 20, seed=seed, pairs=pairs) for seed in range(200)]
    scores = [(trace.value - np.trace(matrix)) / trace.standard_error for trace in found]
    assert abs(np.mean(scores)) < 0.25
    assert 0.9 < np.std(scores) < 1.2
    left = matrix if pairs is None else matrix - pairs.vectors @ np.diag(pairs.values) @ pairs.vectors.T
    # Of random signs: twice the squares off the diagonal.
    exact = np.sqrt(2 * ((left**2).sum() - (np.diag(left) ** 2).sum()) / 20)
    assert np.mean([trace.standard_error for trace in found]) == pytest.approx(exact, rel=0.1)


def test_eigenvectors_that_are_known_make_the_error_small() -> None:
    matrix = symmetric(80)
    pairs = top_eigenpairs(lambda v: matrix @ v, 80, 12, tolerance=1e-8, most_products=3000)
    plain, deflated = (hutchinson_trace(lambda v: matrix @ v, 80, 30, pairs=known) for known in (None, pairs))
    assert deflated.standard_error < 0.8 * plain.standard_error
    assert (plain.probes, plain.products) == (30, 30)


def test_products_are_counted() -> None:
    calls = []

    def product(vector: np.ndarray) -> np.ndarray:
        calls.append(0)
        return np.arange(40.0) * vector

    found = top_eigenpairs(product, 40, 2)
    assert found.products == len(calls) > 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "count 0"),
        ({"count": 6}, "1 to 5 of them"),
        ({"tolerance": 0.0}, "a tolerance in"),
        ({"most_products": 0}, "at least one product"),
    ],
)
def test_eigenvalues_that_cannot_be_asked_for(changes: dict[str, float], message: str) -> None:
    with pytest.raises(MeasureError, match=message):
        top_eigenpairs(lambda v: v, 5, **{"count": 1, **changes})  # type: ignore[arg-type]  # bad on purpose


@pytest.mark.parametrize(
    ("product", "message"), [(lambda v: v[:-1], r"\(49,\)"), (lambda v: v * np.nan, "NaN or infinite values")]
)
def test_a_product_must_be_a_vector_of_numbers(product, message) -> None:
    with pytest.raises(MeasureError, match=message):
        top_eigenpairs(product, 50, 1)
    with pytest.raises(MeasureError, match="not a vector of finite numbers"):
        hutchinson_trace(product, 50, 2)


def test_one_probe_has_no_error() -> None:
    with pytest.raises(MeasureError, match="needs probes"):
        hutchinson_trace(lambda v: v, 5, 1)
