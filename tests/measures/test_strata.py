import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import strata_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures.bootstrap import bootstrap_weights
from transferscope.measures.mistakes import mistake_indicators, mistake_statistic
from transferscope.measures.strata import DIFFICULTIES, QUARTERS, difficulty_strata, quarter_strata, stratified_kappa

exact = settings(derandomize=True, deadline=None, max_examples=100)


@exact
@given(st.integers(1, 7).flatmap(lambda k: st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=1)))
def test_strata_of_difficulty_by_their_definition(wrong: list[list[bool]]) -> None:
    shares = np.array(wrong).mean(axis=1)
    assert [DIFFICULTIES[place] for place in difficulty_strata(shares)] == [
        reference.difficulty_stratum(row) for row in wrong
    ]


def test_difficulty_is_a_share() -> None:
    for bad in ([1.2], [-0.1], [[0.5]], [float("nan")]):
        with pytest.raises(MeasureError, match="difficulty is a share"):
            difficulty_strata(bad)


@exact
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_quarters_are_ordered_and_keep_equal_values_together(values: list[int]) -> None:
    found = quarter_strata(values)
    assert set(found) <= set(range(len(QUARTERS)))
    for first, place in zip(values, found, strict=True):
        for second, other in zip(values, found, strict=True):
            assert (place == other) or ((place < other) == (first < second))
    # About a quarter at most lies above the third quartile, and at least a quarter at or below the first.
    assert (found == 3).sum() <= (len(values) + 3) / 4
    assert (found == 0).sum() >= len(values) / 4


def test_quarters_of_distinct_values_are_equally_large() -> None:
    values = np.random.default_rng(0).permutation(40)
    assert np.bincount(quarter_strata(values)).tolist() == [10, 10, 10, 10]
    assert np.array_equal(quarter_strata(values), quarter_strata(3.0 * values - 7))


def test_quarters_need_finite_values() -> None:
    for bad in ([], [float("nan")], [[1.0]]):
        with pytest.raises(MeasureError, match="quarters need values"):
            quarter_strata(bad)


@exact
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=25))
def test_kappa_within_strata_by_its_definition(rows: list[tuple[int, int, int]]) -> None:
    a, b, strata = (list(column) for column in zip(*rows, strict=True))
    indicators = mistake_indicators(a, b, [0] * len(a))
    found = stratified_kappa(np.ones((1, len(a))), indicators, np.array(strata))[0]
    expected = reference.stratified_kappa([x == 0 for x in a], [y == 0 for y in b], strata)
    assert np.isnan(found) if expected is None else found == pytest.approx(expected, abs=1e-12)


def test_kappa_is_0_where_difficulty_alone_is_shared_and_1_for_equal_mistakes() -> None:
    # Two strata; within each the two networks err independently: (1 of 10)² and (5 of 10)² are common.
    a: list[int] = []
    b: list[int] = []
    strata: list[int] = []
    for stratum, wrong in enumerate((1, 5)):
        for i in range(10):
            for j in range(10):
                a.append(int(i < wrong))
                b.append(int(j < wrong))
                strata.append(stratum)
    indicators = mistake_indicators(a, b, [0] * len(a))
    ones, groups = np.ones((1, len(a))), np.array(strata)
    assert mistake_statistic("kappa")(ones, indicators)[0] > 0.1  # hard images are hard for both
    assert stratified_kappa(ones, indicators, groups)[0] == pytest.approx(0, abs=1e-12)
    same = mistake_indicators(a, a, [0] * len(a))
    assert stratified_kappa(ones, same, groups)[0] == pytest.approx(1, abs=1e-12)


def test_weights_are_repeated_examples_and_an_undrawn_stratum_adds_nothing() -> None:
    rng = np.random.default_rng(3)
    a, b, strata = (rng.integers(0, 3, 12) for _ in range(3))
    indicators = mistake_indicators(a, b, np.zeros(12, dtype=int))
    weights = next(iter(bootstrap_weights(12, 40, 1)))
    weights[0, strata == 1] = 0
    for row, value in zip(weights, stratified_kappa(weights, indicators, strata), strict=True):
        drawn = np.repeat(np.arange(12), row.astype(int))
        expected = reference.stratified_kappa(list(a[drawn] == 0), list(b[drawn] == 0), list(strata[drawn]))
        assert np.isnan(value) if expected is None else value == pytest.approx(expected, abs=1e-12)
