import polars as pl
import pytest
from scipy import stats

from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic import learning_curves_table, learning_rate_table
from tests.report.synthetic_starts import ends, summary, transplant_table
from tests.tables import example
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import END_METRICS
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.transplant.analysis import SIDES, TransplantAnalysis, counts, point_rows
from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.intervals import fieller, paired_seeds_interval
from transferscope.specs.network import Transplant as TransplantStart

MODULES = ["a", "b", "c"]


def rates(p_t=0.02, ri_t=0.1):
    rows = [
        {"variant": variant, "learning_rate": rate, "validation_metric": float(rate == best)}
        for variant, best in (("P_T", p_t), ("RI_T", ri_t)) for rate in (0.02, 0.1)
    ]  # fmt: skip
    table = example(LearningRate, rows, seed=1000, epochs=3, updates=9, validation_loss=0.5)
    return Evidence({LearningRate().key: table}).for_decision()


def task(context, analysis, evidence=None):
    (found,) = analysis.tasks(context.study, evidence or rates())
    return found


def points(table_ends, modules, seeds, ks=None):
    asked = [(side, k) for side in SIDES for k in (ks or range(len(modules) + 1))]
    return example(TransplantAnalysis, point_rows(table_ends, modules, asked, seeds, 0.02))


def linear(seeds, count=3, scale=lambda share: (share, share)):
    return ends({f"{side} {k}": scale(k / count) for side in SIDES for k in range(count + 1)}, seeds)


def test_counts_are_thinned_with_both_ends():
    assert counts(11, None) == list(range(12))
    assert counts(11, 4) == [0, 4, 7, 11]
    assert counts(11, 2) == [0, 11]
    assert counts(2, 9) == [0, 1, 2]


def test_networks_are_first_and_last_modules_at_the_rate_of_p_t(plain):
    found = task(plain, TransplantAnalysis())
    study = plain.study
    by = {
        (side, k, member.seed): member
        for (side, k), member in zip(found.settings["points"], found.members, strict=True)
    }
    assert found.settings["modules"] == ["stem", "block"]
    assert set(by) == {(side, k, seed) for side in SIDES for k in (0, 1, 2) for seed in (0, 1, 2, 3)}
    for seed in study.seeds:
        for side, taken in (("first", ("stem",)), ("last", ("block",))):
            assert by[side, 0, seed].spec == study.trained("RI_T", seed, 0.02)
            assert by[side, 2, seed].spec == study.trained("P_T", seed, 0.02)
            start = TransplantStart(of=study.pretrained, modules=taken)
            assert by[side, 1, seed].spec == study.trained("P_T", seed, 0.02).model_copy(update={"start": start})
    assert len({member.spec.key for member in found.members}) == 4 * 4
    # The ends are the networks of other analyses and keep their names; RI-T at another rate is not RI-T.
    assert {by[side, 2, 0].variant for side in SIDES} == {"P_T"}
    assert by["first", 0, 0].variant == "first_0"
    same = task(plain, TransplantAnalysis(), rates(ri_t=0.02))
    assert same.members[0].variant == "RI_T"


def test_finer_modules_and_fewer_steps(plain):
    layers = task(plain, TransplantAnalysis(granularity="layer"))
    assert layers.settings["modules"] == ["stem.0", "stem.1", "block.0", "block.1"]
    thinned = task(plain, TransplantAnalysis(granularity="layer", steps=3))
    assert [list(item) for item in dict.fromkeys(map(tuple, thinned.settings["points"]))] == [
        [side, k] for side in SIDES for k in (0, 2, 4)
    ]
    taken = [m.spec.start.modules for m in thinned.members if m.variant == "last_2"]
    assert set(taken) == {("block.0", "block.1")}


def test_the_margin_is_not_part_of_the_key():
    assert TransplantAnalysis(margin=0.02).key == TransplantAnalysis().key
    assert TransplantAnalysis(granularity="block").key != TransplantAnalysis().key
    assert TransplantAnalysis(steps=3).key != TransplantAnalysis().key


def test_steps_and_shares_are_those_of_paired_seeds():
    seeds = (0, 1, 2, 3)
    found = linear(seeds)
    table = points(found, MODULES, seeds)
    for quantity in END_METRICS:
        values = {role: [by[seed] for seed in seeds] for role, by in found.values[quantity].items()}
        rows = table.filter(side="first", k=2, quantity=quantity[0], split=quantity[1])
        step = rows.filter(level="step").row(0, named=True)
        single = paired_seeds_interval(values["first 2"], values["first 1"])
        family = paired_seeds_interval(values["first 2"], values["first 1"], bonferroni_confidence(3))
        assert (step["value"], step["low"], step["high"]) == (single.value, single.low, single.high)
        assert (step["simultaneous_low"], step["simultaneous_high"]) == (family.low, family.high)
        share = rows.filter(level="share").row(0, named=True)
        differences = [
            [a - b for a, b in zip(values[role], values["first 0"], strict=True)] for role in ("first 2", "first 3")
        ]
        expected = fieller(*differences)
        assert (share["value"], share["low"], share["high"]) == (expected.value, expected.low, expected.high)
    # Steps of one side add up to the whole gain.
    steps = table.filter(level="step", side="last", split="test")["value"]
    ends_of = table.filter(level="point", side="last", split="test").sort("k")
    assert steps.sum() == pytest.approx(ends_of["value"][-1] - ends_of["value"][0])


def test_modules_are_named_where_they_are_added():
    table = points(linear((0, 1, 2)), MODULES, (0, 1, 2), ks=(0, 1, 3))
    added = {(side, k): name for side, k, name in table.filter(level="point").select("side", "k", "added").iter_rows()}
    assert added == {
        ("first", 0): "", ("first", 1): "a", ("first", 3): "b, c",
        ("last", 0): "", ("last", 1): "c", ("last", 3): "a, b",
    }  # fmt: skip


def told(table, analysis=None, curves=None):
    curves = learning_curves_table() if curves is None else curves
    if analysis is None:
        return summary("transplant", learning_rate_table(), curves, table)
    from tests.report.synthetic_starts import evidence

    return analysis.summarise(table, evidence(learning_rate_table(), curves))


def test_few_modules_that_are_enough_are_chosen_on_validation_and_told_on_test(approved):
    # All of the gain is in the first module.
    found = linear(tuple(range(6)), scale=lambda share: (float(share > 0), share))
    table = points(found, MODULES, tuple(range(6)))
    analysis = TransplantAnalysis(margin=0.03)
    summary = checked_summary(analysis, told(table, analysis))
    losses = {(item.at["k"], item.at["split"]): item for item in estimates_of(summary, "loss_of_metric", side="first")}
    assert {place: item.verdict for place, item in losses.items()} == {
        (0, "validation"): "lost", (1, "validation"): "kept", (1, "test"): None,
    }  # fmt: skip
    kept = losses[1, "validation"]
    assert (kept.n, kept.n_comparisons, kept.basis) == (6, 3, "seeds")
    values = table.filter(level="network", split="validation")
    values = values.filter(side="first", quantity="metric")
    whole, part = (values.filter(k=k).sort("seed")["value"].to_numpy() for k in (3, 1))
    limit = stats.ttest_rel(whole, part).confidence_interval(1 - 0.1 / 3).high
    assert kept.simultaneous_high == pytest.approx(limit)
    assert limit < 0.03
    steps = estimates_of(summary, "gain_of_step", side="first")
    assert [(item.at["k"], item.n_comparisons) for item in steps] == [(1, 3), (2, 3), (3, 3)]
    said = summary.verdict
    approved(said)
    # Test data that say the contrary do not change the choice.
    contrary = table.with_columns(value=pl.when(pl.col("split") == "test").then(-pl.col("value")).otherwise("value"))
    approved(told(contrary, TransplantAnalysis(margin=0.03)).verdict)


def test_nothing_is_called_enough_without_evidence(approved):
    summary = told(points(linear((0, 1)), MODULES, (0, 1)))
    assert {item.verdict for item in estimates_of(summary, "loss_of_metric")} == {"undecided"}
    said = summary.verdict
    assert said.count("undecided how many of the") == 2
    approved(said)


def test_a_diverged_network_is_left_out_and_said(approved):
    table = transplant_table(modules=MODULES, lost=("first 2", 1))
    rows = table.filter(side="first", k=2)
    assert rows["diverged"].any()
    assert rows.filter(level="step")["n"].to_list() == [2, 2, 2]
    assert set(rows.filter(pl.col("diverged"), level="network")["note"]) == {"diverged"}
    gained = estimate_of(told(table), "gain_of_step", side="first", k=2)
    assert (gained.n, gained.flags) == (2, ("too_few_seeds", "diverged"))
    approved(gained.name)
    approved(gained.note)


def test_notes_state_the_rate_and_what_it_may_do(approved):
    notes = told(transplant_table()).notes
    approved(*notes)


def test_a_network_of_one_module_has_nothing_to_choose_from(plain, monkeypatch):
    monkeypatch.setattr("transferscope.networks.transplants.parts_of", lambda architecture, granularity: ("stem",))
    reason = TransplantAnalysis().skip_reason(plain.study)
    assert reason == "the network has 1 stage beside its head: at least 2 are needed"
    monkeypatch.undo()
    assert TransplantAnalysis().skip_reason(plain.study) is None


def test_settings_that_do_not_hold_are_errors():
    with pytest.raises(ValueError, match="steps"):
        TransplantAnalysis(steps=1)
    with pytest.raises(ValueError, match="margin"):
        TransplantAnalysis(margin=0)


def test_a_study_runs_it(started):
    table = started.evidence.table(started.analysis("transplant"))
    assert sorted(table.filter(level="point").select("side", "k").unique().iter_rows()) == [
        (side, k) for side in SIDES for k in (0, 1, 2)
    ]
    rate = table["learning_rate"][0]
    spec = started.study.trained("P_T", 2, rate).model_copy(
        update={"start": TransplantStart(of=started.study.pretrained, modules=("block",))}
    )
    row = table.filter(level="network", side="last", k=1, seed=2, split="test")
    assert row["value"].to_list() == [started.context.history(spec)["test_metric"][-1]]
    # All modules are P-T: the numbers of the headline.
    whole = table.filter(level="point", k=2, split="test")["value"].unique()
    outcome = started.results.headline.filter(variant="P_T", split="test")
    assert whole.to_list() == pytest.approx(outcome["value"].to_list(), abs=1e-6)
    labels = {network["key"]: network["label"] for network in started.results.manifest["networks"]}
    assert labels[spec.key] == f"last-1[2] at {rate:g}"
