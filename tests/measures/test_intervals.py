import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from tests.reference import pairs_reference
from tests.reference import statistics_reference as reference
from transferscope.errors import MeasureError
from transferscope.measures.bootstrap import weighted_mean
from transferscope.measures.intervals import (
    Interval,
    auc_difference_interval,
    bootstrap_interval,
    fieller,
    mean_difference_interval,
    noninferior,
    paired_seeds_interval,
    seed_pairs_interval,
    seeds_interval,
    seeds_p_value,
)

exact = settings(derandomize=True, deadline=None, max_examples=60)
values = st.lists(st.floats(-100, 100), min_size=3, max_size=8)


@pytest.mark.parametrize(("n", "share"), [(3, 2.48), (4, 1.59), (5, 1.24)])
def test_half_widths_over_s(n: int, share: float) -> None:
    data = np.random.default_rng(n).normal(size=n)
    interval = seeds_interval(data)
    assert (interval.high - interval.low) / 2 / data.std(ddof=1) == pytest.approx(share, abs=0.005)
    assert (interval.n, interval.basis) == (n, "seeds")


@exact
@given(values)
def test_against_scipy(data: list[float]) -> None:
    interval = seeds_interval(data)
    assume("no_spread" not in interval.flags)
    error = np.std(data, ddof=1) / math.sqrt(len(data))
    low, high = stats.t.interval(0.95, len(data) - 1, loc=np.mean(data), scale=error)
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


def test_one_and_two_seeds() -> None:
    few = ("too_few_seeds",)
    assert seeds_interval([0.5]) == Interval(0.5, None, None, 1, None, 0.95, "one seed: no interval", few)
    two = seeds_interval([0.75, 0.25])
    assert (two.value, two.low, two.high, two.n, two.basis, two.flags) == (0.5, 0.25, 0.75, 2, "range", few)


# -- equal values prove nothing -----------------------------------------------------------------------------------


def assert_no_spread(interval: Interval, value: float, n: int) -> None:
    assert interval.value == pytest.approx(value)
    assert (interval.low, interval.high, interval.basis, interval.n) == (None, None, None, n)
    assert interval.flags == ("no_spread",)
    assert "proves nothing" in interval.note
    assert noninferior(replace(interval, confidence=0.9)).verdict == "undecided"


@pytest.mark.parametrize("value", [0.0, 0.001, -0.3, 1 / 3, 1e-12, 1e12])
@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_seeds_have_no_interval(value: float, seeds: int) -> None:
    assert_no_spread(seeds_interval([value] * seeds), value, seeds)
    every = dict.fromkeys(combinations(range(seeds), 2), value)
    assert_no_spread(seed_pairs_interval(every), value, seeds)
    for spread in (1e-3, 1e-9):
        near = [value + spread * max(1.0, abs(value)) * seed for seed in range(seeds)]
        assert seeds_interval(near).basis == "seeds"
        wobbly = dict(zip(every, near * seeds, strict=False))
        assert seed_pairs_interval(wobbly).basis == "seeds"


def test_equal_differences_are_seen_through_the_rounding_of_what_they_are_differences_of() -> None:
    """Shares of a thousand examples: every seed gains exactly one, whatever the subtraction makes of it."""
    for better in ([871, 872, 873], [3, 500, 999], [1, 2, 3]):
        a, b = ([(count - lost) / 1000 for count in better] for lost in (0, 1))
        assert_no_spread(paired_seeds_interval(a, b), 0.001, 3)
        assert seeds_p_value(a, b) is None
        moved = [a[0], a[1], a[2] + 1e-9]
        assert paired_seeds_interval(moved, b).basis == "seeds"
        assert seeds_p_value(moved, b) < 1e-6


def test_pairs_that_differ_and_leave_the_same_mean_have_no_interval() -> None:
    """Two disjoint pairs of four seeds are of one value, all others of another: every seed has one of each."""
    values = {pair: 0.9 if pair in ((0, 1), (2, 3)) else 0.1 for pair in combinations(range(4), 2)}
    found = seed_pairs_interval(values)
    assert_no_spread(found, sum(values.values()) / 6, 4)
    values[0, 1] += 1e-6
    assert seed_pairs_interval(values).basis == "seeds"


def test_bounds_are_checked_without_an_interval_too() -> None:
    with pytest.raises(MeasureError, match="outside of the bounds"):
        seeds_interval([7.0] * 3, bounds=(0.0, 1.0))
    with pytest.raises(MeasureError, match="outside of the bounds"):
        seed_pairs_interval(dict.fromkeys(combinations(range(3), 2), 7.0), bounds=(0.0, 1.0))


def test_paired_seeds() -> None:
    a, b = [0.9, 0.7, 0.8], [0.8, 0.6, 0.65]
    interval = paired_seeds_interval(a, b)
    found = stats.ttest_rel(a, b)
    expected = found.confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert seeds_p_value(a, b) == pytest.approx(found.pvalue)
    assert seeds_p_value(a[:2], b[:2]) is None
    assert seeds_p_value([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) is None
    assert seeds_p_value([1.0, 1.0, 1.0], [0.5, 0.5, 0.5]) is None


def test_seed_pairs_that_pair_with_themselves_are_plain_seeds() -> None:
    data = [0.4, 0.7, 0.5, 0.9]
    interval = seed_pairs_interval({(seed, seed): value for seed, value in enumerate(data)})
    plain = seeds_interval(data)
    assert (interval.value, interval.low, interval.high, interval.n, interval.basis) == pytest.approx(
        (plain.value, plain.low, plain.high, 4, "seeds"), nan_ok=False
    )


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.995])
@pytest.mark.parametrize("seeds", [3, 4, 6])
def test_seed_pairs_against_leaving_each_seed_out_literally(seeds: int, confidence: float) -> None:
    generator = np.random.default_rng(seeds)
    pairs = {pair: float(generator.normal()) for pair in combinations(range(seeds), 2)}
    found = seed_pairs_interval(pairs, confidence)
    assert (found.value, found.low, found.high) == pytest.approx(pairs_reference.leave_one_seed_out(pairs, confidence))
    assert (found.n, found.basis, found.flags) == (seeds, "seeds", ())


def test_seed_pairs_are_wider_than_if_they_were_independent() -> None:
    # A statistic that is a sum of seed effects: its mean over pairs is 2·mean, with error 2·s/√k.
    effects = np.random.default_rng(0).normal(size=5)
    pairs = {(i, j): float(effects[i] + effects[j]) for i, j in combinations(range(5), 2)}
    interval = seed_pairs_interval(pairs)
    half = float(stats.t.ppf(0.975, 4)) * 2 * effects.std(ddof=1) / math.sqrt(5)
    assert interval.value == pytest.approx(2 * effects.mean())
    # Leaving a seed out of sums of effects gives exactly 2·s/√k · (k − 1)/(k − 1).
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=1e-9)
    naive = seeds_interval(list(pairs.values()))
    assert interval.high - interval.low > 1.4 * (naive.high - naive.low)


@pytest.mark.parametrize("seeds", [3, 5])
def test_seed_pairs_cover_the_mean_at_least_as_often_as_they_say(seeds: int) -> None:
    """Effects of seeds and of pairs: leaving one seed out is never too narrow, where pairs as they are would be."""
    generator = np.random.default_rng(seeds)
    repeats, covered, naive = 1000, 0, 0
    for _ in range(repeats):
        effects = generator.normal(size=seeds)
        pairs = {
            (i, j): float(effects[i] + effects[j] + 0.3 * generator.normal()) for i, j in combinations(range(seeds), 2)
        }
        interval, plain = seed_pairs_interval(pairs), seeds_interval(list(pairs.values()))
        covered += interval.low <= 0 <= interval.high
        naive += plain.low <= 0 <= plain.high
    error = math.sqrt(0.95 * 0.05 / repeats)
    assert covered / repeats > 0.95 - 5 * error
    if seeds > 3:  # of three seeds there are as many pairs as seeds
        assert naive / repeats < 0.95 - 5 * error


def test_seed_pairs_too_few() -> None:
    assert seed_pairs_interval({(0, 1): 0.5}).basis is None
    two = seed_pairs_interval({(0, 0): 0.5, (0, 1): 0.75, (1, 1): 1.0})
    assert (two.value, two.low, two.high, two.n, two.basis) == (0.75, 0.5, 1.0, 2, "range")
    star = seed_pairs_interval({(0, 1): 0.5, (0, 2): 0.6, (0, 3): 0.7})
    assert (star.low, star.basis) == (None, None)
    assert "shares a seed" in star.note
    assert seed_pairs_interval({(0, 1): 0.5, (0, 2): 0.6, (1, 2): 0.7}).basis == "seeds"


@pytest.mark.parametrize("clusters", [None, [0, 0, 1, 2, 2, 2, 3, 4]])
def test_bootstrap_against_explicit_resamples(clusters: list[int] | None) -> None:
    a = np.array([1, 1, 0, 1, 0, 1, 1, 0.0])
    b = np.array([0, 1, 0, 1, 1, 0, 0, 0.0])
    literal = reference.bootstrap_values(lambda drawn: a[drawn].mean() - b[drawn].mean(), 8, 500, 7, clusters)
    interval = mean_difference_interval(a, b, clusters, draws=500, seed=7)
    assert interval.value == pytest.approx(0.25)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(literal, [0.025, 0.975])))
    assert (interval.n, interval.basis) == (8 if clusters is None else 5, "examples")


def test_seeds_are_averaged_first() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((3, 40)), generator.random((2, 40))
    interval = mean_difference_interval(a, b, seed=5)
    assert interval == mean_difference_interval(a.mean(axis=0), b.mean(axis=0), seed=5)
    # Pairing: what an example adds to both sides does not widen the interval.
    hard = 10 * generator.random(40)
    shifted = mean_difference_interval(a + hard, b + hard, seed=5)
    assert (shifted.low, shifted.high) == pytest.approx((interval.low, interval.high))


def test_coverage_of_the_paired_bootstrap() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for repeat in range(200):
        difference = generator.normal(0.3, 1.0, size=80)
        interval = mean_difference_interval(difference, np.zeros(80), draws=400, seed=repeat)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_clusters_widen_the_interval_of_repeated_examples() -> None:
    generator = np.random.default_rng(1)
    once = generator.normal(size=30)
    repeated, patient = np.repeat(once, 10), np.repeat(np.arange(30), 10)
    plain = mean_difference_interval(repeated, np.zeros(300))
    clustered = mean_difference_interval(repeated, np.zeros(300), patient)
    alone = mean_difference_interval(once, np.zeros(30))
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=1e-9)
    assert clustered.high - clustered.low > 2.5 * (plain.high - plain.low)


def test_auc_difference_against_explicit_resamples() -> None:
    generator = np.random.default_rng(2)
    labels = (generator.random((60, 2)) < 0.4).astype(int)
    a = generator.normal(size=(2, 60, 2)) + labels
    b = generator.normal(size=(1, 60, 2)).round(1)

    def difference(drawn: list[int]) -> float:
        areas = [
            np.mean([roc_auc_score(labels[drawn, i], scores[drawn, i]) for scores in side for i in range(2)])
            for side in (a, b)
        ]
        return float(areas[0] - areas[1])

    literal = reference.bootstrap_values(difference, 60, 60, 3)
    interval = auc_difference_interval(a, b, labels, draws=60, seed=3)
    assert interval.value == pytest.approx(difference(list(range(60))))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(literal, [0.025, 0.975])))
    assert auc_difference_interval(a[0], b[0], labels, draws=20).value == pytest.approx(
        roc_auc_score(labels, a[0]) - roc_auc_score(labels, b[0])
    )


def test_undefined_statistics_are_named_nulls() -> None:
    labels = np.zeros((30, 1), dtype=int)
    none = auc_difference_interval(np.zeros((30, 1)), np.ones((30, 1)), labels, draws=10)
    assert (none.value, none.low, none.note) == (None, None, "not defined for these examples")
    labels[0] = 1  # a third of all resamples miss the only positive example
    rare = auc_difference_interval(np.arange(30.0)[:, None], np.ones((30, 1)), labels, draws=200)
    assert (rare.value, rare.low, rare.basis) == (-0.5, None, None)
    assert "no interval" in rare.note
    labels[:4] = 1  # one in 80 or so
    steady = auc_difference_interval(np.arange(30.0)[:, None], np.ones((30, 1)), labels, draws=400)
    assert (steady.value, steady.basis, steady.flags) == (-0.5, None, ("no_spread",))  # the last four, always
    mixed = np.random.default_rng(3).random((30, 1))
    some = auc_difference_interval(mixed, np.ones((30, 1)), labels, draws=400)
    assert (some.basis, some.flags) == ("examples", ())
    for found in (steady, some):
        assert "left out" in found.note


def test_bootstrap_notes() -> None:
    # A third is rounded in every sum of a resample, in another way each: these are equal all the same.
    for value in (1.0, 0.0, 1 / 3, -1e9 / 7, 1e-9 / 7):
        same = bootstrap_interval(weighted_mean, [np.full(50, value)])
        assert_no_spread(same, value, 50)
    off = np.full(50, 1 / 3)
    off[:5] += 1e-9
    found = bootstrap_interval(weighted_mean, [off])
    assert (found.basis, found.flags) == ("examples", ())
    assert "only 5 groups" in mean_difference_interval(np.arange(10.0), np.zeros(10), np.arange(10) // 2).note
    alone = mean_difference_interval([1.0], [0.0])
    assert (alone.value, alone.low, alone.basis) == (1.0, None, None)
    assert mean_difference_interval(np.arange(30.0), np.zeros(30)).note == ""


def test_few_examples_do_not_show_that_two_networks_are_equal() -> None:
    """Where no example differs, the limits are those of Clopper and Pearson for a share that was never seen."""
    right = np.arange(50) % 2
    for confidence in (0.9, 0.95, 0.99):
        same = mean_difference_interval(right, right, confidence=confidence)
        reach = stats.binomtest(0, 50).proportion_ci(confidence).high
        assert (same.value, same.basis, same.n) == (0.0, "examples", 50)
        assert (same.low, same.high) == (pytest.approx(-reach), pytest.approx(reach))
        assert same.note == "the 50 differ alike: limits of a share of which none was seen"
    assert noninferior(mean_difference_interval(right, right, confidence=0.9)).verdict == "undecided"
    many = np.arange(800) % 2
    assert noninferior(mean_difference_interval(many, many, confidence=0.9)).verdict == "kept"
    by_group = mean_difference_interval(right, right, np.arange(50) // 5)
    assert by_group.high == pytest.approx(stats.binomtest(0, 10).proportion_ci(0.95).high)
    assert "only 10 groups" in by_group.note
    always = mean_difference_interval(np.ones(50), np.zeros(50))
    assert (always.value, always.high) == (1.0, 1.0)
    assert always.low == pytest.approx(1 - stats.binomtest(0, 50).proportion_ci(0.95).high)
    # Losses have no bound: nothing is known of what was not seen.
    assert_no_spread(mean_difference_interval(np.full(50, 3.0), np.full(50, 3.0)), 0.0, 50)
    # Three seeds that two of get right, and none: a third is rounded, and the limits are those of a share all the same.
    thirds = mean_difference_interval(np.array([[1.0], [1.0], [0.0]]).repeat(50, 1), np.zeros((3, 50)))
    assert (thirds.value, thirds.basis, thirds.flags) == (pytest.approx(2 / 3), "examples", ())
    assert thirds.value - thirds.low == pytest.approx(stats.binomtest(0, 50).proportion_ci(0.95).high)


def test_noninferiority() -> None:
    kept = seeds_interval([0.001, 0.002, 0.0], confidence=0.90)
    upper = 0.001 + stats.t.ppf(0.95, 2) * 0.001 / math.sqrt(3)
    assert kept.high == pytest.approx(upper)
    assert noninferior(kept).verdict == "kept"
    assert noninferior(kept, margin=upper * 0.999).verdict == "undecided"
    assert noninferior(kept, margin=upper * 1.001).verdict == "kept"
    assert noninferior(seeds_interval([0.10, 0.11, 0.12], confidence=0.90)).verdict == "lost"
    # Absence of significance is not equivalence.
    noisy = seeds_interval([-0.2, 0.0, 0.2], confidence=0.90)
    assert seeds_p_value([-0.2, 0.0, 0.2], [0.0, 0.0, 0.0]) == 1.0
    assert noninferior(noisy).verdict == "undecided"
    assert noninferior(seeds_interval([0.0, 0.0, 0.0], confidence=0.90)).verdict == "undecided"
    assert noninferior(replace(seeds_interval([0.0, 0.0]), confidence=0.90)).verdict == "undecided"
    assert noninferior(seeds_interval([0.0])).verdict == "undecided"
    assert noninferior(mean_difference_interval(np.ones(700), np.ones(700), confidence=0.90)).verdict == "kept"


@exact
@given(st.integers(0, 10_000))
def test_fieller_inverts_the_paired_t_test(seed: int) -> None:
    generator = np.random.default_rng(seed)
    below = generator.normal(1.0, 0.2, size=5)
    above = 0.5 * below + generator.normal(0, 0.1, size=5)
    interval = fieller(above, below)
    spans = seeds_interval(below).low <= 0
    assert (interval.value is None) == spans
    if not spans:
        width = interval.high - interval.low
        for limit, out in ((interval.low, -1), (interval.high, 1)):
            assert reference.fieller_rejects(above, below, limit + out * 1e-6 * width, 0.05)
            assert not reference.fieller_rejects(above, below, limit - out * 1e-6 * width, 0.05)
        assert interval.value == pytest.approx(above.mean() / below.mean())


def test_fieller_is_null_where_the_denominator_spans_zero() -> None:
    null = fieller([0.1, 0.2, 0.1], [0.1, -0.1, 0.05])
    assert (null.value, null.low, null.basis) == (None, None, None)
    assert null.note == "the interval of the denominator spans 0"
    assert fieller([1.0], [0.0]).value is None
    assert fieller([1.0, 1.0], [1.0, -1.0]).note == "the denominators are not on one side of 0"
    assert (fieller([1.0], [2.0]).value, fieller([1.0], [2.0]).basis) == (0.5, None)
    two = fieller([1.0, 2.0], [2.0, 2.0])
    assert (two.value, two.low, two.high, two.basis) == (0.75, 0.5, 1.0, "range")


def test_fieller_is_unclipped_and_exact_without_noise() -> None:
    assert fieller([-0.4, -0.5, -0.6], [0.2, 0.21, 0.19]).value == pytest.approx(-2.5)
    assert_no_spread(fieller([0.3, 0.3, 0.3], [0.2, 0.2, 0.2]), 1.5, 3)
    assert_no_spread(fieller([-0.3, -0.6, -0.15], [0.2, 0.4, 0.1]), -1.5, 3)
    assert fieller([0.3, 0.31, 0.3], [0.2, 0.2, 0.2]).basis == "seeds"
    # Shares of a thousand, one example of a hundred gained by each: the ratios are as rounded as the differences.
    ours, none, whole = [0.871, 0.872, 0.873], [0.870, 0.871, 0.872], [0.970, 0.971, 0.972]
    gained = [[a - b for a, b in zip(side, none, strict=True)] for side in (ours, whole)]
    assert_no_spread(fieller(*gained, scale=1.0), 0.01, 3)
    assert fieller([*gained[0][:2], gained[0][2] + 1e-9], gained[1], scale=1.0).basis == "seeds"


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: seeds_interval([]), "values must be finite numbers"),
        (lambda: seeds_interval([0.1, float("nan")]), "values must be finite numbers"),
        (lambda: seeds_interval([0.1, 0.2], confidence=1.0), "a confidence is a share"),
        (lambda: paired_seeds_interval([1.0], [1.0, 2.0]), "paired seeds need one value of each side"),
        (lambda: seeds_p_value([1.0], [1.0, 2.0]), "paired seeds need one value of each side"),
        (lambda: seed_pairs_interval({}), "pairs must be finite numbers"),
        (lambda: mean_difference_interval(np.zeros(3), np.zeros(4)), "speak of different examples"),
        (lambda: bootstrap_interval(lambda w: w[:, 0], [], confidence=0.5), "same examples"),
        (lambda: bootstrap_interval(lambda w, x: w @ x, [np.zeros(3)], confidence=0.0), "a confidence is a share"),
        (lambda: auc_difference_interval(np.zeros((3, 2)), np.zeros((4, 2)), np.zeros((3, 2))), "scores b and labels"),
        (lambda: auc_difference_interval(np.zeros(3), np.zeros(3), np.zeros(3)), "scores a and labels"),
        (lambda: auc_difference_interval([[float("nan")]], [[0.0]], [[1]]), "a score of a is NaN"),
        (lambda: noninferior(seeds_interval([0.0]), margin=0.0), "a margin must be positive"),
        (lambda: noninferior(seeds_interval([0.0], confidence=0.8)), "one-sided limits of this interval"),
        (lambda: fieller([1.0], [1.0, 2.0]), "paired seeds need one value of each side"),
        (lambda: fieller([1.0, float("inf")], [1.0, 2.0]), "numerators must be finite"),
        (lambda: fieller([1.0, 1.0], [1.0, float("inf")]), "denominators must be finite"),
    ],
)
def test_errors(call, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        call()
