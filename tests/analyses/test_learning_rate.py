"""The search over learning rates: who is chosen, and when the grid grows."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.estimates import estimate_of
from tests.studies import Trained, study
from tests.tables import example
from transferscope.analyses.contract import checked
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate, choose, chosen, scores
from transferscope.analyses.task_keys import task_key
from transferscope.analyses.tuned import tuned_members
from transferscope.context.context import Context

ANALYSIS = LearningRate()


def table(*rows: tuple, error: float | None = None) -> pl.DataFrame:
    """Rows of (variant, rate, seed, metric, loss), each with one standard error; a metric of None is a diverged run."""
    made = [
        {
            "variant": variant, "learning_rate": rate, "seed": seed, "train_metric": metric,
            "validation_metric": metric, "validation_error": None if metric is None else error,
            "validation_loss": loss, "diverged": metric is None,
        }
        for variant, rate, seed, metric, loss in rows
    ]  # fmt: skip
    return example(ANALYSIS, made, epochs=3, updates=30)


def both(p_t: dict[float, float | None], ri_t: dict[float, float | None]) -> pl.DataFrame:
    return table(
        *(
            (variant, rate, 1000, metric, None if metric is None else 1 - metric)
            for variant, metrics in (("P_T", p_t), ("RI_T", ri_t))
            for rate, metric in metrics.items()
        )
    )


def with_training(context: Context, **changes) -> "object":
    """The plain study's facts, with other settings of its training."""
    from dataclasses import replace

    asked = context.study.settings
    training = type(asked.training).model_validate({**asked.training.model_dump(), **changes})
    return replace(context.study, settings=asked.model_copy(update={"training": training}))


# -- choose -----------------------------------------------------------------------------------------------------


def test_the_highest_mean_metric_over_tuning_seeds_is_chosen() -> None:
    rows = table(
        ("P_T", 0.1, 1000, 0.9, 0.1),
        ("P_T", 0.1, 1001, 0.5, 0.1),
        ("P_T", 0.2, 1000, 0.75, 0.3),
        ("P_T", 0.2, 1001, 0.75, 0.3),
        ("RI_T", 0.1, 1000, 1.0, 0.1),
    )
    assert choose(rows, "P_T") == 0.2
    assert choose(rows, "RI_T") == 0.1


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([(0.1, 0.8, 0.5), (0.2, 0.8, 0.4)], 0.2),  # equal metrics: the lower loss
        ([(0.2, 0.8, 0.5), (0.1, 0.8, 0.5), (0.4, 0.8, 0.5)], 0.1),  # equal losses as well: the lower rate
        ([(0.1, None, None), (0.2, 0.1, 9.0)], 0.2),  # a diverged one never wins
        ([(0.4, None, None), (0.2, None, None)], 0.2),  # all diverged: the lowest
        ([(0.3, 0.4, 1.0)], 0.3),
    ],
)
def test_ties_and_divergence(rows, chosen) -> None:
    assert choose(table(*(("P_T", rate, 1000, metric, loss) for rate, metric, loss in rows)), "P_T") == chosen


def test_a_rate_at_which_one_seed_diverged_comes_after_all_others() -> None:
    rows = table(
        ("P_T", 0.1, 1000, 0.5, 1.0), ("P_T", 0.1, 1001, 0.5, 1.0),
        ("P_T", 0.2, 1000, 0.9, 0.1), ("P_T", 0.2, 1001, None, None),
    )  # fmt: skip
    assert choose(rows, "P_T") == 0.1
    assert scores(rows, "P_T")["learning_rate"].to_list() == [0.1, 0.2]


def test_metrics_that_differ_by_the_order_of_a_sum_are_a_tie() -> None:
    parts = (0.1, 0.2, 0.3)
    assert (parts[0] + parts[1]) + parts[2] != (parts[2] + parts[1]) + parts[0]
    rows = table(
        *(("P_T", 0.2, 1000 + k, metric, 0.5) for k, metric in enumerate(parts)),
        *(("P_T", 0.1, 1000 + k, metric, 0.4) for k, metric in enumerate(reversed(parts))),
    )
    assert choose(rows, "P_T") == 0.1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=6), st.randoms())
@settings(derandomize=True, deadline=None, max_examples=40)
def test_the_choice_does_not_depend_on_the_order_of_the_runs(values, shuffle) -> None:
    rows = [("P_T", 0.01 * 2**k, 1000, m / 10, loss / 4) for k, (m, loss) in enumerate(values)]
    literal = max(rows, key=lambda row: (row[3], -row[4], -row[1]))[1]
    shuffle.shuffle(rows)
    assert choose(table(*rows), "P_T") == literal


# -- one standard error -----------------------------------------------------------------------------------------


@pytest.mark.kind("C8")
@pytest.mark.parametrize(
    ("metrics", "error", "rate"),
    [
        ({0.03: 0.8036, 0.09: 0.8041}, 0.03, 0.03),  # of 250 images: which of them is ahead is chance
        ({0.03: 0.8036, 0.09: 0.8041}, None, 0.09),  # the rule `best`
        ({0.01: 0.5, 0.03: 0.8036, 0.09: 0.8041}, 0.03, 0.03),
        ({0.01: 0.774, 0.03: 0.7, 0.09: 0.8041}, 0.0301, 0.01),  # the smallest, whatever lies between
        ({0.01: 0.75, 0.03: 0.875}, 0.125, 0.01),  # just within
        ({0.01: 0.75, 0.03: 0.875}, 0.1249, 0.03),  # just outside
        ({0.03: 0.875, 0.09: 0.875}, 0.1, 0.03),
        ({0.03: 0.9, 0.09: 0.88}, 0.1, 0.03),  # never a larger one than the best
        ({0.01: None, 0.03: 0.8, 0.09: 0.81}, 0.1, 0.03),  # a diverged one is not as good
        ({0.01: None, 0.03: None}, 0.1, 0.01),
    ],
)
def test_the_smallest_rate_within_one_standard_error_of_the_best(metrics, error, rate) -> None:
    rows = [("P_T", r, 1000, m, None if m is None else 1.0) for r, m in metrics.items()]
    found = chosen(table(*rows, error=error), "P_T")
    finite = {r: m for r, m in metrics.items() if m is not None}
    best = max(finite, key=lambda r: (finite[r], -r), default=min(metrics))
    assert (found.rate, found.best, found.metric) == (rate, best, finite.get(best))
    assert found.error == (pytest.approx(error) if finite and error is not None else None)
    assert found.moved == (rate != best)
    assert bool(found.note) == found.moved


@pytest.mark.kind("C8")
def test_a_rate_at_which_one_of_its_seeds_diverged_is_never_as_good() -> None:
    rows = (
        ("P_T", 0.1, 1000, 0.9, 1.0), ("P_T", 0.1, 1001, None, None),
        ("P_T", 0.2, 1000, 0.9, 1.0), ("P_T", 0.2, 1001, 0.9, 1.0),
    )  # fmt: skip
    assert choose(table(*rows, error=0.5), "P_T") == 0.2


@pytest.mark.kind("C8")
def test_seeds_add_their_spread_and_images_theirs_which_no_seed_shrinks() -> None:
    """√(SE² + s²/k), from three seeds 0.7, 0.8, 0.9: s = 0.1."""
    rows = table(*(("P_T", 0.2, 1000 + k, 0.7 + 0.1 * k, 1.0) for k in range(3)), error=0.05)
    literal = (0.05**2 + 0.1**2 / 3) ** 0.5
    assert chosen(rows, "P_T").error == pytest.approx(literal)
    one = table(("P_T", 0.2, 1000, 0.8, 1.0), error=0.05)
    assert chosen(one, "P_T").error == pytest.approx(0.05)
    # A smaller rate between one and √(1 + …) errors below the best is taken with the spread, and not without it.
    lower = [("P_T", 0.1, 1000 + k, 0.8 - 0.07, 1.0) for k in range(3)]
    spread = [("P_T", 0.2, 1000 + k, 0.7 + 0.1 * k, 1.0) for k in range(3)]
    steady = [("P_T", 0.2, 1000 + k, 0.8, 1.0) for k in range(3)]
    assert choose(table(*lower, *spread, error=0.05), "P_T") == 0.1
    assert choose(table(*lower, *steady, error=0.05), "P_T") == 0.2


@pytest.mark.kind("C8")
def test_the_grid_is_extended_where_the_best_lies_whatever_is_taken(plain: Context) -> None:
    """The middle rate is as good as the best, at the upper edge: the edge is extended all the same."""
    rows = [(v, r, 1000, m, 1.0) for v in ("P_T", "RI_T") for r, m in ((0.02, 0.5), (0.1, 0.80), (0.5, 0.81))]
    found = table(*rows, error=0.05)
    assert choose(found, "P_T") == 0.1
    assert ANALYSIS.grid(plain.study, Evidence({ANALYSIS.key: found}, decision=True)) == [0.02, 0.1, 0.5, 2.5]
    # And where a smaller rate at the lower edge is taken in place of an interior best one, nothing was cut short.
    rows = [(v, r, 1000, m, 1.0) for v in ("P_T", "RI_T") for r, m in ((0.02, 0.80), (0.1, 0.81), (0.5, 0.5))]
    found = table(*rows, error=0.05)
    assert choose(found, "P_T") == 0.02
    assert ANALYSIS.grid(plain.study, Evidence({ANALYSIS.key: found}, decision=True)) == [0.02, 0.1, 0.5]
    assert ANALYSIS.summarise(found, Evidence()).facts["at_edge"] == []


@pytest.mark.kind("C8")
def test_every_trained_member_has_the_rate_of_the_rule(plain: Context) -> None:
    rows = [(v, r, 1000, m, 1.0) for v in ("P_T", "RI_T") for r, m in ((0.02, 0.7), (0.1, 0.80), (0.5, 0.81))]
    for error, rate in ((0.05, 0.1), (None, 0.5)):
        evidence = Evidence({ANALYSIS.key: table(*rows, error=error)})
        members = list(tuned_members(plain.study, evidence, ("P_T", "RI_T", "RI_T_long")))
        assert {member.spec.recipe.learning_rate for member in members} == {rate}


@pytest.mark.kind("C8")
def test_the_rule_tells_tables_apart_and_no_network(plain: Context) -> None:
    best = with_training(plain, rate_rule="best")
    one, other = list(ANALYSIS.tasks(plain.study, Evidence())), list(ANALYSIS.tasks(best, Evidence()))
    assert [task.members for task in one] == [task.members for task in other]
    assert not {task_key(ANALYSIS, u, plain.study) for u in one} & {task_key(ANALYSIS, u, plain.study) for u in other}


@pytest.mark.kind("C8")
@pytest.mark.parametrize("rule", ["one_standard_error", "best"])
def test_the_error_of_each_run_is_that_of_its_metric(trained: Trained, rule) -> None:
    facts = with_training(trained.context, rate_rule=rule)
    # Images of one group count as if all were right or all wrong.
    groups = trained.context.images().groups
    sizes = Counter(groups[index] for index in trained.context.indices("validation")).values()
    images = sum(sizes) ** 2 / sum(size**2 for size in sizes)
    for task in list(ANALYSIS.tasks(facts, Evidence()))[:2]:
        row = checked(ANALYSIS, ANALYSIS.measure(task, trained.context).table).row(0, named=True)
        share = (images * row["validation_metric"] + 2) / (images + 4)
        literal = (share * (1 - share) / (images + 4)) ** 0.5
        assert row["validation_error"] == (pytest.approx(literal) if rule == "one_standard_error" else None)


@pytest.mark.kind("C8")
def test_the_summary_says_by_key_and_in_words_what_is_not_distinguishable(approved) -> None:
    rows = [("P_T", 0.03, 1000, 0.8036, 1.0), ("P_T", 0.09, 1000, 0.8041, 1.0),
            ("RI_T", 0.03, 1000, 0.7, 1.0), ("RI_T", 0.09, 1000, 0.9, 1.0)]  # fmt: skip
    summary = ANALYSIS.summarise(table(*rows, error=0.0314), Evidence())
    choices = summary.facts["choices"]
    assert {v: (c["rate"], c["best"], c["moved"]) for v, c in choices.items()} == {
        "P_T": (0.03, 0.09, True), "RI_T": (0.09, 0.09, False)
    }  # fmt: skip
    assert (choices["P_T"]["metric"], choices["P_T"]["error"]) == (0.8041, pytest.approx(0.0314))
    approved(summary.verdict)
    rates = {variant: estimate_of(summary, "chosen_rate", variant=variant) for variant in ("P_T", "RI_T")}
    assert {variant: rate.value for variant, rate in rates.items()} == {"P_T": 0.03, "RI_T": 0.09}
    assert {variant: rate.flags for variant, rate in rates.items()} == dict.fromkeys(rates, ("edge_of_grid",))
    approved(rates["P_T"].note)
    assert "distinguishable" not in rates["RI_T"].note
    assert any("training.rate_rule: best" in note for note in summary.notes)
    plain = ANALYSIS.summarise(table(*rows), Evidence())
    assert [choice["moved"] for choice in plain.facts["choices"].values()] == [False, False]
    assert not any("rate_rule" in note for note in plain.notes)


@pytest.mark.kind("C8")
def test_a_spike_of_the_loss_is_kept_and_said(tmp_path) -> None:
    from tests.studies import bound

    class Spiked(Context):
        def history(self, spec):
            losses = [0.69, 0.5, 22.0, 0.4] if spec.recipe.learning_rate == 0.5 else [0.69, 0.5, 0.4, 0.3]
            return pl.DataFrame(
                {"epoch": range(4), "updates": range(4), "train_loss": losses, "train_metric": 0.5,
                 "validation_metric": 0.5, "validation_loss": 1.0, "diverged": False}
            )  # fmt: skip

    context = bound(tmp_path)
    spiked = Spiked(context.store, context.study)
    rows = [ANALYSIS.measure(task, spiked).table for task in ANALYSIS.tasks(context.study, Evidence())]
    found = checked(ANALYSIS, pl.concat(rows))
    summary = ANALYSIS.summarise(found, Evidence())
    assert [(s["variant"], s["seed"], s["learning_rate"]) for s in summary.facts["spikes"]] == [
        ("RI_T", 1000, 0.5), ("P_T", 1000, 0.5)
    ]  # fmt: skip
    for spike in summary.facts["spikes"]:
        assert (spike["epoch"], spike["peak"], spike["back"]) == (2, 22.0, 3)
        assert spike["before"] == pytest.approx(0.595)
    assert any("P-T[1000] at 0.5 from 0.595 to 22 in epoch 2, back in epoch 3" in note for note in summary.notes)


# -- measure and summary ----------------------------------------------------------------------------------------


def test_the_table_is_the_end_of_each_history(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    assert found.height == 2 * len(found["learning_rate"].unique())
    for row in found.iter_rows(named=True):
        spec = trained.study.trained(row["variant"], row["seed"], row["learning_rate"], 3)
        # A tuning run keeps no epochs, whatever the study keeps of its report runs.
        assert trained.study.settings.training.recipe.keep == "all"
        spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"keep": "none"})})
        last = trained.context.history(spec).filter(epoch=3)
        assert row["updates"] == last["updates"][0] > 0
        assert row["validation_metric"] == last["validation_metric"][0]
        assert row["validation_loss"] == last["validation_loss"][0]
        assert row["train_metric"] == last["train_metric"][0]
        assert (row["epochs"], row["seed"], row["diverged"]) == (3, 1000, False)


def test_a_diverged_run_has_no_numbers(tmp_path, monkeypatch) -> None:
    from tests.studies import bound

    class Lost(Context):
        def history(self, spec):
            return pl.DataFrame(
                {"epoch": [0, 1], "updates": [0, 7], "train_metric": [0.3, 0.4], "validation_metric": [0.3, 0.4],
                 "validation_loss": [1.0, 99.0], "diverged": [False, True]}
            )  # fmt: skip

    context = bound(tmp_path)
    task = next(iter(ANALYSIS.tasks(context.study, Evidence())))
    row = checked(ANALYSIS, ANALYSIS.measure(task, Lost(context.store, context.study)).table).row(0, named=True)
    assert row["diverged"]
    assert (row["updates"], row["train_metric"], row["validation_metric"], row["validation_loss"]) == (
        7,
        None,
        None,
        None,
    )


def test_the_summary_speaks_of_the_rate_that_was_chosen(approved) -> None:
    rows = table(
        ("P_T", 0.1, 1000, None, None), ("P_T", 0.1, 1001, 0.2, 2.0),
        ("P_T", 0.2, 1000, 0.9, 0.1), ("P_T", 0.2, 1001, None, None),
        ("RI_T", 0.1, 1000, 0.6, 1.0), ("RI_T", 0.1, 1001, 0.6, 1.0),
        ("RI_T", 0.2, 1000, 0.5, 1.0), ("RI_T", 0.2, 1001, 0.5, 1.0),
    )  # fmt: skip
    summary = ANALYSIS.summarise(rows, Evidence())
    # A run diverged at both rates of P-T: the lowest is taken, and no better metric of another rate is told of it.
    approved(summary.verdict)
    pre_trained, random = (estimate_of(summary, "chosen_rate", variant=variant) for variant in ("P_T", "RI_T"))
    assert (pre_trained.value, pre_trained.flags[:1]) == (0.1, ("diverged",))
    approved(pre_trained.note)
    assert (random.value, random.n, random.unit, random.basis) == (0.1, 2, "rate", None)
    assert "diverged" not in random.flags
    assert (random.name, random.note) == ("chosen rate of RI-T", "validation metric 0.600")
    approved(*summary.notes)


def test_an_undefined_metric_leaves_the_choice_to_the_loss() -> None:
    rows = table(
        ("P_T", 0.1, 1, 0.5, 2.0), ("P_T", 0.2, 1, 0.5, 1.0), ("RI_T", 0.1, 1, 0.5, 1.0), ("RI_T", 0.2, 1, 0.5, 2.0)
    )
    undefined = rows.with_columns(pl.lit(None, pl.Float64).alias("validation_metric"))
    assert [choose(undefined, variant) for variant in ("P_T", "RI_T")] == [0.2, 0.1]
    note = "the metric is not defined on the validation images: chosen by the loss"
    assert [item.note for item in ANALYSIS.summarise(undefined, Evidence()).estimates] == [note] * 2


def test_report_seeds_never_tune(tmp_path) -> None:
    with pytest.raises(ValueError, match="tuning seeds are not report seeds"):
        study(tmp_path, training={"tuning_seeds": [3]})
