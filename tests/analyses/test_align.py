"""Alignment within a study: the rows, the verdict, and what is said where no units can be matched."""

from dataclasses import replace

import polars as pl
import pytest

from tests.estimates import estimate_of
from tests.reference.pairs_reference import leave_one_seed_out
from tests.report.synthetic_align import align_table
from tests.studies import Diverging, Trained
from transferscope.analyses.align.analysis import Align, _unreadable
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.methods.alignment.align import align
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.linear_path import linear_path
from transferscope.specs.architecture import Architecture
from transferscope.study.columns import schema

ANALYSIS = Align(points=3, match_images=60, batch_norm_images=40, train_images=50, variants=("RI_T",))
WAYS = ["unaligned", "activations", "weights"]


def first_unit(trained: Trained) -> Task:
    return next(iter(ANALYSIS.tasks(trained.study, trained.evidence.for_decision())))


@pytest.fixture(scope="module")
def measured(trained: Trained) -> tuple[Task, pl.DataFrame]:
    task = first_unit(trained)
    return task, checked(ANALYSIS, ANALYSIS.measure(task, trained.context).table)


def test_units_are_pairs_of_seeds(trained: Trained) -> None:
    evidence = trained.evidence.for_decision()
    units = list(Align().tasks(trained.study, evidence))
    assert [[member.label for member in task.members] for task in units] == [
        [f"{v}[{a}]", f"{v}[{b}]"] for v in ("P-T", "RI-T") for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert len(list(Align(max_pairs=None).tasks(trained.study, evidence))) == 2 * 6
    named = {spec.key for spec in Align().networks(trained.study, evidence)}
    assert named == {member.spec.key for task in units for member in task.members}
    assert ANALYSIS.forward_passes(units[0], trained.study) > 0


def test_lines_are_those_of_the_aligned_networks(measured, trained: Trained) -> None:
    task, table = measured
    context = trained.context
    a, b = (context.network(member.spec) for member in task.members)
    found = align(a, b, context.mixed_batches("train", 60), method="weights", seed=task.members[0].seed, device="cpu")
    path = linear_path(
        a,
        found.network,
        {"test": context.batches("test")},
        evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        alphas=(0.0, 0.5, 1.0),
    )
    rows = table.filter((pl.col("way") == "weights") & (pl.col("split") == "test"))
    points = rows.filter(pl.col("level") == "point")
    assert points["loss"].to_list() == pytest.approx([point.losses.mean() for point in path.points["test"]])
    (distance,) = set(rows["distance"])
    assert distance == pytest.approx(path.distance)
    assert distance == pytest.approx(found.distance[1])
    assert points["permuted_share"].to_list() == [found.moved] * 3
    assert points["objective_after"].to_list() == [found.objective[1]] * 3


def test_every_way_has_the_same_ends(measured) -> None:
    """A permuted network is the same function: only what lies between differs."""
    _, table = measured
    assert table["way"].unique(maintain_order=True).to_list() == WAYS
    for split in ("train", "test"):
        for level in ("point", "own"):
            rows = table.filter((pl.col("split") == split) & (pl.col("level") == level))
            for alpha in (0.0, 1.0):
                ends = rows.filter(pl.col("alpha") == alpha)
                assert ends.height == 3
                assert ends["loss"].max() == pytest.approx(ends["loss"].min(), rel=1e-4)
                assert ends["error"].n_unique() == 1
    before, after = (table.filter(pl.col("way") == way) for way in ("unaligned", "weights"))
    assert after["distance"][0] < before["distance"][0]
    assert set(before["permuted_share"]) == {0.0}
    assert before["permutable_share"].null_count() == before.height
    assert after["objective_after"][0] > after["objective_before"][0]
    barriers = table.filter(pl.col("level") == "barrier")
    assert barriers.height == 3 * 2 * 2 * 2
    assert set(barriers["n_comparisons"]) == {3}


def test_a_pair_with_a_diverged_end_has_no_rows(trained: Trained) -> None:
    task = first_unit(trained)
    found = ANALYSIS.measure(task, Diverging(trained.context, task.members[1])).table
    assert checked(ANALYSIS, found).height == 0


def test_what_a_study_lacks_is_said(plain) -> None:
    one = replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": (0,)}))
    assert Align().skip_reason(one) == "a path between two networks needs at least two seeds"
    assert Align().skip_reason(plain.study) is None


def test_a_network_without_permutations_is_named_with_its_operation() -> None:
    own = Architecture(name="tests.alignable:sorting").model_dump_json()
    reason = _unreadable(own, 3, 16)
    assert reason is not None
    assert "no rule says how permutations of hidden units pass the operation aten.sort" in reason


def test_a_method_is_named_once() -> None:
    with pytest.raises(ValueError, match="each method once"):
        Align(methods=("weights", "weights"))


# -- words ------------------------------------------------------------------------------------------------------


def heights(unaligned: tuple, activations: tuple, weights: tuple, pairs: int = 1) -> pl.DataFrame:
    """A table whose error barriers of every pair have the given height, low and high."""
    given = dict(zip(WAYS, (unaligned, activations, weights), strict=True))
    table = align_table(pairs).filter(pl.col("pair") == "RI-T/RI-T")
    for place, name in enumerate(("barrier", "low", "high")):
        value = pl.col("way").replace_strict({way: values[place] for way, values in given.items()})
        wanted = (pl.col("level") == "barrier") & (pl.col("quantity") == "error")
        table = table.with_columns(pl.when(wanted).then(value).otherwise(pl.col(name)).alias(name))
    return table


HIGH, LOW, WIDE = (0.2, 0.15, 0.25), (0.005, 0.0, 0.015), (0.02, 0.0, 0.04)


def judged(table: pl.DataFrame) -> list[str | None]:
    """The verdicts on the three lines."""
    summary = checked_summary(ANALYSIS, ANALYSIS.summarise(table, Evidence()))
    at = {"pair": "RI-T/RI-T", "split": "test", "baseline": "mean"}
    return [estimate_of(summary, "error_barrier", method=way, **at).verdict for way in WAYS]


@pytest.mark.parametrize(
    ("ways", "words", "verdict"),
    [
        ((HIGH, LOW, HIGH), "unstable stable unstable", "apart by permutation: the barrier goes when hidden units"),
        ((HIGH, HIGH, HIGH), "unstable unstable unstable", "apart also after permutation: a barrier stays"),
        ((HIGH, HIGH, LOW), "unstable unstable stable", "undecided whether permutation explains the barrier"),
        ((HIGH, WIDE, HIGH), "unstable undecided unstable", "undecided whether permutation explains the barrier"),
        ((WIDE, LOW, LOW), "undecided stable stable", "undecided whether permutation explains the barrier"),
        ((LOW, LOW, LOW), "stable stable stable", "linearly connected as trained: there is no barrier to explain"),
        (
            (LOW, HIGH, HIGH),
            "stable unstable unstable",
            "linearly connected as trained: there is no barrier to explain",
        ),
    ],
)
def test_permutation_explains_what_goes_and_nothing_else(ways, words, verdict) -> None:
    assert judged(heights(*ways)) == words.split()
    assert ANALYSIS.summarise(heights(*ways), Evidence()).verdict.startswith(f"RI-T/RI-T {verdict}")


def test_the_verdict_says_every_line_and_what_it_rests_on() -> None:
    rests = "from 656 test examples, for this pair of networks"
    assert ANALYSIS.summarise(heights(HIGH, LOW, HIGH), Evidence()).verdict == (
        "RI-T/RI-T apart by permutation: the barrier goes when hidden units are matched: as trained error barrier 20.0 "
        f"points, 95 % limits 15.0 to 25.0 {rests}; matched by activations error barrier 0.5 points, 95 % limits 0.0 "
        f"to 1.5 {rests}; matched by weights error barrier 20.0 points, 95 % limits 15.0 to 25.0 {rests}."
    )


def test_numbers_name_what_they_rest_on() -> None:
    one = ANALYSIS.summarise(heights(HIGH, LOW, LOW), Evidence())
    at = {"pair": "RI-T/RI-T", "split": "test", "baseline": "mean"}
    found = estimate_of(one, "error_barrier", method="unaligned", **at)
    assert found.name == "error barrier of RI-T/RI-T, as trained (test, mean baseline)"
    assert (found.value, found.low, found.high, found.basis, found.n) == (0.2, 0.15, 0.25, "examples", 656)
    gone = estimate_of(one, "error_barrier_gone", method="activations", **at)
    assert gone.name == "error barrier of RI-T/RI-T that goes when matched by activations (test, mean baseline)"
    assert (gone.value, gone.low, gone.flags) == (pytest.approx(0.195), None, ("too_few_seeds",))


def test_what_goes_is_over_seeds_leaving_one_out_and_may_be_negative() -> None:
    table = heights(HIGH, LOW, LOW, pairs=3)
    grown = pl.col("barrier") + 0.1 * pl.col("seed_b")
    table = table.with_columns(barrier=pl.when(pl.col("way") == "activations").then(grown).otherwise(pl.col("barrier")))
    gone = estimate_of(ANALYSIS.summarise(table, Evidence()), "error_barrier_gone", method="activations")
    expected = {(a, b): 0.195 - 0.1 * b for a, b in ((0, 1), (0, 2), (1, 2))}
    mean, low, _ = leave_one_seed_out(expected)
    assert (gone.value, gone.low, gone.basis, gone.n) == (pytest.approx(mean), pytest.approx(max(-1, low)), "seeds", 3)
    worse = ANALYSIS.summarise(heights(LOW, HIGH, HIGH), Evidence())
    assert estimate_of(worse, "error_barrier_gone", method="weights").value == pytest.approx(-0.195)
    assert 0 < estimate_of(worse, "distance_ratio", method="weights").value < 1


def test_what_is_not_finite_is_no_number_and_undecided() -> None:
    table = heights(HIGH, LOW, LOW)
    lost = (pl.col("level") == "barrier") & (pl.col("way") == "activations")
    for name in ("barrier", "low", "high", "alpha"):
        table = table.with_columns(pl.when(lost).then(None).otherwise(pl.col(name)).alias(name))
    assert judged(table) == ["unstable", "undecided", "stable"]
    summary = ANALYSIS.summarise(table, Evidence())
    for quantity, more in (("error_barrier", {"split": "test"}), ("error_barrier_gone", {})):
        found = estimate_of(summary, quantity, method="activations", **more)
        assert (found.value, found.n, found.flags) == (None, 1, ("incomplete",))


def test_nothing_measured_is_said() -> None:
    empty = pl.DataFrame([], schema=schema(Align.columns))
    assert ANALYSIS.summarise(empty, Evidence()).verdict == (
        "RI-T/RI-T not measured (diverged, or fewer than two seeds)."
    )
