import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tests.reference import strata_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures import sign_flip
from transferscope.measures.sign_flip import sign_flip_p_value

exact = settings(derandomize=True, deadline=None, max_examples=60)


@exact
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_against_all_sign_patterns(differences: list[int]) -> None:
    assert sign_flip_p_value(differences) == pytest.approx(reference.sign_flip_p_value(differences), abs=1e-12)


@exact
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 5)), min_size=1, max_size=14))
def test_groups_change_sign_together(rows: list[tuple[int, int]]) -> None:
    differences, clusters = (list(column) for column in zip(*rows, strict=True))
    expected = reference.sign_flip_p_value(differences, clusters)
    assert sign_flip_p_value(differences, clusters) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (7, 1), (30, 12), (1, 300)])
def test_with_one_network_a_side_it_is_mcnemars_exact_test(better: int, worse: int) -> None:
    differences = [1] * better + [-1] * worse + [0] * 50
    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_flip_p_value(differences) == pytest.approx(expected, rel=1e-9)


def test_invariances() -> None:
    differences = np.array([3, -1, 2, 2, 0, 1, -2, 1])
    p = sign_flip_p_value(differences)
    for other in (-differences, 4 * differences, differences[::-1], np.append(differences, [0, 0])):
        assert sign_flip_p_value(other) == p


def test_large_samples_take_the_normal_distribution_and_agree_with_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    differences = rng.integers(-3, 4, 600) + (rng.random(600) < 0.1)
    counted = sign_flip_p_value(differences)
    monkeypatch.setattr(sign_flip, "_EXACT_STEPS", 10)
    assert sign_flip_p_value(differences) == pytest.approx(counted, rel=0.02)
    assert sign_flip_p_value([1, -1, 1, -1] * 10) == 1.0


def test_bad_input_is_named() -> None:
    for bad in ([], [0.5], [[1]], [float("nan")]):
        with pytest.raises(MeasureError, match="whole differences"):
            sign_flip_p_value(bad)
    with pytest.raises(MeasureError, match="clusters must name the group"):
        sign_flip_p_value([1, 2], [0])
