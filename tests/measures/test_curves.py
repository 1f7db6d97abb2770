import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.reference import statistics_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures.curves import (
    Reached,
    Spike,
    common_thresholds,
    loss_spikes,
    optimisation_speed,
    speed_from_equal_loss,
    steps_to_threshold,
    still_improving,
)

exact = settings(derandomize=True, deadline=None, max_examples=60)


def test_speed_is_the_mean_over_common_epochs_without_epoch_0() -> None:
    a = {0: 1.0, 1: 0.5, 2: 0.75, 3: 1.0}
    b = {0: 0.0, 1: 0.25, 2: 0.5}  # diverged after epoch 2
    assert optimisation_speed([a, b]) == [0.625, 0.375]
    assert optimisation_speed([a]) == [0.75]
    assert optimisation_speed([a, {0: 0.3}]) is None
    assert optimisation_speed([{**a, 0: -9.0}, b]) == [0.625, 0.375]


def test_steps_to_threshold() -> None:
    curve = {0: 0.1, 1: 0.4, 3: 0.3, 4: 0.7}
    assert steps_to_threshold(curve, 0.35) == Reached(1, 0)
    assert steps_to_threshold(curve, 0.4) == Reached(1, 0)
    assert steps_to_threshold(curve, 0.5) == Reached(4, 3)
    assert steps_to_threshold(curve, 0.1) == Reached(0, None)
    never = steps_to_threshold(curve, 0.8)
    assert never.censored
    assert never == Reached(None, 4)
    assert not steps_to_threshold(curve, 0.7).censored
    assert steps_to_threshold({0: 2.0, 1: 1.0, 2: 0.5}, 0.9, higher_is_better=False) == Reached(2, 1)


def test_common_thresholds() -> None:
    a, b = {0: 0.0, 1: 0.5, 2: 1.0}, {0: 0.2, 1: 0.4}
    levels = common_thresholds([a, b], count=4)
    assert levels == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert [steps_to_threshold(a, level).epoch for level in levels] == [1, 2, 2, 2]
    assert [steps_to_threshold(b, level).censored for level in levels] == [False, True, True, True]
    assert common_thresholds([{0: 0.5, 1: 0.4}, {0: 0.2, 1: 0.5}]) == []
    losses = common_thresholds([{0: 3.0, 1: 1.0}, {0: 2.0, 1: 1.5}], count=2, higher_is_better=False)
    assert losses == pytest.approx([1.5, 1.0])


@exact
@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=1, max_size=3))
def test_every_threshold_is_reached_by_one_and_started_at_by_none(curves: list[list[float]]) -> None:
    named = [dict(enumerate(curve)) for curve in curves]
    for level in common_thresholds(named):
        assert any(not steps_to_threshold(curve, level).censored for curve in named)
        assert all(curve[0] <= level for curve in named)


def test_speed_from_equal_loss() -> None:
    # The first starts at the level of 1.0; the second gets there at epoch 2: two epochs are left to both.
    fast_loss, fast = {0: 1.0, 1: 0.5, 2: 0.3, 3: 0.2, 4: 0.1}, {0: 0.3, 1: 0.6, 2: 0.8, 3: 0.9, 4: 1.0}
    slow_loss, slow = {0: 2.0, 1: 1.5, 2: 0.9, 3: 0.4, 4: 0.3}, {0: 0.1, 1: 0.2, 2: 0.4, 3: 0.5, 4: 0.75}
    assert speed_from_equal_loss([fast_loss, slow_loss], [fast, slow]) == pytest.approx([0.7, 0.625])
    # A network whose curve from the level on is the same is as fast, however long it took to get there.
    late_loss = {0: 3.0, 1: 2.0, **{epoch + 2: value for epoch, value in fast_loss.items()}}
    late = {0: 0.0, 1: 0.0, **{epoch + 2: value for epoch, value in fast.items()}}
    a, b = speed_from_equal_loss([fast_loss, late_loss], [fast, late])
    assert a == b
    assert speed_from_equal_loss([fast_loss, {0: 2.0, 1: 1.5}], [fast, {0: 0.1, 1: 0.2}]) is None
    assert speed_from_equal_loss([fast_loss, {0: 2.0, 1: 0.9}], [fast, {0: 0.1, 1: 0.2}]) is None


@exact
@given(st.lists(st.floats(0, 1), min_size=3, max_size=20), st.booleans())
def test_trend_against_sums(values: list[float], up: bool) -> None:
    curve = {0: 5.0, **{epoch + 1: value for epoch, value in enumerate(values)}}
    trend = still_improving(curve, higher_is_better=up)
    points = max(3, -(-len(values) // 3))
    assert trend.points == points
    x = [float(epoch) for epoch in range(len(values) - points + 1, len(values) + 1)]
    slope, error = reference.slope(x, values[-points:])
    slope = slope if up else -slope
    assert trend.slope == pytest.approx(slope, abs=1e-12)
    assert trend.standard_error == pytest.approx(error, abs=1e-12)
    if trend.standard_error > 1e-9:
        assert trend.p_value == pytest.approx(stats.t.sf(slope / error, points - 2), rel=1e-6)
        assert trend.upper == pytest.approx(slope + stats.t.ppf(0.95, points - 2) * error, rel=1e-6)
        assert trend.improving == (trend.p_value < 0.05)


def test_plateau_and_rise() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.01, size=30)
    flat = still_improving({epoch + 1: 0.8 + noise[epoch] for epoch in range(30)})
    rising = still_improving({epoch + 1: 0.5 + 0.01 * epoch + noise[epoch] for epoch in range(30)})
    assert (flat.improving, rising.improving, flat.points) == (False, True, 10)
    assert rising.slope == pytest.approx(0.01, abs=0.005)
    assert flat.upper > 0


def test_false_alarms_of_a_flat_curve_are_at_the_level() -> None:
    generator = np.random.default_rng(1)
    alarms = sum(still_improving(dict(enumerate(generator.normal(size=31)))).improving for _ in range(1000))
    assert 0.03 <= alarms / 1000 <= 0.07


def test_lines_without_noise() -> None:
    constant = still_improving(dict.fromkeys(range(7), 0.7))
    assert (constant.slope, constant.standard_error, constant.p_value, constant.improving) == (0, 0, 1, False)
    line = still_improving({epoch: 0.1 * epoch for epoch in range(7)})
    assert (line.standard_error, line.improving) == (0.0, True)
    assert line.slope == pytest.approx(0.1)
    falling = still_improving({epoch: -0.1 * epoch for epoch in range(7)})
    assert (falling.p_value, falling.improving) == (1.0, False)


def test_too_few_epochs_have_no_trend() -> None:
    assert still_improving({0: 0.1, 1: 0.2, 2: 0.3}) is None
    assert still_improving({1: 0.1, 2: 0.2, 3: 0.3}) is not None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: optimisation_speed([]), "a speed needs a curve"),
        (lambda: optimisation_speed([{1: float("nan")}]), "not finite at epochs"),
        (lambda: optimisation_speed([{}]), "a curve needs finite values"),
        (lambda: common_thresholds([]), "thresholds need curves"),
        (lambda: common_thresholds([{0: 1.0}], count=0), "thresholds need curves"),
        (lambda: steps_to_threshold({}, 0.5), "a curve needs finite values"),
        (lambda: speed_from_equal_loss([{0: 1.0}], []), "a loss curve and a metric curve"),
        (lambda: speed_from_equal_loss([{0: 1.0, 2: 0.5}], [{0: 0.1, 2: 0.2}]), "needs every epoch"),
        (lambda: speed_from_equal_loss([{0: 1.0, 1: 0.5}], [{0: 0.1}]), "needs every epoch"),
        (lambda: still_improving({1: 0.1}, level=0.0), "the level of a test"),
        (lambda: still_improving({1: float("inf")}), "not finite at epochs"),
    ],
)
def test_errors(call, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        call()


# -- spikes of a loss --------------------------------------------------------------------------------------


def by_epoch(*losses: float) -> dict[int, float]:
    return dict(enumerate(losses))


@pytest.mark.parametrize(
    ("losses", "spikes"),
    [
        ((0.69, 0.5, 0.4, 22.0, 0.6, 0.45), [Spike(3, 0.5, 22.0, 5)]),  # up and back
        ((0.69, 0.5, 0.4, 3.0, 22.0, 9.0), [Spike(3, 0.5, 22.0, None)]),  # up for good
        ((0.69, 9.0, 0.5, 0.4), [Spike(1, 0.69, 9.0, 2)]),  # in the first epoch
        ((1.0, 0.5, 5.0, 0.5, 0.4, 6.0, 0.3), [Spike(2, 0.75, 5.0, 3), Spike(5, 0.5, 6.0, 6)]),  # twice
        ((2.3, 1.2, 0.6, 0.3, 0.15, 0.08, 0.04), []),  # falling
        ((0.69, 0.5, 0.4, 1.4, 0.35), []),  # not three times the level
        ((2.3, 0.01, 0.001, 0.002, 0.02, 0.2), []),  # ten times near 0: less than a tenth of the start
        ((2.3, 0.01, 0.001, 0.002, 0.02, 0.3), [Spike(5, 0.002, 0.3, None)]),
        ((1.0, 0.3, 0.9, 0.3, 0.9, 0.3, 0.9, 1.9), []),  # no more than what it does anyway
        ((0.0, 0.0, 0.0), []),
        ((1.0,), []),
    ],
)
def test_a_spike_is_far_above_the_level_before_and_above_the_noise(losses, spikes) -> None:
    found = loss_spikes(by_epoch(*losses))
    assert [(s.epoch, s.peak, s.back) for s in found] == [(s.epoch, s.peak, s.back) for s in spikes]
    assert [s.before for s in found] == pytest.approx([s.before for s in spikes])


def test_noise_is_the_largest_rise_before() -> None:
    """Once up by 2 from one epoch to the next: far is beyond 2 · 2 times the level, more than three times it."""
    calm = (1.0, 0.4, 0.8, 0.4)  # level 0.4
    assert loss_spikes(by_epoch(*calm, 1.59)) == ()
    (spike,) = loss_spikes(by_epoch(*calm, 1.61))
    assert (spike.epoch, spike.before) == (4, 0.4)
    # The rise of a spike is no noise of what follows.
    again = loss_spikes(by_epoch(*calm, 9.0, 0.4, 1.61))
    assert [s.epoch for s in again] == [4, 6]


def test_noise_alone_has_hardly_any_spikes() -> None:
    """Flat curves with log-normal noise of 20 %: three times the level is beyond five of its standard deviations."""
    noisy = np.exp(np.random.default_rng(3).normal(0, 0.2, (1000, 20)))
    assert sum(bool(loss_spikes(by_epoch(*curve))) for curve in noisy.tolist()) <= 1


@exact
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12), st.sampled_from([2.0**-10, 4.0, 2.0**20]))
def test_a_scale_of_the_loss_moves_no_spike(losses: list[float], scale: float) -> None:
    found = loss_spikes(by_epoch(*losses))
    scaled = loss_spikes(by_epoch(*(scale * loss for loss in losses)))
    assert [(s.epoch, s.back, scale * s.peak) for s in found] == [(s.epoch, s.back, s.peak) for s in scaled]
    for spike in found:
        assert spike.peak >= losses[spike.epoch] >= 3 * spike.before
        assert spike.back is None or losses[spike.back] <= spike.before


@pytest.mark.parametrize("losses", [{}, {0: 1.0, 1: float("nan")}, {0: float("inf")}])
def test_spikes_need_a_finite_curve(losses) -> None:
    with pytest.raises(MeasureError, match="finite values by epoch"):
        loss_spikes(losses)
