"""Rows of paths that are not finite, and the words and numbers that rows are given."""

import math

import numpy as np
import polars as pl
import pytest

from tests.analyses.path_units import ANALYSIS
from transferscope.analyses.contract import checked, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.landscape import LandscapePoint
from transferscope.analyses.linear_path import LinearPath
from transferscope.analyses.path import Path
from transferscope.analyses.path_pairs import POSITIVE
from transferscope.analyses.path_radius import radius_numbers
from transferscope.analyses.path_rows import rows_of as path_rows
from transferscope.analyses.path_summary import ruler_of
from transferscope.measures.intervals import MAGNITUDE, seed_pairs_interval

# -- what is not finite -----------------------------------------------------------------------------------------


def point(losses, errors=(0.0, 1.0, 0.0, 1.0), metric=0.5) -> LandscapePoint:
    return LandscapePoint(np.array(losses, dtype=float), np.array(errors, dtype=float), metric)


def rows_of(*losses, alphas=(-0.5, 0.0, 0.5, 1.0)) -> pl.DataFrame:
    points = tuple(point(values) for values in losses)
    path = LinearPath(alphas, 2.0, "no batch norm", {"test": points}, {"test": (points[1], points[3])})
    base = {"pair": "P-T/P-T", "a": "P-T[0]", "b": "P-T[1]", "seed_a": 0, "seed_b": 1, "split": "test"}
    base |= {"role": "pair", "moved": "all"}
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
    rows = [
        {
            "level": "barrier", "pair": name, "moved": "all", "role": "pair" if name == pair else "ruler",
            "a": f"a{2 * k}", "b": f"b{2 * k + 1}", "points": 13, "equivalent": 49, "bracket": 0.02, "open": 0,
            "seed_a": seeds[k][0] if seeds else 2 * k, "seed_b": seeds[k][1] if seeds else 2 * k + 1,
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


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([(0.005, 0.0, 0.015)], "P-T/P-T linearly connected: error barrier 0.5 points, 95 % limits 0.0 to 1.5 from 400 "
         "test examples, for this pair of networks."),
        ([(0.01, 0.0, 0.021)], "P-T/P-T undecided: error barrier 1.0 points, 95 % limits 0.0 to 2.1"),
        ([(0.2, 0.15, 0.25)], "P-T/P-T separated by a barrier: error barrier 20.0 points, 95 % limits 15.0 to 25.0"),
        ([(0.005, 0.0, 0.015), (0.01, 0.0, 0.03)], "P-T/P-T undecided: error barrier 1.0 points (the largest of 2), "
         "95 % limits 0.0 to 3.0 from 400 test examples, for these pairs of networks."),
        ([(0.2, 0.15, 0.25), (0.01, 0.0, 0.03)], "P-T/P-T undecided: error barrier 20.0 points (the largest of 2)"),
        ([(0.2, 0.15, 0.25), (0.3, 0.2, 0.4)], "P-T/P-T separated by a barrier: error barrier 30.0 points"),
        ([(0.005, None, None)], "P-T/P-T undecided: error barrier 0.5 points, without limits."),
        ([(0.004, 0.0, 0.5), (0.005, 0.0, 0.5), (0.006, 0.0, 0.5)], "P-T/P-T linearly connected: error barrier 0.5 "
         "points, 95 % limits 0.3 to 0.7 over 3 pairs that share no network."),
        ([(0.1, 0.0, 0.5), (0.0, 0.0, 0.5), (0.2, 0.0, 0.5)], "P-T/P-T undecided: error barrier 10.0 points"),
    ],
)  # fmt: skip
def test_connected_is_said_of_an_upper_limit_alone(values, verdict) -> None:
    assert ONE.summarise(barriers(*values), Evidence()).verdict.startswith(verdict)


def test_numbers_over_pairs_or_over_examples() -> None:
    name = "error barrier of P-T/P-T (test, mean baseline, batch norm recomputed)"
    one = {n.name: n for n in ONE.summarise(barriers((0.01, 0.0, 0.03)), Evidence()).numbers}[name]
    assert (one.value, one.low, one.high, one.basis, one.n, one.note) == (0.01, 0.0, 0.03, "examples", 400, "one pair")
    three = {n.name: n for n in ONE.summarise(barriers(*[(0.1, 0, 1)] * 3), Evidence()).numbers}[name]
    assert (three.value, three.basis, three.n) == (pytest.approx(0.1), "seeds", 3)
    assert three.note == "n counts pairs that share no trained network"
    assert len(ONE.summarise(barriers((0.01, 0.0, 0.03)), Evidence()).numbers) == 8 + 2 + 2


def test_a_loss_barrier_that_is_not_finite_is_no_mean_of_the_others() -> None:
    table = barriers((0.01, 0.0, 0.015), (0.01, 0.0, 0.015), lost_loss=True)
    numbers = {number.name: number for number in ONE.summarise(table, Evidence()).numbers}
    lost = numbers["loss barrier of P-T/P-T (test, mean baseline, batch norm recomputed)"]
    assert (lost.value, lost.note) == (None, "not finite for 1 of 2 pairs of networks")
    assert numbers["error barrier of P-T/P-T (test, mean baseline, batch norm recomputed)"].value == pytest.approx(0.01)


def test_a_kind_without_a_pair_is_said_to_have_none() -> None:
    verdict = Path().summarise(barriers((0.005, 0.0, 0.015)), Evidence()).verdict
    assert verdict.endswith("RI-T/RI-T not measured (diverged, or fewer than two seeds).")


def test_a_coarse_grid_is_noted() -> None:
    table = barriers((0.005, 0.0, 0.015))
    few = "fewer than 25 points between the ends: a narrow barrier may be missed"
    assert few not in ONE.summarise(table, Evidence()).notes, "13 points that stand for 49"
    even = table.with_columns(pl.lit(None, pl.Int64).alias("equivalent"), pl.lit(None, pl.Float64).alias("bracket"))
    assert few in ONE.summarise(even, Evidence()).notes
    notes = ONE.summarise(table, Evidence()).notes
    assert any(note.startswith("batch-norm statistics recomputed at every point") for note in notes)
    assert any("13 points in [0, 1] in place of the 49 of an even grid" in note for note in notes)
    assert not any("for want of points" in note for note in notes)
    short = ONE.summarise(table.with_columns(pl.lit(2).alias("open")), Evidence()).notes
    assert "on 1 paths intervals that may hide a higher value were left for want of points" in short


def test_all_pairs_of_seeds_leave_one_seed_out() -> None:
    values = [(0.001, 0, 1), (0.003, 0, 1), (0.002, 0, 1)]
    seeds = [(0, 1), (0, 2), (1, 2)]
    said = ONE.summarise(barriers(*values, seeds=seeds), Evidence())
    number = next(n for n in said.numbers if n.name.startswith("error barrier of P-T/P-T (test, mean"))
    found = seed_pairs_interval(dict(zip(seeds, (v[0] for v in values), strict=True)), bounds=MAGNITUDE)
    assert (number.value, number.low, number.high) == (found.value, found.low, found.high)
    assert (number.n, number.basis) == (3, "seeds")
    assert number.note == "n counts seeds, of 3 pairs, leaving one seed out"
    assert said.verdict.endswith("over 3 seeds.")


def test_pairs_of_one_seed_are_independent() -> None:
    table = barriers(*[(0.3, 0, 1), (0.31, 0, 1), (0.32, 0, 1)], pair="P-T/RI-T", seeds=[(0, 0), (1, 1), (2, 2)])
    verdict = Path(pairs=("P_T/RI_T",)).summarise(table, Evidence()).verdict
    assert verdict.startswith(
        "P-T/RI-T separated by a barrier: error barrier 31.0 points, 95 % limits 28.5 to 33.5 over"
    )
    assert "over 3 pairs that share no network" in verdict


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
        said = ONE.summarise(barriers(value, ruler=ruler), Evidence())
        assert said.verdict.startswith("Undecided: two pairs whose answer is known are not told apart here. Measured: ")
        assert len(said.verdict.split()) <= 45
        assert said.facts["ruler_holds"] is False
        assert why in said.notes[0]
        assert "connected:" not in said.verdict
        assert "separated by a barrier:" not in said.verdict
        assert f"P-T/P-T error barrier {100 * value[0]:.1f} points" in said.verdict, "what was measured is still said"


def test_the_ruler_that_holds_is_in_the_notes_and_numbers() -> None:
    table = barriers((0.005, 0.0, 0.015))
    said = ONE.summarise(table, Evidence())
    assert said.notes[0].startswith(
        "the ruler holds: RI-T/RI-T, trained on linearly connected, error barrier 0.0 points"
    )
    assert "RI-T/RI-T separated by a barrier, error barrier 30.0 points, 95 % limits 25.0 to 35.0" in said.notes[0]
    rulers = [number for number in said.numbers if number.name.startswith("ruler: ")]
    assert [(n.value, n.low, n.high) for n in rulers] == list(RULER)
    found = ruler_of(table.filter(pl.col("level") == "barrier"))
    assert (found.positive, found.negative, found.holds) == ("stable", "unstable", True)


def test_pairs_asked_for_serve_as_the_known_negative() -> None:
    """With RI-T/RI-T among the pairs none is measured twice, and what is said of them is what the ruler rests on."""
    own = barriers((0.3, 0.25, 0.35), pair="RI-T/RI-T", ruler=(RULER[0], (0.3, 0.25, 0.35)))
    own = own.filter((pl.col("role") == "pair") | (pl.col("pair") == POSITIVE))
    said = Path(pairs=("RI_T/RI_T",)).summarise(own, Evidence())
    assert said.verdict.startswith("RI-T/RI-T separated by a barrier: error barrier 30.0 points")


# -- distance ---------------------------------------------------------------------------------------------------


def test_per_distance_comes_with_its_warning() -> None:
    said = ONE.summarise(barriers((0.01, 0.0, 0.03)), Evidence())
    number = next(n for n in said.numbers if n.name.startswith("error barrier per unit of ℓ2 distance of P-T/P-T"))
    assert (number.value, number.unit, number.low) == (0.01, "1 per ℓ2", None)
    assert "not scale-free: quadratic effects grow as the square of the distance" in number.note
    same = barriers((0.0, 0.0, 0.01)).with_columns(pl.lit(None, pl.Float64).alias("per_l2"))
    lost = next(n for n in ONE.summarise(same, Evidence()).numbers if "per unit" in n.name)
    assert (lost.value, lost.note) == (None, "not finite, or no distance, for 1 of 1 pairs of networks")


def lines(*pairs: tuple[str, int, float, float]) -> pl.DataFrame:
    """Points of lines whose loss is h·α(1−α), of (pair, seed, length, h)."""
    rows = [
        {
            "level": "point", "role": "pair", "pair": pair, "moved": "all", "a": "a", "b": "b", "seed_a": seed,
            "seed_b": seed + 1, "split": "test", "batch_norm": "recompute", "examples": 9, "alpha": k / 40,
            "l2": k / 40 * length, "loss": 1 + height * k / 40 * (1 - k / 40), "error": 0.1,
        }
        for pair, seed, length, height in pairs
        for k in range(-4, 45)
    ]  # fmt: skip
    return checked(ANALYSIS, pl.DataFrame(rows, schema=schema(Path.columns)))


def test_the_loss_at_equal_radius_is_that_of_both_lines() -> None:
    table = lines(("P-T/P-T", 0, 2.0, 0.4), ("RI-T/RI-T", 0, 8.0, 16.0), ("RI-T/RI-T", 2, 16.0, 16.0))
    found = {n.name: n for n in radius_numbers(table, "batch norm recomputed")}
    near = found["rise of the loss within ℓ2 1 of the ends of P-T/P-T (test, batch norm recomputed)"]
    far = found["rise of the loss within ℓ2 1 of the ends of RI-T/RI-T (test, batch norm recomputed)"]
    assert near.value == pytest.approx(0.1), "half of the shortest line is its middle"
    wanted = [16 * 0.125 * 0.875, 16 * 0.0625 * 0.9375]
    assert far.value == pytest.approx(sum(wanted) / 2, rel=5e-3)
    assert (far.low, far.high, far.basis) == (pytest.approx(wanted[1], rel=5e-3), pytest.approx(wanted[0]), "range")
    assert radius_numbers(lines(("P-T/P-T", 0, 2.0, 0.4)), "") == [], "one kind has nothing to be compared with"
    assert radius_numbers(lines(("P-T/P-T", 0, 0.0, 0.4), ("RI-T/RI-T", 0, 8.0, 1.0)), "") == []
    gone = table.with_columns(pl.when(pl.col("l2") == 4).then(None).otherwise(pl.col("loss")).alias("loss"))
    assert [n.note for n in radius_numbers(gone, "") if n.value is None] == ["not finite on some line"]
