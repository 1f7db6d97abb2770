"""Successive halving: the rule against its literal version, and what must hold of any search."""

import itertools
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.halving_reference import search as literal_search
from transferscope.analyses.halving import Dropped, Halving, Score, Search, ranked, rungs, select
from transferscope.errors import AnalysisError

HALVING = Halving((1, 3, 9))
ARMS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), min_size=1, max_size=9, unique=True)
NUMBERS = st.integers(0, 6).map(lambda number: number / 6)
SCORES = st.lists(
    st.builds(
        Score,
        metric=st.one_of(st.none(), NUMBERS),
        error=st.sampled_from([0.0, 0.05, 0.3]),
        loss=st.one_of(st.none(), NUMBERS),
        diverged=st.sampled_from([False, False, False, True]),
    ),
    min_size=27,
    max_size=27,
)


def played(rule: Halving, arms: list, score: Callable[[object, int], Score]) -> Search:
    """The search, rung by rung; ``score`` plays the trainings."""
    known: dict = {}
    for _ in range(len(rule.rungs) + 1):
        found = rule.search(arms, known)
        if found.finished:
            return found
        known |= {(arm, rung): score(arm, rung) for arm, rung in found.waiting}
    raise AssertionError("the search never ends")


def as_drawn(arms: list, drawn: list[Score]) -> Callable[[object, int], Score]:
    table = {(arm, rung): drawn[3 * at + step] for at, arm in enumerate(arms) for step, rung in enumerate((1, 3, 9))}
    return lambda arm, rung: table[arm, rung]


@given(ARMS, SCORES, st.integers(2, 4), st.sampled_from([(1, 3, 9), (3, 9), (9,)]), st.randoms())
@settings(derandomize=True, deadline=None, max_examples=150)
def test_the_search_is_the_literal_one_in_any_order_of_the_arms(arms, drawn, factor, steps, shuffle) -> None:
    score, rule = as_drawn(arms, drawn), Halving(steps, factor)
    plain = {arm: {rung: _plain(score(arm, rung)) for rung in steps} for arm in arms}
    trained, dropped, left = literal_search(arms, steps, factor, plain)
    shuffle.shuffle(arms)
    found = played(rule, arms, score)
    assert dict(found.asked) == {rung: tuple(those) for rung, those in trained.items()}
    assert dict(found.dropped) == {arm: Dropped(*why) for arm, why in dropped.items()}
    assert found.finalists == tuple(left)
    assert found.epochs == sum(rung * len(those) for rung, those in trained.items())
    assert set(found.finalists) | set(found.dropped) == set(arms)
    assert not set(found.finalists) & set(found.dropped)


def _plain(score: Score) -> tuple:
    return score.metric, score.error, score.loss, score.diverged


@given(ARMS, SCORES, st.integers(2, 4))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_a_search_takes_no_more_than_was_promised(arms, drawn, factor) -> None:
    rule = Halving((1, 3, 9), factor)
    found = played(rule, arms, as_drawn(arms, drawn))
    most = rule.most(len(arms))
    assert most[1] == 0
    for rung, those in found.asked.items():
        assert len(those) <= (len(arms) if rung == 1 else most.get(rung, 0))


@given(ARMS, ARMS, SCORES, SCORES)
@settings(derandomize=True, deadline=None, max_examples=80)
def test_arms_that_come_later_start_at_the_bottom_and_nothing_is_trained_in_vain(arms, later, drawn, more) -> None:
    """The first search ends, then arms come: what was trained stays, and no more is asked than was promised."""
    new = [arm for arm in later if arm not in arms]
    score = as_drawn([*arms, *new], [*drawn[: 3 * len(arms)], *more[: 3 * len(new)]])
    first = played(HALVING, arms, score)
    known = {(arm, rung): score(arm, rung) for rung, those in first.asked.items() for arm in those}
    while not (found := HALVING.search([*arms, *new], known)).finished:
        known |= {(arm, rung): score(arm, rung) for arm, rung in found.waiting}
    most = HALVING.most(len(arms), len(new))
    for rung, those in found.asked.items():
        assert set(first.asked.get(rung, ())) <= set(those) or rung not in first.asked
        assert len(those) <= most.get(rung, 0) + (len(arms) if rung == 1 else 0)
    assert set(found.asked[1]) == {*arms, *new}


def flat(metrics: Mapping, error: float = 0.0) -> Callable[[object, int], Score]:
    return lambda arm, rung: Score(metrics[arm], error, 0.5, diverged=metrics[arm] is None)


def test_the_best_third_goes_on_and_the_last_one_left_is_not_trained_longer() -> None:
    found = played(HALVING, list(range(9)), flat({arm: arm / 10 for arm in range(9)}))
    assert dict(found.asked) == {1: tuple(range(9)), 3: (6, 7, 8)}
    assert found.finalists == (8,)
    assert found.epochs == 9 + 9
    assert found.dropped[5] == Dropped(1, "no_place")


def test_diverged_arms_go_first_and_their_places_to_others() -> None:
    metrics = {1: None, 2: 0.2, 3: None, 4: 0.4, 5: 0.5, 6: None, 7: float("nan")}
    found = played(HALVING, list(metrics), flat(metrics))
    assert found.asked[3] == (2, 4, 5)
    assert {arm for arm, drop in found.dropped.items() if drop.reason == "diverged"} == {1, 3, 6, 7}


def test_where_all_arms_diverge_none_is_left() -> None:
    found = played(HALVING, [0.1, 0.2], flat({0.1: None, 0.2: None}))
    assert (found.finalists, found.finished, dict(found.asked)) == ((), True, {1: (0.1, 0.2)})


def test_one_arm_is_trained_once_and_kept() -> None:
    found = played(HALVING, ["only"], flat({"only": 0.5}))
    assert (found.finalists, dict(found.asked)) == (("only",), {1: ("only",)})


def test_of_equal_arms_the_lower_loss_goes_first_then_the_smaller_arm() -> None:
    scores = {3: Score(0.5, loss=0.2), 1: Score(0.5, loss=0.3), 2: Score(0.5, loss=0.3), 4: Score(None, loss=0.1)}
    assert ranked(scores, [4, 3, 2, 1]) == (3, 1, 2, 4)


@pytest.mark.parametrize(
    ("own", "error", "reason"),
    [
        ((0.50, 0.55), 0.0, "behind"),  # 0.55 + 0.05 < 0.70
        ((0.30, 0.55), 0.0, None),  # gained 0.25: may reach 0.80
        ((0.50, 0.55), 0.06, None),  # 0.60 + 0.06 > 0.70 − 0.06
        ((0.60, 0.55), 0.0, "behind"),  # a loss is no gain
    ],
)
def test_an_arm_is_behind_where_even_its_best_end_is_below_the_worst_of_the_best(own, error, reason) -> None:
    seen = [
        {"best": Score(0.7), "own": Score(own[0])},
        {"best": Score(0.7, error), "own": Score(own[1], error)},
    ]
    assert select(seen, 2).get("own") == reason
    assert select(seen[1:], 2) == {}, "after the first rung nothing is known of gains"


def test_noise_of_zero_and_an_unknown_metric_leave_the_order_alone() -> None:
    seen = [{arm: Score(None, loss=arm) for arm in (1, 2, 3)}] * 2
    assert select(seen, 1) == {2: "no_place", 3: "no_place"}


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_rungs_ascend_to_the_longest_by_about_the_factor(factor: int) -> None:
    for longest in range(1, 60):
        found = rungs(longest, factor)
        assert found[-1] == longest
        assert all(factor / 1.5 <= b / a <= factor * 1.5 for a, b in itertools.pairwise(found))
        assert found[0] <= factor
        assert rungs(longest, factor, shortest=longest) == (longest,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Halving(()), "rungs ascend"),
        (lambda: Halving((3, 3)), "rungs ascend"),
        (lambda: Halving((0, 3)), "rungs ascend"),
        (lambda: Halving((1, 3), 1), "one in ``factor`` goes on"),
        (lambda: rungs(0), "longest and shortest of 1 or more"),
        (lambda: rungs(9, 1), "a factor of 2 or more"),
        (lambda: HALVING.search([], {}), "needs arms, each once"),
        (lambda: HALVING.search([1, 1], {}), "needs arms, each once"),
        (lambda: HALVING.search([1, "a"], {}), "can be put in order"),
    ],
)
def test_what_makes_no_search_is_refused(call, words) -> None:
    with pytest.raises(AnalysisError, match=words):
        call()
