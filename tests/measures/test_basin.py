"""The (ε, δ) test: closed forms, the definition taken literally, invariances, and what is no basin."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.basin_reference import sampled, smallest_delta
from transferscope.errors import MeasureError
from transferscope.measures.barriers import barrier, stability
from transferscope.measures.basin import Estimate, basin, delta_grid, rise
from transferscope.measures.simplex import half_normal_quadrature, outward, rim, segment_quadrature, simplex_draws
from transferscope.measures.standard_error import standard_error


def quadratic(h: float, length: float, offset: float, deltas, points: int = 2001, nodes: int = 3):
    """ℓ = ½h‖w − w*‖² on a segment; noise is averaged exactly, E‖ν‖² = δ²."""
    alphas, weights = segment_quadrature(points)
    reaches, reach_weights = half_normal_quadrature(nodes)
    place = (alphas - 0.5) * length - offset
    ends = np.array([-length / 2, length / 2])
    noise = [[np.mean(0.5 * h * ((ends - offset) ** 2 + delta**2))] for delta in deltas]
    out = [
        [np.mean(0.5 * h * (ends + np.sign(ends) * delta * reach - offset) ** 2) for reach in reaches]
        for delta in deltas
    ]
    return basin(
        0.5 * h * place**2, noise, out, deltas, interior_weights=weights, outward_weights=reach_weights
    )  # fmt: skip


# -- closed forms -----------------------------------------------------------------------------------------------


def test_golden_numbers_of_an_off_centre_segment() -> None:
    deltas = [0.0, *np.geomspace(0.1, 10, 1201)]
    found = quadratic(2.0, 3.0, 1.375, deltas)
    assert found.mean.value == pytest.approx(2.640625, abs=1e-9)
    assert found.epsilon.value == pytest.approx(2.126736, abs=1e-6)
    first = {
        name: min(delta for delta, side in zip(deltas, sides, strict=True) if side.value >= 2 * found.epsilon.value)
        for name, sides in (("noise", found.noise), ("outward", found.outward))
    }
    assert first["noise"] == pytest.approx(1.659359, rel=0.004)
    assert first["outward"] == pytest.approx(0.849112, rel=0.004)
    assert found.delta.value == first["noise"]
    assert found.delta.below < 1.659359 <= found.delta.value
    assert found.resolved is None, "an exact function has no error over examples"


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.floats(0.1, 10), st.floats(0.2, 20), st.floats(0.0, 1.4), st.floats(0.0, 5.0))
def test_closed_forms_of_a_quadratic(h: float, length: float, share: float, delta: float) -> None:
    offset = share * length
    found = quadratic(h, length, offset, [0.0, delta + 1e-3], points=801)
    mu = 0.5 * h * (length**2 / 12 + offset**2)
    scale = h * length**2
    assert found.mean.value == pytest.approx(mu, abs=1e-9 * scale)
    for step, noise, out in zip(found.deltas, found.noise, found.outward, strict=True):
        assert noise.value == pytest.approx(0.5 * h * (length**2 / 6 + step**2), abs=1e-9 * scale)
        way = 0.5 * h * (length**2 / 6 + length * step * math.sqrt(2 / math.pi) + step**2)
        assert out.value == pytest.approx(way, abs=1e-9 * scale)
    if share == 0:
        epsilon = scale / (18 * math.sqrt(3))
    elif share > 1 / 6:
        s = share - math.sqrt(share**2 + 1 / 12)
        epsilon = scale * ((s**3 + 1 / 8) / 3 - (s + 0.5) / 12 - share * (s**2 - 0.25))
    else:
        return
    assert found.epsilon.value == pytest.approx(epsilon, abs=1e-5 * scale)


def test_a_centred_segment_is_a_basin_from_nought_on() -> None:
    found = quadratic(1.0, 2.0, 0.0, [0.0, 1.0, 2.0])
    assert found.epsilon.value == pytest.approx(4 / (18 * math.sqrt(3)), abs=1e-6)
    assert (found.delta.value, found.delta.below) == (0.0, None)


def test_few_points_are_close_to_many() -> None:
    exact = quadratic(2.0, 3.0, 1.375, [0.0, 1.0])
    few = quadratic(2.0, 3.0, 1.375, [0.0, 1.0], points=25)
    assert few.mean.value == pytest.approx(exact.mean.value, abs=1e-12)
    assert few.epsilon.value == pytest.approx(exact.epsilon.value, rel=0.005)


# -- against the definition -------------------------------------------------------------------------------------


@pytest.mark.parametrize("corners", [2, 3, 4])
def test_sampled_as_defined(corners: int) -> None:
    """A curved, lopsided ℓ in five dimensions: our draws and plain sampling agree within their errors."""
    rng = np.random.default_rng(corners)
    places = rng.normal(size=(corners, 5))
    centre, delta, draws = rng.normal(size=5), 1.3, 1200

    def loss(w: np.ndarray) -> float:
        return float(np.abs(w - centre).sum() + 0.3 * (w @ w))

    table = ((places[:, None] - places[None]) ** 2).sum(-1)
    first, second = simplex_draws(draws, corners, rng), simplex_draws(draws, corners, rng)
    ends = rim(first, second)
    ways = outward(first, ends, table)
    steps = np.abs(rng.standard_normal(draws))[:, None]
    noise = rng.standard_normal((draws, 5)) / math.sqrt(5)
    values = {
        step: (
            [loss(w) for w in ends @ places + step * noise],
            [loss(w) for w in (ends + step * steps * ways) @ places],
        )
        for step in (0.0, delta)
    }
    found = basin(
        [loss(w) for w in simplex_draws(draws, corners, rng) @ places],
        [values[step][0] for step in (0.0, delta)],
        [values[step][1] for step in (0.0, delta)],
        [0.0, delta],
    )
    literal = sampled(loss, places, delta, draws, seed=5)
    ours = (found.mean, found.epsilon, found.noise[1], found.outward[1])
    for mine, theirs in zip(ours, literal, strict=True):
        assert mine.value == pytest.approx(theirs, abs=5 * math.sqrt(2) * mine.draw_error)
        assert mine.draw_error < 0.15


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_delta_is_the_smallest_from_which_both_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    deltas = [0.0, *np.sort(rng.uniform(0.1, 5, count - 1))]
    within = rng.uniform(0, 1, 5)
    sides = [rng.uniform(0, 3, (count, 2)) + 0.4 * np.arange(count)[:, None] for _ in range(2)]
    found = basin(within, *sides, deltas, tau=0.7)
    mu = within.mean()
    epsilon = np.abs(within - mu).mean()
    lefts = [(side.mean(axis=1) - mu).tolist() for side in sides]
    assert found.delta.value == smallest_delta(deltas, *lefts, 2 * epsilon)
    assert found.delta_tau.value == smallest_delta(deltas, *lefts, 0.7)
    assert (found.delta.value is None) == bool(found.delta.reason)


# -- errors -----------------------------------------------------------------------------------------------------


def noisy(rng: np.random.Generator, points: int = 6, draws: int = 5, examples: int = 40):
    within = rng.uniform(0, 1, (points, 1)) + rng.normal(0, 0.3, (points, examples)) + rng.normal(0, 1, examples)
    sides = [
        np.array([0.2, 1.0, 3.0])[:, None, None] + rng.normal(0, 0.2, (1, draws, 1)) + rng.normal(0, 1, examples)
        for _ in range(2)
    ]
    return within, *sides


def test_errors_over_examples_are_those_of_the_linear_form() -> None:
    """Leaving one example out moves every number as its part of the standard error says (jackknife)."""
    within, noise, out = noisy(np.random.default_rng(2))
    deltas = [0.0, 1.0, 2.0]
    found = basin(within, noise, out, deltas)
    examples = within.shape[1]
    left = [
        basin(
            np.delete(within, index, axis=1), np.delete(noise, index, axis=2), np.delete(out, index, axis=2), deltas
        )
        for index in range(examples)
    ]  # fmt: skip
    for pick in (lambda b: b.mean, lambda b: b.epsilon, lambda b: b.noise[1], lambda b: b.outward[2]):
        values = np.array([pick(one).value for one in left])
        jackknife = math.sqrt((examples - 1) / examples * ((values - values.mean()) ** 2).sum())
        assert pick(found).example_error == pytest.approx(jackknife, rel=0.03)


def test_errors_over_draws_are_those_of_repeated_draws() -> None:
    rng = np.random.default_rng(4)
    repeated = []
    for _ in range(800):
        within, sides = rng.exponential(1.0, 30), [rng.normal(2, 1, (1, 8)) for _ in range(2)]
        repeated.append(basin(within, *sides, [0.0]))
    for pick in (lambda b: b.mean, lambda b: b.epsilon, lambda b: b.noise[0]):
        spread = np.std([pick(one).value for one in repeated])
        told = np.mean([pick(one).draw_error for one in repeated])
        assert told == pytest.approx(spread, rel=0.08)


def test_a_quadrature_has_no_error_over_draws() -> None:
    within, noise, out = noisy(np.random.default_rng(0), draws=4)
    found = basin(
        within, noise, out, [0.0, 1.0, 2.0], interior_weights=np.full(6, 1 / 6), outward_weights=np.full(4, 1 / 4)
    )
    assert found.mean.draw_error == found.epsilon.draw_error == found.outward[0].draw_error == 0
    assert found.noise[0].draw_error == pytest.approx(noise[0].mean(axis=1).std(ddof=1) / 2)


def test_groups_widen_the_errors() -> None:
    within, noise, out = (np.repeat(table, 3, axis=-1) for table in noisy(np.random.default_rng(1)))
    groups = np.repeat(np.arange(40), 3)
    deltas = [0.0, 1.0, 2.0]
    alone = basin(*noisy(np.random.default_rng(1)), deltas)
    copied = basin(within, noise, out, deltas, clusters=groups)
    assert copied.epsilon.example_error == pytest.approx(alone.epsilon.example_error)
    assert copied.noise[1].example_error == pytest.approx(alone.noise[1].example_error)
    assert basin(within, noise, out, deltas).noise[1].example_error < copied.noise[1].example_error


def test_a_spread_under_twice_its_error_is_not_resolved() -> None:
    rng = np.random.default_rng(0)
    same = rng.normal(0, 1, (5, 50)) * 0.5
    assert basin(same, np.ones((1, 2, 50)), np.ones((1, 2, 50)), [0.0]).resolved is False
    apart = np.linspace(0, 5, 5)[:, None] + 0.01 * same
    weights = [1 / 12, 1 / 3, 1 / 6, 1 / 3, 1 / 12]
    found = basin(apart, np.ones((1, 2, 50)), np.ones((1, 2, 50)), [0.0], interior_weights=weights)
    assert found.resolved is True


def test_limits_of_delta_enclose_it_and_shrink_with_more_examples() -> None:
    def test(examples: int):
        rng = np.random.default_rng(7)
        within = np.array([0.0, 0.1, 0.0])[:, None] + rng.normal(0, 0.3, (3, examples))
        height = np.linspace(0, 1.0, 21)
        sides = [height[:, None, None] + rng.normal(0, 0.5, (21, 3, examples)) for _ in range(2)]
        weights = [1 / 6, 2 / 3, 1 / 6]
        return basin(within, *sides, height, interior_weights=weights).delta

    few, many = test(40), test(4000)
    for radius in (few, many):
        assert radius.low <= radius.value <= radius.high
    assert many.high - many.low < few.high - few.low


def test_combined_error_needs_both() -> None:
    assert Estimate(1.0, 3.0, 4.0).error == 5.0
    assert Estimate(1.0, None, 4.0).error is None
    assert Estimate(1.0, 3.0, None).error is None


# -- invariances ------------------------------------------------------------------------------------------------


def test_delta_ignores_an_offset_and_a_scale_of_the_loss_and_delta_tau_only_an_offset() -> None:
    within, noise, out = noisy(np.random.default_rng(9))
    deltas = [0.0, 1.0, 2.0]
    plain = basin(within, noise, out, deltas, tau=0.5)
    moved = basin(within + 7, noise + 7, out + 7, deltas, tau=0.5)
    scaled = basin(9 * within, 9 * noise, 9 * out, deltas, tau=0.5)
    assert plain.delta.value == moved.delta.value == scaled.delta.value is not None
    assert moved.delta_tau.value == plain.delta_tau.value
    assert moved.epsilon.value == pytest.approx(plain.epsilon.value)
    assert scaled.epsilon.value == pytest.approx(9 * plain.epsilon.value)
    assert scaled.epsilon.error == pytest.approx(9 * plain.epsilon.error)
    assert basin(within, noise, out, deltas, tau=50.0).delta_tau.value is None


def test_order_of_points_draws_and_examples_is_nothing() -> None:
    rng = np.random.default_rng(3)
    within, noise, out = noisy(rng)
    plain = basin(within, noise, out, [0.0, 1.0, 2.0])
    examples = rng.permutation(40)
    mixed = basin(
        within[rng.permutation(6)][:, examples], noise[:, rng.permutation(5)][:, :, examples],
        out[:, rng.permutation(5)][:, :, examples], [0.0, 1.0, 2.0],
    )  # fmt: skip
    assert mixed.epsilon.error == pytest.approx(plain.epsilon.error)
    assert mixed.noise[1].value == pytest.approx(plain.noise[1].value)
    assert mixed.outward[2].error == pytest.approx(plain.outward[2].error)


def test_a_spread_grows_where_values_differ_more() -> None:
    assert basin([0.0, 2.0], [[1.0]], [[1.0]], [0.0]).epsilon.value == 1.0
    assert basin([1.0, 1.0], [[1.0]], [[1.0]], [0.0]).epsilon.value == 0.0


# -- what is not finite, and what is none -----------------------------------------------------------------------


def test_a_loss_without_bound_holds() -> None:
    found = basin([0.0, 1.0], [[0.0], [math.inf]], [[0.0], [5.0]], [0.0, 1.0])
    assert found.noise[1] == Estimate(math.inf, None, None)
    assert found.delta.value == 1.0


def test_no_delta_says_which_condition_fails() -> None:
    both = basin([0.0, 1.0], [[0.0]], [[0.0]], [0.0])
    assert both.delta.value is None
    assert "(2), noise in all directions and (3), the way out does not hold" in both.delta.reason
    one = basin([0.0, 1.0], [[9.0], [9.0]], [[9.0], [0.0]], [0.0, 2.5])
    assert one.delta.reason == "at the largest δ tested, 2.5, condition (3), the way out does not hold"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"deltas": [0.1, 1.0]}, "must ascend from 0"),
        ({"deltas": [0.0, 0.0]}, "must ascend from 0"),
        ({"deltas": [0.0, math.inf]}, "must ascend from 0"),
        ({"interior": [math.inf, 1.0]}, "within the set is not finite"),
        ({"interior": [math.nan, 1.0]}, "'interior' holds NaN"),
        ({"interior": []}, "'interior' has no values"),
        ({"noise": [[1.0]]}, "'noise' does not fit the grid"),
        ({"outward": np.ones((2, 1, 4))}, "'outward' does not fit the grid"),
        ({"interior_weights": [1.0]}, "weights of 'interior' are no quadrature"),
        ({"outward_weights": [0.5]}, "weights of 'outward' are no quadrature"),
        ({"clusters": [0, 1]}, "clusters need per-example values"),
        ({"confidence": 1.0}, "a confidence is a share"),
        ({"tau": 0.0}, "τ is a height above the mean"),
    ],
)
def test_bad_input_is_named(changes: dict, match: str) -> None:
    given_input = {"interior": [0.0, 1.0], "noise": [[1.0], [1.0]], "outward": [[1.0], [1.0]], "deltas": [0.0, 1.0]}
    with pytest.raises(MeasureError, match=match):
        basin(**{**given_input, **changes})


def test_grids_of_delta() -> None:
    assert delta_grid(10.0, 0.1, 1.0, 2)[:4] == pytest.approx((0.0, 1.0, math.sqrt(2), 2.0))
    assert delta_grid(10.0, 0.1, 1.0, 2)[-1] >= 10.0
    for bad in ((0.0,), (1.0, 2.0, 1.0), (1.0, 0.0), (1.0, 0.1, 1.0, 0), (math.inf,)):
        with pytest.raises(MeasureError, match="no grid of δ"):
            delta_grid(*bad)


# -- the barrier within -----------------------------------------------------------------------------------------


def test_the_rise_of_a_segment_is_its_barrier() -> None:
    rng = np.random.default_rng(11)
    table = rng.uniform(0, 1, (9, 60))
    alphas = np.linspace(0, 1, 9)
    groups = np.repeat(np.arange(20), 3)
    for clusters in (None, groups):
        wanted = barrier(alphas, table, clusters=clusters).mean.interval
        found = rise(table, [0, 8], clusters=clusters)
        assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
        assert (found.n, found.basis) == (wanted.n, wanted.basis)


def test_the_rise_of_a_hull_is_above_the_mean_of_its_corners() -> None:
    table = np.array([[0.0, 0.0], [0.3, 0.0], [0.0, 0.3], [0.9, 0.7]])
    found = rise(table, [0, 1, 2])
    assert found.value == pytest.approx(0.7)
    deep = rise(np.array([[0.4, 0.4], [0.4, 0.4], [0.1, 0.0]]), [0, 1])
    assert (deep.value, deep.low) == (0.0, 0.0)
    assert stability(rise(np.zeros((3, 50)), [0, 1])) == "stable"
    assert rise(table, [0, 1, 2], clusters=[1, 1]).low is None


def test_a_rise_needs_points_and_corners() -> None:
    for values, corners in (([1.0, 2.0], [0]), ([[math.inf, 1.0]], [0]), ([[1.0, 2.0]], [])):
        with pytest.raises(MeasureError, match="a rise needs points and corners"):
            rise(values, corners)


def test_standard_errors_are_the_shared_ones() -> None:
    within, noise, out = noisy(np.random.default_rng(5))
    found = basin(within, noise, out, [0.0, 1.0, 2.0])
    assert found.mean.example_error == pytest.approx(standard_error(within.mean(axis=0)))
