"""The analysis of flatness: its rows are those of the library, its words are comparisons with a measure."""

import itertools
import math
import re

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic_flatness import flatness_table
from tests.studies import Diverging, Trained
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.flatness.analysis import Flatness
from transferscope.analyses.flatness.summary import _HESSIANS, _NORMALISATIONS
from transferscope.errors import MeasureError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape import hessian as hessian_module
from transferscope.methods.landscape.hessian import hessian
from transferscope.methods.landscape.radius_curves import radius_curves
from transferscope.networks.directions import direction_norm, moved_names
from transferscope.study.columns import schema

SMALL = Flatness(
    shares=(0.1, 0.5), moved_shares=(1.0,), directions=2, batch_norm_images=40, splits=("train", "test"),
    train_images=40, test_images=30, eigenvalues=2, hessian_images=20, probes=2, tolerance=0.05, max_seeds=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def units(trained: Trained) -> list:
    return list(SMALL.tasks(trained.study, trained.evidence.for_decision()))


def test_units_are_curves_and_hessians_of_single_networks(trained: Trained, units) -> None:
    assert [(u.members[0].label, u.settings["measure"]) for u in units] == [
        (f"{variant}[{seed}]", measure)
        for variant in ("RI-T", "P-T") for seed in (0, 1) for measure in ("radius", "hessian")
    ]  # fmt: skip
    assert {member.label for task in units for member in task.members[1:]} == {"P[0]"}
    assert all(SMALL.forward_passes(task, trained.study) > 0 for task in units)
    without = list(SMALL.model_copy(update={"hessian": False}).tasks(trained.study, trained.evidence.for_decision()))
    assert [task.key for task in without] == [task.key for task in units[::2]]
    asked = list(SMALL.networks(trained.study, trained.evidence.for_decision()))
    assert {member.spec.key for task in units for member in task.members} == {spec.key for spec in asked}


def test_curves_are_those_of_the_library(trained: Trained, units) -> None:
    task, context = units[4], trained.context
    assert task.members[0].label == "P-T[0]"
    table = checked(SMALL, SMALL.measure(task, context).table)
    spec, pretrained = (member.spec for member in task.members)
    network = context.network(spec)
    names = moved_names(dict(network.named_parameters()))
    end, start = context.state(spec), context.state(spec, 0)
    lengths = {
        "equal": direction_norm(context.state(pretrained)[name] for name in names),
        "relative": direction_norm(end[name] for name in names),
        "moved": direction_norm(end[name] - start[name] for name in names),
    }
    assert len(set(lengths.values())) == 3
    for normalisation, length in lengths.items():
        shares = (0.0, 1.0) if normalisation == "moved" else (0.0, 0.1, 0.5)
        found = radius_curves(
            network, {"train": context.batches("train", 40), "test": context.batches("test", 30)},
            [share * length for share in shares], 2, seed=context.seed("flatness"),
            evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        )  # fmt: skip
        for split, limit in (("train", 40), ("test", 30)):
            groups = np.asarray(context.images().groups)[context.indices(split, limit)]
            rows = table.filter((pl.col("normalisation") == normalisation) & (pl.col("split") == split))
            assert rows["share"].to_list() == list(shares)
            rises = {quantity: found.rises(split, quantity, groups) for quantity in ("loss", "error")}
            for place, row in enumerate(rows.iter_rows(named=True)):
                assert row["length"] == pytest.approx(length, rel=1e-6)
                assert row["l2"] == pytest.approx(shares[place] * length, rel=1e-6)
                for quantity in ("loss", "error"):
                    rise = rises[quantity][place]
                    assert row[quantity] == pytest.approx(rise.value, abs=1e-5)
                    assert row[f"{quantity}_rise"] == pytest.approx(rise.rise, abs=1e-5)
                    if place:
                        assert row[f"{quantity}_se"] == pytest.approx(rise.se_directions, abs=1e-5)
                        assert row[f"{quantity}_rise_se"] == pytest.approx(rise.se_examples, abs=1e-5)
            assert rows["examples"].unique().to_list() == [len(found.centre[split].losses)]
    assert table["norm"].unique().to_list() == pytest.approx([lengths["relative"]])
    assert table["batch_norm"].unique().to_list() == ["recompute"]
    assert table["value"].null_count() == table.height


def test_hessians_are_those_of_the_library(trained: Trained, units) -> None:
    task, context = units[1], trained.context
    table = checked(SMALL, SMALL.measure(task, context).table)
    found = hessian(
        context.network(task.members[0].spec), context.batches("train", 20), count=2, probes=2, tolerance=0.05,
        most_products=300, evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        seed=context.seed("flatness", "hessian"),
    )  # fmt: skip
    assert table["level"].to_list() == ["eigenvalue", "eigenvalue", "trace"]
    assert table["rank"].to_list() == [1, 2, None]
    assert table["value"].to_list() == pytest.approx([*found.eigenvalues, found.trace])
    assert table["scaled"].to_list() == pytest.approx([v * found.norm**2 for v in (*found.eigenvalues, found.trace)])
    assert table["value_se"].to_list() == [None, None, pytest.approx(found.trace_se)]
    assert table["residual"].to_list() == [*(pytest.approx(r) for r in found.residuals), None]
    assert table["products"].unique().to_list() == [found.products]
    assert table["examples"].unique().to_list() == [found.examples]
    assert table["parameters"].unique().to_list() == [found.parameters]
    assert table["note"].null_count() == 3


def test_what_did_not_converge_is_a_null_with_its_reason(trained: Trained, units) -> None:
    asked = SMALL.model_copy(update={"tolerance": 1e-9, "max_products": 1, "eigenvalues": 3})
    table = checked(asked, asked.measure(units[1], trained.context).table)
    lost = table.filter(~pl.col("converged"))
    assert 1 <= lost.height <= 3
    assert lost["value"].null_count() == lost.height
    assert all(re.match(r"not converged after \d+ products with the Hessian", note) for note in lost["note"])


def test_a_network_without_second_derivatives_has_its_reason(
    trained: Trained, units, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise MeasureError("the network cannot be differentiated twice", got="no derivative of op")

    monkeypatch.setattr(hessian_module, "hessian", refuse)
    table = checked(SMALL, SMALL.measure(units[1], trained.context).table)
    assert table["level"].to_list() == ["eigenvalue", "eigenvalue", "trace"]
    assert table["value"].null_count() == 3
    assert table["note"].unique().to_list() == ["the network cannot be differentiated twice: no derivative of op"]
    assert table["converged"].to_list() == [False] * 3
    assert table["parameters"][0] == sum(
        p.numel() for p in trained.context.network(units[1].members[0].spec).parameters()
    )


def test_a_diverged_network_has_no_rows(trained: Trained, units) -> None:
    for task in units[:2]:
        assert SMALL.measure(task, Diverging(trained.context, task.members[0])).table.height == 0


def test_a_network_that_never_moved_has_no_such_ruler(trained: Trained, units) -> None:
    member, normalisation = units[0].members
    still = units[0].model_copy(
        update={"members": (member.model_copy(update={"spec": normalisation.spec}), normalisation)}
    )
    asked = SMALL.model_copy(update={"directions": 2, "shares": (0.1,)})
    table = checked(asked, asked.measure(still, trained.context).table)
    assert table["normalisation"].unique(maintain_order=True).to_list() == ["equal", "relative"]


# -- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": (0.2, 0.1)}, "ascending numbers above 0"),
        ({"shares": (0.0, 0.1)}, "ascending numbers above 0"),
        ({"moved_shares": (0.5, 0.5)}, "ascending numbers above 0"),
        ({"moved_shares": (math.inf,)}, "finite number"),
        ({"shares": ()}, "at least 1 item"),
        ({"splits": ("train", "train")}, "named once"),
        ({"directions": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_do_not_hold_together(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Flatness(**changes)


# -- words ------------------------------------------------------------------------------------------------------

MEASURES = {*_NORMALISATIONS.values(), *_HESSIANS.values()}


def verdict(**changes) -> str:
    settings = changes.pop("settings", Flatness())
    return settings.summarise(flatness_table(settings=settings, **changes), Evidence()).verdict


def test_the_rulers_may_disagree_and_each_is_named() -> None:
    levels = {("P_T", "equal"): 1.0, ("RI_T", "equal"): 2.0, ("P_T", "relative"): 3.0, ("RI_T", "relative"): 2.0}
    said = verdict(
        rise=lambda variant, normalisation, share: share * levels.get((variant, normalisation), 1.0),
        hessian=lambda variant, level: {"P_T": 5.0, "RI_T": 5.5}[variant] if level == "trace" else 7.0,
    )
    assert said == (
        "P-T is flatter than RI-T by loss rise at equal ℓ2 radius (at all 4 radii), Hessian trace, Hessian trace times "
        "‖θ‖²; P-T is sharper than RI-T by loss rise at radius relative to ‖θ‖ (at all 4 radii); undecided by loss "
        "rise at radius relative to the distance moved, top Hessian eigenvalue, top Hessian eigenvalue times ‖θ‖². "
        "Each by its own 95 % interval over 3 paired seeds (train images; Hessians: training images)."
    )


def test_one_radius_is_not_all() -> None:
    said = verdict(
        settings=Flatness(hessian=False, moved_shares=()),
        rise=lambda variant, normalisation, share: 1.0 if variant == "P_T" or share > 0.05 else 3.0,
    )
    assert said.startswith(
        "Undecided by loss rise at equal ℓ2 radius (flatter at 1 of 4 radii), loss rise at radius relative to ‖θ‖ "
        "(flatter at 1 of 4 radii)."
    )


@pytest.mark.parametrize(
    ("seeds", "lost", "words"),
    [
        ((0, 1), None, "Undecided by every measure: 2 paired seeds;"),
        ((0,), None, "Undecided by every measure: 1 paired seed;"),
        ((0, 1, 2), ("RI_T", 1), "Undecided by every measure: 2 paired seeds;"),
        ((), None, "Undecided by every measure: 0 paired seeds;"),
    ],
)
def test_fewer_than_three_pairs_decide_nothing(seeds, lost, words) -> None:
    assert verdict(seeds=seeds, lost=lost).startswith(words)


def test_every_word_is_a_comparison_with_a_measure() -> None:
    signs = (-1.0, 0.0, 1.0)
    for equal, relative, curve in itertools.product(signs, signs, signs):
        shift = {"equal": equal, "relative": relative, "moved": 0.0}
        said = verdict(
            rise=lambda variant, normalisation, share, shift=shift: 2.0 + (variant == "P_T") * shift[normalisation],
            hessian=lambda variant, level, curve=curve: 5.0 + (variant == "P_T") * curve,
        )
        clauses = said.split(". Each by")[0].split("; ")
        for clause in clauses:
            head, _, measures = clause.partition(" by ")
            assert head in ("P-T is flatter than RI-T", "P-T is sharper than RI-T", "undecided", "Undecided")
            assert {re.sub(r" \(.*\)$", "", item) for item in measures.split(", ")} <= MEASURES
        assert not re.search(r"\b(flat|flatness|sharp|sharpness)\b", said)
        assert sum(clause.count(measure) for clause in clauses for measure in _NORMALISATIONS.values()) == 3


def test_estimates_have_their_interval_and_the_one_over_all_measures() -> None:
    summary = checked_summary(Flatness(), Flatness().summarise(flatness_table(), Evidence()))
    assert len(summary.estimates) == 6 + 11 + 4
    rise = estimate_of(summary, "loss_rise_gap_equal", share=0.1, split="train", variant="P_T", rival="RI_T")
    assert (rise.basis, rise.n, rise.unit, rise.n_comparisons, rise.verdict) == ("seeds", 3, "nat", 7, "flatter")
    assert rise.name == "loss rise at equal ℓ2 radius, P-T − RI-T, share 0.1 (train)"
    assert rise.simultaneous_low < rise.low < rise.value < rise.high < 0
    assert rise.high < rise.simultaneous_high
    table = flatness_table()
    values = {
        variant: table.filter((pl.col("variant") == variant) & (pl.col("level") == "trace"))["value"].to_numpy()
        for variant in ("P_T", "RI_T")
    }
    ratio = estimate_of(summary, "trace_ratio")
    logs = np.log(values["P_T"] / values["RI_T"])
    half = 4.302652729911275 * logs.std(ddof=1) / math.sqrt(3)
    assert ratio.value == pytest.approx(math.exp(logs.mean()))
    assert (ratio.low, ratio.high) == (
        pytest.approx(math.exp(logs.mean() - half)),
        pytest.approx(math.exp(logs.mean() + half)),
    )
    assert estimate_of(summary, "trace", variant="P_T").value == pytest.approx(values["P_T"].mean())


def test_values_that_are_lost_leave_no_selection() -> None:
    settings = Flatness()
    table = flatness_table(
        rise=lambda variant, normalisation, share: None if normalisation == "equal" and share == 0.4 else share
    )
    summary = settings.summarise(table, Evidence())
    lost = estimate_of(summary, "loss_rise_gap_equal", share=0.4)
    assert (lost.value, lost.note, lost.verdict) == (None, "not finite for 3 of 3 seeds", "undecided")
    assert "undecided by loss rise at equal ℓ2 radius" in summary.verdict
    gone = flatness_table(hessian=lambda variant, level: None if level == "eigenvalue" and variant == "P_T" else -2.0)
    summary = settings.summarise(gone, Evidence())
    ratio = estimate_of(summary, "eigenvalue_ratio")
    assert (ratio.value, ratio.note, ratio.verdict) == (None, "not found for 3 of 3 seeds", "undecided")
    assert [item.at["variant"] for item in estimates_of(summary, "eigenvalue")] == ["RI_T"]
    ratio = estimate_of(summary, "trace_ratio")
    assert (ratio.value, ratio.note) == (None, "a value is not positive: there is no ratio")
    trace = estimate_of(summary, "trace", variant="RI_T")
    assert (trace.value, trace.low, trace.flags) == (-2.0, None, ("no_spread",))
    assert "Hessian: not converged after 60 products with the Hessian" in summary.notes


def test_equal_ratios_of_all_seeds_decide_nothing() -> None:
    table = flatness_table()
    of = pl.when(pl.col("variant") == "P_T").then(1.0).otherwise(2.0)
    same = table.with_columns(value=pl.when(pl.col("level") == "trace").then(of).otherwise("value"))
    summary = Flatness().summarise(same, Evidence())
    ratio = estimate_of(summary, "trace_ratio")
    assert (ratio.value, ratio.low, ratio.flags, ratio.verdict) == (0.5, None, ("no_spread",), "undecided")


def test_notes_say_what_was_fixed_and_what_was_left_out() -> None:
    table = flatness_table()
    notes = " ".join(Flatness().summarise(table, Evidence()).notes)
    for words in ("recomputed at every radius on the same 512 training images", "biases", "unlike loss"):
        assert words in notes
    kept = Flatness(hessian=False, batch_norm="none", norm_and_bias="normalise")
    own = flatness_table(settings=kept).with_columns(pl.lit("none").alias("batch_norm"))
    notes = " ".join(kept.summarise(own, Evidence()).notes)
    assert "those of each network at every radius" in notes
    assert "Hessians were not asked for" in notes
    assert "biases" not in notes


def test_an_empty_table_has_words() -> None:
    empty = pl.DataFrame([], schema=schema(Flatness.columns))
    summary = Flatness().summarise(empty, Evidence())
    assert summary.verdict.startswith("Undecided by every measure: 0 paired seeds")
    assert all(item.value is None and item.note for item in summary.estimates)
