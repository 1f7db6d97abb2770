"""Curves of labels: known exponents, choice by extrapolation, honest limits, bounds in place of extrapolation."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from tests.reference import label_curve_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures.label_curve import label_curve
from transferscope.measures.label_families import FAMILIES, fit_family
from transferscope.measures.label_multiplier import label_crossover, label_multipliers

SIZES = np.array([10.0, 30, 100, 300, 1000, 3000, 10_000, 30_000])
OF = {family.name: family for family in FAMILIES}


def errors(kind: str, sizes: np.ndarray, *values: float) -> np.ndarray:
    return np.array([getattr(reference, kind)(n, *values) for n in sizes])


# -- families ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b", "c"), [(2.0, 0.5, 0.1), (1.0, 0.3, 0.0), (0.8, 1.0, 0.02), (3.0, 0.05, 0.5)])
def test_a_power_law_with_a_floor_is_recovered(a: float, b: float, c: float) -> None:
    found = fit_family(OF["power_floor"], SIZES, errors("power", SIZES, a, b, c))
    assert found.b[0] == pytest.approx(b, rel=2e-3)
    assert found.a[0] * np.exp(found.b[0] * found.log_s[0]) == pytest.approx(a, rel=2e-3)
    assert found.c[0] == pytest.approx(c, abs=2e-3)
    assert found([1e6])[0, 0] == pytest.approx(reference.power(1e6, a, b, c), rel=2e-3)


def test_a_plain_power_law_is_recovered() -> None:
    found = fit_family(OF["power"], SIZES[:4], errors("power", SIZES[:4], 1.4, 0.35))
    assert found.b[0] == pytest.approx(0.35, rel=1e-5)
    assert found.c[0] == 0


def test_a_rectified_law_is_recovered() -> None:
    found = fit_family(OF["rectified"], SIZES, errors("rectified", SIZES, 40.0, 60.0, 0.7, 0.05))
    assert found.b[0] == pytest.approx(0.7, rel=1e-3)
    assert np.exp(found.b[0] * found.log_s[0]) == pytest.approx(60, rel=1e-2)
    assert found.c[0] == pytest.approx(0.05, abs=1e-4)


def test_m4_is_recovered_in_its_exponent_and_beyond_its_sizes() -> None:
    truth = (0.05, 0.9, 2.0, 3.0, 0.6)
    found = fit_family(OF["m4"], SIZES, errors("m4", SIZES, *truth))
    assert found.b[0] == pytest.approx(0.6, rel=0.03)
    assert found.c[0] == pytest.approx(0.05, abs=1e-3)
    assert found([240_000.0])[0, 0] == pytest.approx(reference.m4(240_000.0, *truth), rel=2e-3)


def test_m4_holds_the_other_families() -> None:
    """α = 0 is the power law with a floor, α = 1 the rectified one, as the equation says."""
    flat = [reference.m4(n, 0.1, 0.9, 1.0, 5.0, 0.5) for n in SIZES]
    # (e − c)/(e0 − e) = βn^−b is e = c + (e0 − c) β / (β + n^b).
    assert flat == pytest.approx([0.1 + 0.8 * 5.0 / (5.0 + n**0.5) for n in SIZES])
    assert fit_family(OF["m4"], SIZES, flat)(SIZES)[0] == pytest.approx(flat, rel=5e-3)


@pytest.mark.parametrize("name", ["power", "power_floor", "rectified"])
def test_no_fit_by_a_library_lies_nearer(name: str) -> None:
    """On noisy errors: the grids lose nothing against SciPy's least squares from many starts."""
    generator = np.random.default_rng(3)
    y = errors("rectified", SIZES, 40.0, 60.0, 0.6, 0.08) * np.exp(0.05 * generator.normal(size=len(SIZES)))
    ours = fit_family(OF[name], SIZES, y, robust=False)(SIZES)[0]

    def of(values: np.ndarray) -> np.ndarray:
        a, b, c, s = np.exp(values)
        if name == "rectified":
            return a / (1 + (SIZES / s) ** b) + c
        return a * (SIZES / 10) ** -b + (c if name == "power_floor" else 0)

    starts = [np.log([1.0, b, 0.05, s]) for b in (0.1, 0.5, 1.0) for s in (10.0, 100.0, 1000.0)]
    theirs = min(least_squares(lambda v: (of(v) - y) / y, start).cost for start in starts)
    assert 0.5 * (((ours - y) / y) ** 2).sum() <= theirs * (1 + 1e-4)


def test_one_outlier_moves_a_robust_fit_little() -> None:
    y = errors("power", SIZES, 1.0, 0.4, 0.02)
    bad = y.copy()
    bad[3] *= 1.6
    robust, plain = (fit_family(OF["power_floor"], SIZES, bad, robust=each).b[0] for each in (True, False))
    assert abs(robust - 0.4) < 0.02 < abs(plain - 0.4)


def test_each_draw_is_fitted_as_if_alone() -> None:
    both = np.stack([errors("power", SIZES, 1.0, 0.4, 0.02), errors("power", SIZES, 0.5, 0.2)])
    together = fit_family(OF["power_floor"], SIZES, both)
    for row, of in enumerate(both):
        assert together(SIZES)[row] == pytest.approx(fit_family(OF["power_floor"], SIZES, of)(SIZES)[0], rel=1e-6)


# -- choice and limits ---------------------------------------------------------------------------------------


def test_the_family_is_chosen_by_its_errors_on_what_was_held_back_and_not_by_its_fit() -> None:
    y = errors("rectified", SIZES, 40.0, 60.0, 0.7, 0.05) * [1, 1.01, 0.99, 1, 1.01, 1, 0.99, 1.01]
    found = label_curve(SIZES, y)
    for name, error in found.held_back.items():
        early = fit_family(OF[name], SIZES[:-2], y[:-2])(SIZES[-2:])[0]
        assert error == pytest.approx(np.abs(np.log(early / y[-2:])).mean(), rel=1e-9)
    assert found.family == min(found.held_back, key=lambda name: found.held_back[name])
    residuals = {n: (((fit_family(OF[n], SIZES, y)(SIZES)[0] - y) / y) ** 2).sum() for n in found.held_back}
    assert residuals["m4"] <= residuals["rectified"] * 1.01, "M4 fits as well, having one parameter more"


def test_few_budgets_mean_few_families() -> None:
    y = errors("power", SIZES, 1.0, 0.4, 0.05)
    by_count = {count: label_curve(SIZES[:count], y[:count]) for count in (3, 4, 5, 7, 8)}
    assert {count: list(found.held_back) for count, found in by_count.items()} == {
        3: [],
        4: ["power"],
        5: ["power", "power_floor"],
        7: ["power", "power_floor", "rectified"],
        8: ["power", "power_floor", "rectified", "m4"],
    }
    assert by_count[3].family == "power"
    assert {count for count, found in by_count.items() if "few_budgets" in found.flags} == {3, 4, 5, 7}


def test_answers_of_a_clean_curve_are_the_truth() -> None:
    found = label_curve(SIZES[:5], errors("power", SIZES[:5], 1.0, 0.5, 0.05))
    assert found.family == "power_floor"
    gain = found.gain(2)
    assert gain.value == pytest.approx(1000**-0.5 - 2000**-0.5, rel=1e-3)
    assert gain.low <= gain.value <= gain.high
    needed = found.needed(0.05 + 3000**-0.5)
    assert needed.value == pytest.approx(3000, rel=0.01)
    assert found.plateau() == pytest.approx(0.05, abs=1e-3)


def test_what_lies_beyond_eight_times_is_said() -> None:
    found = label_curve(SIZES[:5], errors("power", SIZES[:5], 1.0, 0.5, 0.05))
    assert "extrapolated" not in found.gain(8).flags
    assert "extrapolated" in found.gain(8.1).flags
    assert "extrapolated" in found.error_at(9000).flags
    for error, note in ((0.051, "> 8,000"), (0.9, "≤ 10")):
        beyond = found.needed(error)
        assert beyond.value is beyond.low is beyond.high is None
        assert "beyond_range" in beyond.flags
        assert note in beyond.note
    open_ended = found.needed(0.05 + 7900**-0.5)
    assert open_ended.high == pytest.approx(8000)
    assert "beyond_range" in open_ended.flags


def test_a_curve_that_rises_is_flagged_unless_its_noise_explains_it() -> None:
    rising = [0.5, 0.4, 0.45, 0.3, 0.2]
    assert "not_monotone" in label_curve(SIZES[:5], rising).flags
    noisy = np.array(rising)[:, None] + np.array([[-0.1, 0.0, 0.1]])
    assert "not_monotone" not in label_curve(SIZES[:5], noisy).flags
    assert "not_monotone" not in label_curve(SIZES[:5], [0.5, 0.4, 0.4, 0.3, 0.2]).flags


def test_the_same_twice_in_any_order_and_seeds_of_draws_differ() -> None:
    table = errors("power", SIZES[:5], 1.0, 0.4, 0.05)[:, None] * [[0.95, 1.0, 1.06]]
    one, other = label_curve(SIZES[:5], table), label_curve(SIZES[:5][::-1], table[::-1])
    assert one.gain() == other.gain()
    assert one.gain().low != label_curve(SIZES[:5], table, seed=1).gain().low
    assert one.gain().basis == "seeds"
    assert label_curve(SIZES[:5], table[:, :1]).gain().flags[-1] == "too_few_seeds"


def test_errors_of_zero_and_flat_curves_have_answers() -> None:
    for flat in ([0.2] * 5, [0.0] * 5, [0.3, 0.1, 0.0, 0.0, 0.0]):
        gain = label_curve(SIZES[:5], flat).gain()
        assert np.isfinite([gain.low, gain.value, gain.high]).all()
        assert abs(gain.value) < 0.01


def test_a_seed_without_a_value_is_left_out_where_it_has_none() -> None:
    table = errors("power", SIZES[:5], 1.0, 0.4, 0.05)[:, None] * [[0.95, 1.0, 1.05]]
    table[2, 1] = np.nan
    assert label_curve(SIZES[:5], table).errors[2] == pytest.approx(np.nanmean(table[2]))


def test_limits_hold_the_truth() -> None:
    """Of gains, errors and needed numbers, over curves of many exponents and floors, at three seeds."""
    generator = np.random.default_rng(1)
    held: dict[str, list[bool]] = {"gain": [], "error": [], "needed": []}
    for draw in range(30):
        b, c = generator.uniform(0.2, 0.7), generator.uniform(0, 0.15)
        a = 0.6 * 10**b
        noise = 0.06 * generator.normal(size=(5, 3)) + 0.03 * generator.normal(size=(1, 3))
        found = label_curve(SIZES[:5], (a * SIZES[:5] ** -b + c)[:, None] * np.exp(noise), draws=100, seed=draw)
        truth = {n: reference.power(n, a, b, c) for n in (1000.0, 2000.0, 4000.0, 3000.0)}
        for name, answer, value in (
            ("gain", found.gain(2), truth[1000] - truth[2000]),
            ("error", found.error_at(4000), truth[4000]),
            ("needed", found.needed(truth[3000]), 3000.0),
        ):
            if answer.value is not None:
                held[name].append(answer.low <= value <= answer.high)
    assert {name: bool(np.mean(kept) >= 0.85) for name, kept in held.items()} == dict.fromkeys(held, True), held
    assert len(held["needed"]) > 22


@pytest.mark.parametrize(
    ("sizes", "values", "message"),
    [
        ([10], [0.2], "different numbers of examples"),
        ([10, 20], [0.2, 0.1], "different numbers of examples"),
        ([10, 20, 20], [0.3, 0.2, 0.1], "different numbers of examples"),
        ([0, 20, 30], [0.3, 0.2, 0.1], "different numbers of examples"),
        ([10, 20, 30], [0.3, -0.2, 0.1], "not negative"),
        ([10, 20, 30], [0.3, np.nan, 0.1], "one at every size"),
        ([10, 20, 30], [0.3, np.inf, 0.1], "not negative"),
        ([10, 20, 30], [0.3, 0.2], "are of sizes"),
    ],
)
def test_what_is_no_curve_is_named(sizes: Any, values: Any, message: str) -> None:
    with pytest.raises(MeasureError, match=message):
        label_curve(sizes, values)


def test_settings_that_cannot_be_are_named() -> None:
    found = label_curve([10, 20, 40], [0.3, 0.2, 0.1])
    with pytest.raises(MeasureError, match="a factor above 1"):
        found.gain(1)
    with pytest.raises(MeasureError, match="'m4' needs more sizes"):
        fit_family(OF["m4"], SIZES[:4], [0.4, 0.3, 0.2, 0.1])


# -- multipliers ---------------------------------------------------------------------------------------------


def test_the_closed_form_of_the_label_multiplier() -> None:
    """err = a·n^(−b) + c with shared b and c: (a_RI / a_P)^(1/b) = (2/1)^2 = 4."""
    sizes = [10.0 * 4**k for k in range(6)]
    ours, theirs = (errors("power", np.array(sizes), a, 0.5, 0.05) for a in (1.0, 2.0))
    found = label_multipliers(sizes, ours, theirs)
    assert [one.value for one in found[:-1]] == pytest.approx([4.0] * 5)
    assert found[-1].value is None
    assert found[-1].note == "> 1"


def test_multipliers_are_those_of_the_literal_version() -> None:
    generator = np.random.default_rng(5)
    for _ in range(20):
        ours, theirs = (np.sort(generator.uniform(0.05, 1, 8))[::-1] for _ in range(2))
        found = label_multipliers(SIZES, ours, theirs, draws=1)
        for one, literal in zip(found, reference.multipliers(list(SIZES), list(ours), list(theirs)), strict=True):
            if isinstance(literal, str):
                assert one.value is None
                assert one.note.startswith(literal)
                assert one.flags == ("beyond_range",)
            else:
                assert one.value == pytest.approx(literal)


def test_multipliers_are_never_extrapolated() -> None:
    found = label_multipliers([10, 100, 1000], [0.1, 0.05, 0.01], [0.9, 0.5, 0.2])
    assert [(one.value, one.note) for one in found] == [(None, "> 100"), (None, "> 10"), (None, "> 1")]
    behind = label_multipliers([10, 100, 1000], [0.95, 0.92, 0.91], [0.9, 0.5, 0.2])
    assert [one.note for one in behind] == ["< 1", "< 0.1", "< 0.01"]


def test_limits_of_a_multiplier_resample_seeds_and_end_where_sizes_do() -> None:
    generator = np.random.default_rng(2)
    sizes = np.array([10.0 * 4**k for k in range(5)])
    same = 1 + 0.03 * generator.normal(size=(5, 4))
    ours, theirs = (errors("power", sizes, a, 0.5)[:, None] * same for a in (1.0, 2.0))
    inner, *_, open_ended, _ = label_multipliers(sizes, ours, theirs)
    assert inner.basis == "seeds"
    assert inner.low < inner.value < inner.high
    assert inner.low > 1
    if open_ended.value is not None:
        assert open_ended.high <= 4
        assert "beyond_range" in open_ended.flags


def test_limits_of_a_multiplier_hold_the_truth() -> None:
    generator, sizes, held = np.random.default_rng(7), SIZES[:5], []
    for draw in range(60):
        ours, theirs = (
            errors("power", sizes, a, 0.4, 0.03)[:, None] * np.exp(0.04 * generator.normal(size=(5, 3)))
            for a in (1.0, 1.6)
        )
        found = label_multipliers(sizes, ours, theirs, draws=100, seed=draw)[1:3]
        held += [one.low <= 1.6**2.5 <= one.high for one in found if one.value is not None]
    assert np.mean(held) >= 0.85
    assert len(held) > 100


def test_where_one_overtakes_the_other() -> None:
    sizes = [10, 100, 1000, 10_000]
    found = label_crossover(sizes, [0.4, 0.3, 0.2, 0.2], [0.6, 0.4, 0.2, 0.1])
    assert found.value == pytest.approx(1000)
    ahead = label_crossover(sizes, [0.4, 0.3, 0.2, 0.1], [0.6, 0.5, 0.4, 0.3])
    assert (ahead.value, ahead.note) == (None, "> 1e+04")
    assert label_crossover(sizes, [0.6, 0.5, 0.4, 0.3], [0.4, 0.3, 0.2, 0.1]).note == "< 10"


def test_curves_of_unlike_shape_are_named() -> None:
    with pytest.raises(MeasureError, match="same sizes and seeds"):
        label_multipliers([10, 20], [[0.2, 0.1], [0.1, 0.1]], [0.2, 0.1])
    with pytest.raises(MeasureError, match="different numbers of examples"):
        label_crossover([10], [0.2], [0.1])
