"""The ledger of advice, and what decision rules lose on public tables: against literal versions."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torchvision
from scipy import stats

from tests.reference import selection_reference as reference
from tools.advice import CONFIRMED, DOCS, Entry, kept, ledger, page, rules_table, tables_of
from tools.selection_rules import (
    PARAMETERS,
    Distribution,
    by_mean_accuracy,
    by_mean_rank,
    evaluated,
    jackknife,
    promised,
    regret_of_order,
    regret_of_random,
    rules_for,
)


def accuracies(targets=11, models=6, seed=0):
    # Rounded, so that there are ties.
    return np.random.default_rng(seed).normal(80, 3, (targets, models)).round(0)


@pytest.mark.parametrize("seed", range(5))
def test_rules_rank_as_literal_ones(seed):
    table = accuracies(4, seed=seed)
    assert by_mean_rank(table) == reference.mean_rank_order(table.tolist())
    means = table.mean(axis=0)
    assert by_mean_accuracy(table) == sorted(range(6), key=lambda model: (-means[model], model))


@pytest.mark.parametrize("k", CONFIRMED)
def test_a_random_choice_is_computed_as_if_every_choice_were_made(k):
    row = accuracies(1)[0]
    every = reference.random_regrets(row.tolist(), k)
    found = regret_of_random(row, k)
    assert sum(found.weights) == pytest.approx(1)
    assert found.mean == pytest.approx(np.mean(every))
    for limit, count in Counter(every).items():
        assert count
        assert found.below(limit) == pytest.approx(np.mean(np.asarray(every) <= limit))


def test_confirming_all_leaves_no_regret_and_more_is_never_worse():
    row = accuracies(1)[0]
    order = [3, 1, 0, 2, 5, 4]
    regrets = [regret_of_order(row, order, k).mean for k in range(1, 7)]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[-1] == 0 == regret_of_random(row, 6).mean


@pytest.mark.parametrize("k", CONFIRMED)
def test_targets_are_left_out_of_ranking_and_promise(k):
    table = accuracies()
    result = evaluated(table, by_mean_rank, k)
    rows = table.tolist()
    assert result.regrets == pytest.approx(reference.left_out(rows, reference.mean_rank_order, k))
    for place, promise in enumerate(result.promises):
        expected, limit = reference.promise(rows, place, reference.mean_rank_order, k)
        assert promise.expected == pytest.approx(expected)
        assert promise.limit == limit
        assert result.kept[place] == float(result.regrets[place] <= limit)


def test_a_promise_does_not_know_its_own_target():
    table = accuracies()
    changed = table.copy()
    changed[4] = changed[4][::-1] + 5
    for before, after in ((evaluated(table, by_mean_rank, 1), evaluated(changed, by_mean_rank, 1)),):
        assert before.promises[4] == after.promises[4]
        assert before.promises != after.promises


def test_limits_of_a_mean_are_those_of_student():
    # A fixed ranking learns nothing from other targets: its mean regret is a plain mean.
    table = accuracies()
    result = evaluated(table, lambda _: [2, 0, 1, 3, 4, 5], 1)
    low, high = stats.ttest_1samp(result.regrets, 0).confidence_interval(0.95)
    assert result.interval == pytest.approx((np.mean(result.regrets), low, high))
    assert jackknife(0.1, [0.0, 0.1, 0.2])[1] == 0


def test_limits_need_nine_targets_and_cover_as_promised():
    def of(value):
        return Distribution((value,), (1.0,))

    assert promised([of(float(value)) for value in range(8)]).limit is None
    assert promised([of(float(value)) for value in range(9)]).limit == 8
    assert promised([of(float(value)) for value in range(19)]).limit == 17
    generator = np.random.default_rng(1)
    draws = generator.exponential(size=(4000, 11))
    covered = [row[-1] <= promised([of(value) for value in row[:-1]]).limit for row in draws]
    # Exactly 10 of 11 for exchangeable regrets without ties.
    assert np.mean(covered) == pytest.approx(10 / 11, abs=4 * np.sqrt(10 / 121 / 4000))


def test_sizes_are_those_of_torchvision():
    for name, count in PARAMETERS.items():
        assert torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"] == count
    assert set(rules_for(["resnet34", "resnet50"])) == {"mean_rank", "mean_accuracy", "largest", "random"}
    assert list(rules_for(["resnet34", "resnet50"])["largest"](accuracies())) == [1, 0]
    assert "largest" not in rules_for(["byol", "swav"])


def estimates(*rows):
    columns = {"analysis": pl.String(), "quantity": pl.String(), "pair": pl.String(), "split": pl.String(),
               "value": pl.Float64(), "low": pl.Float64(), "high": pl.Float64()}  # fmt: skip
    return pl.DataFrame(list(rows), schema=columns, orient="row")


def test_promises_meet_their_proofs():
    found = ledger({
        "one": estimates(
            ("start", "expected_regret", None, "validation", 0.003, 0.0, 0.01),
            ("start", "proved_regret", None, "test", 0.002, 0.0, 0.009),
            ("average", "expected_regret", "a", "validation", 0.001, 0.0, 0.002),
            ("average", "proved_regret", "a", "test", 0.02, 0.01, 0.03),
            ("average", "expected_regret", "b", "validation", 0.001, 0.0, 0.002),
            ("average", "proved_regret", "b", "test", 0.001, 0.0, 0.004),
            ("freeze", "expected_regret", None, "validation", 0.001, 0.0, 0.002),
            ("freeze", "expected_regret", "none", "validation", None, None, None),
            ("outcome", "metric", None, "test", 0.9, 0.8, 1.0),
        )
    })  # fmt: skip
    assert [(entry.analysis, entry.subject, entry.outcome, entry.covered) for entry in found] == [
        ("average", "pair a", "wrong", False),
        ("average", "pair b", "undecided", True),
        ("freeze", "", "undecided", None),
        ("start", "", "right", True),
    ]
    text = page(found, pl.read_csv(DOCS / "advice.csv"))
    assert "4 given: 1 right, 1 wrong, 2 undecided. 2 of 3 proved regrets" in text


def test_two_promises_of_one_advice_are_an_error():
    row = ("start", "expected_regret", None, "validation", 0.003, 0.0, 0.01)
    with pytest.raises(ValueError, match="two rows of expected_regret for start"):
        ledger({"one": estimates(row, row)})
    with pytest.raises(ValueError, match="no column quantity"):
        ledger({"one": pl.DataFrame({"value": [1.0]})})


def test_an_advice_without_limit_is_undecided():
    assert Entry("s", "start", "", 0.1, None, 0.0, 0.0, 0.1).outcome == "undecided"


def test_the_page_is_that_of_the_kept_tables():
    assert (DOCS / "advice.md").read_text(encoding="utf-8") == kept()


def test_an_incomplete_table_is_an_error(tmp_path):
    for zoo in ("supervised", "self_supervised"):
        (tmp_path / f"{zoo}.csv").write_text("target,model,accuracy\na,x,1\na,y,2\nb,x,3\n")
    with pytest.raises(ValueError, match="one accuracy for each target and model, got 3 rows"):
        tables_of(tmp_path)


@pytest.mark.skipif(
    "TRANSFERSCOPE_DATA" not in os.environ, reason="TRANSFERSCOPE_DATA does not name a folder of real data"
)
def test_kept_numbers_are_those_of_the_public_tables():
    found = rules_table(tables_of(Path(os.environ["TRANSFERSCOPE_DATA"]) / "selection"))
    assert found.equals(pl.read_csv(DOCS / "advice.csv", schema=found.schema))
