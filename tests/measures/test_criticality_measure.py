"""μ of a module: closed forms, the search against the whole grid, and what is not allowed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import MeasureError
from transferscope.measures.criticality import evaluate_grid, network_criticality, search_grid

ALPHAS = [index / 10 for index in range(11)]
SIGMAS = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def literal(values, errors, squared, sigmas, epsilon, side):
    """The definition, word by word."""
    kept = [
        squared[p] / sigmas[s] ** 2
        for p in range(len(squared))
        for s in range(len(sigmas))
        if values[p][s] + side * errors[p][s] <= epsilon
    ]
    return min(kept) if kept else None


@settings(derandomize=True, deadline=None, max_examples=200)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.0, 1.2), bowl=st.floats(0.0, 2.0))
def test_search_and_grid_and_definition_agree_where_noise_never_helps(seed, epsilon, bowl) -> None:
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, 1, len(ALPHAS)) * bowl
    base[-1] = 0.0
    values = base[:, None] + np.cumsum(rng.exponential(0.15, (len(ALPHAS), len(SIGMAS))), axis=1)
    errors = np.zeros_like(values)
    squared = [alpha**2 * 7.0 for alpha in ALPHAS]
    calls: list[tuple[int, int]] = []

    def evaluate(position, column):
        calls.append((position, column))
        return values[position, column], errors[position, column]

    full = evaluate_grid(evaluate, squared, SIGMAS, epsilon, 0.0)
    assert len(calls) == len(set(calls)) == 55
    calls.clear()
    found = search_grid(evaluate, squared, SIGMAS, epsilon, 0.0)
    assert len(calls) == len(set(calls)) == len(found.points) <= 55
    wanted = literal(values, errors, squared, SIGMAS, epsilon, 2.0)
    assert (full.mu, full.sigma, full.position) == (found.mu, found.sigma, found.position)
    assert full.mu == wanted
    assert full.mu_low == found.mu_low


@settings(derandomize=True, deadline=None, max_examples=150)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.0, 1.0))
def test_the_search_is_right_whatever_noise_does(seed, epsilon) -> None:
    rng = np.random.default_rng(seed)
    values, errors = rng.uniform(0, 1, (4, 5)), rng.uniform(0, 0.1, (4, 5))
    squared = [0.0, 1.0, 4.0, 9.0]

    def evaluate(position, column):
        return values[position, column], errors[position, column]

    full, found = (way(evaluate, squared, SIGMAS, epsilon, 0.0) for way in (evaluate_grid, search_grid))
    assert (full.mu, full.mu_low, full.sigma, full.position) == (found.mu, found.mu_low, found.sigma, found.position)
    assert len(found.points) <= len(full.points)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(seed=st.integers(0, 10**6))
def test_errors_make_two_bounds(seed) -> None:
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.exponential(0.1, (3, 5)), axis=1)
    errors = rng.uniform(0, 0.2, (3, 5))
    squared = [0.0, 1.0, 4.0]
    full = evaluate_grid(lambda p, s: (values[p, s], errors[p, s]), squared, SIGMAS, 0.4, 0.0)
    assert full.mu == literal(values, errors, squared, SIGMAS, 0.4, 2.0)
    assert full.mu_low == literal(values, errors, squared, SIGMAS, 0.4, -2.0)


def test_closed_form_of_a_quadratic() -> None:
    """L = ½h‖θ−θ_F‖²: μ = k(1−q)/q with q = 2τ/(hr²); at the final value k/q."""
    h, k, r, tau = 3.0, 20, 1.7, 0.5
    q = 2 * tau / (h * r**2)
    alphas = np.linspace(0, 1, 101)
    sigmas = np.geomspace(0.05, 0.3, 780)

    def evaluate(position, column, places=alphas):
        return 0.5 * h * ((1 - places[position]) ** 2 * r**2 + k * sigmas[column] ** 2), 0.0

    found = evaluate_grid(evaluate, list(alphas**2 * r**2), list(sigmas), tau, 0.0)
    assert found.mu == pytest.approx(k * (1 - q) / q, rel=5e-3)
    assert found.mu == pytest.approx(153.4, rel=5e-3)
    assert alphas[found.position] == pytest.approx(1 - q, abs=0.05)
    assert found.sigma**2 == pytest.approx(r**2 * q * (1 - q) / k, rel=0.1)
    last = search_grid(lambda p, s: evaluate(p, s, [1.0]), [r**2], list(sigmas), tau, 0.0)
    assert last.mu == pytest.approx(k / q, rel=5e-3)
    assert last.mu == pytest.approx(173.4, rel=5e-3)


def test_it_does_not_rise_with_epsilon_and_scales_with_the_distance() -> None:
    def evaluate(position, column):
        return 0.3 * (10 - position) / 10 + 0.1 * column, 0.0

    squared = [alpha**2 for alpha in ALPHAS]
    mus = [evaluate_grid(evaluate, squared, SIGMAS, eps, 0.0).mu for eps in (0.0, 0.1, 0.2, 0.3, 0.5)]
    assert mus == sorted(mus, reverse=True)
    assert mus[-1] == 0 < mus[0]
    twice = evaluate_grid(evaluate, [2 * value for value in squared], SIGMAS, 0.0, 0.0)
    assert twice.mu == pytest.approx(2 * mus[0])


def test_a_module_that_never_moved_has_none_without_evaluation() -> None:
    def evaluate(position, column):
        raise AssertionError("nothing to evaluate")

    for way in (evaluate_grid, search_grid):
        found = way(evaluate, [0.0, 0.0], SIGMAS, 0.1, 0.0)
        assert (found.mu, found.certificate, found.points) == (0.0, "still", ())


def test_a_tie_at_zero_takes_the_largest_noise() -> None:
    for way in (evaluate_grid, search_grid):
        found = way(lambda p, s: (0.04 * s, 0.0), [0.0, 1.0], SIGMAS, 0.1, 0.0)
        assert (found.mu, found.position, found.sigma, found.at_largest_sigma) == (0.0, 0, 1e-2, False)
        whole = way(lambda p, s: (0.0, 0.0), [0.0, 1.0], SIGMAS, 0.1, 0.0)
        assert whole.at_largest_sigma


def test_unreachable_is_a_null_and_what_is_not_finite_is_never_kept() -> None:
    for way in (evaluate_grid, search_grid):
        found = way(lambda p, s: (math.nan, math.nan), [0.0, 1.0], SIGMAS, 0.1, 0.0)
        assert (found.mu, found.mu_low, found.sigma) == (None, None, None)


def test_of_a_network() -> None:
    found = network_criticality([0.0, 3.0, None], [10, 4, 5])
    assert (found.total, found.finite, found.unreachable, found.modules) == (None, 3.0, 1, 3)
    assert found.logarithmic == pytest.approx(4 * math.log(1.75))
    assert network_criticality([1.0, 3.0], [10, 4]).total == 4.0


@pytest.mark.parametrize(
    ("squared", "sigmas", "epsilon", "match"),
    [
        ([], [0.1], 0.1, "squared distances must be finite"),
        ([-1.0], [0.1], 0.1, "squared distances must be finite"),
        ([1.0], [], 0.1, "noise scales must lie in"),
        ([1.0], [2.0], 0.1, "noise scales must lie in"),
        ([1.0], [0.1, 0.1], 0.1, "noise scales must lie in"),
        ([1.0], [0.1], math.nan, "must be finite"),
        ([1.0], [0.1], -0.1, "ε lies below what the trained network itself reaches"),
    ],
)
def test_bad_input_is_named(squared, sigmas, epsilon, match) -> None:
    for way in (evaluate_grid, search_grid):
        with pytest.raises(MeasureError, match=match):
            way(lambda p, s: (0.0, 0.0), squared, sigmas, epsilon, 0.0)


def test_bad_networks_are_named() -> None:
    with pytest.raises(MeasureError, match="number of parameters of each module"):
        network_criticality([1.0], [1, 2])
