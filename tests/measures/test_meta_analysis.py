"""Random-effects means: against published results, a literal reference, invariances, and their coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures import random_effects, seeds_interval

# Colditz et al. (1994), BCG vaccine: vaccinated with and without, then controls with and without tuberculosis.
BCG = np.array(
    [(4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
     (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
     (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825)], dtype=float,
)  # fmt: skip


def log_ratios():
    a, b, c, d = BCG.T
    return np.log(a / (a + b)) - np.log(c / (c + d)), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))


def test_published_heterogeneity_of_the_bcg_trials():
    """τ² of Hedges & Olkin and of Paule & Mandel, as Viechtbauer (2010) prints them for these data."""
    y, s = log_ratios()
    assert random_effects(y, s).tau ** 2 == pytest.approx(0.3286, abs=2e-4)
    paule_mandel = random_effects(y, s, weights="inverse_variance")
    assert paule_mandel.tau**2 == pytest.approx(0.3181, abs=2e-4)
    assert paule_mandel.value == pytest.approx(-0.715, abs=2e-3)


def literal(y, s):
    """Paule–Mandel by bisection, and the Hartung–Knapp interval, written out."""
    low, high = 0.0, 1e3
    for _ in range(200):
        tau = (low + high) / 2
        w = [1 / (e * e + tau) for e in s]
        mean = sum(a * b for a, b in zip(w, y, strict=True)) / sum(w)
        q = sum(a * (b - mean) ** 2 for a, b in zip(w, y, strict=True))
        low, high = (tau, high) if q > len(y) - 1 else (low, tau)
    scale = max(1.0, q / (len(y) - 1))
    half = stats.t.ppf(0.975, len(y) - 1) * math.sqrt(scale / sum(w))
    return mean, mean - half, mean + half, math.sqrt(tau)


@pytest.mark.parametrize("seed", range(5))
def test_inverse_variances_agree_with_the_literal_reference(seed):
    draw = np.random.default_rng(seed)
    s = draw.uniform(0.05, 0.5, 9)
    y = draw.normal(0.3, np.hypot(0.2 * seed, s))
    found = random_effects(y, s, weights="inverse_variance")
    assert (found.value, found.low, found.high, found.tau) == pytest.approx(literal(y, s), abs=1e-7)


def test_equal_weights_are_students_interval_over_studies():
    y, s = log_ratios()
    found, student = random_effects(y, s), seeds_interval(y)
    assert (found.value, found.low, found.high) == pytest.approx((student.value, student.low, student.high))


@pytest.mark.parametrize("weights", ["equal", "inverse_variance"])
def test_shifts_scales_and_does_not_depend_on_the_order(weights):
    y, s = log_ratios()
    found, other = random_effects(y, s, weights=weights), random_effects(3 - 2 * y[::-1], 2 * s[::-1], weights=weights)
    assert other.value == pytest.approx(3 - 2 * found.value)
    assert (other.low, other.high) == pytest.approx((3 - 2 * found.high, 3 - 2 * found.low))
    assert (other.tau, other.i_squared) == pytest.approx((2 * found.tau, found.i_squared))
    assert random_effects(y, 3 * s, weights=weights).tau < found.tau  # larger errors explain more of the spread


def test_a_study_twice_in_one_cluster_adds_nothing_and_in_two_it_does():
    y, s = log_ratios()
    names = list(range(13))
    once = random_effects(y, s, names)
    twice = random_effects([*y, y[0]], [*s, s[0]], [*names, 0])
    assert (twice.low, twice.high, twice.n, twice.studies) == (once.low, once.high, 13, 14)
    assert random_effects([*y, y[0]], [*s, s[0]], [*names, 13]).high != once.high


def test_leave_one_out_spans_the_means_without_each():
    y, s = log_ratios()
    left = [np.delete(y, i).mean() for i in range(13)]
    assert random_effects(y, s).leave_one_out == pytest.approx((min(left), max(left)))


def test_few_clusters_have_no_interval_and_equal_ones_none():
    assert random_effects([0.1, 0.2], [0.01, 0.01]).low is None
    assert random_effects([0.1], [0.01]).leave_one_out is None
    assert random_effects([0.2, 0.2, 0.2], [0.1, 0.1, 0.1]).low is None
    assert random_effects([0.1, 0.2, 0.3], [0.1, 0.1, 0.1], ["a", "a", "b"]).n == 2


@pytest.mark.parametrize("tau", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_coverage_where_errors_come_from_three_seeds(tau):
    """Mean and prediction interval cover 95 %, within five standard errors; the errors come from 3 seeds each."""
    draw = np.random.default_rng(7)
    runs, k, sigma = 4000, 8, 0.1 * draw.uniform(0.5, 2, 8)
    inside = predicted = 0
    for _ in range(runs):
        errors = np.append(sigma, draw.choice(sigma))  # of the new study, like one of the others
        seeds = draw.normal(0.3, tau, (k + 1, 1)) + draw.normal(0, 1, (k + 1, 3)) * errors[:, None]
        found = random_effects(seeds[:k].mean(1), seeds[:k].std(1, ddof=1) / math.sqrt(3))
        inside += found.low <= 0.3 <= found.high
        predicted += found.prediction_low <= seeds[k].mean() <= found.prediction_high
    error = 5 * math.sqrt(0.95 * 0.05 / runs)
    assert inside / runs == pytest.approx(0.95, abs=error + 0.01)
    assert predicted / runs == pytest.approx(0.95, abs=error + 0.01)


@pytest.mark.parametrize(
    ("values", "errors", "options"),
    [
        ([], [], {}),
        ([0.1], [0.1, 0.2], {}),
        ([0.1, math.nan], [0.1, 0.1], {}),
        ([0.1, 0.2], [0.1, -0.1], {}),
        ([0.1, 0.2], [0.1, 0.0], {"weights": "inverse_variance"}),
        ([0.1, 0.2], [0.1, 0.1], {"weights": "sample_size"}),
        ([0.1, 0.2], [0.1, 0.1], {"clusters": ["a"]}),
        ([0.1, 0.2], [0.1, 0.1], {"confidence": 1.0}),
    ],
)
def test_bad_input_is_refused(values, errors, options):
    with pytest.raises(MeasureError):
        random_effects(values, errors, **options)
