"""Curves between the networks of a study: bends trained in the store, rows, and what is said of them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.estimates import estimate_of
from tests.reference.pairs_reference import leave_one_seed_out
from tests.studies import Diverging, Trained
from tests.tables import barriers as barriers_of
from tests.tables import example, seed_pairs
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.curve.analysis import CurveAnalysis
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.measures.standard_error import standard_error
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.curve import curve_path
from transferscope.running.work import TrainJob, do
from transferscope.specs.network import Curve as CurveStart

ANALYSIS = CurveAnalysis(points=5, epochs=2, batch_norm_images=40, train_images=50, learning_rate=0.05)


def first_unit(trained: Trained, analysis: CurveAnalysis = ANALYSIS) -> Task:
    return next(iter(analysis.tasks(trained.study, trained.evidence.for_decision())))


@pytest.fixture(scope="module")
def measured(trained: Trained):
    """One pair: its bend trained into the store, its table, and the same curve by hand."""
    task, context = first_unit(trained), trained.context
    bend = task.members[2].spec
    do(TrainJob(context.store.root, trained.study, bend, "bend"), lambda event: None)
    table = checked(ANALYSIS, ANALYSIS.measure(task, context).table)
    path = curve_path(
        *(context.network(member.spec) for member in task.members),
        {"train": context.batches("train", 50), "test": context.batches("test")},
        evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        positions=(0.0, 0.25, 0.5, 0.75, 1.0),
    )
    return task, table, path


def test_units_are_pairs_of_seeds_with_a_bend_each(trained: Trained) -> None:
    evidence = trained.evidence.for_decision()
    units = list(ANALYSIS.tasks(trained.study, evidence))
    assert [[member.label for member in task.members] for task in units] == [
        [f"{v}[{a}]", f"{v}[{b}]", f"{v}-curve-to-{b}[{a}]"]
        for v in ("P-T", "RI-T") for a, b in ((0, 1), (0, 2), (1, 2))
    ]  # fmt: skip
    every = ANALYSIS.model_copy(update={"max_pairs": None})
    assert len(list(every.tasks(trained.study, evidence))) == 2 * 6
    assert len({task.members[2].spec.key for task in units}) == 6
    for task in units:
        a, b, bend = (member.spec for member in task.members)
        assert bend.start == CurveStart(a=a, b=b)
        assert (bend.recipe.epochs, bend.recipe.learning_rate, bend.recipe.keep) == (2, 0.05, "none")
        assert bend.recipe.weight_decay == a.recipe.weight_decay
        assert (bend.data, bend.seed) == (a.data, a.seed)
        assert ANALYSIS.forward_passes(task, trained.study) > 0
    named = {spec.key for spec in ANALYSIS.networks(trained.study, evidence)}
    assert named == {member.spec.key for task in units for member in task.members}


def test_the_recipe_is_the_studys_at_the_chosen_rate(trained: Trained) -> None:
    for variant in ("P_T", "RI_T"):
        task = first_unit(trained, CurveAnalysis(shape="chain", variants=(variant,)))
        bend = task.members[2].spec
        assert bend.start.shape == "chain"
        assert bend.recipe == task.members[0].spec.recipe.model_copy(update={"keep": "none"})


def test_points_are_those_of_the_curve_and_of_the_line(measured, trained: Trained) -> None:
    _, table, path = measured
    groups = np.asarray(trained.context.images().groups)
    for split, limit in (("train", 50), ("test", None)):
        clusters = groups[trained.context.indices(split, limit)]
        of = table.filter(split=split)
        for way in ("curve", "line"):
            points = of.filter(level="point", way=way)
            assert points["alpha"].to_list() == list(path.positions)
            lengths = path.lengths if way == "curve" else [t * path.distance for t in path.positions]
            assert points["l2"].to_list() == pytest.approx(list(lengths))
            for row, point in zip(points.iter_rows(named=True), path.points(split, way), strict=True):
                assert row["loss"] == pytest.approx(point.losses.mean(), rel=1e-9)
                assert row["error"] == pytest.approx(point.errors.mean(), rel=1e-9)
                assert row["error_se"] == pytest.approx(standard_error(point.errors, clusters), rel=1e-9)
                assert (row["epochs"], row["learning_rate"], row["shape"]) == (2, 0.05, "bezier")
            for row in of.filter(level="barrier", way=way).iter_rows(named=True):
                found = path.barrier(split, row["quantity"], way, clusters)
                height = found.linear if row["baseline"] == "linear" else found.mean
                assert (row["barrier"], row["low"], row["high"]) == pytest.approx(
                    (height.value, height.interval.low, height.interval.high)
                )
                assert row["simultaneous_high"] >= row["high"]
                assert row["l2"] == pytest.approx(lengths[-1])
        own = of.filter(level="own")
        assert own["alpha"].to_list() == [0.0, 1.0]
        assert own["loss"].to_list() == pytest.approx([end.losses.mean() for end in path.own[split]])
    assert table.filter(level="barrier").height == 2 * 2 * 2 * 2
    ends = table.filter(pl.col("alpha").is_in([0.0, 1.0]), level="point")
    assert ends.filter(way="curve")["loss"].to_list() == ends.filter(way="line")["loss"].to_list()
    assert [table[name][0] for name in ("pair", "a", "b")] == ["P-T/P-T", "P-T[0]", "P-T[1]"]


def test_own_statistics_are_the_networks_own_outputs(measured, trained: Trained) -> None:
    task, table, _ = measured
    own = table.filter(level="own", split="test").sort("alpha")
    for member, error in zip(task.members[:2], own["error"], strict=True):
        outputs = trained.context.outputs(member.spec, "test")
        assert error == float((outputs.logits.argmax(1) != outputs.labels).double().mean())


def test_a_diverged_bend_has_no_curve_and_a_diverged_end_no_bend(measured, trained: Trained) -> None:
    task, _, _ = measured
    for member in task.members:
        found = ANALYSIS.measure(task, Diverging(trained.context, member)).table
        assert checked(ANALYSIS, found).height == 0
    key = LearningCurves().key
    tables = dict(trained.evidence.tables)
    lost = (pl.col("variant") == "P_T") & (pl.col("seed") == 1) & (pl.col("setting") == "chosen")
    tables[key] = tables[key].with_columns(pl.when(lost).then(True).otherwise(pl.col("diverged")).alias("diverged"))
    units = ANALYSIS.tasks(trained.study, Evidence(tables).for_decision())
    assert [[member.seed for member in task.members[:2]] for task in units] == [[0, 2], [0, 1], [0, 2], [1, 2]]


def test_one_seed_has_no_curve(plain) -> None:
    one = replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": (0,)}))
    assert ANALYSIS.skip_reason(one) == "a curve between two networks needs at least two seeds"
    assert ANALYSIS.skip_reason(plain.study) is None


# -- words ------------------------------------------------------------------------------------------------------


PAIRS = ((0, 1), (0, 2), (1, 2))


def barriers(curve: list[tuple], line: list[tuple], distance: float = 2.0) -> pl.DataFrame:
    """Barrier rows of pairs: (height of the error, low, high) along the curve and along the line."""
    rows = [
        row
        for way, values in (("curve", curve), ("line", line))
        for pair, height in zip(seed_pairs(len(values)), values, strict=True)
        for split in ("train", "test")
        for row in barriers_of(
            height, way=way, seed_a=pair[0], seed_b=pair[1], split=split, l2=3.0 if way == "curve" else distance
        )
    ]
    same = {
        "variant_a": "P_T",
        "variant_b": "P_T",
        "shape": "bezier",
        "learning_rate": 0.1,
        "epochs": 3,
        "n_comparisons": 2,
    }
    return example(CurveAnalysis, rows, distance=distance, barrier_se=0.01, **same)


ONE = CurveAnalysis(variants=("P_T",))
LOW, MAYBE, HIGH = (0.005, 0.0, 0.015), (0.01, 0.0, 0.03), (0.2, 0.15, 0.25)


FINE = [(0.004, 0.0, 0.5), (0.005, 0.0, 0.5), (0.006, 0.0, 0.5)]
APART = [(0.2, 0.0, 0.5), (0.21, 0.0, 0.5), (0.22, 0.0, 0.5)]


def judged(curve: list[tuple], line: list[tuple]) -> tuple[Estimate, Estimate]:
    """The barriers that are judged, along the curve and along the line."""
    summary = ONE.summarise(barriers(curve, line), Evidence())
    at = {"pair": "P-T/P-T", "split": "test", "baseline": "mean", "batch_norm": "batch norm recomputed"}
    return tuple(estimate_of(summary, "error_barrier", path=path, **at) for path in ("bezier", "line"))


@pytest.mark.parametrize(
    ("curve", "line", "words", "basis"),
    [
        ([LOW], [HIGH], ("stable", "unstable"), "examples"),
        ([LOW], [LOW], ("stable", "stable"), "examples"),
        ([HIGH], [HIGH], ("unstable", "unstable"), "examples"),
        ([MAYBE], [HIGH], ("undecided", "unstable"), "examples"),
        ([LOW, MAYBE], [HIGH, HIGH], ("undecided", "unstable"), "examples"),
        ([LOW, HIGH], [HIGH, HIGH], ("undecided", "unstable"), "examples"),
        (FINE, APART, ("stable", "unstable"), "seeds"),
        (FINE, [FINE[0], *APART[1:]], ("stable", "undecided"), "seeds"),
        ([LOW] * 3, [HIGH] * 3, ("stable", "unstable"), "examples"),
        ([(0.005, None, None)], [HIGH], ("undecided", "unstable"), None),
        ([(None, None, None)], [HIGH], ("undecided", "unstable"), None),
    ],
)
def test_joined_is_said_of_an_upper_limit_alone(curve, line, words, basis) -> None:
    found = judged(curve, line)
    assert tuple(item.verdict for item in found) == words
    assert found[0].basis == basis


def test_the_verdict_says_both_barriers_and_what_they_rest_on(approved) -> None:
    approved(ONE.summarise(barriers([LOW], [HIGH]), Evidence()).verdict)
    lost = ONE.summarise(barriers([(None, None, None)], [HIGH]), Evidence()).verdict
    assert lost.startswith("P-T/P-T undecided whether the trained curve joins them: an error between the ends is not")


def test_a_curve_never_makes_a_linear_basin() -> None:
    """Whatever the curve says, "connected" is said of the straight line alone, and no basin is spoken of."""
    for curve in (LOW, MAYBE, HIGH):
        for line in (MAYBE, HIGH):
            summary = ONE.summarise(barriers([curve], [line]), Evidence())
            text = " ".join([summary.verdict, *summary.notes, *(f"{n.name} {n.note}" for n in summary.estimates)])
            assert "linearly connected" not in text
            assert "basin" not in text
            assert "flat" not in text
            assert "a curve of low loss makes no linear connection: that is judged on the straight line" in text


def test_numbers_over_seeds_or_over_examples(approved) -> None:
    one, _ = judged([LOW], [HIGH])
    assert (one.value, one.low, one.high, one.basis, one.n, one.note) == (*LOW, "examples", 400, "one pair")
    approved(one.name)
    assert (one.simultaneous_low, one.simultaneous_high, one.n_comparisons) == (*LOW[1:], 2)
    three, _ = judged(FINE, APART)
    wide = leave_one_seed_out(dict(zip(PAIRS, (height for height, *_ in FINE), strict=True)), 0.975)
    assert (three.simultaneous_low, three.simultaneous_high) == (0, pytest.approx(wide[2]))
    assert three.n_comparisons == 2
    assert (three.value, three.low, three.high) == pytest.approx(
        leave_one_seed_out(dict(zip(PAIRS, (height for height, *_ in FINE), strict=True)))
    )
    lost, _ = judged([LOW, (None, None, None)], [HIGH, HIGH])
    assert (lost.value, lost.n, lost.flags) == (None, 2, ("incomplete",))
    summary = ONE.summarise(barriers([LOW], [HIGH]), Evidence())
    checked_summary(ONE, summary)
    assert len(summary.estimates) == 2 * 2 * 2 + 1
    length = estimate_of(summary, "length_ratio", pair="P-T/P-T")
    assert (length.value, length.low, length.flags) == (1.5, None, ("too_few_seeds",))


def test_equal_ends_have_no_detour() -> None:
    length = estimate_of(ONE.summarise(barriers([LOW], [LOW], distance=0.0), Evidence()), "length_ratio")
    assert (length.value, length.flags) == (None, ("incomplete",))


def test_what_was_not_measured_is_said(approved) -> None:
    verdict = CurveAnalysis().summarise(barriers([LOW], [HIGH]), Evidence()).verdict
    approved(verdict)
    notes = ONE.summarise(barriers([LOW], [HIGH]), Evidence()).notes
    approved(*notes)
    few = "5 points on each line: a narrow barrier may be missed"
    assert few in CurveAnalysis(points=5, variants=("P_T",)).summarise(barriers([LOW], [HIGH]), Evidence()).notes
    assert few not in notes
