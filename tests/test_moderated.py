"""Moderated variances are right as computed, and do not cover: why Student's intervals stay (docs/statistics.md)."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.reference import moderated_reference as reference
from tools.moderated import MODULES, PAGE, REQUIRED, VARIANCES, coverage, families, half_widths, page, prior

REPLICATIONS = 4_000
UNEQUAL = [name for name in VARIANCES if name != "equal"]


def test_reference_against_published_values() -> None:
    # From the tests of inmoose, a port of limma that is held against limma itself.
    variances = [0.5, 1.3, 7.8]
    scale, d0 = reference.prior(variances, 3)
    assert (d0, scale) == pytest.approx((2.830777, 1.676927), abs=1e-6)
    assert reference.moderate(variances, 3, scale, d0) == pytest.approx([1.071385, 1.482994, 4.827317], abs=1e-6)


def test_reference_in_closed_form() -> None:
    # ψ'(1) = π²/6: with d = 2 and a variance of log s² of π²/3, d₀ is 2 and s₀² the geometric mean.
    step = math.pi / math.sqrt(3)
    assert reference.prior([5 * math.exp(-step), 5.0, 5 * math.exp(step)], 2) == pytest.approx((5.0, 2.0))
    assert reference.moderate([1.0, 3.0], 2, 5.0, d0=0.0) == [1.0, 3.0]
    assert reference.moderate([1.0, 3.0], 2, 5.0, d0=2.0) == [3.0, 4.0]


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_variances_are_pooled(seeds: int) -> None:
    values = np.linspace(-1.0, 1.0, seeds)[:, None] + np.arange(8)
    pooled = stats.t.ppf(0.975, 8 * (seeds - 1)) * math.sqrt(values[:, 0].var(ddof=1) / seeds)
    assert reference.half_widths(values.tolist(), 0.95) == pytest.approx([pooled] * 8)
    assert half_widths(values[None], moderated=True)[0] == pytest.approx([pooled] * 8)


def test_variances_far_apart_leave_student() -> None:
    values = np.array([-1.0, 0.0, 1.0])[:, None] * np.array([1e-100, 1.0, 1e100])
    student = half_widths(values[None], moderated=False)[0]
    assert prior(values.var(axis=0, ddof=1)[None], 2)[1][0] < 0.01
    # d₀ is small, never 0: the module that varies least is drawn up to what s₀² is, the others hardly.
    assert half_widths(values[None], moderated=True)[0][1:] == pytest.approx(student[1:], rel=0.02)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_vectorised_against_the_reference(spread: float) -> None:
    generator = np.random.default_rng(1)
    values = generator.standard_normal((20, 3, 8)) * np.exp(spread * generator.standard_normal((20, 1, 8)))
    for confidence in (0.9, 0.95):
        expected = [reference.half_widths(family.tolist(), confidence) for family in values]
        assert half_widths(values, confidence, moderated=True) == pytest.approx(np.array(expected), rel=1e-9)


def test_student_covers_whatever_the_variances() -> None:
    for variances in VARIANCES.values():
        found = coverage(families(variances(20), 0.7, REPLICATIONS), moderated=False)
        assert np.abs(found.by_module - 0.95).max() < 5 * math.sqrt(0.95 * 0.05 / REPLICATIONS)


def test_covers_where_the_premise_is_met() -> None:
    """Independent modules with equal variances, or with variances drawn from the prior, many of them."""
    assert coverage(families(VARIANCES["equal"](50), 0.0, REPLICATIONS), moderated=True).holds
    drawn = 4 / np.random.default_rng(2).chisquare(4, (REPLICATIONS, 1, 50))
    assert coverage(families(drawn, 0.0, REPLICATIONS), moderated=True).holds


@pytest.mark.parametrize("modules", MODULES)
@pytest.mark.parametrize("name", UNEQUAL)
def test_modules_that_vary_most_are_not_covered(name: str, modules: int) -> None:
    found = coverage(families(VARIANCES[name](modules), 0.0, REPLICATIONS), moderated=True)
    assert found.by_module[-1] < REQUIRED - 5 * found.module_error
    assert not found.holds


@pytest.mark.parametrize("modules", MODULES)
def test_modules_that_share_seeds_are_not_covered(modules: int) -> None:
    found = coverage(families(VARIANCES["equal"](modules), 0.7, REPLICATIONS), moderated=True)
    assert found.mean < REQUIRED - 5 * found.error
    assert not found.holds


@pytest.mark.slow
def test_the_page_shows_what_was_simulated() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
