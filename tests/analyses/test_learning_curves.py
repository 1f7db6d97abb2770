"""Curves after every epoch, and what is said of them."""

import math
import statistics

import polars as pl
import pytest
from scipy import stats

from tests.estimates import estimate_of, estimates_of
from tests.studies import Trained
from tests.tables import example
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.summary import Summary
from transferscope.analyses.trends import curves_of, improving, too_short
from transferscope.errors import AnalysisError

ANALYSIS = LearningCurves()


def rows(variant, seed, train, *, validation=None, test=None, setting="chosen", rate=0.1, diverged=False, loss=None):
    """One run; metrics by epoch. Losses are one minus the metric where not given."""
    validation = train if validation is None else validation
    test = validation if test is None else test
    last = len(train) - 1
    return [
        {
            "variant": variant, "setting": setting, "seed": seed, "learning_rate": rate, "epoch": epoch,
            "updates": 10 * epoch, "train_loss": (1 - train[epoch]) if loss is None else loss[epoch],
            "train_metric": train[epoch], "validation_loss": 1 - validation[epoch],
            "validation_metric": validation[epoch], "test_loss": 1 - test[epoch], "test_metric": test[epoch],
            "diverged": diverged and epoch == last, "network": f"{variant}{seed}",
        }
        for epoch in range(len(train))
    ]  # fmt: skip


def table(*runs) -> pl.DataFrame:
    return example(ANALYSIS, (row for run in runs for row in run))


def rates(p_t: float = 0.1, ri_t: float = 0.1) -> Evidence:
    """Both variants were tried at 0.1 and 0.2; these were the best."""
    made = example(LearningRate, (
        {"variant": variant, "learning_rate": rate, "validation_metric": float(rate == best)}
        for variant, best in (("P_T", p_t), ("RI_T", ri_t))
        for rate in (0.1, 0.2)
    ), seed=1000, epochs=3, updates=3, validation_loss=1.0)  # fmt: skip
    return Evidence({LearningRate().key: made})


def summary_of(found: pl.DataFrame, evidence: Evidence | None = None, **settings) -> Summary:
    analysis = LearningCurves(**settings)
    return checked_summary(analysis, analysis.summarise(found, evidence or rates()))


FLAT = [0.2, 0.6, 0.6, 0.6, 0.6]


# -- measure ----------------------------------------------------------------------------------------------------


def test_rows_are_the_histories_of_all_runs(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    runs = found.group_by("variant", "setting", "seed", "learning_rate").len()
    chosen = runs.filter(setting="chosen")
    assert sorted(chosen.select("variant", "seed").rows()) == sorted(
        (variant, seed) for variant in ("RI_T", "P_T", "RI_T_long") for seed in range(4)
    )
    for variant, setting, seed, rate, _ in runs.rows():
        epochs = {"grid": 3, "chosen": 4}[setting] if variant != "RI_T_long" else 6
        spec = trained.study.trained(variant.removesuffix("_long"), seed, rate, epochs)
        if setting == "grid":
            # Of tuning runs only the history is read: they keep no epochs, whatever the study keeps.
            spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"keep": "none"})})
        run = found.filter(variant=variant, setting=setting, seed=seed, learning_rate=rate)  # fmt: skip
        history = trained.context.history(spec)
        assert run["network"].unique().to_list() == [spec.key]
        assert run["epoch"].to_list() == list(range(epochs + 1))
        for column in ("updates", "train_loss", "train_metric", "validation_loss", "validation_metric", "test_metric"):
            assert run[column].to_list() == history[column].to_list()


def test_each_grid_run_is_one_of_the_search(trained: Trained) -> None:
    tried = trained.evidence.table(LearningRate()).select("variant", "learning_rate", "seed")
    grid = trained.evidence.table(ANALYSIS).filter(setting="grid")
    grid = grid.select("variant", "learning_rate", "seed").unique()
    assert sorted(grid.rows()) == sorted(tried.rows())


# -- curves_of --------------------------------------------------------------------------------------------------


def test_diverged_runs_and_missing_values_are_no_curves() -> None:
    found = table(rows("P_T", 0, [0.1, 0.5]), rows("P_T", 1, [0.1, 0.5], diverged=True))
    holed = found.with_columns(pl.when(pl.col("epoch") == 0).then(None).otherwise("train_metric").alias("train_metric"))
    assert curves_of(found, "P_T", "train_metric") == {0: {0: 0.1, 1: 0.5}}
    assert curves_of(holed, "P_T", "train_metric") == {0: {1: 0.5}}
    assert curves_of(found, "RI_T", "train_metric") == {}


def test_runs_at_several_rates_are_not_mixed() -> None:
    found = table(
        rows("P_T", 1000, [0.1, 0.5], setting="grid", rate=0.1), rows("P_T", 1000, [0.1, 0.9], setting="grid", rate=0.2)
    )
    assert curves_of(found, "P_T", "train_metric", "grid", 0.2) == {1000: {0: 0.1, 1: 0.9}}
    with pytest.raises(AnalysisError, match=r"runs of P-T are at several learning rates\n.*\n  got:      0\.1, 0\.2"):
        curves_of(found, "P_T", "train_metric", "grid")


# -- speed ------------------------------------------------------------------------------------------------------

P = {0: [0.3, 0.7, 0.8, 0.8, 0.8], 1: [0.2, 0.8, 0.8, 0.8, 0.8], 2: [0.2, 0.6, 0.8, 0.8, 0.8]}
R = {0: [0.2, 0.4, 0.5, 0.5], 1: [0.2, 0.3, 0.5, 0.5], 2: [0.2, 0.4, 0.4, 0.5]}


def test_speed_is_the_mean_over_common_epochs_without_the_first(approved) -> None:
    found = table(*(rows("P_T", s, c) for s, c in P.items()), *(rows("RI_T", s, c) for s, c in R.items()))
    summary = summary_of(found)
    speeds = {name: [sum(curve[1:4]) / 3 for curve in curves.values()] for name, curves in (("P_T", P), ("RI_T", R))}
    differences = [a - b for a, b in zip(speeds["P_T"], speeds["RI_T"], strict=True)]
    for variant, values in speeds.items():
        assert estimate_of(summary, "speed", variant=variant).value == pytest.approx(statistics.mean(values))
    gap = estimate_of(summary, "speed_gap", variant="P_T", rival="RI_T")
    half = stats.t.ppf(0.975, 2) * statistics.stdev(differences) / math.sqrt(3)
    assert gap.value == pytest.approx(statistics.mean(differences))
    assert (gap.low, gap.high) == pytest.approx((gap.value - half, gap.value + half))
    assert (gap.basis, gap.n, gap.verdict) == ("seeds", 3, "faster")
    approved(gap.name)
    approved(summary.verdict)


@pytest.mark.parametrize(
    ("p_t", "ri_t", "verdict", "flags"),
    [
        (R, P, "slower", ()),
        ({s: R[s] for s in (0, 1)}, {s: R[s] for s in (0, 1)}, "undecided", ("too_few_seeds",)),
        ({0: R[0]}, {0: P[0]}, "undecided", ("too_few_seeds",)),
        ({0: P[0]}, {1: R[1]}, "undecided", ()),
        ({s: P[s] for s in P}, {s: [c + 0.3 * (-1) ** s for c in P[s]] for s in P}, "undecided", ()),
        # Equal differences have no spread: they prove nothing, however large they are.
        (dict.fromkeys(P, P[0]), dict.fromkeys(P, R[0]), "undecided", ("no_spread",)),
    ],
)  # fmt: skip
def test_the_verdict_rests_on_three_seeds_or_is_undecided(p_t, ri_t, verdict, flags, approved) -> None:
    found = table(*(rows("P_T", s, c) for s, c in p_t.items()), *(rows("RI_T", s, c) for s, c in ri_t.items()))
    summary = summary_of(found)
    gap = estimate_of(summary, "speed_gap")
    assert (gap.verdict, gap.flags) == (verdict, flags)
    approved(summary.verdict)


def test_without_a_common_epoch_there_is_no_speed(approved) -> None:
    summary = summary_of(table(rows("P_T", 0, P[0])))
    assert estimates_of(summary, "speed_gap") == []
    approved(summary.verdict)


def test_diverged_runs_are_left_out_and_named(approved) -> None:
    found = table(
        rows("P_T", 0, P[0]), rows("P_T", 1, [0.2, 0.1], diverged=True), rows("RI_T", 0, R[0]), rows("RI_T", 1, R[1])
    )
    summary = summary_of(found)
    approved(*summary.notes)
    ours, theirs = (estimate_of(summary, "speed", variant=variant) for variant in ("P_T", "RI_T"))
    # Four epochs are common to the others: the short diverged run does not shorten them.
    assert (ours.n, ours.value) == (1, pytest.approx(sum(P[0][1:4]) / 3))
    assert estimate_of(summary, "speed_gap").n == 1
    assert ("diverged" in ours.flags, "diverged" in theirs.flags) == (True, False)
    assert "diverged" in estimate_of(summary, "speed_gap").flags


# -- equal loss, thresholds, finals -----------------------------------------------------------------------------


def test_speed_from_equal_loss_starts_both_clocks_at_the_lower_start() -> None:
    found = table(
        rows("P_T", 0, [0.4, 0.8, 0.9, 1.0], loss=[1.0, 0.5, 0.4, 0.3]),
        rows("RI_T", 0, [0.1, 0.3, 0.5, 0.7], loss=[3.0, 1.0, 0.8, 0.6]),
    )
    number = estimate_of(summary_of(found), "speed_from_equal_loss")
    # RI-T reaches the loss 1.0 after one epoch: two epochs are left for both.
    assert number.value == pytest.approx((0.8 + 0.9) / 2 - (0.5 + 0.7) / 2)
    assert number.n == 1


def test_seeds_that_never_reach_the_common_loss_are_counted(approved) -> None:
    run = [0.1, 0.3, 0.5, 0.7]
    found = table(
        rows("P_T", 0, run, loss=[1.0, 0.5, 0.4, 0.3]), rows("RI_T", 0, run, loss=[3.0, 1.0, 0.8, 0.6]),
        rows("P_T", 1, run, loss=[1.0, 0.5, 0.4, 0.3]), rows("RI_T", 1, run, loss=[3.0, 2.0, 1.5, 1.2]),
    )  # fmt: skip
    number = estimate_of(summary_of(found), "speed_from_equal_loss")
    assert number.n == 1
    approved(number.note)
    none = estimate_of(summary_of(found.filter(seed=1)), "speed_from_equal_loss")
    assert none.value is None
    approved(none.note)


def test_epochs_to_thresholds_are_medians_with_the_censored_counted() -> None:
    found = table(
        rows("P_T", 0, [0.0, 1.0, 1.0, 1.0]), rows("P_T", 1, [0.0, 0.0, 0.0, 1.0]),
        rows("RI_T", 0, [0.0, 0.5, 0.5, 0.5]), rows("RI_T", 1, [0.0, 0.0, 0.5, 1.0]),
    )  # fmt: skip
    summary = summary_of(found, thresholds=2)
    half, whole = (
        [estimate_of(summary, "epochs_to_threshold", variant=name, threshold=level) for name in ("P_T", "RI_T")]
        for level in (0.5, 1.0)
    )
    assert [number.value for number in half] == [2.0, 1.5]  # (1 + 3) / 2 and (1 + 2) / 2
    p_t, ri_t = whole
    assert (p_t.value, p_t.note) == (2.0, "")
    # One of two is censored: between epoch 3 and never there is no median.
    assert (ri_t.value, ri_t.note, ri_t.n) == (None, "1 of 2 never reached it", 2)


def test_the_best_epoch_is_chosen_on_validation_data() -> None:
    found = table(
        rows("P_T", 0, FLAT, validation=[0.1, 0.5, 0.9, 0.9, 0.2], test=[0.0, 0.1, 0.2, 1.0, 0.4]),
        rows("RI_T", 0, FLAT, validation=[0.1, 0.2, 0.3, 0.3, 0.3], test=[0.0, 1.0, 0.3, 0.1, 0.1]),
    )
    summary = summary_of(found)
    assert estimate_of(summary, "final_metric", variant="P_T").value == 0.4
    assert estimate_of(summary, "best_epoch_metric", variant="P_T").value == 0.2  # the earliest of equals
    assert estimate_of(summary, "best_epoch_metric", variant="RI_T").value == 0.3
    gap = estimate_of(summary, "final_gap", variant="P_T", rival="RI_T", split="test")
    assert (gap.value, gap.flags) == (pytest.approx(0.3), ("too_few_seeds",))
    assert estimate_of(summary, "speed_gap", at_rate="own").at["rival"] == "RI_T"


def test_equal_rates_come_from_the_tuning_runs(approved) -> None:
    found = table(
        rows("P_T", 0, FLAT), rows("RI_T", 0, FLAT, rate=0.2),
        rows("P_T", 1000, [0.0, 0.5, 0.7], setting="grid", rate=0.1),
        rows("RI_T", 1000, [0.0, 0.1, 0.2], setting="grid", rate=0.1),
        rows("P_T", 1000, [0.0, 0.9, 0.9], setting="grid", rate=0.2, diverged=True),
        rows("RI_T", 1000, [0.0, 0.3, 0.4], setting="grid", rate=0.2),
    )  # fmt: skip
    summary = summary_of(found, rates(p_t=0.1, ri_t=0.2))
    keys = ("metric_gap_at_equal_rate", "speed_gap_at_equal_rate")
    metric, speed = (estimate_of(summary, key, learning_rate=0.1) for key in keys)
    assert metric.value == pytest.approx(0.7 - 0.2)
    approved(metric.name)
    assert speed.value == pytest.approx((0.5 + 0.7) / 2 - (0.1 + 0.2) / 2)
    for key in keys:
        lost = estimate_of(summary, key, learning_rate=0.2)
        assert (lost.value, lost.note) == (None, "no seed has a finished run of both variants")
        assert len(estimates_of(summary_of(found, rates(0.1, 0.1)), key)) == 1


def test_at_equal_rates_runs_of_equal_length_are_compared() -> None:
    """A search by halving trained P-T longer at this rate: its short run stands beside RI-T's."""
    longer = [{**row, "network": "longer"} for row in rows("P_T", 1000, [0.0, 0.5, 0.6, 0.9], setting="grid")]
    found = table(
        rows("P_T", 0, FLAT), rows("RI_T", 0, FLAT), longer,
        rows("P_T", 1000, [0.0, 0.4], setting="grid"), rows("RI_T", 1000, [0.0, 0.3], setting="grid"),
    )  # fmt: skip
    assert estimate_of(summary_of(found), "metric_gap_at_equal_rate", learning_rate=0.1).value == pytest.approx(0.1)
    only = table(rows("P_T", 0, FLAT), rows("RI_T", 0, FLAT), longer, rows("RI_T", 1000, [0.0, 0.3], setting="grid"))
    assert estimate_of(summary_of(only), "metric_gap_at_equal_rate", learning_rate=0.1).value is None


# -- plateaus ---------------------------------------------------------------------------------------------------

RISING = [0.1, 0.3, 0.4, 0.5, 0.6]


def test_runs_that_still_improve_are_named_and_end_no_claim() -> None:
    found = table(
        *(rows("P_T", s, FLAT) for s in range(2)), rows("RI_T", 0, FLAT, validation=RISING), rows("RI_T", 1, FLAT)
    )
    assert improving(found, "RI_T") == [0]
    assert improving(found, "P_T") == []
    summary = summary_of(found)
    note = "RI-T is still improving at the end (seed 0): no claim on the final gap is made from these runs"
    assert note in summary.notes
    assert "still_improving" in estimate_of(summary, "final_gap").flags
    assert "still_improving" in estimate_of(summary, "final_metric", variant="RI_T").flags
    assert "still_improving" not in estimate_of(summary, "final_metric", variant="P_T").flags


def test_p_t_that_still_rises_is_another_matter(approved) -> None:
    found = table(*(rows("P_T", s, FLAT, validation=RISING) for s in range(2)), rows("RI_T", 0, FLAT))
    summary = summary_of(found)
    approved(*summary.notes)
    assert "still_improving" not in estimate_of(summary, "final_gap").flags


def test_runs_too_short_to_tell_are_named(approved) -> None:
    found = table(rows("P_T", 0, FLAT), rows("RI_T", 0, FLAT[:3]))
    assert (too_short(found, "RI_T"), too_short(found, "P_T")) == ([0], [])
    summary = summary_of(found)
    approved(*summary.notes)
    assert "too_few_epochs" in estimate_of(summary, "final_gap").flags


def test_longer_runs_are_compared_as_well() -> None:
    found = table(rows("P_T", 0, FLAT), rows("RI_T", 0, FLAT), rows("RI_T_long", 0, [*FLAT, 0.55, 0.55]))
    assert estimate_of(summary_of(found), "final_gap", rival="RI_T_long").value == pytest.approx(0.05)


# -- spikes -----------------------------------------------------------------------------------------------------


@pytest.mark.kind("C8")
def test_a_spike_of_the_training_loss_is_kept_by_key_and_said(approved) -> None:
    up, calm = [0.69, 0.5, 22.0, 0.6, 0.4], [0.69, 0.5, 0.4, 0.3, 0.2]
    found = table(
        rows("P_T", 0, FLAT, loss=up),
        rows("P_T", 1, FLAT, loss=[0.69, 0.5, 0.4, 9.0, 8.0]),
        rows("P_T", 2, FLAT, loss=up, diverged=True),  # told as diverged
        rows("RI_T", 0, FLAT, loss=calm),
        rows("RI_T_long", 0, FLAT, loss=calm),
        rows("RI_T", 1000, FLAT, loss=up, setting="grid"),  # told beside the search
    )
    summary = ANALYSIS.summarise(found, rates())
    told = [(s["variant"], s["seed"], s["learning_rate"], s["epoch"], s["peak"], s["back"])
            for s in summary.facts["spikes"]]  # fmt: skip
    assert told == [("P_T", 0, 0.1, 2, 22.0, 4), ("P_T", 1, 0.1, 3, 9.0, None)]
    (note,) = [note for note in summary.notes if "far above its earlier level" in note]
    approved(note)


@pytest.mark.kind("C8")
def test_where_no_loss_has_a_spike_nothing_is_said_of_it() -> None:
    summary = ANALYSIS.summarise(table(rows("P_T", 0, FLAT), rows("RI_T", 0, FLAT)), rates())
    assert summary.facts["spikes"] == []
    assert not any("level" in note for note in summary.notes)
