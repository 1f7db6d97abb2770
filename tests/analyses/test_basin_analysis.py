"""Basins of a study: the rows, and the words they are given."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from tests.estimates import estimate_of
from tests.reference.pairs_reference import leave_one_seed_out
from tests.report.synthetic_pairs import seed_pairs
from tests.studies import Diverging, Trained
from transferscope.analyses.basin.analysis import Basins, published_rows
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.evidence import Evidence
from transferscope.measures.basin import delta_grid
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.basin import BasinGrid, basin_networks
from transferscope.study.columns import schema

SMALL = {"points": 3, "n_noise": 2, "n_hull_samples": 2, "nodes": 1, "smallest": 0.5, "largest": 2.0}
ANALYSIS = Basins(**SMALL, batch_norm_images=40, train_images=40, published="clipart")


def units(trained: Trained, analysis: Basins = ANALYSIS) -> list[Task]:
    return list(analysis.tasks(trained.study, trained.evidence.for_decision()))


def test_pairs_are_segments_and_all_seeds_a_hull(trained: Trained) -> None:
    found = units(trained)
    assert [[member.label for member in task.members] for task in found] == [
        *([f"{v}[{a}]", f"{v}[{b}]"] for v in ("P-T", "RI-T") for a, b in ((0, 1), (0, 2), (1, 2))),
        ["P-T[0]", "P-T[1]", "P-T[2]", "P-T[3]"], [],
    ]  # fmt: skip
    assert len(units(trained, ANALYSIS.model_copy(update={"max_pairs": None}))) == 2 * 6 + 2
    cost = [ANALYSIS.forward_passes(task, trained.study) for task in found]
    assert cost[0] == (3 + 3 * 2 * 3) * (80 + 40 + 1000)
    assert cost[-1] == 0


@pytest.fixture(scope="module")
def measured(trained: Trained):
    task = units(trained)[0]
    context = trained.context
    table = checked(ANALYSIS, ANALYSIS.measure(task, context).table)
    groups = np.asarray(context.images().groups)
    direct = basin_networks(
        [context.network(member.spec) for member in task.members],
        {"train": context.batches("train", 40), "test": context.batches("test")},
        evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        grid=BasinGrid(points=3, draws=2, nodes=1), deltas=lambda span: delta_grid(span, 0.5, 2.0),
        clusters={"train": groups[context.indices("train", 40)], "test": groups[context.indices("test")]},
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
    task = units(trained)[6]
    table = checked(ANALYSIS, ANALYSIS.measure(task, trained.context).table)
    assert set(table["set"]) == {"hull of P-T"}
    assert set(table["corners"]) == {4}
    evidence = Evidence({ANALYSIS.key: table}).for_decision()
    assert set(evidence.table(ANALYSIS)["split"]) == {"train"}


def test_a_set_with_a_diverged_corner_is_not_measured(trained: Trained) -> None:
    task = units(trained)[0]
    found = ANALYSIS.measure(task, Diverging(trained.context, task.members[1])).table
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
    summary = checked_summary(ANALYSIS, ANALYSIS.summarise(found, Evidence()))
    assert [estimate_of(summary, f"published_{name}", origin="clipart").value
            for name in ("epsilon", "delta", "distance")] == [0.0054, 98.28, 178.07]  # fmt: skip
    assert estimate_of(summary, "published_delta").name == "δ of the paper, clipart"
    for domain in ("real", "quickdraw"):
        assert published_rows(domain, schema(Basins.columns)).height == 1


def test_few_seeds(plain) -> None:
    def of(*seeds: int):
        return replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": seeds}))

    assert Basins().skip_reason(of(0)) == "a basin between networks needs at least two seeds"
    assert Basins().skip_reason(of(0, 1)) is None
    hulls = Basins(variants=())
    assert hulls.check_study(of(0, 1).settings) == "hulls: a hull needs at least three seeds, a segment (variants) two"
    assert hulls.check_study(of(0, 1, 2).settings) is None


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
        "examples": 400, "points": 25, "n_noise": 4, "parameters": 1000, "distance": 12.0, "mean": 0.1, "epsilon": 0.01,
        "epsilon_se_draws": 0.0, "epsilon_se_examples": 0.002, "resolved": True, "rise": 0.005, "rise_low": 0.0,
        "rise_high": 0.015, "delta": 6.0, "delta_below": 3.0, "delta_low": 3.0, "delta_high": 12.0, "reason": None,
        "tau": 0.02, "delta_tau": 3.0, "delta_tau_low": 1.5, "delta_tau_high": 6.0, "reason_tau": None,
    }  # fmt: skip
    seeds = [dict(zip(("seed_a", "seed_b"), pair, strict=True)) for pair in seed_pairs(len(rows))]
    made = [
        {**base, **pair, **row, "split": split, "quantity": quantity}
        for pair, row in zip(seeds, rows, strict=True) for split in ("train", "test") for quantity in ("loss", "error")
    ]  # fmt: skip
    return checked(Basins(), pl.DataFrame(made, schema=schema(Basins.columns)))


ONE = Basins(variants=("P_T",), hulls=())
NO_DELTA = {"delta": None, "delta_below": None, "reason": "at the largest δ tested, 48, condition (2) does not hold"}
BARRIER = {"rise": 0.2, "rise_low": 0.15, "rise_high": 0.25}
MAYBE = {"rise": 0.01, "rise_low": 0.0, "rise_high": 0.03}


LIMITS = "error barrier 0.5 points, 95 % limits 0.0 to 1.5 from 400 test examples, for"


def barrier(table: pl.DataFrame) -> Estimate:
    """The barrier that is judged."""
    summary = checked_summary(ONE, ONE.summarise(table, Evidence()))
    return estimate_of(summary, "error_barrier", set="segment P-T/P-T", split="test", baseline="mean")


@pytest.mark.parametrize(
    ("rows", "word", "verdict"),
    [
        ([{}], "stable", f"one basin (ε 1 points, δ 6 at a distance of 12): {LIMITS} this set of networks."),
        ([{}, {"epsilon": 0.02, "delta": 3.0}], "stable", "one basin (ε 1 to 2 points, δ 3 to 6 at a distance of 12 to "
         f"12): {LIMITS} the worst of 2 sets of networks."),
        ([BARRIER], "unstable", "not one basin: error barrier 20.0 points, 95 % limits 15.0 to 25.0 from 400 test"),
        ([{}, BARRIER], "undecided", "undecided: error barrier 20.0 points, 95 % limits 0.0 to 25.0"),
        ([MAYBE], "undecided", "undecided: error barrier 1.0 points, 95 % limits 0.0 to 3.0"),
        ([{"resolved": False}], "stable", f"undecided: connected ({LIMITS} this set of networks), but 2ε is under "
         "twice its standard error."),
        ([NO_DELTA], "stable", f"undecided: connected ({LIMITS} this set of networks), but no δ: at the largest δ "
         "tested, 48, condition (2) does not hold."),
        ([{"rise_low": None, "rise_high": None}], "undecided", "undecided: error barrier 0.5 points, without limits."),
        ([{"mean": None, "rise": None, "reason": "the loss is not finite somewhere within the set"}], "undecided",
         "undecided: the loss is not finite somewhere within the set."),
    ],
)  # fmt: skip
def test_one_basin_is_said_of_a_delta_without_a_barrier_alone(rows, word, verdict) -> None:
    found = ONE.summarise(sets(*rows), Evidence()).verdict
    assert found.startswith(f"segment P-T/P-T {verdict}")
    assert barrier(sets(*rows)).verdict == word


def test_three_segments_of_three_seeds_are_judged_over_seeds() -> None:
    rises = (0.005, 0.0052, 0.006)
    found = barrier(sets(*({"rise": rise} for rise in rises)))
    expected = leave_one_seed_out(dict(zip(seed_pairs(3), rises, strict=True)))
    assert (found.value, found.low, found.high) == pytest.approx(expected)
    assert (found.basis, found.n, found.verdict) == ("seeds", 3, "stable")
    equal = barrier(sets({}, {}, {}))
    assert (equal.basis, equal.n, equal.flags, equal.verdict) == ("examples", 400, ("no_spread",), "stable")


def test_numbers_say_what_their_limits_are() -> None:
    one = ONE.summarise(sets({}), Evidence())
    epsilon = estimate_of(one, "error_epsilon", set="segment P-T/P-T", split="test")
    assert (epsilon.value, epsilon.basis, epsilon.n) == (0.01, "examples", 400)
    assert epsilon.name == "ε of segment P-T/P-T (test error)"
    assert epsilon.high - epsilon.low == pytest.approx(2 * 1.96 * 0.002)
    delta = estimate_of(one, "error_delta")
    assert (delta.value, delta.low, delta.high, delta.unit) == (6.0, 3.0, 12.0, "ℓ2")
    assert (estimate_of(one, "distance").value, estimate_of(one, "loss_epsilon").unit) == (12.0, "nat")
    three = ONE.summarise(sets({}, {"delta": 12.0}, {}), Evidence())
    delta = estimate_of(three, "error_delta")
    expected = leave_one_seed_out(dict(zip(seed_pairs(3), (6.0, 12.0, 6.0), strict=True)))
    assert (delta.value, delta.basis, delta.low) == (pytest.approx(8.0), "seeds", max(0, expected[1]))
    assert delta.high == pytest.approx(expected[2])
    assert estimate_of(three, "distance").flags == ("no_spread",)


def test_numbers_without_a_value_say_why() -> None:
    lost = estimate_of(ONE.summarise(sets({}, NO_DELTA), Evidence()), "loss_delta")
    assert (lost.value, lost.n, lost.flags) == (None, 2, ("incomplete",))
    assert lost.note == "at the largest δ tested, 48, condition (2) does not hold (1 of 2 sets)"
    delta = estimate_of(ONE.summarise(sets({"delta_high": None}), Evidence()), "error_delta")
    assert (delta.value, delta.low, delta.high, delta.basis) == (6.0, None, None, None)
    assert "no upper limit up to the largest δ tested" in delta.note
    without = estimate_of(ONE.summarise(sets({"epsilon_se_examples": None}), Evidence()), "error_epsilon")
    assert (without.value, without.basis, without.note) == (0.01, None, "no standard error")


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
