"""``control: unrelated``: a network pre-trained on something else, as one more control."""

import os
import textwrap

import polars as pl
import pytest
from pydantic import ValidationError

from tests.analyses.control_units import expand, told
from tests.estimates import estimate_of
from tests.report.synthetic_starts import control_table
from tests.studies import NAME, RECIPE, SIZE, Trained, arrays, bound, study
from tests.tables import example
from transferscope.analyses.control.analysis import ControlAnalysis
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.errors import AnalysisError
from transferscope.frozen import content_key
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.networks.weights import weights_hash
from transferscope.running.plan import plan_study
from transferscope.running.run import run_study
from transferscope.specs.architecture import Architecture, FileWeights
from transferscope.store import Store
from transferscope.study.file import load_study


def unrelated(folder, count=300, **changes):
    recipe = {**RECIPE, "epochs": 2, **changes}
    pretrain = {"data": arrays(folder, count, 9, classes=2), "image_size": SIZE, "recipe": recipe,
                "learning_rate": 0.1, "seed": 78}  # fmt: skip
    return {"unrelated": {"pretrain": pretrain}}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A study with one control beside an unrelated source of more images than the source has."""
    folder = tmp_path_factory.mktemp("unrelated")
    asked = study(
        folder,
        training={"recipe": {**RECIPE, "epochs": 2}, "learning_rates": [0.1], "extensions": 0},
        seeds=[0, 1, 2],
        analyses=[
            {"outcome": {"n_bootstrap": 100}},
            {"control": {"methods": ["permuted"], **unrelated(folder / "other")}},
        ],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


def test_without_an_unrelated_source_the_key_is_what_it_was():
    # Before there was one the version was 2; nothing else of the key has changed.
    for found, key in (
        (ControlAnalysis(), "c82d4f9744de8a9854a221737a2c2048"),
        (ControlAnalysis(methods=("permuted", "spectrum")), "eab1804c77c17a48e5824e7c18c93300"),
    ):
        assert content_key({**found.identity(), "version": 2}) == key
    other = ControlAnalysis(unrelated={"weights": "package:efficientnet-lite1"})
    assert other.key != ControlAnalysis().key
    assert "unrelated" not in ControlAnalysis().identity()


def test_an_unrelated_source_is_a_control_with_a_search_and_report_runs_of_its_own(compared):
    analysis = compared.analysis("control")
    table = compared.evidence.table(analysis)
    assert table.filter(level="tuning")["variant"].to_list() == ["permuted", "unrelated"]
    mine = table.filter(variant="unrelated", split="test")
    assert mine["level"].to_list() == ["network"] * 3 + ["variant", "gain", "share"]
    # Judged as one of a family of two.
    values = {row["seed"]: row["value"] for row in mine.filter(level="network").iter_rows(named=True)}
    start = compared.study.other(analysis.unrelated)
    spec = compared.study.trained("P_T", 1, 0.1).model_copy(update={"start": start})
    assert compared.context.history(spec)["test_metric"][-1] == values[1]
    said = next(item for item in compared.results.analyses if item.analysis.name == "control").summary
    assert estimate_of(said, "share_of_gain", variant="unrelated", split="test").n_comparisons == 2


def test_it_is_a_pre_training_of_as_many_images_as_the_source_s(compared):
    study_ = compared.study
    start = study_.other(compared.analysis("control").unrelated)
    own, other = study_.pretrained.of, start.of
    context = compared.context
    assert len(context.splits(own.data)["train"]) == 77
    assert len(context.splits(other.data.model_copy(update={"fraction": 1.0}))["train"]) > 180
    # A stratified part is rounded class by class: two classes cannot share 77 evenly.
    assert abs(len(context.splits(other.data)["train"]) - 77) <= 1
    count = len(context.splits(other.data)["train"])
    assert (other.classes, other.architecture) == (2, own.architecture)
    assert other.key in {network["key"] for network in compared.results.manifest["networks"]}
    table = compared.evidence.table(compared.analysis("control")).filter(level="source")
    assert table.select("variant", "quantity", "value").rows() == [
        ("P_T", "images", 77.0), ("unrelated", "images", count)]  # fmt: skip
    notes = next(item for item in compared.results.analyses if item.analysis.name == "control").summary.notes
    assert f"the unrelated network was pre-trained on {count} images, P on 77" in notes


def test_a_smaller_source_is_not_filled_up_and_that_is_said(tmp_path):
    context = bound(tmp_path, analyses=[{"control": unrelated(tmp_path / "other", count=60)}])
    (analysis,) = context.study.settings.analyses
    start = context.study.other(analysis.unrelated)
    assert start.of.data.fraction == 1.0
    notes = told(with_sizes(76, 38)).notes
    assert "the unrelated network was pre-trained on 38 images, P on 76: the sizes are not matched" in notes
    assert "the unrelated network was pre-trained on 75 images, P on 76" in told(with_sizes(76, 75)).notes
    assert any("not matched in size: how many images given weights" in n for n in told(with_sizes(None, 75)).notes)


def with_sizes(ours, other):
    rows = [
        {"variant": variant, "value": value, "note": None if value else "given weights: not known"}
        for variant, value in (("P_T", ours), ("unrelated", other))
    ]
    same = {"level": "source", "learning_rate": 0.1, "quantity": "images", "split": "train", "n": 1}
    return pl.concat([control_table(), example(ControlAnalysis, rows, **same)])


def test_given_weights_may_be_the_unrelated_source(tmp_path):
    weights = tmp_path / "weights.safetensors"
    write_state(weights, build(Architecture(name=NAME), 3, 5).state_dict())
    context = bound(tmp_path, analyses=[{"control": {"unrelated": {"weights": str(weights)}}}])
    (analysis,) = context.study.settings.analyses
    start = context.study.other(analysis.unrelated)
    assert (start.kind, start.sha256) == ("file", weights_hash(FileWeights(path=str(weights)), Architecture(name=NAME)))
    tuning = [unit for unit in expand(context, analysis=analysis) if unit.members[0].variant == "unrelated"]
    assert [unit.members[0].spec.start for unit in tuning] == [start] * 3


def test_two_analyses_of_one_unrelated_source_share_it(tmp_path):
    other = unrelated(tmp_path / "other")
    analyses = [{"control": {"methods": [method], **other}} for method in ("permuted", "spectrum")]
    assert len(bound(tmp_path, analyses=analyses).study.others) == 1


def test_an_unrelated_source_that_was_not_looked_up_is_an_error(plain):
    asked = ControlAnalysis(unrelated={"weights": "package:efficientnet-lite1"})
    with pytest.raises(AnalysisError, match="no such pre-trained network beside its source's"):
        plain.study.other(asked.unrelated)


def test_an_unrelated_source_that_is_none_is_refused(tmp_path):
    other = unrelated(tmp_path / "other")
    for change, match in (
        ({"data": arrays(tmp_path / "source", 120, 5)}, "control.unrelated.pretrain.data: this is the source's own"),
        ({"seed": 3}, "control.unrelated.pretrain.seed: 3 is also a seed of the target"),
        ({"seed": 1000}, "control.unrelated.pretrain.seed: 1000 is also a seed of the target"),
    ):
        asked = {"unrelated": {"pretrain": {**other["unrelated"]["pretrain"], **change}}}
        with pytest.raises(ValidationError, match=match):
            study(tmp_path, analyses=[{"control": asked}])
    given = {"architecture": "timm:tf_efficientnet_lite0", "weights": "package:efficientnet-lite0"}
    with pytest.raises(ValidationError, match=r"control.unrelated.weights: these are the source's own"):
        study(tmp_path, source=given, analyses=[{"control": {"unrelated": {"weights": given["weights"]}}}])
    for wrong in ({}, {"weights": "timm", **other["unrelated"]}):
        with pytest.raises(ValueError, match="give either weights or pretrain: one of the two says what the"):
            ControlAnalysis(unrelated=wrong)


def test_paths_of_an_unrelated_source_start_at_the_study_file(tmp_path):
    text = f"""
    name: x
    source: {{architecture: {NAME}, weights: a.pt}}
    target: {{data: {{kind: arrays, images: t.npz}}}}
    analyses: [{{control: {{unrelated: {{pretrain: {{data: {{kind: folder, path: other}}}}}}}}}}]
    """
    (tmp_path / "x.yaml").write_text(textwrap.dedent(text))
    (analysis,) = load_study(tmp_path / "x.yaml", allow_code=True).analyses
    assert analysis.unrelated.pretrain.data.path == str(tmp_path / "other")


def test_a_plan_with_an_unrelated_source_is_an_upper_bound(compared, tmp_path):
    plan = plan_study(compared.study.settings, tmp_path / "store")
    done = len(compared.results.manifest["networks"])
    assert done <= sum(step.trainings for step in plan.rounds) <= done + 2


@pytest.mark.slow
def test_a_plan_is_an_upper_bound_of_the_trainings(started, tmp_path):
    plan = plan_study(started.study.settings, tmp_path / "store")
    done = len(started.results.manifest["networks"])
    # RI-T at P-T's rate is no training of its own, for any of three seeds, where both chose one rate.
    assert done <= sum(step.trainings for step in plan.rounds) <= done + 3
    # Two rates for each of two controls are named; two controls with three seeds each follow, and RI-T at P-T's rate.
    assert "up to 9 more: rates beyond the edge of a grid, runs at a rate still to be chosen" in plan.networks
