"""Intervals of numbers that have bounds: clipped to them, with the coverage they had."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import MeasureError
from transferscope.measures.intervals import (
    DIFFERENCE,
    MAGNITUDE,
    SHARE,
    Interval,
    noninferior,
    paired_seeds_interval,
    seed_pairs_interval,
    seeds_interval,
    within,
)

shares = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@settings(derandomize=True, deadline=None)
@given(shares, st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.999]))
def test_what_can_be_is_in_it_exactly_where_it_was(values, truth, confidence) -> None:
    whole = seeds_interval(values, confidence)
    clipped = seeds_interval(values, confidence, SHARE)
    cut = (clipped.low, clipped.high) != (whole.low, whole.high)
    assert clipped.flags == (*whole.flags, *(("clipped",) if cut else ()))
    assert replace(clipped, low=whole.low, high=whole.high, flags=whole.flags) == whole
    if whole.low is None or whole.high is None:
        assert clipped.low is clipped.high is None
        return
    assert (whole.low <= truth <= whole.high) == (clipped.low <= truth <= clipped.high)
    assert 0 <= clipped.low <= clipped.high <= 1


@settings(derandomize=True, deadline=None)
@given(shares, st.floats(0.001, 0.5), st.integers(0, 10**6))
def test_a_clipped_difference_is_judged_as_the_whole_one(first, margin, seed) -> None:
    second = np.random.default_rng(seed).random(len(first)).tolist()
    whole = paired_seeds_interval(first, second)
    clipped = paired_seeds_interval(first, second, bounds=DIFFERENCE)
    assert noninferior(whole, margin).verdict == noninferior(clipped, margin).verdict
    if whole.low is not None:
        assert (whole.low > 0, whole.high < 0) == (clipped.low > 0, clipped.high < 0)


def test_chance_level_of_three_seeds_does_not_go_below_nothing() -> None:
    values = [0.05, 0.1, 0.15]
    whole, clipped = seeds_interval(values), seeds_interval(values, bounds=SHARE)
    assert whole.low < 0
    assert (clipped.low, clipped.high) == (0.0, whole.high)
    assert clipped.value == whole.value
    high = seeds_interval([0.95, 0.9, 0.99], bounds=SHARE)
    assert high.high == 1.0
    apart = paired_seeds_interval([0.9, 0.1, 0.8], [0.1, 0.2, 0.1], bounds=DIFFERENCE)
    assert -1 <= apart.low < apart.value < apart.high == 1.0


def test_inside_its_bounds_nothing_changes() -> None:
    values = [0.70, 0.72, 0.74]
    assert seeds_interval(values, bounds=SHARE) == seeds_interval(values)
    assert within(Interval(0.5, None, None, 1, None), SHARE) == Interval(0.5, None, None, 1, None)
    assert within(Interval(3.0, 2.0, 4.0, 3, "seeds"), None).high == 4.0
    assert within(Interval(3.0, -2.0, 4.0, 3, "seeds"), (0.0, math.inf)).low == 0.0


def test_a_barrier_over_pairs_of_seeds_is_not_negative() -> None:
    barriers = {(0, 1): 0.0, (0, 2): 0.01, (1, 2): 0.05}
    whole, clipped = seed_pairs_interval(barriers), seed_pairs_interval(barriers, bounds=MAGNITUDE)
    assert whole.low < 0
    assert clipped == replace(whole, low=0.0, flags=("clipped",))
    away = {pair: value + 10 for pair, value in barriers.items()}
    assert seed_pairs_interval(away, bounds=MAGNITUDE) == seed_pairs_interval(away)
    with pytest.raises(MeasureError, match="outside of the bounds"):
        seed_pairs_interval({pair: -value for pair, value in barriers.items()}, bounds=MAGNITUDE)


def test_rounding_is_no_value_outside() -> None:
    assert seeds_interval([1.0 + 1e-12, 1.0, 1.0 + 2e-12], bounds=SHARE).high == 1.0
    equal = seeds_interval([1.0 + 1e-12] * 3, bounds=SHARE)
    assert (equal.value, equal.high, equal.flags) == (1.0 + 1e-12, None, ("no_spread",))


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.5, 0.5), (math.nan, 1.0)])
def test_bounds_are_in_order(bounds) -> None:
    with pytest.raises(MeasureError, match="bounds are a least and a largest value"):
        seeds_interval([0.1, 0.2, 0.3], bounds=bounds)


def test_a_value_outside_is_named() -> None:
    with pytest.raises(MeasureError, match="a value lies outside of the bounds it is said to have"):
        seeds_interval([70.0, 72.0, 74.0], bounds=SHARE)
    with pytest.raises(MeasureError, match="outside of the bounds"):
        paired_seeds_interval([70.0, 72.0, 74.0], [1.0, 2.0, 3.0], bounds=DIFFERENCE)
