"""Rows of paths that are not finite, and the words and numbers that rows are given."""

import math

import numpy as np
import polars as pl
import pytest

from tests.analyses.path_units import ANALYSIS
from tests.estimates import estimate_of
from tests.reference.pairs_reference import leave_one_seed_out
from tests.report.synthetic_pairs import seed_pairs
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.path.analysis import Path
from transferscope.analyses.path.radius import radius_estimates
from transferscope.analyses.path.rows import rows_of as path_rows
from transferscope.analyses.path.summary import ruler_of
from transferscope.analyses.path_pairs import POSITIVE
from transferscope.analyses.summary import Summary
from transferscope.measures.intervals import seeds_interval
from transferscope.methods.landscape.landscape import LandscapePoint
from transferscope.methods.landscape.linear_path import LinearPath
from transferscope.study.columns import schema

# -- what is not finite -----------------------------------------------------------------------------------------


def point(losses, errors=(0.0, 1.0, 0.0, 1.0), metric=0.5) -> LandscapePoint:
    return LandscapePoint(np.array(losses, dtype=float), np.array(errors, dtype=float), metric)


def rows_of(*losses, alphas=(-0.5, 0.0, 0.5, 1.0)) -> pl.DataFrame:
    points = tuple(point(values) for values in losses)
    path = LinearPath(alphas, 2.0, "no batch norm", {"test": points}, {"test": (points[1], points[3])})
    base = {"pair": "P-T/P-T", "a": "P-T[0]", "b": "P-T[1]", "seed_a": 0, "seed_b": 1, "split": "test"}
    base |= {"role": "pair", "moves": "all"}
    made = pl.DataFrame([{**base, **row} for row in path_rows(path, "test", None)], schema=schema(Path.columns))
    return checked(ANALYSIS, made)


FINE = [0.1, 0.2, 0.3, 0.4]


@pytest.mark.filterwarnings("error")
def test_a_loss_that_is_not_finite_is_a_null_and_nothing_else_is() -> None:
    table = rows_of([0.1, math.inf, 0.2, 0.3], FINE, [0.2, 0.3, 0.4, 0.5], FINE)
    outside = table.row(by_predicate=pl.col("alpha") == -0.5, named=True)
    assert (outside["loss"], outside["loss_se"], outside["loss_gap"]) == (None, None, None)
    assert (outside["error"], outside["metric"]) == (0.5, 0.5)
    barrier = table.filter((pl.col("quantity") == "loss") & (pl.col("baseline") == "linear"))
    assert barrier["barrier"].to_list() == [pytest.approx(0.1)]


@pytest.mark.filterwarnings("error")
def test_a_barrier_with_a_loss_that_is_not_finite_is_a_null() -> None:
    table = rows_of(FINE, FINE, [0.2, math.inf, 0.4, 0.5], FINE)
    middle = table.row(by_predicate=(pl.col("alpha") == 0.5) & (pl.col("level") == "point"), named=True)
    for column in ("loss", "loss_se", "loss_gap", "loss_gap_se", "loss_gap_mean", "loss_gap_mean_se"):
        assert middle[column] is None
    assert middle["error_gap"] == 0
    for row in table.filter(pl.col("level") == "barrier").iter_rows(named=True):
        lost = row["quantity"] == "loss"
        for column in ("alpha", "barrier", "low", "high", "midpoint_gap", "smallest_gap"):
            assert (row[column] is None) == lost
    infinite_end = rows_of(FINE, [math.inf] * 4, FINE, FINE)
    assert infinite_end.filter(pl.col("quantity") == "loss")["barrier"].null_count() == 2


# -- words ------------------------------------------------------------------------------------------------------


RULER = ((0.0, 0.0, 0.01), (0.3, 0.25, 0.35))


def barriers(*values: tuple, pair: str = "P-T/P-T", lost_loss: bool = False, seeds=None, ruler=RULER) -> pl.DataFrame:
    """Barrier rows of pairs: (height of the error, low, high); and those of a ruler, which holds."""
    held = () if ruler is None else zip((POSITIVE, "RI-T/RI-T"), ruler, strict=True)
    asked = [(pair, k, value) for k, value in enumerate(values)] + [(name, 0, value) for name, value in held]
    own = seeds or seed_pairs(max(1, len(values)))
    rows = [
        {
            "level": "barrier", "pair": name, "moves": "all", "role": "pair" if name == pair else "ruler",
            "a": f"a{own[k][0]}", "b": f"b{own[k][1]}", "points": 13, "equivalent": 49, "search_interval": 0.02,
            "open": 0,
            "seed_a": own[k][0], "seed_b": own[k][1], "n": None if low is None else 400,
            "split": split, "batch_norm": "recompute", "examples": 400,
            "alpha": 0.5, "l2": 1.0, "quantity": quantity, "baseline": baseline,
            "barrier": None if lost_loss and quantity == "loss" and k == 0 else height, "low": low, "high": high,
            "midpoint_gap": 0.0, "smallest_gap": 0.0, "per_l2": height,
        }
        for name, k, (height, low, high) in asked
        for split in ("train", "test") for quantity in ("loss", "error") for baseline in ("linear", "mean")
    ]  # fmt: skip
    return checked(ANALYSIS, pl.DataFrame(rows, schema=schema(Path.columns)))


ONE = Path(pairs=("P_T/P_T",))


def said(*values: tuple, **made) -> Summary:
    """The checked summary of pairs of two P-T."""
    return checked_summary(ONE, ONE.summarise(barriers(*values, **made), Evidence()))


def judged(summary: Summary, pair: str = "P-T/P-T", role: str = "pair", **at: str) -> Estimate:
    """The barrier that is judged, or another one by its coordinates."""
    where = {"split": "test", "baseline": "mean", "moves": "all", "batch_norm": "batch norm recomputed"} | at
    return estimate_of(summary, "error_barrier", pair=pair, role=role, **where)


@pytest.mark.parametrize(
    ("values", "word", "basis"),
    [
        ([(0.005, 0.0, 0.015)], "stable", "examples"),
        ([(0.01, 0.0, 0.021)], "undecided", "examples"),
        ([(0.2, 0.15, 0.25)], "unstable", "examples"),
        ([(0.005, 0.0, 0.015), (0.01, 0.0, 0.03)], "undecided", "examples"),
        ([(0.2, 0.15, 0.25), (0.01, 0.0, 0.03)], "undecided", "examples"),
        ([(0.2, 0.15, 0.25), (0.3, 0.2, 0.4)], "unstable", "examples"),
        ([(0.005, None, None)], "undecided", None),
        ([(0.004, 0.0, 0.5), (0.005, 0.0, 0.5), (0.006, 0.0, 0.5)], "stable", "seeds"),
        ([(0.1, 0.0, 0.5), (0.0, 0.0, 0.5), (0.2, 0.0, 0.5)], "undecided", "seeds"),
        ([(0.005, 0.0, 0.5), (0.005, 0.0, 0.5), (0.005, 0.0, 0.5)], "undecided", "examples"),
        ([(0.005, 0.0, 0.015), (0.005, 0.0, 0.015), (0.005, 0.0, 0.015)], "stable", "examples"),
    ],
)
def test_connected_is_said_of_an_upper_limit_alone(values, word, basis) -> None:
    summary = said(*values)
    assert (judged(summary).verdict, judged(summary).basis) == (word, basis)
    assert summary.facts["pairs"] == {"P-T/P-T": word}
    words = {"stable": "linearly connected", "unstable": "separated by a barrier", "undecided": "undecided"}[word]
    assert summary.verdict.startswith(f"P-T/P-T {words}: error barrier {100 * judged(summary).value:.1f} points")


def test_the_verdict_says_what_it_rests_on() -> None:
    assert said((0.005, 0.0, 0.015)).verdict == (
        "P-T/P-T linearly connected: error barrier 0.5 points, 95 % limits 0.0 to 1.5 from 400 test examples, for this "
        "pair of networks."
    )
    assert said((0.005, 0.0, 0.015), (0.01, 0.0, 0.03)).verdict.endswith("for the worst of 2 pairs of networks.")
    assert said((0.1, 0.0, 1), (0.11, 0.0, 1), (0.13, 0.0, 1)).verdict.endswith(" over 3 seeds.")


def test_numbers_over_seeds_or_over_examples() -> None:
    one = said((0.01, 0.0, 0.03))
    found = judged(one)
    assert found.name == "error barrier of P-T/P-T (test, mean baseline, batch norm recomputed)"
    assert (found.value, found.low, found.high, found.basis, found.n) == (0.01, 0.0, 0.03, "examples", 400)
    assert (found.note, found.flags) == ("one pair", ("too_few_seeds",))
    assert len(one.estimates) == 8 + 2 + 2
    heights = (0.1, 0.12, 0.15)
    three = judged(said(*((height, 0, 1) for height in heights)), split="train", baseline="linear")
    expected = leave_one_seed_out(dict(zip(seed_pairs(3), heights, strict=True)))
    assert (three.value, three.low, three.high) == pytest.approx((expected[0], max(0, expected[1]), expected[2]))
    assert (three.n, three.basis, three.verdict) == (3, "seeds", None)


def test_a_loss_barrier_that_is_not_finite_is_no_mean_of_the_others() -> None:
    summary = said((0.01, 0.0, 0.015), (0.01, 0.0, 0.015), lost_loss=True)
    lost = estimate_of(summary, "loss_barrier", split="test", baseline="mean")
    assert (lost.value, lost.n, lost.flags) == (None, 2, ("incomplete",))
    assert lost.note == "not finite for 1 of 2 pairs of networks"
    assert judged(summary).value == pytest.approx(0.01)


def test_a_kind_without_a_pair_is_said_to_have_none() -> None:
    verdict = Path().summarise(barriers((0.005, 0.0, 0.015)), Evidence()).verdict
    assert verdict.endswith("RI-T/RI-T not measured (diverged, or fewer than two seeds).")


def test_a_coarse_grid_is_noted() -> None:
    table = barriers((0.005, 0.0, 0.015))
    few = "fewer than 25 points between the ends: a narrow barrier may be missed"
    assert few not in ONE.summarise(table, Evidence()).notes, "13 points that stand for 49"
    even = table.with_columns(
        pl.lit(None, pl.Int64).alias("equivalent"), pl.lit(None, pl.Float64).alias("search_interval")
    )
    assert few in ONE.summarise(even, Evidence()).notes
    notes = ONE.summarise(table, Evidence()).notes
    assert any(note.startswith("batch-norm statistics recomputed at every point") for note in notes)
    assert any("13 points in [0, 1] in place of the 49 of an even grid" in note for note in notes)
    assert not any("for want of points" in note for note in notes)
    short = ONE.summarise(table.with_columns(pl.lit(2).alias("open")), Evidence()).notes
    assert "on 1 paths intervals that may hide a higher value were left for want of points" in short


def test_pairs_of_one_seed_are_independent() -> None:
    table = barriers(*[(0.3, 0, 1), (0.31, 0, 1), (0.32, 0, 1)], pair="P-T/RI-T", seeds=[(0, 0), (1, 1), (2, 2)])
    found = judged(Path(pairs=("P_T/RI_T",)).summarise(table, Evidence()), "P-T/RI-T")
    expected = seeds_interval([0.3, 0.31, 0.32])
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (found.n, found.verdict) == (3, "unstable")


# -- the ruler --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ruler", "why"),
    [
        (((0.03, 0.0, 0.05), (0.3, 0.25, 0.35)), "RI-T/RI-T, trained on not shown to be connected, error barrier 3.0 "
         "points, 95 % limits 0.0 to 5.0"),
        (((0.0, 0.0, 0.01), (0.03, 0.01, 0.05)), "RI-T/RI-T no barrier of 2 points shown, error barrier 3.0 points"),
        (((0.0, 0.0, 0.01), (0.0, 0.0, 0.01)), "RI-T/RI-T no barrier of 2 points shown, error barrier 0.0 points"),
        (None, "RI-T/RI-T, trained on not measured; RI-T/RI-T not measured"),
    ],
)  # fmt: skip
def test_where_the_ruler_fails_nothing_is_decided(ruler, why) -> None:
    for value in ((0.0, 0.0, 0.001), (0.5, 0.4, 0.6)):
        summary = said(value, ruler=ruler)
        assert summary.verdict.startswith(
            "Undecided: two pairs whose answer is known are not told apart here. Measured: "
        )
        assert len(summary.verdict.split()) <= 45
        assert summary.facts["ruler_holds"] is False
        assert why in summary.notes[0]
        assert "connected:" not in summary.verdict
        assert "separated by a barrier:" not in summary.verdict
        assert f"P-T/P-T error barrier {100 * value[0]:.1f} points" in summary.verdict, "what was measured is said"
        assert "uncontrolled" in judged(summary).flags


def test_the_ruler_that_holds_is_in_the_notes_and_numbers() -> None:
    table = barriers((0.005, 0.0, 0.015))
    summary = said((0.005, 0.0, 0.015))
    assert summary.notes[0].startswith(
        "the ruler holds: RI-T/RI-T, trained on linearly connected, error barrier 0.0 points"
    )
    assert "RI-T/RI-T separated by a barrier, error barrier 30.0 points, 95 % limits 25.0 to 35.0" in summary.notes[0]
    rulers = [judged(summary, pair, "ruler") for pair in (POSITIVE, "RI-T/RI-T")]
    assert [(item.value, item.low, item.high, item.verdict) for item in rulers] == [
        (*RULER[0], "stable"), (*RULER[1], "unstable"),
    ]  # fmt: skip
    assert rulers[0].name == f"ruler: error barrier of {POSITIVE} (test, mean baseline, batch norm recomputed)"
    assert judged(summary).flags == ("too_few_seeds",)
    found = ruler_of(table.filter(pl.col("level") == "barrier"))
    assert (found.positive, found.negative, found.holds) == ("stable", "unstable", True)


def test_pairs_asked_for_serve_as_the_known_negative() -> None:
    """With RI-T/RI-T among the pairs none is measured twice, and what is said of them is what the ruler rests on."""
    own = barriers((0.3, 0.25, 0.35), pair="RI-T/RI-T", ruler=(RULER[0], (0.3, 0.25, 0.35)))
    own = own.filter((pl.col("role") == "pair") | (pl.col("pair") == POSITIVE))
    summary = Path(pairs=("RI_T/RI_T",)).summarise(own, Evidence())
    assert (judged(summary, "RI-T/RI-T").verdict, summary.facts["ruler_holds"]) == ("unstable", True)


def test_two_random_starts_without_a_barrier_are_a_finding_where_a_run_is_connected_to_itself() -> None:
    own = barriers((0.0, 0.0, 0.01), pair="RI-T/RI-T", ruler=(RULER[0], (0.0, 0.0, 0.01)))
    own = own.filter((pl.col("role") == "pair") | (pl.col("pair") == POSITIVE))
    summary = Path(pairs=("RI_T/RI_T",)).summarise(own, Evidence())
    assert (judged(summary, "RI-T/RI-T").verdict, summary.facts["ruler_holds"]) == ("stable", False)
    assert "uncontrolled" not in judged(summary, "RI-T/RI-T").flags


# -- distance ---------------------------------------------------------------------------------------------------


def test_per_distance_comes_with_its_warning() -> None:
    at = {"pair": "P-T/P-T", "moves": "all", "split": "test", "baseline": "mean"}
    found = estimate_of(said((0.01, 0.0, 0.03)), "error_barrier_per_l2", **at)
    assert (found.value, found.unit, found.low) == (0.01, "1 per ℓ2", None)
    assert "not scale-free: quadratic effects grow as the square of the distance" in found.note
    same = barriers((0.0, 0.0, 0.01)).with_columns(pl.lit(None, pl.Float64).alias("per_l2"))
    lost = estimate_of(ONE.summarise(same, Evidence()), "error_barrier_per_l2", **at)
    assert (lost.value, lost.n, lost.flags) == (None, 1, ("incomplete",))


def lines(*pairs: tuple[str, int, float, float]) -> pl.DataFrame:
    """Points of lines whose loss is h·α(1−α), of (pair, seed, length, h)."""
    rows = [
        {
            "level": "point", "role": "pair", "pair": pair, "moves": "all", "a": "a", "b": "b", "seed_a": seed,
            "seed_b": seed + 1, "split": "test", "batch_norm": "recompute", "examples": 9, "alpha": k / 40,
            "l2": k / 40 * length, "loss": 1 + height * k / 40 * (1 - k / 40), "error": 0.1,
        }
        for pair, seed, length, height in pairs
        for k in range(-4, 45)
    ]  # fmt: skip
    return checked(ANALYSIS, pl.DataFrame(rows, schema=schema(Path.columns)))


def test_the_loss_at_equal_radius_is_that_of_both_lines() -> None:
    table = lines(("P-T/P-T", 0, 2.0, 0.4), ("RI-T/RI-T", 0, 8.0, 16.0), ("RI-T/RI-T", 1, 16.0, 16.0),
                  ("RI-T/RI-T", 2, 10.0, 16.0))  # fmt: skip
    near, far = radius_estimates(table, "batch norm recomputed")
    assert [item.at["radius"] for item in (near, far)] == [1.0, 1.0], "half of the shortest line is its middle"
    assert near.name == "rise of the loss within ℓ2 1 of the ends of P-T/P-T (test, batch norm recomputed)"
    assert near.value == pytest.approx(0.1)
    rises = {(s, s + 1): 16 / length * (1 - 1 / length) for s, length in enumerate((8.0, 16.0, 10.0))}
    expected = leave_one_seed_out(rises)
    assert (far.value, far.low, far.high) == pytest.approx(expected, rel=0.02)
    assert (far.n, far.basis) == (4, "seeds")
    assert radius_estimates(lines(("P-T/P-T", 0, 2.0, 0.4)), "") == [], "one kind has nothing to be compared with"
    assert radius_estimates(lines(("P-T/P-T", 0, 0.0, 0.4), ("RI-T/RI-T", 0, 8.0, 1.0)), "") == []
    gone = table.with_columns(pl.when(pl.col("l2") == 4).then(None).otherwise(pl.col("loss")).alias("loss"))
    assert [item.flags for item in radius_estimates(gone, "") if item.value is None] == [("incomplete",)]
