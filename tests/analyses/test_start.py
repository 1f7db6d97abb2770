"""Which network to start from: arms, rungs, promise and proof, decided on validation data alone."""

import os
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from tests.estimates import estimate_of
from tests.report.synthetic_start import start_table
from tests.studies import NAME, RECIPE, SIZE, Trained, arrays, bound, study
from tests.tables import example
from transferscope.analyses.halving import Score, Search
from transferscope.analyses.start.analysis import StartAnalysis
from transferscope.analyses.start.arms import PRETRAINED, RANDOM, Arm, scores_of
from transferscope.analyses.start.proof import entrants_of
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.errors import ArchitectureError, WeightsError
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.running.run import run_study
from transferscope.specs.architecture import Architecture
from transferscope.store import Store

WIDE = {"name": NAME, "options": {"width": 12}}
SHORT = {"recipe": {**RECIPE, "epochs": 3, "keep": "none"}, "learning_rates": [0.02, 0.5], "extensions": 0}


def weights_file(folder, options=None, seed=7):
    """A file of "pre-trained" weights with a head of 5 classes."""
    folder.mkdir(parents=True, exist_ok=True)
    architecture = Architecture(name=NAME, options=options or {})
    write_state(folder / "wide.safetensors", build(architecture, 5, seed).state_dict(), {})
    return str(folder / "wide.safetensors")


def source(folder):
    return {"architecture": NAME, "weights": weights_file(folder / "own")}


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Trained:
    """Two candidates, one of them wider and at another image size; three report seeds."""
    folder = tmp_path_factory.mktemp("start")
    other = {"architecture": WIDE, "weights": weights_file(folder, {"width": 12}), "image_size": 20}
    asked = study(
        folder,
        source=source(folder),
        training=SHORT,
        seeds=[0, 1, 2],
        analyses=[{"start": {"candidates": [other], "random_starts": "source", "finalists": 2, "n_bootstrap": 200}}],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


def test_a_study_of_it_alone_trains_its_arms_and_nothing_else(searched):
    (only,) = searched.results.analyses
    assert only.failed is None
    runs = only.table.filter(level="run")
    assert runs.group_by("epochs").len().sort("epochs").rows() == [(1, 6), (3, 2)]
    assert runs.filter(epochs=1).select("candidate", "start").unique().height == 3
    assert runs.filter(epochs=3)["updates"].unique().to_list() == [3 * runs.filter(epochs=1)["updates"][0]]
    arms = only.table.filter(level="arm", split="test")
    assert arms.filter(role="default")["learning_rate"].to_list() == [0.01]
    trained = {network["key"] for network in searched.results.manifest["networks"]}
    assert len(trained) == 6 + 2 + 3 * arms.height
    assert searched.results.headline.is_empty()
    assert searched.results.verdict == only.summary.verdict


def test_a_candidate_is_trained_and_judged_on_images_of_its_own_size(searched):
    analysis = searched.analysis("start")
    found = searched.study.candidate(analysis.candidates[0])
    assert (found.data.image_size, searched.study.data.image_size) == (20, SIZE)
    assert found.data.fingerprint != searched.study.data.fingerprint
    run = next(task for task in analysis.tasks(searched.study, searched.evidence.for_decision())
               if task.settings["level"] == "run" and task.settings["candidate"] == 1)  # fmt: skip
    spec = run.members[0].spec
    assert searched.context.data_of(spec) == spec.data == found.data
    # What the training wrote down at its end is what the stored logits give on the same images.
    outputs = searched.context.outputs(spec, "validation")
    metric = (outputs.logits.argmax(1) == outputs.labels).double().mean().item()
    assert metric == pytest.approx(searched.context.history(spec)["validation_metric"][-1])
    splits = searched.context.splits()
    assert all(np.array_equal(part, splits[name]) for name, part in searched.context.splits(found.data).items())


def test_the_choice_is_the_best_on_validation_and_its_regret_that_of_test_means(searched):
    table = searched.results.analyses[0].table
    arms = table.filter(level="arm")
    place = ["candidate", "start", "learning_rate"]
    best = arms.filter(split="validation").sort("value", descending=True)["value"][0]
    choice = table.filter(level="choice")
    chosen = choice.select(place).unique()
    assert chosen.height == 1
    own = arms.join(chosen, on=place)
    assert own.filter(split="validation")["value"].item() == best
    test = arms.filter(split="test")["value"]
    proved = choice.filter(quantity="proved_regret")
    assert proved["value"].item() == pytest.approx(test.max() - own.filter(split="test")["value"].item())
    assert proved["low"].item() <= proved["value"].item() <= proved["high"].item()
    promise = choice.filter(quantity="expected_regret")
    assert 0 <= promise["value"].item() <= promise["high"].item()
    summary = searched.results.analyses[0].summary
    assert estimate_of(summary, "expected_regret").value == promise["value"].item()
    assert summary.facts["stage"] == "proved"
    assert summary.facts["updates"] < summary.facts["grid_updates"]


def test_no_decision_sees_test_data(searched):
    analysis = searched.analysis("start")
    table = searched.evidence.table(analysis)
    hidden = searched.evidence.for_decision().table(analysis)
    assert set(hidden["split"]) == {"validation"}
    noise = pl.Series("value", np.random.default_rng(0).random(table.height))
    scrambled = table.with_columns(pl.when(pl.col("split") == "test").then(noise).otherwise(pl.col("value")))
    evidence = type(searched.evidence)({analysis.key: scrambled.rename({scrambled.columns[0]: table.columns[0]})})
    asked = [list(analysis.tasks(searched.study, each.for_decision())) for each in (searched.evidence, evidence)]
    assert asked[0] == asked[1]


# -- who is in the proof ---------------------------------------------------------------------------------


def test_dropped_arms_are_taken_to_gain_what_those_gained_that_were_trained_on():
    a, b, c, default = Arm(0, PRETRAINED, 0.1), Arm(0, PRETRAINED, 0.2), Arm(0, RANDOM, 0.1), Arm(0, PRETRAINED, 0.01)
    scores = {(a, 1): Score(0.6), (b, 1): Score(0.5), (c, 1): Score(0.4), (a, 3): Score(0.8), (b, 3): Score(0.75)}
    search = Search({1: (a, b, c), 3: (a, b)}, (), {}, (a, b))
    found = entrants_of(search, scores, default, 1, 9)
    assert [(each.arm, each.role, each.epochs) for each in found] == [
        (a, "finalist", 9), (default, "default", 9), (c, "dropped", 1), (b, "dropped", 3)]  # fmt: skip
    assert found[2].gain == pytest.approx((0.2 + 0.25) / 2)
    assert found[2].gain_error == pytest.approx(0.025)
    assert found[3].gain == 0


def test_an_arm_that_diverged_is_not_in_the_proof():
    a, b = Arm(0, PRETRAINED, 0.1), Arm(0, PRETRAINED, 9.0)
    scores = {(a, 1): Score(0.6), (b, 1): Score(None, diverged=True)}
    found = entrants_of(Search({1: (a, b)}, (), {}, (a,)), scores, a, 3, 9)
    assert [(each.arm, each.role) for each in found] == [(a, "default")]


def test_scores_are_means_over_tuning_seeds_with_the_error_of_the_mean():
    row = {"level": "run", "candidate": "net", "start": "pretrained", "learning_rate": 0.1, "epochs": 3,
           "quantity": "metric", "split": "validation", "error": 0.03}  # fmt: skip
    table = example(StartAnalysis, [{**row, "seed": 0, "value": 0.5, "loss": 1.0},
                                    {**row, "seed": 1, "value": 0.7, "loss": 2.0}])  # fmt: skip
    score = scores_of(table, ["net"])[Arm(0, PRETRAINED, 0.1), 3]
    assert (score.metric, score.loss) == (pytest.approx(0.6), pytest.approx(1.5))
    assert score.error == pytest.approx(np.sqrt(0.03**2 + np.var([0.5, 0.7], ddof=1) / 2))
    lost = example(StartAnalysis, [{**row, "seed": 0, "diverged": True}])
    assert not scores_of(lost, ["net"])[Arm(0, PRETRAINED, 0.1), 3].sound


# -- what it says ----------------------------------------------------------------------------------------


def test_what_it_says_before_between_and_after(approved):
    said = StartAnalysis().summarise
    proved, ahead = start_table(), start_table(proved=False)
    lost = ahead.with_columns(diverged=pl.lit(True), value=pl.lit(None, pl.Float64))
    summaries = [said(table, None) for table in (proved, ahead, lost, StartAnalysis().measured().table)]
    assert [each.facts["stage"] for each in summaries] == ["proved", "search", "diverged", "nothing"]
    assert summaries[1].facts["chosen"]["learning_rate"] == 0.03
    approved("start", *(line for each in summaries for line in (each.verdict, *each.notes)))


# -- bad input -------------------------------------------------------------------------------------------


def test_the_source_is_no_candidate_of_itself_and_none_stands_twice(tmp_path):
    own = source(tmp_path)
    other = {"architecture": WIDE, "weights": "timm"}
    for candidates, words in ([own], "this is the study's source"), ([other, other], "it stands there twice"):
        with pytest.raises(ValidationError, match=words):
            study(tmp_path, source=own, analyses=[{"start": {"candidates": candidates}}])


def test_a_file_that_does_not_fit_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("transferscope.networks.weights.fitting", lambda tables: [])  # builds dozens of networks
    wrong = {"architecture": WIDE, "weights": weights_file(tmp_path / "wrong")}
    with pytest.raises(WeightsError, match=r"wide\.safetensors"):
        bound(tmp_path, source=source(tmp_path), analyses=[{"start": {"candidates": [wrong]}}])


def test_a_network_of_one_image_size_needs_it(tmp_path):
    vit = {"architecture": "timm:vit_tiny_patch16_224", "weights": "timm"}
    with pytest.raises(ArchitectureError, match=r"does not take images of 16 × 16(?s:.*)image_size: 224"):
        bound(tmp_path, source=source(tmp_path), analyses=[{"start": {"candidates": [vit]}}])


def test_rungs_ascend_to_the_length_of_a_tuning_run(tmp_path):
    own = source(tmp_path)
    context = bound(tmp_path, source=own, analyses=["start"])
    assert StartAnalysis().rule(context.study).rungs == (1, 3)
    assert StartAnalysis(search="grid").rule(context.study).rungs == (3,)
    assert all(a < b for a, b in pairwise(StartAnalysis().arms(context.study)))
    assert len(StartAnalysis(random_starts="none").arms(context.study)) == 3


def test_every_arm_may_diverge(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    asked = study(
        tmp_path,
        source=source(tmp_path),
        target={"data": arrays(tmp_path / "few", 30, 0), "image_size": SIZE},
        training={**SHORT, "recipe": {**SHORT["recipe"], "epochs": 1}, "learning_rates": [1e9]},
        seeds=[0],
        analyses=[{"start": {"default_rate": 1e9, "n_bootstrap": 100}}],
    )
    (found,) = run_study(asked, tmp_path / "store", quiet=True).analyses
    assert found.failed is None
    assert found.summary.facts["stage"] == "diverged"
