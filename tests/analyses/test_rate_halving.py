"""The search over rates in rungs: who is trained longer, when the grid grows, what a plan promises, what is said."""

import math
from collections import Counter
from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analyses.test_learning_rate import ANALYSIS, with_training
from tests.estimates import estimate_of
from tests.tables import example
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import choose
from transferscope.analyses.task_keys import new_units
from transferscope.context.context import Context

Metric = Callable[[str, float, int], float | None]


def halved(context: Context, **changes):
    rates = (0.001, 0.003, 0.01, 0.03, 0.1)
    return with_training(
        context, **{"search": "halving", "tuning_epochs": 9, "learning_rates": rates, "extensions": 0, **changes}
    )


def searched(study, metric: Metric, error: float | None = None) -> tuple[pl.DataFrame, list[Counter]]:
    """The whole search, round by round; ``metric(variant, rate, epochs)`` plays the trainings, None diverges."""
    keys: list[str] = []
    rows: list[dict] = []
    rounds: list[Counter] = []
    evidence = Evidence(decision=True)
    while new := new_units(ANALYSIS, ANALYSIS.tasks(study, evidence), study, keys):
        assert len(rounds) < 30, "the search never ends"
        keys += new
        asked: Counter = Counter()
        for task in new.values():
            (member,) = task.members
            recipe = member.spec.recipe
            value = metric(member.variant, recipe.learning_rate, recipe.epochs)
            asked[member.variant, recipe.epochs] += 1
            rows.append({
                "variant": member.variant, "learning_rate": recipe.learning_rate, "seed": member.seed,
                "epochs": recipe.epochs, "updates": 10 * recipe.epochs, "train_metric": value,
                "validation_metric": value, "validation_error": None if value is None else error,
                "validation_loss": None if value is None else 1 - value, "diverged": value is None,
            })  # fmt: skip
        rounds.append(asked)
        evidence = Evidence({ANALYSIS.key: example(ANALYSIS, rows)}, decision=True)
    return example(ANALYSIS, rows), rounds


def peak(p_t: float, ri_t: float) -> Metric:
    at = {"P_T": p_t, "RI_T": ri_t}
    return lambda variant, rate, epochs: (1 - abs(math.log10(rate / at[variant])) / 9) * (1 - 0.3 / epochs)


def test_each_variant_keeps_its_own_best_and_both_start_with_all(plain: Context) -> None:
    table, rounds = searched(halved(plain), peak(0.005, 0.03))
    assert rounds == [
        Counter({("P_T", 1): 5, ("RI_T", 1): 5}),
        Counter({("P_T", 3): 2, ("RI_T", 3): 2}),
    ]
    assert (choose(table, "P_T"), choose(table, "RI_T")) == (0.003, 0.03)
    longer = table.filter(pl.col("epochs") == 3)
    assert set(longer.filter(variant="P_T")["learning_rate"]) == {0.003, 0.01}
    assert set(longer.filter(variant="RI_T")["learning_rate"]) == {0.01, 0.03}


def test_a_grid_and_a_search_share_their_networks(plain: Context) -> None:
    """A tuning run of the last rung is the run of the grid: what one has trained the other finds."""
    warm = {"recipe": {"epochs": 3, "warmup_epochs": 2, "schedule": "cosine"}, "tuning_epochs": None}
    for changes in ({"tuning_epochs": 3}, warm):
        two = {**changes, "learning_rates": (0.01, 0.03, 0.1, 0.3)}
        grid = halved(plain, search="grid", **two)
        of_grid = {task.members[0].spec.key for task in ANALYSIS.tasks(grid, Evidence())}
        table, _ = searched(halved(plain, **two), peak(0.1, 0.1))
        evidence = Evidence({ANALYSIS.key: table}, decision=True)
        found = [task.members[0].spec for task in ANALYSIS.tasks(halved(plain, **two), evidence)]
        assert Counter(spec.recipe.epochs for spec in found) == {1: 8, 3: 4}
        assert {spec.key for spec in found if spec.recipe.epochs == 3} <= of_grid


def test_the_grid_is_what_it_was(plain: Context) -> None:
    grid = with_training(plain, search="grid")
    assert grid.settings.training.identity() == plain.study.settings.training.identity()
    assert "search" not in grid.settings.training.identity()
    assert halved(plain).settings.training.identity()["search"] == "halving"
    keys = [[unit.identity() for unit in ANALYSIS.tasks(each, Evidence())] for each in (grid, plain.study)]
    assert keys[0] == keys[1]


def test_the_rungs_are_as_long_as_tuning_runs_at_most(plain: Context) -> None:
    for epochs, steps in ((27, {1, 3, 9}), (3, {1, 3}), (1, {1})):
        table, _ = searched(
            halved(plain, tuning_epochs=epochs, learning_rates=[0.01 * 1.5**k for k in range(20)]), peak(1, 1)
        )
        assert set(table["epochs"]) == steps


def test_the_grid_grows_at_the_first_rung_for_both_where_a_best_lies_at_its_edge(plain: Context) -> None:
    wide = halved(plain, learning_rates=(0.01, 0.02, 0.04), extensions=5)
    table, rounds = searched(wide, peak(0.0025, 0.02))
    first = table.filter(pl.col("epochs") == 1)
    for variant in ("P_T", "RI_T"):
        rates = sorted(first.filter(variant=variant)["learning_rate"])
        assert rates == [0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04]
    assert choose(table, "P_T") == 0.0025
    assert [sum(each.values()) for each in rounds] == [6, 2, 2, 2, 4]


def test_it_grows_also_where_only_longer_runs_show_the_edge(plain: Context) -> None:
    """After one epoch the large rate leads, after three the smallest of all: the next below is tried from the start."""

    def turning(variant: str, rate: float, epochs: int) -> float:
        return 0.5 - abs(math.log10(rate / (0.02 if epochs == 1 else 0.005))) / 9

    table, rounds = searched(halved(plain, learning_rates=(0.01, 0.02, 0.04, 0.08), extensions=1), turning)
    assert sorted(set(table["learning_rate"])) == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert [sorted({epochs for _, epochs in each}) for each in rounds] == [[1], [3], [1]]
    assert choose(table, "P_T") == 0.01, "a rate that others beat at the first rung is not trained longer"
    assert "edge_of_grid" not in estimate_of(ANALYSIS.summarise(table, Evidence()), "chosen_rate", variant="P_T").flags


@given(
    st.integers(0, 2),
    st.lists(st.sampled_from([1e-4, 0.001, 0.01, 0.1, 1.0, 10.0]), min_size=1, max_size=6, unique=True),
    st.floats(-6, 6),
    st.floats(-6, 6),
    st.sampled_from([(1000,), (1000, 1001)]),
    st.sampled_from([3, 9, 12]),
)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_no_more_is_trained_at_any_length_than_a_plan_counts(
    plain: Context, extensions, rates, p_peak, ri_peak, seeds, epochs
) -> None:
    asked = halved(plain, extensions=extensions, learning_rates=rates, tuning_seeds=seeds, tuning_epochs=epochs)
    _, rounds = searched(asked, peak(10**p_peak, 10**ri_peak))
    most = Counter(spec.recipe.epochs for spec in ANALYSIS.extra_networks(asked))
    assert sum(most.values()) == ANALYSIS.extra_trainings(asked)
    done: Counter = Counter()
    for each in rounds[1:]:
        for (_, length), count in each.items():
            done[length] += count
    assert all(count <= most[length] for length, count in done.items())
    assert {length for _, length in rounds[0]} == {min(length for each in rounds for _, length in each)}


def test_where_every_rate_diverges_the_lowest_is_taken(plain: Context) -> None:
    table, rounds = searched(halved(plain), lambda variant, rate, epochs: None)
    assert choose(table, "P_T") == 0.001
    assert len(rounds) == 1


def test_the_choice_is_made_by_the_rule_among_the_longest_runs(plain: Context) -> None:
    """Within one standard error the smaller of the last rung; a smaller one of an earlier rung is out of it."""
    values = {0.001: 0.1, 0.003: 0.79, 0.01: 0.80, 0.03: 0.81, 0.1: 0.2}
    table, _ = searched(halved(plain), lambda variant, rate, epochs: values[rate], error=0.05)
    assert set(table.filter(pl.col("epochs") == 3)["learning_rate"]) == {0.01, 0.03}
    assert choose(table, "P_T") == 0.01


def test_what_was_dropped_is_said_by_key_and_in_words(plain: Context, approved) -> None:
    rates = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)

    def metric(variant: str, rate: float, epochs: int) -> float | None:
        if rate == 0.3:
            return None
        return {0.01: 0.8, 0.03: 0.7, 0.003: 0.69}.get(rate, 0.3 + rate) if epochs == 1 else {0.01: 0.95}.get(rate, 0.7)

    table, _ = searched(halved(plain, learning_rates=rates), metric)
    summary = ANALYSIS.summarise(table, Evidence())
    gone = [item for item in summary.facts["dropped"] if item["variant"] == "P_T"]
    assert {(item["learning_rate"], item["epochs"], item["reason"]) for item in gone} == {
        (0.3, 1, "diverged"), (0.0001, 1, "no_place"), (0.001, 1, "no_place"), (0.1, 1, "no_place"),
    }  # fmt: skip
    assert estimate_of(summary, "dropped_after", variant="P_T", learning_rate=0.3).verdict == "diverged"
    assert estimate_of(summary, "search_updates", variant="P_T").value == 10 * (7 + 9)
    approved(next(note for note in summary.notes if "rungs" in note))
    alone, _ = searched(halved(plain, search="grid", learning_rates=rates), metric)
    assert ANALYSIS.summarise(alone, Evidence()).facts["dropped"] == []


@pytest.mark.parametrize("wrong", ["halfing", 3, None])
def test_another_search_is_refused(plain: Context, wrong) -> None:
    with pytest.raises(ValueError, match="search"):
        with_training(plain, search=wrong)
