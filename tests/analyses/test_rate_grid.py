"""The grid of learning rates: when it grows, and what a plan supposes of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analyses.test_learning_rate import ANALYSIS, both, with_training
from transferscope.analyses.contract import checked
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import choose
from transferscope.context.context import Context
from transferscope.running.rounds import expand


def grown(context, metrics, limit: int = 20) -> list[list[float]]:
    """Every grid until nothing new is named; ``metrics(variant, rate)`` plays the trainings."""
    asked, grids = Evidence(), []
    for _ in range(limit):
        grid = ANALYSIS.grid(context, asked)
        if grids and grid == grids[-1]:
            return grids
        grids.append(grid)
        found = both(*({rate: metrics(variant, rate) for rate in grid} for variant in ("P_T", "RI_T")))
        asked = Evidence({ANALYSIS.key: found}, decision=True)
    raise AssertionError("the grid never ends")


def test_an_interior_best_leaves_the_grid_alone(plain: Context) -> None:
    assert grown(plain.study, lambda variant, rate: 1 - abs(rate - 0.1)) == [[0.02, 0.1, 0.5]]


def test_the_grid_is_shared_and_grows_until_both_are_interior(plain: Context) -> None:
    wide = with_training(plain, learning_rates=(0.01, 0.02, 0.04), extensions=5)
    peak = {"P_T": 0.0025, "RI_T": 0.16}

    def metrics(variant, rate):
        return 1 - abs(rate - peak[variant])

    grids = grown(wide, metrics)
    assert grids[0] == [0.01, 0.02, 0.04]
    assert grids[1] == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert grids[-1] == [0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32]
    final = both(*({rate: metrics(variant, rate) for rate in grids[-1]} for variant in ("P_T", "RI_T")))
    assert {variant: choose(final, variant) for variant in peak} == peak
    assert not any("edge" in note for note in ANALYSIS.summarise(final, Evidence()).notes)


@pytest.mark.parametrize("extensions", [0, 1, 2])
def test_the_grid_ends_at_its_limit_and_says_so(plain: Context, extensions) -> None:
    limited = with_training(plain, extensions=extensions)
    grid = grown(limited, lambda variant, rate: rate / (1 + rate) if variant == "P_T" else 1 - abs(rate - 0.1))[-1]
    assert grid == [0.02, 0.1, 0.5, 2.5, 12.5][: 3 + extensions]
    table_there = both({rate: rate / 99 for rate in grid}, {rate: 1 - abs(rate - 0.1) for rate in grid})
    (note,) = ANALYSIS.summarise(table_there, Evidence()).notes
    assert note == "the best rate of P-T still lies at the edge of the grid: the search was cut short"


def test_where_every_rate_diverged_lower_ones_are_tried(plain: Context) -> None:
    assert grown(plain.study, lambda variant, rate: None)[-1] == [0.004, 0.02, 0.1, 0.5]


def test_one_rate_is_given_not_searched(plain: Context) -> None:
    given_one = with_training(plain, learning_rates=(0.1,), extensions=3)
    assert grown(given_one, lambda variant, rate: 0.5) == [[0.1]]
    assert ANALYSIS.extra_trainings(given_one) == 0
    summary = ANALYSIS.summarise(both({0.1: 0.5}, {0.1: 0.6}), Evidence())
    assert summary.notes == ("one rate only: it was given, not chosen",)


@given(
    st.integers(0, 3),
    st.lists(st.sampled_from([0.001, 0.01, 0.1, 1.0, 10.0]), min_size=1, max_size=4, unique=True),
    st.floats(-6, 6),
    st.floats(-6, 6),
    st.sampled_from([(1000,), (1000, 1001)]),
)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_further_is_an_upper_bound(plain: Context, extensions, rates, p_peak, ri_peak, seeds) -> None:
    import math

    asked = with_training(plain, learning_rates=tuple(rates), extensions=extensions, tuning_seeds=seeds)
    peak = {"P_T": p_peak, "RI_T": ri_peak}
    grids = grown(asked, lambda variant, rate: 1 / (1 + abs(math.log10(rate) - peak[variant])))
    added = (len(grids[-1]) - len(grids[0])) * 2 * len(seeds)
    assert added <= ANALYSIS.extra_trainings(asked)
    assert set(grids[0]) <= set(grids[-1])


def test_both_variants_get_the_same_trainings(plain: Context) -> None:
    two = with_training(plain, tuning_seeds=(1000, 1001), tuning_epochs=2)
    units = list(ANALYSIS.tasks(two, Evidence(decision=True)))
    asked = {"P_T": [], "RI_T": []}
    for task in units:
        (member,) = task.members
        recipe = member.spec.recipe
        assert (recipe.epochs, member.spec.seed) == (2, member.seed)
        asked[member.variant].append((recipe.learning_rate, member.seed))
    assert sorted(asked["P_T"]) == sorted(asked["RI_T"]) == [(r, s) for r in (0.02, 0.1, 0.5) for s in (1000, 1001)]
    assert {spec.key for spec in ANALYSIS.networks(two, Evidence())} == {u.members[0].spec.key for u in units}


def test_a_plan_supposes_a_table_from_which_all_others_expand(plain: Context) -> None:
    supposed = checked(ANALYSIS, ANALYSIS.expected_table(plain.study))
    assert choose(supposed, "P_T") == choose(supposed, "RI_T") == 0.1
    two_rates = with_training(plain, learning_rates=(0.1, 0.5))
    from transferscope.analyses.learning_curves.analysis import LearningCurves

    evidence = Evidence({ANALYSIS.key: ANALYSIS.expected_table(two_rates)})
    step = expand(two_rates, [LearningCurves()], evidence, [ANALYSIS.key], {})
    grid = [piece for piece in step.pieces if piece.task.settings["setting"] == "grid"]
    assert len(grid) == 4, "only rates of the table: what comes on top is counted by further()"
