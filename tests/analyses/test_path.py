"""Paths of a study: the rows, the barriers, and the words they are given."""

import math

import numpy as np
import polars as pl
import pytest

from tests.studies import Diverging, Trained
from transferscope.analyses.contract import Unit, checked, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.landscape import LandscapePoint
from transferscope.analyses.linear_path import LinearPath, linear_path
from transferscope.analyses.path import Path, _rows
from transferscope.measures.standard_error import standard_error

ANALYSIS = Path(points=5, outer=1, batch_norm_images=40, train_images=50, test_images=None)


@pytest.fixture(scope="module")
def measured(trained: Trained):
    """One pair: its table, and the same path by hand."""
    unit = next(iter(ANALYSIS.units(trained.study, trained.evidence.for_decision())))
    context = trained.context
    table = checked(ANALYSIS, ANALYSIS.measure(unit, context).table)
    path = linear_path(
        *(context.network(member.spec) for member in unit.members),
        {"train": context.batches("train", 50), "test": context.batches("test")},
        recompute_on=context.mixed_batches("train", 40),
        alphas=(-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5),
        device="cpu",
    )
    return unit, table, path


def test_points_are_those_of_the_line(measured, trained: Trained) -> None:
    unit, table, path = measured
    assert [member.label for member in unit.members] == ["P-T[0]", "P-T[1]"]
    groups = np.asarray(trained.context.images().groups)
    for split, limit in (("train", 50), ("test", None)):
        points = table.filter((pl.col("level") == "point") & (pl.col("split") == split))
        line = points.filter(pl.col("batch_norm") == "recompute")
        assert line["alpha"].to_list() == list(path.alphas)
        clusters = groups[trained.context.indices(split, limit)]
        for row, point in zip(line.iter_rows(named=True), path.points[split], strict=True):
            assert row["loss"] == pytest.approx(point.losses.mean(), rel=1e-9)
            assert row["error"] == pytest.approx(point.errors.mean(), rel=1e-9)
            assert row["metric"] == pytest.approx(1 - point.errors.mean(), rel=1e-9)
            assert row["loss_se"] == pytest.approx(standard_error(point.losses, clusters), rel=1e-9)
            assert row["l2"] == pytest.approx(row["alpha"] * path.distance)
            assert row["examples"] == len(point.losses)
            inside = 0 <= row["alpha"] <= 1
            for quantity in ("loss", "error"):
                first, here, second = (
                    getattr(p, {"loss": "losses", "error": "errors"}[quantity])
                    for p in (path.points[split][1], point, path.points[split][5])
                )
                for suffix, base in (
                    ("", (1 - row["alpha"]) * first + row["alpha"] * second),
                    ("_mean", (first + second) / 2),
                ):
                    gap, error = row[f"{quantity}_gap{suffix}"], row[f"{quantity}_gap{suffix}_se"]
                    if inside:
                        assert gap == pytest.approx((here - base).mean(), abs=1e-12)
                        assert error == pytest.approx(standard_error(here - base, clusters), abs=1e-12)
                    else:
                        assert (gap, error) == (None, None)
        own = points.filter(pl.col("batch_norm") == "own statistics")
        assert own["alpha"].to_list() == [0.0, 1.0]
        for loss, end in zip(own["loss"], path.own[split], strict=True):
            assert loss == pytest.approx(end.losses.mean(), rel=1e-9)


def test_own_statistics_are_the_networks_own_logits(measured, trained: Trained) -> None:
    unit, table, _ = measured
    own = table.filter((pl.col("batch_norm") == "own statistics") & (pl.col("split") == "test")).sort("alpha")
    for member, error in zip(unit.members, own["error"], strict=True):
        outputs = trained.context.outputs(member.spec, "test")
        assert error == float((outputs.logits.argmax(1) != outputs.labels).double().mean())


def test_barriers_are_those_of_the_points(measured) -> None:
    _, table, path = measured
    rows = table.filter(pl.col("level") == "barrier")
    assert rows.height == 2 * 2 * 2
    for row in rows.iter_rows(named=True):
        values = path.values(row["split"], row["quantity"]).mean(axis=1)[1:6]
        grid = np.array([0, 0.25, 0.5, 0.75, 1])
        line = (
            (1 - grid) * values[0] + grid * values[-1] if row["baseline"] == "linear" else (values[0] + values[-1]) / 2
        )
        assert row["barrier"] == pytest.approx(max(0.0, (values - line).max()), abs=1e-12)
        assert row["low"] <= row["barrier"] <= row["high"]
        assert row["l2"] == pytest.approx(path.distance)
        assert row["midpoint_gap"] == pytest.approx(values[2] - (values[0] + values[-1]) / 2)
        assert row["smallest_gap"] == pytest.approx((values - (1 - grid) * values[0] - grid * values[-1]).min())
    assert rows["loss"].null_count() == rows.height


def test_units_are_disjoint_pairs_of_each_variant(trained: Trained) -> None:
    units = list(ANALYSIS.units(trained.study, trained.evidence.for_decision()))
    assert [[member.label for member in unit.members] for unit in units] == [
        [f"{v}[{s}]", f"{v}[{s + 1}]"] for v in ("P-T", "RI-T") for s in (0, 2)
    ]
    assert ANALYSIS.images(units[0], trained.study) > 0


def test_a_pair_with_a_diverged_end_has_no_path(trained: Trained) -> None:
    unit = next(iter(ANALYSIS.units(trained.study, trained.evidence.for_decision())))
    found = ANALYSIS.measure(unit, Diverging(trained.context, unit.members[1])).table
    assert checked(ANALYSIS, found).height == 0


def test_one_seed_has_no_path(plain) -> None:
    from dataclasses import replace

    one = replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": (0,)}))
    assert Path().inapplicable(one) == "a path between two networks needs at least two seeds"
    assert Path().inapplicable(plain.study) is None


def test_no_extrapolation_is_no_grid_of_equal_points(trained: Trained) -> None:
    unit = next(iter(ANALYSIS.units(trained.study, trained.evidence.for_decision())))
    asked = Path(points=3, extrapolate=0, batch_norm="interpolate", train_images=20, test_images=20)
    table = checked(asked, asked.measure(unit, trained.context).table)
    line = table.filter(pl.col("batch_norm") == "interpolate").filter(pl.col("level") == "point")
    assert line.filter(pl.col("split") == "test")["alpha"].to_list() == [0.0, 0.5, 1.0]
    # Without recomputation the ends are the networks themselves.
    for column in ("loss", "error"):
        ends = line.filter(pl.col("alpha") != 0.5)[column].to_list()
        assert ends == table.filter(pl.col("batch_norm") == "own statistics")[column].to_list()
    summary = asked.summarise(table, Evidence())
    assert "batch-norm statistics were interpolated, not recomputed: these barriers are artefacts" in summary.notes


# -- what is not finite -----------------------------------------------------------------------------------------


def point(losses, errors=(0.0, 1.0, 0.0, 1.0), metric=0.5) -> LandscapePoint:
    return LandscapePoint(np.array(losses, dtype=float), np.array(errors, dtype=float), metric)


def rows_of(*losses, alphas=(-0.5, 0.0, 0.5, 1.0)) -> pl.DataFrame:
    points = tuple(point(values) for values in losses)
    path = LinearPath(alphas, 2.0, "no batch norm", {"test": points}, {"test": (points[1], points[3])})
    base = {"pair": "P-T/P-T", "a": "P-T[0]", "b": "P-T[1]", "seed_a": 0, "seed_b": 1, "split": "test"}
    made = pl.DataFrame([{**base, **row} for row in _rows(path, "test", None)], schema=schema(Path.columns))
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


def barriers(*values: tuple, variant: str = "P-T", lost_loss: bool = False) -> pl.DataFrame:
    """Barrier rows of pairs: (height of the error, low, high)."""
    rows = [
        {
            "level": "barrier", "pair": f"{variant}/{variant}",
            "a": f"{variant}[{2 * k}]", "b": f"{variant}[{2 * k + 1}]",
            "seed_a": 2 * k, "seed_b": 2 * k + 1, "split": split, "batch_norm": "recompute", "examples": 400,
            "alpha": 0.5, "l2": 1.0, "quantity": quantity, "baseline": baseline,
            "barrier": None if lost_loss and quantity == "loss" and k == 0 else height, "low": low, "high": high,
            "midpoint_gap": 0.0, "smallest_gap": 0.0,
        }
        for k, (height, low, high) in enumerate(values)
        for split in ("train", "test") for quantity in ("loss", "error") for baseline in ("linear", "mean")
    ]  # fmt: skip
    return checked(ANALYSIS, pl.DataFrame(rows, schema=schema(Path.columns)))


ONE = Path(variants=("P_T",))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([(0.005, 0.0, 0.015)], "P-T/P-T linearly connected: error barrier 0.5 points, 95 % limits 0.0 to 1.5 from 400 "
         "test examples, for this pair of networks."),
        ([(0.01, 0.0, 0.021)], "P-T/P-T undecided: error barrier 1.0 points, 95 % limits 0.0 to 2.1"),
        ([(0.2, 0.15, 0.25)], "P-T/P-T separated by a barrier: error barrier 20.0 points, 95 % limits 15.0 to 25.0"),
        ([(0.005, 0.0, 0.015), (0.01, 0.0, 0.03)], "P-T/P-T undecided: error barrier 1.0 points (the larger of two), "
         "95 % limits 0.0 to 3.0 from 400 test examples, for these pairs of networks."),
        ([(0.2, 0.15, 0.25), (0.01, 0.0, 0.03)], "P-T/P-T undecided: error barrier 20.0 points (the larger of two)"),
        ([(0.2, 0.15, 0.25), (0.3, 0.2, 0.4)], "P-T/P-T separated by a barrier: error barrier 30.0 points"),
        ([(0.005, None, None)], "P-T/P-T undecided: error barrier 0.5 points, without limits."),
        ([(0.004, 0.0, 0.5), (0.005, 0.0, 0.5), (0.006, 0.0, 0.5)], "P-T/P-T linearly connected: error barrier 0.5 "
         "points, 95 % limits 0.3 to 0.7 over 3 disjoint pairs of seeds."),
        ([(0.1, 0.0, 0.5), (0.0, 0.0, 0.5), (0.2, 0.0, 0.5)], "P-T/P-T undecided: error barrier 10.0 points"),
    ],
)  # fmt: skip
def test_connected_is_said_of_an_upper_limit_alone(values, verdict) -> None:
    assert ONE.summarise(barriers(*values), Evidence()).verdict.startswith(verdict)


def test_numbers_over_pairs_or_over_examples() -> None:
    name = "error barrier of P-T/P-T (test, mean baseline)"
    one = {n.name: n for n in ONE.summarise(barriers((0.01, 0.0, 0.03)), Evidence()).numbers}[name]
    assert (one.value, one.low, one.high, one.basis, one.n, one.note) == (0.01, 0.0, 0.03, "examples", 400, "one pair")
    three = {n.name: n for n in ONE.summarise(barriers(*[(0.1, 0, 1)] * 3), Evidence()).numbers}[name]
    assert (three.value, three.basis, three.n) == (pytest.approx(0.1), "seeds", 3)
    assert three.note == "n counts pairs that share no trained network"
    assert len(ONE.summarise(barriers((0.01, 0.0, 0.03)), Evidence()).numbers) == 8


def test_a_loss_barrier_that_is_not_finite_is_no_mean_of_the_others() -> None:
    table = barriers((0.01, 0.0, 0.015), (0.01, 0.0, 0.015), lost_loss=True)
    numbers = {number.name: number for number in ONE.summarise(table, Evidence()).numbers}
    lost = numbers["loss barrier of P-T/P-T (test, mean baseline)"]
    assert (lost.value, lost.note) == (None, "not finite for 1 of 2 pairs of networks")
    assert numbers["error barrier of P-T/P-T (test, mean baseline)"].value == pytest.approx(0.01)


def test_a_variant_without_a_pair_is_said_to_have_none() -> None:
    verdict = Path().summarise(barriers((0.005, 0.0, 0.015)), Evidence()).verdict
    assert verdict.endswith("RI-T/RI-T not measured (diverged, or fewer than two seeds).")


def test_a_coarse_grid_is_noted() -> None:
    table = barriers((0.005, 0.0, 0.015))
    few = "fewer than 25 points between the ends: a narrow barrier may be missed"
    assert few in Path(points=9, variants=("P_T",)).summarise(table, Evidence()).notes
    notes = ONE.summarise(table, Evidence()).notes
    assert few not in notes
    assert any(note.startswith("batch-norm statistics recomputed at every point") for note in notes)


def test_the_unit_names_its_ends(trained: Trained) -> None:
    unit = next(iter(ANALYSIS.units(trained.study, trained.evidence.for_decision())))
    turned = Unit(members=unit.members[::-1])
    assert turned.key != unit.key, "the pair has a direction: α = 0 is the first"
