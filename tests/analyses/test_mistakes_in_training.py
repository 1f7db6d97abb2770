"""Shared mistakes along training, from kept epochs."""

import os

import polars as pl
import pytest
import torch

from tests.analyses.test_mistakes_analysis import assert_row, literal
from tests.reference import pairs_reference as reference
from tests.report import synthetic_mistakes
from tests.studies import RECIPE, Diverging, bound, study
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.mistakes_in_training.analysis import MistakesInTraining
from transferscope.analyses.tuned import tuned_members
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.errors import StoreError, WeightsError
from transferscope.frozen import content_key
from transferscope.networks.evaluate import logits
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.study.columns import schema
from transferscope.study.settings import VariantRecipe

ANALYSIS = MistakesInTraining(n_bootstrap=100)


def training(**recipe) -> dict:
    return {"recipe": {**RECIPE, **recipe}, "learning_rates": [0.05, 0.1, 0.2], "tuning_epochs": 1, "extensions": 0}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Two seeds, of whose four epochs the first and the third are kept."""
    folder = tmp_path_factory.mktemp("kept")
    asked = study(folder, training=training(keep=[1, 3]), seeds=[0, 1], analyses=[ANALYSIS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the module
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    table = next(item.table for item in results.analyses if item.analysis.name == ANALYSIS.name)
    evidence = Evidence({item.analysis.key: item.table for item in results.analyses if item.table is not None})
    members = {member.label: member for member in tuned_members(found, evidence, ("RI_T", "P_T"))}
    return Context(store, found), members, table, results


def test_every_kept_epoch_and_the_end_against_literal_counts(kept) -> None:
    context, members, table, _ = kept
    assert sorted(table["epoch"].unique()) == [1, 3, 4]
    labels = context.labels("test").tolist()
    said = {}
    for label, member in members.items():
        model = context.network(member.spec)
        for epoch in (1, 3, 4):
            model.load_state_dict(context.state(member.spec, epoch))
            values, _ = logits(model, context.batches("test"), context.device)
            said[label, epoch] = values.argmax(1).tolist()
    for row in table.iter_rows(named=True):
        second = (row["b"], row["epoch"] if row["level"] == "pair" else 4)
        assert_row(row, literal(said[row["a"], row["epoch"]], said[second], labels))
    assert said["P-T[0]", 1] != said["P-T[0]", 4]  # else the epochs could be mixed up
    pairs = table.filter(pl.col("level") == "pair").select("pair", "seed_a", "seed_b").unique().rows()
    assert sorted(pairs) == [("P-T/P-T", 0, 1), ("P-T/RI-T", 0, 0), ("P-T/RI-T", 1, 1), ("RI-T/RI-T", 0, 1)]
    ends = table.filter((pl.col("level") == "end") & (pl.col("epoch") == 4))
    assert sorted(ends["pair"].unique()) == ["P-T/its end", "RI-T/its end"]
    assert ends["only_a"].sum() + ends["only_b"].sum() == 0


def test_it_is_in_the_results_with_a_sentence(kept) -> None:
    *_, results = kept
    item = next(item for item in results.analyses if item.analysis.name == ANALYSIS.name)
    assert item.summary is not None
    assert item.summary.verdict.startswith("Agreement of mistakes beyond chance (κ) at epochs 1 → 3 → 4: P-T/P-T ")
    assert "epochs looked at: 1, 3, 4" in " ".join(item.summary.notes)
    found = {(item.quantity, *map(str, item.at.values())): item for item in item.summary.estimates}
    assert set(found) == {
        *(("kappa", pair, epoch) for pair in ("P-T/P-T", "RI-T/RI-T", "P-T/RI-T") for epoch in "134"),
        ("settled_epoch", "P_T"), ("settled_epoch", "RI_T"),
    }  # fmt: skip
    assert found["kappa", "RI-T/RI-T", "3"].name == "κ at epoch 3 of RI-T/RI-T"
    assert found["settled_epoch", "P_T"].name == "epoch from which P-T makes mostly the mistakes of its end"
    assert found["kappa", "P-T/P-T", "4"].basis in ("examples", None)  # one pair
    assert found["kappa", "P-T/RI-T", "4"].basis == "range"


def test_diverged_networks_are_left_out(kept) -> None:
    context, members, *_ = kept
    lost = Diverging(context, members["P-T[0]"])
    task = Task(members=tuple(members.values()), settings={"epoch": 1})
    table = checked(ANALYSIS, ANALYSIS.measure(task, lost).table)
    assert "P-T[0]" not in {*table["a"], *table["b"]}
    none = ANALYSIS.measure(task, Diverging(context, *members.values())).table
    assert checked(ANALYSIS, none).is_empty()


# -- logits of an epoch -----------------------------------------------------------------------------------------


def test_logits_of_an_epoch_are_those_of_its_weights_and_stored_once(kept, monkeypatch) -> None:
    context, members, *_ = kept
    spec = members["RI-T[0]"].spec
    start = context.outputs(spec, "validation", 0).logits
    first = context.outputs(spec, "validation", 1).logits
    last = context.outputs(spec, "validation").logits
    for epoch, found in ((0, start), (1, first), (4, last)):
        model = context.network(spec)
        model.load_state_dict(context.state(spec, epoch))
        values, _ = logits(model, context.batches("validation"), context.device)
        assert torch.equal(found, values)
    assert torch.equal(start, context.outputs(context.study.untrained("RI", 0), "validation").logits)
    monkeypatch.setattr("transferscope.context.context.logits", None)  # whatever is asked for again is read
    assert torch.equal(context.outputs(spec, "validation", 1).logits, first)
    assert torch.equal(context.outputs(spec, "validation", 4).logits, last)


def test_the_key_of_the_last_epoch_is_the_one_it_always_had(kept) -> None:
    context, members, *_ = kept
    spec = members["P-T[1]"].spec
    key = content_key({
        "artefact": "logits", "network": spec.key, "data": context.study.data.key, "split": "test",
        "memory_format": context.memory_format, "batch": 32,
    })  # fmt: skip
    entry = context.store.entry("artefacts", key)
    assert entry.exists()
    assert "epoch" not in entry.manifest()


def test_an_epoch_that_was_not_kept_is_named(kept) -> None:
    context, members, *_ = kept
    with pytest.raises(StoreError, match=r"epoch 2 of the network .* was not kept"):
        context.outputs(members["RI-T[0]"].spec, "test", 2)


def test_a_network_that_diverged_has_no_last_epoch_by_its_number(kept, monkeypatch) -> None:
    context, members, *_ = kept
    spec = members["RI-T[1]"].spec
    asked = []
    lost = Diverging(context, members["RI-T[1]"])
    monkeypatch.setattr(lost, "network", lambda spec, epoch: asked.append(epoch) or _fail())
    with pytest.raises(WeightsError, match="asked"):
        lost.outputs(spec, "validation", 4)
    assert asked == [4]  # not "last", which would be the last finite epoch


def _fail() -> None:
    raise WeightsError("asked")


# -- which epochs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "settings", "epochs"),
    [
        ("all", {}, (0, 1, 2, 3, 4)),
        ([0, 2], {}, (0, 2, 4)),
        ("all", {"max_epochs": 3}, (0, 2, 4)),
        ("all", {"max_epochs": 2}, (0, 4)),
        ([1, 2, 3], {"epochs": (2,)}, (2, 4)),
    ],
)
def test_epochs_are_the_kept_ones_and_the_last(keep, settings, epochs) -> None:
    recipe = VariantRecipe(**{**RECIPE, "keep": keep})
    assert MistakesInTraining(**settings).chosen(recipe) == epochs


def test_epochs_that_are_not_kept_do_not_fit(tmp_path) -> None:
    asked = study(tmp_path, training=training(keep=[1]), analyses=["outcome"])
    assert MistakesInTraining(epochs=(1, 4)).check_study(asked) is None
    assert MistakesInTraining().check_study(asked) is None
    found = MistakesInTraining(epochs=(1, 2, 3)).check_study(asked)
    assert found == "epochs: training.recipe.keep does not keep 2, 3 (it has 1, 4)"


def test_without_kept_epochs_it_says_what_to_set(tmp_path) -> None:
    context = bound(tmp_path, training=training(keep="none"))
    reason = ANALYSIS.skip_reason(context.study)
    assert reason is not None
    assert "no epoch before the last (4) is kept: set training.recipe.keep to all" in reason
    assert MistakesInTraining(epochs=(2,)).check_study(context.study.settings) is None  # the reason above is enough
    kept = bound(tmp_path / "kept", training=training(keep=[2]))
    assert ANALYSIS.skip_reason(kept.study) is None


def test_the_plan_counts_the_epochs_that_must_be_run(kept) -> None:
    context, members, *_ = kept
    units = [Task(members=tuple(members.values()), settings={"epoch": epoch}) for epoch in (1, 4)]
    assert [ANALYSIS.forward_passes(task, context.study) for task in units] == [4000, 0]


# -- summary ----------------------------------------------------------------------------------------------------


def ends(*rows: tuple) -> pl.DataFrame:
    """Rows of (level, variant, epoch, Jaccard)."""
    made = [
        {
            "level": level, "epoch": epoch, "pair": f"{variant}/its end", "a": f"{variant}[0]", "b": f"{variant}[0]",
            "variant_a": variant, "seed_a": 0, "variant_b": variant, "seed_b": 0, "examples": 90, "mistakes_a": 9,
            "mistakes_b": 9, "common": 5, "only_a": 4, "only_b": 4, "jaccard": jaccard, "same_wrong_label": 1.0,
            "kappa": 0.5, "kappa_low": 0.4, "kappa_high": 0.6, "kappa_max": 0.9,
        }
        for level, variant, epoch, jaccard in rows
    ]  # fmt: skip
    return checked(ANALYSIS, pl.DataFrame(made, schema=schema(MistakesInTraining.columns)))


def test_the_epoch_from_which_mistakes_are_those_of_the_end() -> None:
    rows = [("end", "P_T", epoch, value) for epoch, value in ((0, 0.6), (1, 0.4), (2, 0.5), (4, 1.0))]
    rows += [("end", "RI_T", epoch, None) for epoch in (0, 1, 2, 4)]
    summary = ANALYSIS.summarise(ends(*rows), Evidence())
    settled = {item.at["variant"]: item for item in summary.estimates}
    assert {item.quantity for item in summary.estimates} == {"settled_epoch"}
    assert settled["P_T"].value == 2
    assert (settled["RI_T"].value, settled["RI_T"].note) == (None, "no run ends with a mistake")
    assert summary.verdict.startswith("Undecided: no two networks to compare")


def test_kappa_at_an_epoch_leaves_one_seed_out_of_all_pairs() -> None:
    found = synthetic_mistakes.in_training_table((0, 1, 2, 3))
    summary = ANALYSIS.summarise(found, Evidence())
    assert checked_summary(ANALYSIS, summary) == summary
    kappas = [item for item in summary.estimates if item.quantity == "kappa"]
    assert [item.at["epoch"] for item in kappas if item.at["pair"] == "P-T/P-T"] == [1, 2, 10]
    for item in kappas:
        rows = found.filter(
            (pl.col("level") == "pair") & (pl.col("pair") == item.at["pair"]) & (pl.col("epoch") == item.at["epoch"])
        )
        values = {(a, b): kappa for a, b, kappa in rows.select("seed_a", "seed_b", "kappa").iter_rows()}
        assert (item.value, item.low, item.high) == pytest.approx(reference.leave_one_seed_out(values))
        assert (item.basis, item.n) == ("seeds", 4)
