import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import MeasureError
from transferscope.measures.barriers import barrier
from transferscope.measures.standard_error import standard_error

exact = settings(derandomize=True, deadline=None, max_examples=60)
numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@exact
@given(numbers)
def test_without_groups_it_is_s_over_root_n(values: list[float]) -> None:
    literal = statistics.stdev(values) / math.sqrt(len(values))
    assert standard_error(values) == pytest.approx(literal, rel=1e-9, abs=1e-12)
    assert standard_error(values, list(range(len(values)))) == standard_error(values)


@exact
@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 4)), min_size=2, max_size=30))
def test_with_groups_it_is_the_formula(pairs: list[tuple[float, int]]) -> None:
    values, groups = [value for value, _ in pairs], [group for _, group in pairs]
    names = sorted(set(groups))
    found = standard_error(values, groups)
    if len(names) < 2:
        assert found is None
        return
    mean = math.fsum(values) / len(values)
    squares = [sum(v - mean for v, g in pairs if g == name) ** 2 for name in names]
    literal = math.sqrt(len(names) / (len(names) - 1) * sum(squares)) / len(values)
    assert found == pytest.approx(literal, rel=1e-6, abs=1e-9)


@exact
@given(numbers, st.floats(-10, 10), st.randoms())
def test_order_and_an_offset_change_nothing(values: list[float], offset: float, order) -> None:
    groups = [k // 3 for k in range(len(values))]
    before = standard_error(values, groups)
    pairs = [(value + offset, f"g{group}") for value, group in zip(values, groups, strict=True)]
    order.shuffle(pairs)
    after = standard_error([value for value, _ in pairs], [group for _, group in pairs])
    assert (before is None) == (after is None)
    if before is not None:
        assert after == pytest.approx(before, abs=1e-9)


def test_repeating_every_example_in_its_group_changes_nothing_but_alone_it_does() -> None:
    values = [0.0, 1.0, 0.5, 0.25]
    twice = [value for value in values for _ in range(2)]
    assert standard_error(twice, [0, 0, 1, 1, 2, 2, 3, 3]) == pytest.approx(standard_error(values))
    assert standard_error(twice) < standard_error(values)


def test_too_little_has_no_error() -> None:
    assert standard_error([1.0]) is None
    assert standard_error([1.0, 2.0], ["one", "one"]) is None
    assert standard_error([1.0, 1.0]) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_gives_nan(bad: float) -> None:
    assert math.isnan(standard_error([1.0, bad, 2.0]))


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], 3.0])
def test_values_must_be_a_list(values) -> None:
    with pytest.raises(MeasureError, match=r"a standard error needs values|cannot take this as values"):
        standard_error(values)


def test_each_example_needs_its_group() -> None:
    with pytest.raises(MeasureError, match="clusters must name the group of each example"):
        standard_error([1.0, 2.0], [0])


def test_barriers_have_the_same_error() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.random((3, 12)) + np.array([[0.0], [1.0], [0.0]]), np.arange(12) // 2
    found = barrier([0.0, 0.5, 1.0], values, clusters=groups)
    assert found.mean.standard_error == standard_error(values[1] - (values[0] + values[2]) / 2, groups)
