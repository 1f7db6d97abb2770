from collections import Counter
from dataclasses import replace

import polars as pl
import pytest

from tests.analyses.control_units import ONE, expand, rates, settled_curves, told, tuned
from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic import learning_curves_table, learning_rate_table
from tests.report.synthetic_starts import RATES, control_table, ends, summary
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.control.analysis import ControlAnalysis, report_rows
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import END_METRICS
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.task_keys import task_key
from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.intervals import fieller, paired_seeds_interval
from transferscope.specs.network import Control as ControlStart
from transferscope.study.columns import schema


def asked(units):
    return [(m.variant, m.seed, m.spec.recipe.learning_rate) for task in units for m in task.members]


def test_the_search_starts_on_the_rates_that_both_variants_searched(plain):
    searched = rates(tried=(0.004, 0.02, 0.1, 0.5), best=0.02)  # extended downwards
    units = expand(plain, searched=searched, analysis=ControlAnalysis(methods=("spectrum", "mean-var")))
    assert asked(units) == [
        (method, 1000, rate) for method in ("spectrum", "mean-var") for rate in (0.004, 0.02, 0.1, 0.5)
    ]
    assert {task.settings["level"] for task in units} == {"tuning"}
    assert {m.spec.recipe.epochs for task in units for m in task.members} == {3}  # tuning_epochs


def test_a_best_rate_at_the_edge_extends_the_grid_before_anything_is_reported(plain):
    assert asked(expand(plain, tuned(best=0.5))) == [("permuted", 1000, rate) for rate in (0.02, 0.1, 0.5, 2.5)]
    # The study allows one extension at either end.
    units = expand(plain, tuned(best=2.5, tried=(0.02, 0.1, 0.5, 2.5)))
    assert [task.settings["level"] for task in units] == ["tuning"] * 4 + ["report"]


def test_report_runs_have_the_rate_that_validation_data_chose(plain):
    *_, report = expand(plain, tuned(best=0.1))
    assert {m.variant: m.spec.recipe.learning_rate for m in report.members} == {
        "RI_T": 0.1, "P_T": 0.1, "permuted": 0.1}  # fmt: skip
    *_, report = expand(plain, tuned(best=0.02, lost=(0.1, 0.5), tried=(0.004, 0.02, 0.1, 0.5)))
    assert {m.variant: m.spec.recipe.learning_rate for m in report.members}["permuted"] == 0.02


def test_one_control_waits_for_the_search_of_the_other(plain):
    both = ControlAnalysis(methods=("permuted", "spectrum"))
    own = pl.concat([tuned(best=0.1), tuned(best=0.5, method="spectrum")])
    units = expand(plain, own, analysis=both)
    assert {task.settings["level"] for task in units} == {"tuning"}
    assert len(units) == 3 + 4


def test_a_control_is_trained_like_p_t_of_the_same_seed(plain):
    *_, report = expand(plain, tuned(best=0.1))
    spec = next(m.spec for m in report.members if (m.variant, m.seed) == ("permuted", 2))
    p_t = plain.study.trained("P_T", 2, 0.1)
    assert spec.start == ControlStart(of=plain.study.pretrained, method="permuted")
    assert spec.model_copy(update={"start": p_t.start}) == p_t
    assert spec.key != p_t.key
    assert {m.seed for m in report.members} == set(plain.study.seeds)


def test_a_plan_counts_report_runs_and_extensions(plain):
    # 4 seeds, one extension at either end, one tuning seed
    assert ControlAnalysis().extra_trainings(plain.study) == 4 * (4 + 2)


def test_shares_and_gains_are_those_of_paired_seeds():
    found = ends({"RI_T": (0.0, 0.0), "P_T": (1.0, 1.0), "permuted": (0.3, 0.6), "spectrum": (0.1, 0.2)}, (0, 1, 2, 3))
    networks = [(v, seed, 0.1) for v in ("RI_T", "P_T", "permuted", "spectrum") for seed in range(4)]
    rows = pl.DataFrame(report_rows(found, networks), schema=schema(ControlAnalysis.columns))
    table = checked(ControlAnalysis(), rows)
    for quantity in END_METRICS:
        values = {
            role: [found.values[quantity][role][seed] for seed in range(4)] for role in ("RI_T", "P_T", "permuted")
        }
        above = [a - b for a, b in zip(values["permuted"], values["RI_T"], strict=True)]
        below = [a - b for a, b in zip(values["P_T"], values["RI_T"], strict=True)]
        expected, family = fieller(above, below), fieller(above, below, bonferroni_confidence(2))
        rows = table.filter(variant="permuted", quantity=quantity[0], split=quantity[1])
        share = rows.filter(level="share").row(0, named=True)
        assert (share["value"], share["low"], share["high"]) == (expected.value, expected.low, expected.high)
        assert (share["simultaneous_low"], share["simultaneous_high"]) == (family.low, family.high)
        assert share["simultaneous_low"] < share["low"] < share["value"] < share["high"] < share["simultaneous_high"]
        gain = rows.filter(level="gain").row(0, named=True)
        assert gain["value"] == pytest.approx(paired_seeds_interval(values["permuted"], values["RI_T"]).value)
        assert rows.filter(level="network").height == 4


def test_a_share_is_null_and_says_why_where_the_gain_spans_zero():
    rows = control_table(gain=0.0).filter(level="share", quantity="metric")
    assert rows["value"].null_count() == rows.height == 8
    assert set(rows["note"]) == {"the interval of the denominator spans 0"}


def test_a_diverged_seed_is_left_out_and_said():
    table = control_table(lost=("spectrum", 1))
    row = table.filter(variant="spectrum", level="share").row(0, named=True)
    assert (row["n"], row["diverged"], row["basis"]) == (2, True, "range")
    lost = table.filter(pl.col("diverged"), level="network")
    assert set(lost["note"]) == {"diverged"}
    assert lost["value"].null_count() == lost.height == 3
    assert not table.filter(variant="permuted", level="share")["diverged"].any()


def test_the_verdict_names_its_intervals(approved):
    summary = checked_summary(ControlAnalysis(), told(control_table()))
    shares = {item.at["variant"]: item for item in estimates_of(summary, "share_of_gain", split="test")}
    assert {variant: item.verdict for variant, item in shares.items()} == {
        "mean-var": "not all", "permuted": "not all", "filter-permuted": "part", "spectrum": "not all",
    }  # fmt: skip
    assert {item.n_comparisons for item in shares.values()} == {4}
    gain = estimate_of(summary, "gap", variant="P_T", rival="RI_T", split="test")
    assert (gain.basis, gain.n, gain.name) == ("seeds", 3, "P-T − RI-T, final metric (test)")
    speeds = estimates_of(summary, "share_of_speed_gain", split="train")
    assert [item.verdict for item in speeds] == ["part"] * 4
    said = summary.verdict
    approved(said)


def test_a_gain_that_may_be_none_for_all_controls_at_once_is_named(approved):
    """With more controls the intervals widen: that of the gain, by which shares are divided, may then span 0."""
    whole = {"simultaneous_low": None, "simultaneous_high": None}
    table = control_table().with_columns(**{name: pl.lit(value, pl.Float64) for name, value in whole.items()})
    approved(told(table).verdict)


def test_a_control_that_may_recover_all_is_named_once():
    share = pl.col("level") == "share"
    wide = {"simultaneous_low": (-0.2, 0.1), "simultaneous_high": (1.2, 1.3)}
    for place, words in enumerate(("no part of the gain for certain, undecided between none and all of it: mean-var",
                                   "part of the gain by mean-var (perhaps all)")):  # fmt: skip
        table = control_table().with_columns(
            pl.when(share).then(values[place]).otherwise(pl.col(name)).alias(name) for name, values in wide.items()
        )
        assert f"Final test metric: {words}, " in told(table).verdict


def test_no_claim_while_ri_t_is_still_improving(approved):
    summary = told(control_table(), learning_curves_table())
    assert {item.verdict for item in estimates_of(summary, "share_of_gain")} == {"undecided"}
    assert all("still_improving" in item.flags for item in estimates_of(summary, "gap"))
    assert not any("still_improving" in item.flags for item in estimates_of(summary, "speed_gap"))
    said = summary.verdict
    approved(said)
    short = learning_curves_table().filter(pl.col("epoch") < 3)
    approved(told(control_table(), short).verdict)


def test_two_seeds_leave_it_undecided(approved):
    summary = told(control_table(seeds=(0, 1)))
    shares = estimates_of(summary, "share_of_gain")
    assert {(item.basis, item.verdict, item.flags) for item in shares} == {("range", "undecided", ("too_few_seeds",))}
    said = summary.verdict
    approved(said)


def test_no_gain_no_share(approved):
    summary = told(control_table(gain=0.0))
    assert {(item.value, item.verdict) for item in estimates_of(summary, "share_of_gain")} == {(None, "undecided")}
    said = summary.verdict
    approved(said)


def test_a_loss_is_called_a_loss(approved):
    approved(told(control_table(gain=-0.08)).verdict)


def test_nothing_but_diverged_runs_is_undecided(approved):
    gone = ends({"RI_T": (0.0, 0.0)}, (0, 1, 2))
    networks = [(v, seed, 0.1) for v in ("RI_T", "P_T", "permuted") for seed in range(3)]
    table = pl.DataFrame(report_rows(gone, networks), schema=schema(ControlAnalysis.columns))
    said = summary("control", learning_rate_table(), settled_curves(), table).verdict
    approved(said)


def test_notes_name_rates_edges_and_diverged_rates(approved):
    # 0.1, the best rate of spectrum, and 0.3 change places.
    swapped = pl.col("learning_rate").replace({0.1: 0.3, 0.3: 0.1})
    own = pl.col("variant") == "spectrum"
    table = control_table().with_columns(pl.when(own).then(swapped).otherwise("learning_rate").alias("learning_rate"))
    report = table.filter(pl.col("level") != "tuning")
    search = table.filter(level="tuning").with_columns(
        diverged=(pl.col("variant") == "permuted") & (pl.col("learning_rate") == 0.3)
    )
    notes = told(pl.concat([search, report])).notes
    assert any(f"mean-var {RATES['mean-var']:g}" in note for note in notes)
    approved(*notes)


@pytest.mark.parametrize("error", [None, 0.01, 0.2])
def test_a_control_gets_the_smallest_rate_that_is_not_distinguishable_from_its_best(plain, error):
    known = pl.when(pl.col("split") == "validation").then(pl.lit(error, pl.Float64)).alias("validation_error")
    search = tuned(0.1).with_columns(known)
    rates = {m.spec.recipe.learning_rate for m in expand(plain, search)[-1].members if m.variant == "permuted"}
    assert rates == {0.02 if error == 0.2 else 0.1}  # 0.8 at the best, 0.7 at the others
    facts = told(control_table().with_columns(pl.lit(error, pl.Float64).alias("validation_error"))).facts["choices"]
    assert {method: choice["best"] for method, choice in facts.items()} == {
        method: rate for method, rate in RATES.items() if not method.endswith("_T")
    }
    assert {choice["moved"] for choice in facts.values()} == {error == 0.2}


def test_the_rule_is_part_of_what_a_tuning_run_is_measured_by(plain):
    asked = plain.study.settings
    best = asked.training.model_copy(update={"rate_rule": "best"})
    other = replace(plain.study, settings=asked.model_copy(update={"training": best}))
    tables = Evidence({LearningRate().key: rates()})
    units = [list(ONE.tasks(study, tables)) for study in (plain.study, other)]
    keys = [[task_key(ONE, task, plain.study) for task in found] for found in units]
    assert not set(keys[0]) & set(keys[1])
    assert [task.members for task in units[0]] == [task.members for task in units[1]]


def test_settings_that_do_not_hold_are_errors():
    with pytest.raises(ValueError, match="methods holds a value twice"):
        ControlAnalysis(methods=("permuted", "permuted"))
    with pytest.raises(ValueError, match="at least 1 item"):
        ControlAnalysis(methods=())


def independent(context) -> float:
    """How many validation images there are, those of one group taken as all right or all wrong."""
    groups = context.images().groups
    sizes = Counter(groups[index] for index in context.indices("validation")).values()
    return sum(sizes) ** 2 / sum(size**2 for size in sizes)


def test_a_study_runs_it_from_search_to_shares(started):
    analysis = started.analysis("control")
    table = started.evidence.table(analysis)
    search = table.filter(level="tuning")
    assert search.select("variant", "learning_rate").n_unique() == 2 * 2
    chosen = {
        method: started.study.trained("P_T", 0, rate).recipe.learning_rate
        for method, rate in table.filter(level="network").select("variant", "learning_rate").iter_rows()
    }
    for method in ("permuted", "spectrum"):
        rows = search.filter(variant=method).sort(["value", "loss"], descending=[True, False])
        images = independent(started.context)
        right = images * rows["value"][0] + 2
        error = (right / (images + 4) * (1 - right / (images + 4)) / (images + 4)) ** 0.5
        assert rows["validation_error"][0] == pytest.approx(error)
        assert chosen[method] == rows.filter(pl.col("value") >= rows["value"][0] - error)["learning_rate"].min()
    # What a row says of a network is what its history says.
    start = ControlStart(of=started.study.pretrained, method="spectrum")
    spec = started.study.trained("P_T", 1, chosen["spectrum"]).model_copy(update={"start": start})
    history = started.context.history(spec)
    mine = table.filter(level="network", variant="spectrum", seed=1)
    by = {(row["quantity"], row["split"]): row["value"] for row in mine.iter_rows(named=True)}
    assert by["metric", "test"] == history["test_metric"][-1]
    assert by["metric", "validation"] == history["validation_metric"][-1]
    assert by["speed", "train"] == pytest.approx(history["train_metric"][1:].mean())
    assert mine["n"].to_list() == [1, 1, 1]
    result = next(item for item in started.results.analyses if item.analysis.name == "control")
    assert result.summary.verdict.startswith("Final test metric: ")
