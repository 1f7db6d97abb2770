"""Alignment within a study: the rows, the verdict, and what is said where no units can be matched."""

from dataclasses import replace

import polars as pl
import pytest

from tests.report.synthetic_align import align_table
from tests.studies import Diverging, Trained
from transferscope.analyses.align import Align, _unreadable
from transferscope.analyses.align_networks import align
from transferscope.analyses.contract import Unit, checked, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.linear_path import linear_path
from transferscope.networks.settings import Architecture

ANALYSIS = Align(points=3, match_images=60, batch_norm_images=40, train_images=50, variants=("RI_T",))
WAYS = ["unaligned", "activations", "weights"]


def first_unit(trained: Trained) -> Unit:
    return next(iter(ANALYSIS.units(trained.study, trained.evidence.for_decision())))


@pytest.fixture(scope="module")
def measured(trained: Trained) -> tuple[Unit, pl.DataFrame]:
    unit = first_unit(trained)
    return unit, checked(ANALYSIS, ANALYSIS.measure(unit, trained.context).table)


def test_units_are_disjoint_pairs(trained: Trained) -> None:
    evidence = trained.evidence.for_decision()
    units = list(Align().units(trained.study, evidence))
    assert [[member.label for member in unit.members] for unit in units] == [
        [f"{v}[{s}]", f"{v}[{s + 1}]"] for v in ("P-T", "RI-T") for s in (0, 2)
    ]
    named = {spec.key for spec in Align().networks(trained.study, evidence)}
    assert named == {member.spec.key for unit in units for member in unit.members}
    assert ANALYSIS.images(units[0], trained.study) > 0


def test_lines_are_those_of_the_aligned_networks(measured, trained: Trained) -> None:
    unit, table = measured
    context = trained.context
    a, b = (context.network(member.spec) for member in unit.members)
    found = align(a, b, context.mixed_batches("train", 60), method="weights", seed=unit.members[0].seed, device="cpu")
    path = linear_path(
        a,
        found.network,
        {"test": context.batches("test")},
        recompute_on=context.mixed_batches("train", 40),
        alphas=(0.0, 0.5, 1.0),
        device="cpu",
    )
    rows = table.filter((pl.col("way") == "weights") & (pl.col("split") == "test"))
    points = rows.filter(pl.col("level") == "point")
    assert points["loss"].to_list() == pytest.approx([point.losses.mean() for point in path.points["test"]])
    (distance,) = set(rows["distance"])
    assert distance == pytest.approx(path.distance)
    assert distance == pytest.approx(found.distance[1])
    assert points["moved"].to_list() == [found.moved] * 3
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
    assert set(before["moved"]) == {0.0}
    assert before["reach"].null_count() == before.height
    assert after["objective_after"][0] > after["objective_before"][0]
    barriers = table.filter(pl.col("level") == "barrier")
    assert barriers.height == 3 * 2 * 2 * 2
    assert set(barriers["family"]) == {3}


def test_a_pair_with_a_diverged_end_has_no_rows(trained: Trained) -> None:
    unit = first_unit(trained)
    found = ANALYSIS.measure(unit, Diverging(trained.context, unit.members[1])).table
    assert checked(ANALYSIS, found).height == 0


def test_what_a_study_lacks_is_said(plain) -> None:
    one = replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": (0,)}))
    assert Align().inapplicable(one) == "a path between two networks needs at least two seeds"
    assert Align().inapplicable(plain.study) is None


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


@pytest.mark.parametrize(
    ("ways", "verdict"),
    [
        ((HIGH, LOW, HIGH), "RI-T/RI-T apart by permutation: the barrier goes when hidden units are matched: as "
         "trained error barrier 20.0 points, 95 % limits 15.0 to 25.0; matched by activations error barrier 0.5 "
         "points, 95 % limits 0.0 to 1.5; matched by weights error barrier 20.0 points, 95 % limits 15.0 to 25.0 "
         "(from 656 test examples, for this pair of networks)."),
        ((HIGH, HIGH, HIGH), "RI-T/RI-T apart also after permutation: a barrier stays by every matching tried"),
        ((HIGH, HIGH, LOW), "RI-T/RI-T undecided whether permutation explains the barrier"),
        ((HIGH, WIDE, HIGH), "RI-T/RI-T undecided whether permutation explains the barrier"),
        ((WIDE, LOW, LOW), "RI-T/RI-T undecided whether permutation explains the barrier"),
        ((LOW, LOW, LOW), "RI-T/RI-T linearly connected as trained: there is no barrier to explain"),
        ((LOW, HIGH, HIGH), "RI-T/RI-T linearly connected as trained: there is no barrier to explain"),
    ],
)  # fmt: skip
def test_permutation_explains_what_goes_and_nothing_else(ways, verdict) -> None:
    assert ANALYSIS.summarise(heights(*ways), Evidence()).verdict.startswith(verdict)


def test_numbers_name_what_they_rest_on() -> None:
    one = {n.name: n for n in ANALYSIS.summarise(heights(HIGH, LOW, LOW), Evidence()).numbers}
    found = one["error barrier of RI-T/RI-T, as trained (test, mean baseline)"]
    assert (found.value, found.low, found.high, found.basis, found.n) == (0.2, 0.15, 0.25, "examples", 656)
    gone = one["error barrier of RI-T/RI-T that goes when matched by activations (test, mean baseline)"]
    assert (gone.value, gone.low, gone.note) == (pytest.approx(0.195), None, "one pair: no interval")
    three = {n.name: n for n in ANALYSIS.summarise(heights(HIGH, LOW, LOW, pairs=3), Evidence()).numbers}
    gone = three["error barrier of RI-T/RI-T that goes when matched by activations (test, mean baseline)"]
    assert (gone.value, gone.basis, gone.n) == (pytest.approx(0.195), "seeds", 3)
    ratio = three["distance of RI-T/RI-T, matched by weights, over that as trained"]
    assert 0 < ratio.value < 1


def test_what_is_not_finite_is_no_number_and_undecided() -> None:
    table = heights(HIGH, LOW, LOW)
    lost = (pl.col("level") == "barrier") & (pl.col("way") == "activations")
    for name in ("barrier", "low", "high", "alpha"):
        table = table.with_columns(pl.when(lost).then(None).otherwise(pl.col(name)).alias(name))
    summary = ANALYSIS.summarise(table, Evidence())
    assert "undecided whether permutation explains the barrier" in summary.verdict
    numbers = {number.name: number for number in summary.numbers}
    name = "error barrier of RI-T/RI-T that goes when matched by activations (test, mean baseline)"
    assert (numbers[name].value, numbers[name].note) == (None, "not defined for 1 of 1 pairs of networks")
    name = "error barrier of RI-T/RI-T, matched by activations (test, mean baseline)"
    assert (numbers[name].value, numbers[name].note) == (None, "not finite for 1 of 1 pairs of networks")


def test_nothing_measured_is_said() -> None:
    empty = pl.DataFrame([], schema=schema(Align.columns))
    assert ANALYSIS.summarise(empty, Evidence()).verdict == (
        "RI-T/RI-T not measured (diverged, or fewer than two seeds)."
    )
