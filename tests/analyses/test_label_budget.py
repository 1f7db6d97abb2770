"""Label budgets: which networks they ask for, what their summary answers, and what they do with bad input."""

from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from tests.report.synthetic_labels import label_budget_table
from tests.studies import arrays, bound
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.label_budget.analysis import LabelBudget
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.summary import Summary
from transferscope.context.context import Context
from transferscope.context.resolved_study import TRAINED


def evidence(context: Context, *rows: pl.DataFrame, of: LabelBudget | None = None) -> Evidence:
    rate = LearningRate()
    tables = {rate.key: rate.expected_table(context.study)}
    if rows and of is not None:
        tables[of.key] = rows[0]
    return Evidence(tables).for_decision()


def summary(**changes: Any) -> Summary:
    analysis = LabelBudget(n_bootstrap=100, **changes.pop("settings", {}))
    found = analysis.summarise(label_budget_table(**changes), Evidence())
    return checked_summary(analysis, found)


def of(found: Summary, quantity: str, **at: Any) -> Estimate:
    (item,) = (each for each in found.estimates if each.quantity == quantity and at.items() <= each.at.items())
    return item


# -- networks ------------------------------------------------------------------------------------------------


def test_each_budget_is_trained_on_its_own_part_for_equally_many_updates(plain: Context) -> None:
    analysis = LabelBudget(fractions=(0.1, 0.3))
    tasks = list(analysis.tasks(plain.study, evidence(plain)))
    assert [task.settings["fraction"] for task in tasks] == [0.1, 0.3, 1.0]
    assert all(len(task.members) == 6 for task in tasks)
    whole = tasks[-1].members[0].spec
    assert whole.key == plain.study.trained("RI_T", 0, whole.recipe.learning_rate).key, "shared with the study"
    updates = whole.recipe.epochs * plain.study.training_images
    for task in tasks[:-1]:
        parts = {}
        for member in task.members:
            data, recipe = member.spec.data, member.spec.recipe
            images = plain.splits(data)["train"]
            parts[member.variant, member.seed] = set(images.tolist())
            assert recipe.epochs * len(images) == pytest.approx(updates, rel=0.15)
            assert recipe.learning_rate == whole.recipe.learning_rate
        label = f"{task.settings['fraction']:g}"
        assert parts[f"P_T_{label}", 0] == parts[f"RI_T_{label}", 0], "paired"
        assert parts[f"P_T_{label}", 0] != parts[f"P_T_{label}", 1], "drawn anew by each seed"
    small, large = (set(plain.splits(task.members[0].spec.data)["train"].tolist()) for task in tasks[:2])
    assert small < large < set(plain.splits()["train"].tolist()), "nested"


def test_a_search_chooses_a_rate_of_each_budget_on_validation_data(plain: Context) -> None:
    analysis = LabelBudget(fractions=(0.3,), rates="search")
    first = list(analysis.tasks(plain.study, evidence(plain)))
    tuning = [task for task in first if task.settings["level"] == "tuning"]
    assert len(tuning) == len(TRAINED) * 3
    assert [task.settings["fraction"] for task in first if task.settings["level"] == "network"] == [1.0]
    best = {"P_T": 0.02, "RI_T": 0.1}
    found = analysis.example(
        {
            "level": "tuning", "variant": variant, "seed": 1000, "fraction": 0.3, "learning_rate": rate,
            "split": "validation", "value": 0.9 if rate == best[variant] else 0.5,
        }
        for variant in TRAINED for rate in (0.004, 0.02, 0.1, 0.5)
    )  # fmt: skip
    tasks = list(analysis.tasks(plain.study, evidence(plain, found, of=analysis)))
    reported = next(task for task in tasks if task.settings == {"level": "network", "fraction": 0.3})
    rates = {member.variant.removesuffix("_0.3"): member.spec.recipe.learning_rate for member in reported.members}
    assert rates == best


def test_ten_images_per_class_make_equal_budgets_one(tmp_path: Any) -> None:
    few = bound(tmp_path, target={"data": arrays(tmp_path / "few", 48, 0), "image_size": 16})
    assert max(few.study.class_counts) <= 11
    analysis = LabelBudget()
    budgets = analysis.budgets(few.study)
    assert len(budgets) == len(set(budgets.values())) < 5
    assert set(budgets) >= {0.1, 0.3, 1.0}, "of equal ones the largest fraction stays"
    for share, images in budgets.items():
        data = few.study.data.model_copy(update={"fraction": share})
        assert len(few.splits(data)["train"]) == images
    close = LabelBudget(fractions=(0.99, 1.0))
    assert "at least one" in close.skip_reason(few.study)
    assert analysis.skip_reason(few.study) is None


def test_several_labels_per_image_have_budgets_too(tmp_path: Any) -> None:
    several = bound(tmp_path, target={"data": arrays(tmp_path / "multi", 180, 0, multi=True), "image_size": 16})
    analysis = LabelBudget(fractions=(0.1, 0.3))
    for task in analysis.tasks(several.study, evidence(several)):
        data = task.members[0].spec.data
        images = len(several.splits(data)["train"]) // data.repeats
        assert images == pytest.approx(analysis.budgets(several.study)[task.settings["fraction"]], abs=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fractions": (1.0,)}, "one budget makes no curve"),
        ({"fractions": (0.0, 0.5)}, "different shares"),
        ({"fractions": (0.5, 0.5)}, "different shares"),
        ({"factor": 1.0}, "greater than 1"),
        ({"target": 1.5}, "less than 1"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LabelBudget(**settings)


# -- answers -------------------------------------------------------------------------------------------------


def test_answers_both_ways_with_limits(approved: Any) -> None:
    found = summary()
    gain = of(found, "gain_of_labels", variant="P_T")
    truth = 2000**-0.4 - 4000**-0.4
    assert gain.low <= truth <= gain.high
    assert gain.verdict == "gains"
    needed = of(found, "labels_needed", variant="P_T")
    assert needed.value is not None
    multiplier = of(found, "label_multiplier", images=200)
    assert multiplier.value == pytest.approx(4, rel=0.25)
    assert multiplier.verdict == "worth more"
    assert of(found, "crossover").value is None
    assert found.facts["families"]["P_T"]["family"] in ("power", "power_floor")
    approved(found.verdict, *found.notes)


def test_a_promise_is_held_against_test_data() -> None:
    found = summary()
    promised, proved = (of(found, name, variant="RI_T") for name in ("promised_gain", "proved_gain"))
    assert promised.at == proved.at == {"variant": "RI_T", "images": 600}
    assert proved.verdict == "within its limits"
    assert promised.low < proved.value < promised.high


def test_no_answer_changes_with_test_data() -> None:
    """The curves rest on validation data: metrics and proofs alone are of test data."""
    table = label_budget_table()
    other = table.with_columns(
        pl.when(pl.col("split") == "test").then(0.5 - pl.col("value") / 3).otherwise(pl.col("value")).alias("value")
    )
    one, two = (LabelBudget(n_bootstrap=100).summarise(each, Evidence()) for each in (table, other))
    of_test = ("metric", "proved_gain")
    kept = [[item for item in each.estimates if item.quantity not in of_test] for each in (one, two)]
    assert kept[0] == kept[1]
    assert one.verdict == two.verdict
    assert one.estimates != two.estimates


def test_a_given_value_of_the_metric_is_a_goal_too() -> None:
    needed = of(summary(settings={"target": 0.85}), "labels_needed", variant="P_T")
    assert needed.value == pytest.approx((1 / 0.09) ** 2.5, rel=0.2)
    assert "0.85" in needed.at["goal"]
    out_of_reach = of(summary(settings={"target": 0.99}), "labels_needed", variant="RI_T")
    assert out_of_reach.value is None
    assert "beyond_range" in out_of_reach.flags


def test_far_factors_and_few_budgets_are_flagged() -> None:
    assert "extrapolated" in of(summary(settings={"factor": 20.0}), "gain_of_labels", variant="P_T").flags
    two = summary(budgets=(200, 2000))
    assert of(two, "gain_of_labels", variant="P_T").value is None
    assert of(two, "gain_of_labels", variant="P_T").flags == ("few_budgets",)
    assert of(two, "label_multiplier", images=200).value is not None or "beyond_range" in of(
        two, "label_multiplier", images=200
    ).flags  # fmt: skip


def test_runs_that_diverged_are_left_out_and_named(approved: Any) -> None:
    some = summary(lost=[("RI_T", 1, 20), *(("RI_T", seed, 60) for seed in (0, 1, 2))])
    assert of(some, "metric", variant="RI_T", images=20).flags == ("incomplete",)
    assert of(some, "gain_of_labels", variant="RI_T").value is not None
    every = summary(lost=[(variant, s, n) for variant in TRAINED for s in (0, 1, 2) for n in (20, 60, 200, 600, 2000)])
    assert all(item.value is None for item in every.estimates)
    approved(every.verdict)


def test_one_seed_has_answers_and_says_so() -> None:
    gain = of(summary(seeds=(0,)), "gain_of_labels", variant="P_T")
    assert "too_few_seeds" in gain.flags
    assert gain.basis is None
