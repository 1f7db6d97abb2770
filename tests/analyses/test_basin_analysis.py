"""Basins of a study: the rows, and the words they are given."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from tests.studies import Diverging, Trained
from transferscope.analyses.basin import Basins, published_rows
from transferscope.analyses.basin_networks import basin_networks
from transferscope.analyses.contract import Unit, checked, schema
from transferscope.analyses.evidence import Evidence
from transferscope.measures.basin import delta_grid

SMALL = {"points": 3, "draws": 2, "hull_draws": 2, "nodes": 1, "smallest": 0.5, "largest": 2.0}
ANALYSIS = Basins(**SMALL, batch_norm_images=40, train_images=40, published="clipart")


def units(trained: Trained, analysis: Basins = ANALYSIS) -> list[Unit]:
    return list(analysis.units(trained.study, trained.evidence.for_decision()))


def test_pairs_are_segments_and_all_seeds_a_hull(trained: Trained) -> None:
    found = units(trained)
    assert [[member.label for member in unit.members] for unit in found] == [
        ["P-T[0]", "P-T[1]"], ["P-T[2]", "P-T[3]"], ["RI-T[0]", "RI-T[1]"], ["RI-T[2]", "RI-T[3]"],
        ["P-T[0]", "P-T[1]", "P-T[2]", "P-T[3]"], [],
    ]  # fmt: skip
    cost = [ANALYSIS.images(unit, trained.study) for unit in found]
    assert cost[0] == (3 + 3 * 2 * 3) * (80 + 40 + 1000)
    assert cost[-1] == 0


@pytest.fixture(scope="module")
def measured(trained: Trained):
    unit = units(trained)[0]
    context = trained.context
    table = checked(ANALYSIS, ANALYSIS.measure(unit, context).table)
    groups = np.asarray(context.images().groups)
    direct = basin_networks(
        [context.network(member.spec) for member in unit.members],
        {"train": context.batches("train", 40), "test": context.batches("test")},
        recompute_on=context.mixed_batches("train", 40),
        points=3, draws=2, nodes=1, deltas=lambda span: delta_grid(span, 0.5, 2.0),
        clusters={"train": groups[context.indices("train", 40)], "test": groups[context.indices("test")]},
        device="cpu",
    )  # fmt: skip
    return table, direct


def test_rows_are_the_tested_set(measured, trained: Trained) -> None:
    table, direct = measured
    assert table.filter(pl.col("level") == "set").height == 4
    assert table.filter(pl.col("level") == "condition").height == 4 * 2 * 4
    for row in table.filter(pl.col("level") == "set").to_dicts():
        basin = direct.found[row["split"]][row["quantity"]]
        height = direct.rise[row["split"]][row["quantity"]]
        assert (row["set"], row["networks"]) == ("segment P-T/P-T", "P-T[0], P-T[1]")
        assert row["distance"] == pytest.approx(direct.span)
        assert (row["mean"], row["epsilon"]) == (basin.mean.value, basin.epsilon.value)
        assert (row["epsilon_se_draws"], row["epsilon_se_examples"]) == (0.0, basin.epsilon.example_error)
        assert (row["delta"], row["delta_low"], row["delta_high"]) == (
            basin.delta.value, basin.delta.low, basin.delta.high,
        )  # fmt: skip
        assert (row["rise"], row["rise_low"], row["rise_high"]) == (height.value, height.low, height.high)
        assert row["resolved"] == basin.resolved
        assert (row["delta"] is None) == (row["reason"] is not None)
    for row in table.filter((pl.col("level") == "condition") & (pl.col("split") == "test")).to_dicts():
        basin = direct.found["test"][row["quantity"]]
        side = getattr(basin, row["condition"])[basin.deltas.index(row["delta"])]
        assert row["height"] == side.value
        assert row["height_se_examples"] == side.example_error
        assert row["threshold"] == 2 * basin.epsilon.value


def test_a_hull_is_measured_and_a_decision_sees_no_test_row(trained: Trained) -> None:
    unit = units(trained)[4]
    table = checked(ANALYSIS, ANALYSIS.measure(unit, trained.context).table)
    assert set(table["set"]) == {"hull of P-T"}
    assert set(table["corners"]) == {4}
    evidence = Evidence({ANALYSIS.key: table}).for_decision()
    assert set(evidence.table(ANALYSIS)["split"]) == {"train"}


def test_a_set_with_a_diverged_corner_is_not_measured(trained: Trained) -> None:
    unit = units(trained)[0]
    found = ANALYSIS.measure(unit, Diverging(trained.context, unit.members[1])).table
    assert checked(ANALYSIS, found).height == 0
    assert ANALYSIS.summarise(found, Evidence()).verdict == (
        "segment P-T/P-T not measured (diverged, or too few seeds); segment RI-T/RI-T not measured (diverged, or too "
        "few seeds); hull of P-T not measured (diverged, or too few seeds)."
    )


def test_the_published_basin_stands_beside_ours(trained: Trained) -> None:
    found = checked(ANALYSIS, ANALYSIS.measure(units(trained)[-1], trained.context).table)
    assert found.select("level", "origin", "epsilon", "delta", "distance").row(0) == (
        "published", "clipart", 0.0054, 98.28, 178.07,
    )  # fmt: skip
    numbers = {number.name: number for number in ANALYSIS.summarise(found, Evidence()).numbers}
    assert numbers["δ of the paper, clipart"].value == 98.28
    assert "another network and task" in numbers["ε of the paper, clipart"].note
    for domain in ("real", "quickdraw"):
        assert published_rows(domain, schema(Basins.columns)).height == 1


def test_few_seeds(plain) -> None:
    def of(*seeds: int):
        return replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": seeds}))

    assert Basins().inapplicable(of(0)) == "a basin between networks needs at least two seeds"
    assert Basins().inapplicable(of(0, 1)) is None
    hulls = Basins(variants=())
    assert hulls.misfit(of(0, 1).settings) == "hulls: a hull needs at least three seeds, a segment (variants) two"
    assert hulls.misfit(of(0, 1, 2).settings) is None


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"points": 4}, "needs an odd number"),
        ({"smallest": 2.0, "largest": 1.0}, "smallest must be below largest"),
        ({"variants": ("P_T", "P_T")}, "variants names a variant twice"),
        ({"variants": (), "hulls": ()}, "there is nothing to test"),
    ],
)
def test_settings_that_do_not_hold_together(settings: dict, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Basins(**settings)


# -- words ------------------------------------------------------------------------------------------------------


def sets(*rows: dict, name: str = "segment P-T/P-T") -> pl.DataFrame:
    base = {
        "level": "set", "origin": "study", "set": name, "networks": "a, b", "corners": 2, "batch_norm": "recompute",
        "examples": 400, "points": 25, "draws": 4, "parameters": 1000, "distance": 12.0, "mean": 0.1, "epsilon": 0.01,
        "epsilon_se_draws": 0.0, "epsilon_se_examples": 0.002, "resolved": True, "rise": 0.005, "rise_low": 0.0,
        "rise_high": 0.015, "delta": 6.0, "delta_below": 3.0, "delta_low": 3.0, "delta_high": 12.0, "reason": None,
        "tau": 0.02, "delta_tau": 3.0, "delta_tau_low": 1.5, "delta_tau_high": 6.0, "reason_tau": None,
    }  # fmt: skip
    made = [
        {**base, **row, "split": split, "quantity": quantity}
        for row in rows for split in ("train", "test") for quantity in ("loss", "error")
    ]  # fmt: skip
    return checked(Basins(), pl.DataFrame(made, schema=schema(Basins.columns)))


ONE = Basins(variants=("P_T",), hulls=())
NO_DELTA = {"delta": None, "delta_below": None, "reason": "at the largest δ tested, 48, condition (2) does not hold"}
BARRIER = {"rise": 0.2, "rise_low": 0.15, "rise_high": 0.25}
MAYBE = {"rise": 0.01, "rise_low": 0.0, "rise_high": 0.03}


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([{}], "one basin (ε 1 points, δ 6 at a distance of 12): error barrier 0.5 points, 95 % limits 0.0 to 1.5 from "
         "400 test images, for these networks."),
        ([{}, {"epsilon": 0.02, "delta": 3.0}], "one basin (ε 1 to 2 points, δ 3 to 6 at a distance of 12 to 12): "
         "error barrier 0.5 points, 95 % limits 0.0 to 1.5 from 400 test images, for these pairs of networks, the "
         "larger of two."),
        ([{}, {}, {"rise": 0.006}], "one basin (ε 1 to 1 points, δ 6 to 6 at a distance of 12 to 12): error barrier "
         "0.5 points, 95 % limits 0.4 to 0.7 over 3 disjoint pairs of seeds."),
        ([BARRIER], "not one basin: error barrier 20.0 points, 95 % limits 15.0 to 25.0 from 400 test images, for "
         "these networks."),
        ([{}, BARRIER], "undecided: error barrier 20.0 points, 95 % limits 0.0 to 25.0"),
        ([MAYBE], "undecided: error barrier 1.0 points, 95 % limits 0.0 to 3.0"),
        ([{"resolved": False}], "undecided: connected (error barrier 0.5 points, 95 % limits 0.0 to 1.5 from 400 test "
         "images, for these networks), but 2ε is under twice its standard error."),
        ([NO_DELTA], "undecided: connected (error barrier 0.5 points, 95 % limits 0.0 to 1.5 from 400 test images, for "
         "these networks), but no δ: at the largest δ tested, 48, condition (2) does not hold."),
        ([{"rise_low": None, "rise_high": None}], "undecided: error barrier 0.5 points, without limits."),
        ([{"mean": None, "rise": None, "reason": "the loss is not finite somewhere within the set"}],
         "undecided: the loss is not finite somewhere within the set."),
    ],
)  # fmt: skip
def test_one_basin_is_said_of_a_delta_without_a_barrier_alone(rows, verdict) -> None:
    found = ONE.summarise(sets(*rows), Evidence()).verdict
    assert found.startswith(f"segment P-T/P-T {verdict}")


def test_numbers_say_what_their_limits_are() -> None:
    numbers = {number.name: number for number in ONE.summarise(sets({}), Evidence()).numbers}
    epsilon = numbers["ε of segment P-T/P-T (test error)"]
    assert (epsilon.value, epsilon.basis, epsilon.n) == (0.01, "examples", 400)
    assert epsilon.high - epsilon.low == pytest.approx(2 * 1.96 * 0.002)
    delta = numbers["δ of segment P-T/P-T (test error)"]
    assert (delta.value, delta.low, delta.high, delta.unit) == (6.0, 3.0, 12.0, "ℓ2")
    assert "values of the grid" in delta.note
    assert numbers["distance of the networks of segment P-T/P-T"].value == 12.0
    three = {n.name: n for n in ONE.summarise(sets({}, {"delta": 12.0}, {}), Evidence()).numbers}
    assert three["δ of segment P-T/P-T (test error)"].basis == "seeds"
    assert three["δ of segment P-T/P-T (test error)"].value == pytest.approx(8.0)


def test_numbers_without_a_value_say_why() -> None:
    numbers = {n.name: n for n in ONE.summarise(sets({}, NO_DELTA), Evidence()).numbers}
    lost = numbers["δ of segment P-T/P-T (test loss)"]
    assert (lost.value, lost.note) == (None, "at the largest δ tested, 48, condition (2) does not hold (1 of 2 sets)")
    open_end = {n.name: n for n in ONE.summarise(sets({"delta_high": None}), Evidence()).numbers}
    delta = open_end["δ of segment P-T/P-T (test error)"]
    assert (delta.low, delta.high, delta.basis) == (None, None, None)
    assert "no upper limit up to the largest δ tested" in delta.note
    without = {n.name: n for n in ONE.summarise(sets({"epsilon_se_examples": None}), Evidence()).numbers}
    assert without["ε of segment P-T/P-T (test error)"].note == "no standard error"


def test_notes_say_what_was_switched_off() -> None:
    notes = ONE.summarise(sets({"batch_norm": "none"}), Evidence()).notes
    assert "batch-norm statistics were not recomputed: these values are artefacts" in notes
    hull = Basins(variants=(), hulls=("P_T",)).summarise(sets({"corners": 3}, name="hull of P-T"), Evidence())
    assert hull.verdict.startswith("hull of P-T one basin")
    assert any("middles of its edges" in note for note in hull.notes)


def test_a_set_whose_loss_is_not_finite_is_a_row_with_its_reason(trained: Trained) -> None:
    class Broken:
        def __init__(self, context):
            self.context = context

        def __getattr__(self, name):
            return getattr(self.context, name)

        def network(self, spec):
            found = self.context.network(spec)
            found.head.weight.data.mul_(1e30)
            found.block[1].weight.data.mul_(1e30)
            return found

    table = checked(ANALYSIS, ANALYSIS.measure(units(trained)[0], Broken(trained.context)).table)
    lost = table.filter((pl.col("level") == "set") & (pl.col("quantity") == "loss"))
    assert set(lost["reason"]) == {"the loss is not finite somewhere within the set"}
    assert lost["epsilon"].null_count() == lost.height == 2
    assert all(math.isfinite(value) for value in table["height"].drop_nulls())
