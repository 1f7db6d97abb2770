"""Coarse to fine: the maximum of a dense grid from half of its points, on one hill and on several."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import MeasureError
from transferscope.measures.refinement import Resolution, budget, finest, next_point, resolution

DENSE = np.linspace(0, 1, 49)
TOLERANCE = 0.021


def located(*profiles, points: int = 13, tolerance: float = TOLERANCE, share: float = 0.01):
    """Search as :func:`linear_path` does; positions, values and what is said of them."""
    x = list(np.linspace(0, 1, points))

    def values() -> np.ndarray:
        return np.array([[profile(alpha) for alpha in x] for profile in profiles])

    while len(x) < budget(points, tolerance):
        table = values()
        found = next_point(x, table, tolerance, share * (table.max(1) - table.min(1)))
        if found is None:
            break
        x = sorted([*x, found])
    table = values()
    return np.array(x), table, resolution(x, table, tolerance, share * (table.max(1) - table.min(1)))


def of_waves(waves):
    """A profile that is 0 at both ends: waves of one, two, ... half periods under a parabola."""

    def profile(a: float) -> float:
        return float(4 * a * (1 - a) * sum(c * np.sin(np.pi * (k + 1) * a + p) for k, (c, p) in enumerate(waves)))

    return profile


def dense_maximum(profile, points: int) -> float:
    """The reference, literally: every point of the even grid."""
    highest = -np.inf
    for index in range(points):
        highest = max(highest, profile(index / (points - 1)))
    return highest


HIDDEN_AT_AN_END = [
    (13, TOLERANCE, [(-1, 0.25), (0, 0), (0, 0), (-0.25, 0), (-0.5, 0.25)]),
    (13, TOLERANCE, [(-1.0, 0.35), (-0.05, 0.05), (-0.12, 0.0), (-0.14, 0.02), (-0.5, 0.21)]),
    (13, TOLERANCE, [(-0.86, 0.37), (0.04, 0.04), (-0.03, 0.0), (-0.19, 0.0), (-0.47, 0.14)]),
    (13, TOLERANCE, [(-1.0, 0.39), (0.2, 0.04), (0.02, 0.12), (-0.19, 0.02), (-0.52, 0.17)]),
    (9, 0.03, [(-0.94, 0.38), (0.11, 3.2), (0.25, 2.58)]),
    (9, 0.03, [(0.95, 3.93), (-0.67, 3.49), (0.6, 2.61)]),
    (7, 0.05, [(-0.9, 0.46), (0.67, 6.24)]),
    (7, 0.05, [(0.66, 4.1), (0.64, 6.1)]),
    (5, 0.05, [(-0.8, 0.24)]),
    (5, 0.05, [(0.86, 3.37)]),
]


@pytest.mark.kind("search")
@pytest.mark.parametrize("turned", [False, True], ids=["as it is", "turned round"])
@pytest.mark.parametrize(("points", "tolerance", "waves"), HIDDEN_AT_AN_END)
def test_a_hill_beside_an_end_is_found_or_said_to_be_possible(points, tolerance, waves, turned) -> None:
    """The points show a profile that falls away from its end; the hill lies between the end and the first of them."""
    hill = of_waves(waves)

    def profile(a: float) -> float:
        return hill(1 - a) if turned else hill(a)

    x, table, said = located(profile, points=points, tolerance=tolerance)
    assert len(x) <= budget(points, tolerance)
    highest = dense_maximum(profile, finest(points, tolerance))
    assert table[0].max() >= highest - 0.0101 * np.ptp(table[0]) or not said.settled


@pytest.mark.kind("search")
@pytest.mark.parametrize(("points", "tolerance", "waves"), HIDDEN_AT_AN_END[::3])
def test_what_settled_says_holds_where_the_profile_bends_no_more_than_is_supposed(points, tolerance, waves) -> None:
    """The bound itself, on a fine grid in every interval, for profiles that keep to what it supposes."""
    profile = of_waves(waves)
    x, table, said = located(profile, points=points, tolerance=tolerance)
    assert said.settled
    second = np.zeros(len(x))
    for i in range(1, len(x) - 1):
        slopes = [(table[0][j + 1] - table[0][j]) / (x[j + 1] - x[j]) for j in (i - 1, i)]
        second[i] = 2 * (slopes[1] - slopes[0]) / (x[i + 1] - x[i - 1])
    first = second[1] + (second[1] - second[2]) / (x[2] - x[1]) * (x[1] - x[0])
    last = second[-2] + (second[-2] - second[-3]) / (x[-2] - x[-3]) * (x[-1] - x[-2])
    bend = np.abs(second)
    bend[0], bend[-1] = max(bend[1], abs(first)), max(bend[-2], abs(last))
    for i, (left, right) in enumerate(pairwise(x)):
        inside = np.linspace(left, right, 201)
        values = np.array([profile(a) for a in inside])
        true_bend = np.abs(np.diff(values, 2)).max() / (inside[1] - inside[0]) ** 2
        assert true_bend <= 4 * max(bend[i], bend[i + 1]), "these profiles keep to it"
        if right - left > tolerance * 1.001:
            assert values.max() <= table[0].max() + 0.0101 * np.ptp(table[0])


def test_the_equivalent_grid_and_its_half() -> None:
    assert (finest(13, TOLERANCE), budget(13, TOLERANCE)) == (49, 24)
    assert finest(13, 1 / 48) == 49, "no halving for a rounding error"
    assert (finest(25, 0.021), budget(25, 0.021)) == (49, 33), "more than half where the search starts from half"
    assert (finest(13, 1.0), budget(13, 1.0)) == (13, 13), "nothing to be done"


def test_one_hill_is_found_where_the_dense_grid_has_it() -> None:
    for middle in np.linspace(0.05, 0.95, 37):
        x, table, said = located(lambda a, m=middle: np.exp(-(((a - m) / 0.2) ** 2)))
        dense = np.exp(-(((DENSE - middle) / 0.2) ** 2))
        assert abs(x[table[0].argmax()] - middle) <= TOLERANCE
        assert table[0].max() >= dense.max() - 0.01 * np.ptp(dense)
        assert said.settled
        assert len(x) <= 18


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 6.3)), min_size=1, max_size=5),
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 6.3)), min_size=1, max_size=5),
)
def test_several_hills_are_followed_side_by_side(first, second) -> None:
    """Sums of waves with up to five half periods, two profiles at once: never more than half of the dense grid."""
    profiles = [of_waves(first), of_waves(second)]
    x, table, said = located(*profiles)
    assert len(x) <= 24 < len(DENSE) / 2
    for profile, row in zip(profiles, table, strict=True):
        dense = np.array([profile(alpha) for alpha in DENSE])
        # Within the height tolerance where the search says it is done; nothing is lost without a word.
        if said.settled:
            assert row.max() >= dense.max() - 0.0101 * np.ptp(row) - 1e-12


def test_a_second_hill_between_the_points_is_looked_into() -> None:
    """At the coarse points the left hill is the higher one; the true maximum lies between two of them on the right."""

    def two(a: float) -> float:
        return 0.95 * np.exp(-(((a - 3 / 12) / 0.075) ** 2)) + 1.0 * np.exp(-(((a - 8.5 / 12) / 0.075) ** 2))

    coarse = np.linspace(0, 1, 13)
    assert coarse[np.argmax([two(a) for a in coarse])] < 0.5
    x, table, said = located(two)
    assert x[table[0].argmax()] == pytest.approx(8.5 / 12, abs=TOLERANCE)
    assert said.settled


def test_a_plateau_does_not_eat_the_points() -> None:
    x, _, said = located(lambda a: min(1.0, 6 * min(a, 1 - a)))
    assert said.settled
    assert len(x) <= 22


def test_what_no_points_can_show_is_missed_and_the_widest_interval_says_so() -> None:
    x, table, said = located(lambda a: float(abs(a - 0.54) < 0.01))
    assert table.max() == 0
    assert said.widest >= 1 / 13
    assert len(x) < 24


def test_intervals_left_for_want_of_points_are_counted() -> None:
    rng = np.random.default_rng(0)
    noise = {}
    *_, said = located(*(lambda a, k=k: noise.setdefault((k, a), rng.normal()) for k in range(4)), share=1e-9)
    assert said.evaluations == 24
    assert said.open > 0
    assert not said.settled
    assert f"{said.open} intervals that may hide a higher value were left for want of points" in said.text


def test_the_next_point_halves_the_likeliest_interval() -> None:
    assert next_point([0, 0.5, 1], [[0.0, 1.0, 0.9]], 0.1, [0.0]) == 0.75
    assert next_point([0, 0.5, 1], [[0.9, 1.0, 0.0]], 0.1, [0.0]) == 0.25
    # A profile that is not finite has no barrier and is not followed; with the other it goes as before.
    assert next_point([0, 0.5, 1], [[0.0, np.inf, 0.0], [0.9, 1.0, 0.0]], 0.1, [0.0, 0.0]) == 0.25
    assert next_point([0, 0.5, 1], [[0.0, np.nan, 0.0]], 0.1, [0.0]) is None
    assert next_point([0, 0.5, 1], [[0.0, 1.0, 0.9]], 0.5, [0.0]) is None, "fine enough"


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=5, max_size=12), st.floats(0.1, 10), st.floats(-5, 5))
def test_scale_and_offset_change_nothing(values, scale, offset) -> None:
    x = np.linspace(0, 1, len(values))
    row = np.round(np.array(values), 3)
    one = next_point(x, [row], 0.02, [0.01])
    assert next_point(x, [scale * row + offset], 0.02, [scale * 0.01]) == one


def test_reversing_the_line_finds_the_same_maximum() -> None:
    """Up to the order in which intervals of equal rank are taken."""
    found = [located(lambda a: a**2 * (1 - a)), located(lambda a: (1 - a) ** 2 * a)]
    places = [x[table[0].argmax()] for x, table, _ in found]
    assert places[0] == pytest.approx(2 / 3, abs=TOLERANCE)
    assert places[0] == pytest.approx(1 - places[1], abs=TOLERANCE)
    assert found[0][1].max() == pytest.approx(found[1][1].max(), rel=0.01)


def test_what_is_said() -> None:
    said = Resolution(20, 49, 0.021, 1 / 48, 1 / 12, 0)
    assert said.settled
    assert said.text == (
        "20 points in [0, 1], of the 49 of an even grid of the finest spacing; maxima located within 0.0208, no "
        "interval wider than 0.0833"
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: next_point([0, 1], [[0, 1, 2]], 0.1, [0]), "need a value for each position"),
        (lambda: next_point([0, 1], [[0, 1]], 0.1, [0, 0]), "need a value for each position"),
        (lambda: next_point([0], [[0]], 0.1, [0]), "need a value for each position"),
        (lambda: next_point([0, 0, 1], [[0, 1, 2]], 0.1, [0]), "positions must ascend"),
        (lambda: next_point([0, 1], [[0, 1]], 0.1, [-1]), "a height tolerance is at least 0"),
        (lambda: next_point([0, 1], [[0, 1]], 0.1, [np.nan]), "a height tolerance is at least 0"),
        (lambda: finest(2, 0.1), "nothing can be refined to this"),
        (lambda: budget(13, 0.0), "nothing can be refined to this"),
    ],
)
def test_bad_input_is_named(call, match) -> None:
    with pytest.raises(MeasureError, match=match):
        call()
