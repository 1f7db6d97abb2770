"""What the four networks achieve, and which words the gap is given."""

import statistics

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

from tests.analyses.test_learning_curves import FLAT, RISING, rows
from tests.estimates import estimate_of
from tests.studies import Diverging, Trained, arrays, bound, untrained
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.analyses.outcome.analysis import Outcome, gap_verdict
from transferscope.analyses.tuned import tuned_members
from transferscope.errors import MeasureError
from transferscope.measures.intervals import bootstrap_interval
from transferscope.measures.metric_difference import gap_over_examples
from transferscope.networks.evaluate import logits
from transferscope.study.columns import schema

ANALYSIS = Outcome(n_bootstrap=200)


def accuracies(context, members, split):
    """By member: share of right images, from the network itself and the pixels."""
    found = {}
    for member in members:
        values, labels = logits(context.network(member.spec), context.batches(split), context.device)
        found[member.label] = (
            float((values.argmax(1) == labels).double().mean()),
            float(-values.double().log_softmax(1)[range(len(labels)), labels].mean()),
            (values.argmax(1) == labels).double().numpy(),
        )
    return found


# -- measure ----------------------------------------------------------------------------------------------------


def test_every_network_against_a_literal_evaluation(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS)
    members = list(tuned_members(trained.study, trained.evidence, ("RI", "P", "RI_T", "P_T", "RI_T_long")))
    for split in ("validation", "test"):
        literal = accuracies(trained.context, members, split)
        for member in members:
            row = found.row(
                by_predicate=(pl.col("level") == "network") & (pl.col("variant") == member.variant)
                & (pl.col("seed") == member.seed) & (pl.col("split") == split), named=True
            )  # fmt: skip
            assert row["value"] == pytest.approx(literal[member.label][0], abs=1e-12)
            assert row["loss"] == pytest.approx(literal[member.label][1], rel=1e-6)
            assert row["n"] == len(literal[member.label][2])
    assert {row["split"] for row in found.iter_rows(named=True)} == {"validation", "test"}


def test_means_and_both_intervals_of_the_gap(trained: Trained) -> None:
    found = trained.evidence.table(ANALYSIS).filter(pl.col("split") == "test")
    members = list(tuned_members(trained.study, trained.evidence, ("RI_T", "P_T")))
    literal = accuracies(trained.context, members, "test")
    right = {v: np.stack([literal[f"{v}[{s}]"][2] for s in range(4)]) for v in ("P-T", "RI-T")}
    mean = found.row(by_predicate=(pl.col("level") == "variant") & (pl.col("variant") == "P_T"), named=True)
    assert mean["value"] == pytest.approx(right["P-T"].mean())
    assert (mean["basis"], mean["n"]) == ("seeds", 4)
    gaps = {row["basis"]: row for row in found.filter(pl.col("variant") == "P_T − RI_T").iter_rows(named=True)}
    assert set(gaps) == {"seeds", "examples"}
    differences = (right["P-T"].mean(axis=1) - right["RI-T"].mean(axis=1)).tolist()
    half = stats.t.ppf(0.975, 3) * statistics.stdev(differences) / 2
    for row in gaps.values():
        assert row["value"] == pytest.approx(statistics.mean(differences))
    assert gaps["seeds"]["low"] == pytest.approx(statistics.mean(differences) - half)
    # Images of one panel are drawn together: n counts panels, of three images each.
    groups = np.asarray(trained.context.images().groups)[trained.context.indices("test")]
    assert gaps["examples"]["n"] == len(set(groups)) < right["P-T"].shape[1]
    literal_interval = bootstrap_interval(
        lambda weights, values: (weights @ values) / weights.sum(axis=1),
        [right["P-T"].mean(axis=0) - right["RI-T"].mean(axis=0)],
        groups,
        200,
        trained.context.seed("outcome", "test", "P_T − RI_T"),
    )
    assert (gaps["examples"]["low"], gaps["examples"]["high"]) == (literal_interval.low, literal_interval.high)
    assert set(found.filter(pl.col("level") == "gap")["variant"]) == {"P_T − RI_T", "P_T − RI_T_long"}


def test_a_diverged_seed_is_left_out_of_means_and_pairs(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 1", "RI_T 2", "P_T 0", "P_T 1", "P_T 2")
    # RI stands in for RI-T; P of this study would have to be trained.
    ri = tuple(m.model_copy(update={"spec": plain.study.untrained("RI", m.seed + 10)}) for m in members[3:])
    members = (*members[:3], *ri)
    context = Diverging(plain, members[1])
    found = checked(ANALYSIS, ANALYSIS.measure(Task(members=members), context).table).filter(pl.col("split") == "test")
    lost = found.row(by_predicate=(pl.col("variant") == "RI_T") & (pl.col("seed") == 1), named=True)
    assert (lost["value"], lost["loss"], lost["diverged"]) == (None, None, True)
    mean = found.row(by_predicate=(pl.col("level") == "variant") & (pl.col("variant") == "RI_T"), named=True)
    assert (mean["n"], mean["basis"], mean["diverged"]) == (2, "range", True)
    gaps = found.filter(pl.col("level") == "gap")
    literal = accuracies(plain, members, "test")
    pairs = [literal[f"P-T[{s}]"][0] - literal[f"RI-T[{s}]"][0] for s in (0, 2)]
    assert gaps.filter(pl.col("basis") == "range")["value"][0] == pytest.approx(sum(pairs) / 2)
    assert gaps["diverged"].all()
    curves = table_of_curves({"RI_T": [FLAT, FLAT], "P_T": [FLAT, FLAT]})
    notes = ANALYSIS.summarise(found, curves).notes
    assert "diverged and left out: RI-T[1]" in notes


def test_where_a_variant_is_lost_altogether_there_is_no_gap(plain) -> None:
    members = untrained(plain.study, "RI_T 0", "RI_T 1")
    found = ANALYSIS.measure(Task(members=members), Diverging(plain, *members)).table
    assert set(found["level"]) == {"network"}
    verdict = ANALYSIS.summarise(found, table_of_curves({})).verdict
    assert verdict == "Undecided: no seed of both P-T and RI-T ended with a defined metric."


def test_several_labels_are_measured_by_auc(tmp_path) -> None:
    from sklearn.metrics import roc_auc_score

    context = bound(tmp_path, target={"data": arrays(tmp_path / "many", 90, 3, multi=True), "image_size": 16})
    assert (context.study.task, context.study.metric) == ("multi", "auc")
    ri = untrained(context.study, "RI_T 0", "RI_T 1")
    members = (
        *ri,
        *(m.model_copy(update={"variant": "P_T", "spec": context.study.untrained("RI", m.seed + 5)}) for m in ri),
    )
    found = checked(ANALYSIS, ANALYSIS.measure(Task(members=members), context).table).filter(pl.col("split") == "test")
    literal = {}
    for member in members:
        values, labels = logits(context.network(member.spec), context.batches("test"), context.device)
        literal[member.label] = roc_auc_score(labels.numpy(), values.numpy(), average="macro")
        row = found.row(
            by_predicate=(pl.col("variant") == member.variant) & (pl.col("seed") == member.seed), named=True
        )
        assert row["value"] == pytest.approx(literal[member.label])
        bce = torch.nn.functional.binary_cross_entropy_with_logits(values.double(), labels.double())
        assert row["loss"] == pytest.approx(float(bce), rel=1e-6)
    gaps = found.filter((pl.col("level") == "gap") & (pl.col("basis") == "examples"))
    expected = sum(literal[f"P-T[{s}]"] - literal[f"RI-T[{s}]"] for s in (0, 1)) / 2
    assert gaps["value"][0] == pytest.approx(expected)


# -- the gap over examples --------------------------------------------------------------------------------------


def test_the_gap_over_examples_for_every_metric() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(7, (40,), generator=generator)
    a, b = ([torch.randn(40, 7, generator=generator) for _ in range(3)] for _ in range(2))
    for metric, k in (("top1", 1), ("top5", 5)):
        hits = [
            [(values.topk(k).indices == labels[:, None]).any(1).double().mean() for values in side] for side in (a, b)
        ]
        found = gap_over_examples(a, b, labels, metric, None, 100, 0)
        assert found.value == pytest.approx(float(sum(hits[0]) - sum(hits[1])) / 3)
        assert found.low < found.value < found.high
    two = labels % 2
    auc = gap_over_examples([values[:, :2] for values in a], [values[:, :2] for values in b], two, "auc", None, 50, 0)
    from sklearn.metrics import roc_auc_score

    areas = [[roc_auc_score(two, values[:, 1] - values[:, 0]) for values in side] for side in (a, b)]
    assert auc.value == pytest.approx((sum(areas[0]) - sum(areas[1])) / 3)


def test_a_metric_that_does_not_fit_the_labels_is_named() -> None:
    values, labels = torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.long)
    with pytest.raises(MeasureError, match="top1 takes one label per example"):
        gap_over_examples([values], [values], labels, "top1", None, 10, 0)


# -- words ------------------------------------------------------------------------------------------------------


def gap_rows(*intervals, name="P_T − RI_T", metric="top1") -> list[dict]:
    """Rows of one gap: (basis, n, value, low, high)."""
    return [
        {"level": "gap", "variant": name, "split": "test", "metric": metric, "diverged": False}
        | dict(zip(("basis", "n", "value", "low", "high"), interval, strict=True))
        for interval in intervals
    ]


def results(*gaps, seeds=(0, 1, 2), examples=200) -> pl.DataFrame:
    networks = [
        {"level": "network", "variant": variant, "seed": seed, "split": "test", "metric": "top1", "value": 0.5,
         "loss": 1.0, "n": examples, "diverged": False}
        for variant in ("RI_T", "P_T") for seed in seeds
    ]  # fmt: skip
    made = pl.DataFrame([*networks, *(row for gap in gaps for row in gap)], schema=schema(Outcome.columns))
    return checked(ANALYSIS, made)


def table_of_curves(runs: dict) -> Evidence:
    every = [
        row
        for variant, curves in runs.items()
        for seed, curve in enumerate(curves)
        for row in rows(variant, seed, curve)
    ]
    return Evidence({LearningCurves().key: pl.DataFrame(every, schema=schema(LearningCurves.columns))})


ENDED = {"RI_T": [FLAT] * 3, "P_T": [FLAT] * 3}
HELPS = ("seeds", 3, 0.08, 0.06, 0.10)
EXAMPLES = ("examples", 200, 0.08, 0.02, 0.13)


GENERAL = "A claim about training in general needs at least 3 seeds."


@pytest.mark.parametrize(
    ("intervals", "over", "verdict", "words"),
    [
        ([HELPS, EXAMPLES], "seeds", "larger",
         "This pre-training helps: P-T − RI-T is +8.0 points of test top1, 95 % interval over 3 seeds +6.0 to +10.0 "
         "points."),
        ([("seeds", 3, -0.08, -0.10, -0.06), EXAMPLES], "seeds", "smaller",
         "This pre-training hurts: P-T − RI-T is -8.0 points"),
        ([("seeds", 3, 0.08, -0.01, 0.17), EXAMPLES], "seeds", "undecided",
         "Undecided for training in general: P-T − RI-T is +8.0 points"),
        ([("range", 2, 0.08, 0.07, 0.09), EXAMPLES], "examples", "larger",
         "These P-T networks are better: P-T − RI-T is +8.0 points of test top1, 95 % interval over 200 test examples "
         f"+2.0 to +13.0 points; 2 seeds, range +7.0 to +9.0 points. {GENERAL}"),
        ([(None, 1, 0.08, None, None), EXAMPLES], "examples", "larger",
         "These P-T networks are better: P-T − RI-T is +8.0 points of test top1, 95 % interval over 200 test examples "
         f"+2.0 to +13.0 points; one seed. {GENERAL}"),
        ([(None, 1, -0.08, None, None), ("examples", 60, -0.08, -0.1, -0.02)], "examples", "smaller",
         "These P-T networks are worse: P-T − RI-T is -8.0 points of test top1, 95 % interval over 60 groups of test "
         "examples -10.0 to -2.0 points; one seed."),
        ([(None, 1, 0.08, None, None), ("examples", 200, 0.08, -0.1, 0.2)], "examples", "undecided",
         "Undecided: P-T − RI-T"),
        ([(None, 1, 0.08, None, None), (None, 1, 0.08, None, None)], "seeds", "undecided",
         "Undecided: P-T − RI-T is +8.0 points of test top1, without an interval; one seed. A claim"),
        # Equal gaps of all seeds are no interval: the examples decide.
        ([(None, 3, 0.08, None, None), EXAMPLES], "examples", "larger",
         "These P-T networks are better: P-T − RI-T is +8.0 points of test top1, 95 % interval over 200 test examples "
         "+2.0 to +13.0 points; equal for all 3 seeds. A claim about training in general needs at least 3 seeds that "
         "differ."),
    ],
)  # fmt: skip
def test_a_verdict_names_what_it_rests_on(intervals, over, verdict, words) -> None:
    summary = ANALYSIS.summarise(results(gap_rows(*intervals)), table_of_curves(ENDED))
    assert summary.verdict.startswith(words)
    decided = [item for item in checked_summary(ANALYSIS, summary).estimates if item.verdict is not None]
    assert [(item.quantity, item.at["rival"], item.at["over"], item.verdict) for item in decided] == [
        ("gap", "RI_T", over, verdict)
    ]
    general = "This pre-training" in summary.verdict
    assert general == (intervals[0][0] == "seeds" and intervals[0][3] * intervals[0][4] > 0)
    assert "every claim is for this pre-trained network; another pre-training may differ" in summary.notes


@pytest.mark.parametrize(
    ("interval", "flags"),
    [
        (HELPS, ()),
        (("range", 2, 0.08, 0.07, 0.09), ("too_few_seeds",)),
        ((None, 1, 0.08, None, None), ("too_few_seeds",)),
        ((None, 3, 0.08, None, None), ("no_spread",)),
    ],
)
def test_flags_say_what_an_interval_lacks(interval, flags) -> None:
    summary = ANALYSIS.summarise(results(gap_rows(interval, EXAMPLES)), table_of_curves(ENDED))
    assert estimate_of(summary, "gap", variant="P_T", rival="RI_T", over="seeds").flags == flags
    assert estimate_of(summary, "gap", over="examples").flags == ()
    rising = ANALYSIS.summarise(results(gap_rows(interval)), table_of_curves({**ENDED, "RI_T": [RISING] * 3}))
    assert estimate_of(rising, "gap").flags == (*flags, "still_improving")


def test_auc_is_no_number_of_points() -> None:
    gaps = pl.DataFrame(gap_rows(("seeds", 4, 0.0412, 0.0312, 0.0512), metric="auc"))
    assert gap_verdict(gaps) == (
        "This pre-training helps: P-T − RI-T is +0.041 of test AUC, 95 % interval over 4 seeds +0.031 to +0.051."
    )


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ({"RI_T": []}, "RI-T has no finished run with a defined validation metric"),
        ({"RI_T": [RISING, FLAT, FLAT]}, "RI-T is still improving at the end (1 of 3 seeds)"),
        ({"RI_T": [FLAT[:3]] * 3}, "RI-T has too few epochs to tell whether it is still improving"),
        ({"RI_T": [RISING] * 3, "RI_T_long": [RISING] * 3}, "RI-T is still improving at the end (3 of 3 seeds)"),
    ],
)
def test_no_claim_while_ri_t_has_not_ended(runs, reason) -> None:
    gaps = [gap_rows(HELPS, EXAMPLES), gap_rows(HELPS, EXAMPLES, name="P_T − RI_T_long")]
    verdict = ANALYSIS.summarise(results(*gaps), table_of_curves({**ENDED, **runs})).verdict
    assert verdict == (
        f"No claim on the final gap: {reason}. So far P-T − RI-T is +8.0 points of test top1, 95 % interval over 3 "
        "seeds +6.0 to +10.0 points."
    )


def test_ri_t_trained_to_its_plateau_takes_the_place_of_one_that_has_not_ended() -> None:
    gaps = [gap_rows(HELPS), gap_rows(("seeds", 3, 0.01, -0.01, 0.03), name="P_T − RI_T_long")]
    runs = {"RI_T": [RISING] * 3, "RI_T_long": [FLAT] * 3, "P_T": [FLAT] * 3}
    verdict = ANALYSIS.summarise(results(*gaps), table_of_curves(runs)).verdict
    assert verdict == (
        "After equal updates RI-T is still improving at the end (3 of 3 seeds): no claim is made there. Against RI-T "
        "trained to its plateau: Undecided for training in general: P-T − RI-T-long is +1.0 points of test top1, 95 % "
        "interval over 3 seeds -1.0 to +3.0 points."
    )
    # Where RI-T has ended after equal updates, that gap decides.
    ended = ANALYSIS.summarise(results(*gaps), table_of_curves({**runs, "RI_T": [FLAT] * 3})).verdict
    assert ended.startswith("This pre-training helps: P-T − RI-T is +8.0")


def test_p_t_that_still_rises_forbids_nothing() -> None:
    runs = {"RI_T": [FLAT] * 3, "P_T": [RISING] * 3}
    verdict = ANALYSIS.summarise(results(gap_rows(HELPS)), table_of_curves(runs)).verdict
    assert verdict.startswith("This pre-training helps")
    gap = estimate_of(ANALYSIS.summarise(results(gap_rows(HELPS)), table_of_curves(runs)), "gap")
    assert (gap.value, gap.flags) == (0.08, ())


def test_gains_that_are_equal_for_all_seeds_leave_it_to_the_examples() -> None:
    runs = {"RI_T": [FLAT] * 3, "P_T": [FLAT] * 3}
    equal, examples = (None, 3, 0.08, None, None), ("examples", 200, 0.08, 0.02, 0.13)
    summary = ANALYSIS.summarise(results(gap_rows(equal, examples)), table_of_curves(runs))
    assert summary.facts["winner"] == "P_T"
    assert (summary.facts["basis"], summary.facts["low"]) == ("examples", 0.02)
    assert "equal for all 3 seeds" in summary.verdict
    gaps = {item.at["over"]: item for item in summary.estimates if item.quantity == "gap"}
    assert (gaps["seeds"].low, gaps["seeds"].flags) == (None, ("no_spread",))
    assert (gaps["examples"].low, gaps["examples"].flags) == (0.02, ())
    alone = ANALYSIS.summarise(results(gap_rows(equal)), table_of_curves(runs))
    assert alone.facts["winner"] is None
    assert alone.verdict.startswith("Undecided")
