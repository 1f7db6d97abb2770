"""Averages within a study: which networks, the rows, the answer, promise and proof."""

import math

import polars as pl
import pytest
import torch
from scipy import stats

from tests.estimates import estimate_of
from tests.report.synthetic_average import average_table
from tests.studies import Diverging, Trained
from transferscope.analyses.average.analysis import AverageAnalysis
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.measures.intervals import leave_one_out_interval, seeds_interval
from transferscope.methods.averaging.advice import AverageData, average_networks
from transferscope.methods.evaluation import Evaluation

ANALYSIS = AverageAnalysis(variants=("P_T",), batch_norm_images=40, margin=0.2)


def tasks(trained: Trained, analysis: AverageAnalysis = ANALYSIS) -> dict[str, list[Task]]:
    found: dict[str, list[Task]] = {}
    for task in analysis.tasks(trained.study, trained.evidence.for_decision()):
        found.setdefault(task.settings["set"], []).append(task)
    return found


@pytest.fixture(scope="module")
def table(trained: Trained) -> pl.DataFrame:
    found = tasks(trained)
    parts = [found["seeds"][0], found["rates"][0], found["run"][0]]
    return pl.concat(checked(ANALYSIS, ANALYSIS.measure(task, trained.context).table) for task in parts)


def test_sets_are_seeds_rates_and_kept_epochs_and_nothing_is_trained(trained: Trained) -> None:
    found = tasks(trained, AverageAnalysis())
    assert {kind: len(of) for kind, of in found.items()} == {"seeds": 2, "rates": 2, "run": 8}
    seeds = found["seeds"][0]
    assert [member.label for member in seeds.members] == [f"P-T[{seed}]" for seed in range(4)]
    assert found["run"][0].settings["epochs"] == [1, 2, 3, 4]
    # Tuning runs are shorter than report runs here: they are averaged by themselves.
    rates = found["rates"][0].members
    assert {member.seed for member in rates} == {1000}
    assert {member.spec.recipe.epochs for member in rates} == {3}
    known = {member.spec.key for task in trained.analysis("learning_rate").tasks(trained.study, trained.evidence)
             for member in task.members}  # fmt: skip
    assert {member.spec.key for member in rates} <= known
    assert all(ANALYSIS.forward_passes(task, trained.study) > 0 for of in found.values() for task in of)


def test_rows_are_those_of_the_method(table: pl.DataFrame, trained: Trained) -> None:
    (task,) = tasks(trained)["seeds"]
    context = trained.context
    networks = [context.network(member.spec) for member in task.members]
    data = AverageData(context.batches("validation"), context.batches("test"))
    found = average_networks(
        networks, data, Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        methods=["uniform"], margin=0.2, force=True,
    )  # fmt: skip
    rows = table.filter(pl.col("set") == "seeds")
    alone = rows.filter(level="network", quantity="metric", split="test")["value"].to_list()
    assert alone == [member.scores["test"].metric for member in found.members]
    histories = [context.history(member.spec).row(-1, named=True)["test_metric"] for member in task.members]
    assert alone == pytest.approx(histories)
    if not any(member.correspondence and member.correspondence.aligned for member in found.members):
        uniform = rows.filter(level="average", method="uniform", quantity="metric", split="test")["value"].item()
        assert uniform == found.made.average.scores["test"].metric
    ensemble = rows.filter(level="ensemble")["value"].item()
    logits = torch.stack([context.outputs(member.spec, "test").logits for member in task.members]).mean(dim=0)
    right = float((logits.argmax(1) == context.labels("test")).double().mean())
    best = alone[found.best]
    assert ensemble == pytest.approx(right - best)
    pairs = rows.filter(level="pair")
    assert pairs.filter(quantity="disagreement").height == 6
    left = rows.filter(level="left_out")
    assert left.height in (0, 4)


def test_a_run_is_averaged_over_its_epochs(table: pl.DataFrame) -> None:
    rows = table.filter(pl.col("set") == "run")
    assert rows["run"].unique().to_list() == [0]
    assert set(rows.drop_nulls("method")["method"]) <= {"last", "ema"}
    assert rows.filter(level="network", quantity="metric", split="validation").height == 4
    assert rows.filter(quantity="barrier").is_empty()


def test_every_set_has_an_answer_a_promise_and_a_proof(table: pl.DataFrame) -> None:
    summary = checked_summary(ANALYSIS, ANALYSIS.summarise(table, Evidence()))
    answers = table.filter(level="answer")
    assert answers.height == 6
    assert set(answers["verdict"]) <= {"yes", "no"}
    for kind in ("seeds", "rates", "run"):
        assert any(item.at.get("set") == kind for item in summary.estimates)
    for item in summary.estimates:
        if item.quantity == "promised_regret":
            assert 0 <= item.low <= item.value
    assert summary.verdict.count("P-T") == 3


def test_diverged_networks_are_left_out(trained: Trained) -> None:
    (task,) = tasks(trained)["seeds"]
    lost = Diverging(trained.context, *task.members[:3])
    assert ANALYSIS.measure(task, lost).table.is_empty()
    run = tasks(trained)["run"][0]
    assert ANALYSIS.measure(run, Diverging(trained.context, *run.members)).table.is_empty()


def test_a_study_without_two_networks_cannot_have_it(trained: Trained) -> None:
    assert AverageAnalysis(sets=("seeds",), max_seeds=1).skip_reason(trained.study) is not None
    assert AverageAnalysis(sets=("run",), max_seeds=1).skip_reason(trained.study) is None
    assert AverageAnalysis().skip_reason(trained.study) is None


def test_no_answer_changes_with_the_test_rows(trained: Trained) -> None:
    """What is decided stands in rows of validation data: their values alone make the words of the answer."""
    table = average_table()
    decided = pl.when(pl.col("split") == "test").then(0.5 - pl.col("value")).otherwise(pl.col("value"))
    changed = table.with_columns(decided.alias("value"), low=pl.lit(None, float), high=pl.lit(None, float))
    one, two = (ANALYSIS.summarise(each, Evidence()) for each in (table, changed))
    assert [item.verdict for item in one.estimates] == [item.verdict for item in two.estimates]


def test_leaving_one_seed_out_is_students_for_a_mean_and_the_jackknife_else() -> None:
    values = [0.71, 0.74, 0.72, 0.79]
    without = [sum(values[:i] + values[i + 1 :]) / 3 for i in range(4)]
    found, wanted = leave_one_out_interval(sum(values) / 4, without), seeds_interval(values)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    left = [0.01, 0.03, -0.02]
    mean = sum(left) / 3
    error = math.sqrt(2 / 3 * sum((each - mean) ** 2 for each in left))
    found = leave_one_out_interval(0.02, left)
    assert found.high == pytest.approx(0.02 + stats.t.ppf(0.975, 2) * error)
    assert leave_one_out_interval(0.02, left[:2]).low is None
    assert leave_one_out_interval(0.02, [0.01] * 4).flags == ("no_spread",)


def test_the_summary_of_the_example(approved) -> None:
    summary = checked_summary(AverageAnalysis(), AverageAnalysis().summarise(average_table(), Evidence()))
    seeds = estimate_of(summary, "gain_over_seeds", variant="P_T", method="uniform")
    assert (seeds.basis, seeds.n) == ("seeds", 4)
    promised = estimate_of(summary, "promised_regret", variant="P_T", set="seeds", run="all")
    assert promised.verdict == "yes"
    assert estimate_of(summary, "diversity_and_gain", variant="P_T").value == pytest.approx(1.0)
    approved(summary.verdict)
