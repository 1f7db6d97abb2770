"""Similarity and distance along training and by size, reused channels, agreement of measures: on a study of seconds."""

import io
import json
import os
from dataclasses import replace

import polars as pl
import pytest
import torch
from PIL import Image

from tests.studies import RECIPE, Diverging, Trained, study, untrained
from transferscope.analyses.checkpoints import chosen_epochs, evenly, kept_epochs
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.distance_in_training.analysis import DistanceInTraining
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.reused_channels.analysis import ReusedChannels
from transferscope.analyses.similarity.analysis import Similarity
from transferscope.analyses.similarity_by_size.analysis import SimilarityBySize
from transferscope.analyses.similarity_in_training.analysis import SimilarityInTraining
from transferscope.analyses.tuned import tuned_member
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.threads import limited
from transferscope.measures.distance import displacement_cosine, parameter_distance
from transferscope.running.results import AnalysisResult
from transferscope.running.run import run_study
from transferscope.specs.network import NetworkSpec
from transferscope.store import Store
from transferscope.study.settings import Study, VariantRecipe

IMAGES = {"test_images": 40, "batch_size": 20}
ASKED = [
    {"similarity": {**IMAGES, "extra_measures": True}},
    {"similarity_in_training": IMAGES},
    {"similarity_by_size": {**IMAGES, "fractions": [0.5], "equal": "epochs"}},
    {"reused_channels": {**IMAGES, "exemplar_images": 3, "exemplar_bytes": 8000}},
    {"distance_in_training": {}},
]
TRAINING = {
    "recipe": {**RECIPE, "epochs": 3, "keep": "all"}, "learning_rates": [0.05], "tuning_epochs": 1, "extensions": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Trained:
    """Two seeds, three epochs, all of them kept."""
    folder = tmp_path_factory.mktemp("kept")
    asked = study(folder, training=TRAINING, seeds=[0, 1], analyses=ASKED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the module
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


def result(kept: Trained, name: str) -> AnalysisResult:
    return next(item for item in kept.results.analyses if item.analysis.name == name)


def table(kept: Trained, name: str) -> pl.DataFrame:
    found = result(kept, name).table
    assert found is not None
    return found


@pytest.mark.parametrize("name", [next(iter(item)) for item in ASKED])
def test_every_summary_says_something_with_its_basis(kept: Trained, name: str) -> None:
    summary = result(kept, name).summary
    assert summary is not None
    assert summary.verdict.endswith(".")
    assert summary.estimates
    assert checked_summary(result(kept, name).analysis, summary) == summary
    for item in summary.estimates:
        assert item.value is not None or item.note
        assert item.basis in (None, "range")
        assert item.n is not None
        assert "too_few_seeds" in item.flags  # there are two
    assert len({item.name for item in summary.estimates}) == len(summary.estimates)


# -- agreement --------------------------------------------------------------------------------------------------


def test_agreement_stands_beside_cka_for_like_modules_alone(kept: Trained) -> None:
    rows = table(kept, "similarity")
    like = rows.filter(pl.col("module_a") == pl.col("module_b"))
    assert like["procrustes"].null_count() == like["rsa"].null_count() == 0
    other = rows.filter(pl.col("module_a") != pl.col("module_b"))
    for name in ("cca", "cca_chance", "procrustes", "rsa"):
        assert other[name].null_count() == other.height > 0
    own = like.filter(pl.col("a") == pl.col("b"))
    for name in ("cka", "procrustes", "rsa"):
        assert own[name].to_list() == pytest.approx([1.0] * own.height, abs=1e-6)
    assert like["cca"].drop_nulls().is_between(0, 1).all()
    found = {(item.quantity, *item.at.values()): item for item in result(kept, "similarity").summary.estimates}
    assert found["rank_agreement", "P/P-T", "rsa"].name == "Kendall τ over modules, CKA and RSA, P/P-T"


def test_without_agreement_nothing_else_changes(kept: Trained) -> None:
    analysis = result(kept, "similarity").analysis
    plain = analysis.model_copy(update={"extra_measures": False})
    (task,) = plain.tasks(kept.study, kept.evidence.for_decision())
    # As many threads as the study had: BLAS adds a product up in another order on two threads than on one, in the
    # same one every time.
    with limited(kept.study.settings.compute.threads):
        rows = checked(plain, plain.measure(task, kept.context).table)
    for name in ("cca", "cca_chance", "procrustes", "rsa"):
        assert rows[name].null_count() == rows.height
    whole = table(kept, "similarity")
    columns = [name for name in whole.columns if name not in ("cca", "cca_chance", "procrustes", "rsa")]
    assert rows.select(columns).equals(whole.select(columns))
    assert {item.quantity for item in plain.summarise(rows, Evidence()).estimates} == {"cka", "cka_gap"}


@pytest.mark.parametrize("changes", [{"estimator": "biased"}, {"estimator": "rbf"}, {"pooling": "pooled"}])
def test_kind_and_maps_change_the_table_and_are_said(kept: Trained, changes: dict[str, str]) -> None:
    analysis = Similarity(**IMAGES, **changes, max_seeds=1)
    plain = Similarity(**IMAGES, max_seeds=1)
    assert analysis.key != plain.key
    (task,) = analysis.tasks(kept.study, kept.evidence.for_decision())
    rows, before = (checked(each, each.measure(task, kept.context).table) for each in (analysis, plain))
    assert not rows["cka"].equals(before["cka"])
    assert rows[next(iter(changes))].unique().to_list() == list(changes.values())
    summary = analysis.summarise(rows, Evidence())
    words = {"biased": "biased HSIC", "rbf": "RBF kernel", "unbiased": "unbiased HSIC"}[analysis.estimator]
    assert any(words in note for note in summary.notes)


# -- along training ---------------------------------------------------------------------------------------------


def test_every_epoch_against_every_other_once(kept: Trained) -> None:
    rows = table(kept, "similarity_in_training")
    states = 4 * 4
    modules = rows["module"].n_unique()
    assert rows.height == modules * states * (states + 1) // 2
    assert sorted(rows["epoch_a"].unique()) == [0, 1, 2, 3]
    same = rows.filter((pl.col("a") == pl.col("b")) & (pl.col("epoch_a") == pl.col("epoch_b")))
    assert same["cka"].to_list() == pytest.approx([1.0] * same.height, abs=1e-9)


def test_the_last_epoch_is_that_of_similarity(kept: Trained) -> None:
    """The same images and batches: P against the end of P-T is the same number in both tables."""
    ours = table(kept, "similarity_in_training").filter(
        (pl.col("a") == "P-T[0]") & (pl.col("b") == "P-T[0]") & (pl.col("epoch_a") == 0) & (pl.col("epoch_b") == 3)
    )
    theirs = table(kept, "similarity").filter(
        (pl.col("a") == "P[0]") & (pl.col("b") == "P-T[0]") & (pl.col("module_a") == pl.col("module_b"))
    )
    expected = dict(zip(theirs["module_a"], theirs["cka"], strict=True))
    assert set(ours["module"]) == set(expected)
    for row in ours.iter_rows(named=True):
        assert row["cka"] == pytest.approx(expected[row["module"]], abs=1e-6)


def test_each_checkpoint_is_read_once(kept: Trained, monkeypatch) -> None:
    read: list[tuple[str, int]] = []
    network = Context.network

    def counted(self, spec: NetworkSpec, epoch="last"):
        read.append((spec.key, epoch))
        return network(self, spec, epoch)

    monkeypatch.setattr(Context, "network", counted)
    analysis = result(kept, "similarity_in_training").analysis
    (task,) = analysis.tasks(kept.study, kept.evidence.for_decision())
    analysis.measure(task, kept.context)
    assert len(read) == len(set(read)) == 4 * 4


def test_a_study_that_keeps_nothing_is_told_what_to_set(plain: Context) -> None:
    settings = plain.study.settings
    recipe = settings.training.recipe.model_copy(update={"keep": "none"})
    training = settings.training.model_copy(update={"recipe": recipe})
    keeps_none = replace(plain.study, settings=settings.model_copy(update={"training": training}))
    for analysis in (SimilarityInTraining(), DistanceInTraining()):
        assert analysis.skip_reason(plain.study) is None
        reason = analysis.skip_reason(keeps_none)
        assert reason is not None
        assert "set training.recipe.keep to all" in reason
        assert analysis.check_study(keeps_none.settings) is None


def test_epochs_that_are_not_kept_are_named(tmp_path) -> None:
    recipe = {**TRAINING["recipe"], "epochs": 6, "keep": [2, 4]}
    with pytest.raises(ValueError, match=r"does not keep 3 \(it has 0, 2, 4, 6\)"):
        study(
            tmp_path, training={**TRAINING, "recipe": recipe}, analyses=[{"similarity_in_training": {"epochs": [2, 3]}}]
        )
    fine = study(
        tmp_path, training={**TRAINING, "recipe": recipe}, analyses=[{"distance_in_training": {"epochs": [2]}}]
    )
    assert isinstance(fine, Study)


def test_kept_epochs() -> None:
    assert kept_epochs(VariantRecipe(epochs=4)) == (0, 4)
    assert kept_epochs(VariantRecipe(epochs=4, keep="all")) == (0, 1, 2, 3, 4)
    assert kept_epochs(VariantRecipe(epochs=9, keep=(3,))) == (0, 3, 9)
    assert chosen_epochs(VariantRecipe(epochs=9, keep=(3, 5)), (5,), 10) == (0, 5, 9)
    assert chosen_epochs(VariantRecipe(epochs=100, keep="all"), None, 5) == (0, 25, 50, 75, 100)
    assert evenly([1, 2], 5) == (1, 2)


# -- by size ----------------------------------------------------------------------------------------------------


def test_sizes_share_the_whole_with_the_study_and_are_nested(kept: Trained) -> None:
    rows = table(kept, "similarity_by_size")
    assert sorted(rows["fraction"].unique()) == [0.5, 1.0]
    small, whole = (rows.filter(pl.col("fraction") == share)["images"][0] for share in (0.5, 1.0))
    assert small == pytest.approx(whole / 2, abs=2)
    analysis = result(kept, "similarity_by_size").analysis
    part, full = analysis.tasks(kept.study, kept.evidence.for_decision())
    (task,) = kept.analysis("similarity").tasks(kept.study, kept.evidence.for_decision())
    assert {member.spec.key for member in full.members} == {member.spec.key for member in task.members}
    for member in part.members:
        if member.spec.trained:
            inside = kept.context.splits(member.spec.data)["train"]
            assert set(inside) < set(kept.context.splits()["train"])
            assert member.spec.recipe.keep == "none"
    ours = rows.filter((pl.col("fraction") == 1) & (pl.col("a") == "P[0]") & (pl.col("b") == "RI-T[1]"))
    theirs = table(kept, "similarity").filter(
        (pl.col("b") == "P[0]") & (pl.col("a") == "RI-T[1]") | (pl.col("a") == "P[0]") & (pl.col("b") == "RI-T[1]")
    ).filter(pl.col("module_a") == pl.col("module_b"))  # fmt: skip
    expected = dict(zip(theirs["module_a"], theirs["cka"], strict=True))
    assert {row["module"]: pytest.approx(row["cka"], abs=1e-6) for row in ours.iter_rows(named=True)} == expected


def test_equal_updates_train_a_part_longer(kept: Trained) -> None:
    analysis = SimilarityBySize(fractions=(0.25,))
    assert analysis.fractions == (0.25, 1.0)
    part, full = analysis.tasks(kept.study, kept.evidence.for_decision())
    epochs = [{m.spec.recipe.epochs for m in task.members if m.spec.trained} for task in (part, full)]
    assert epochs == [{12}, {3}]
    for wrong in ((0.0,), (1.5,), (0.5, 0.5)):
        with pytest.raises(ValueError, match="different shares above 0 and up to 1"):
            SimilarityBySize(fractions=wrong)


def test_the_headline_names_the_epochs_of_the_study(kept: Trained) -> None:
    headline = kept.results.headline
    assert headline.filter(pl.col("variant") == "RI_T")["epochs"].unique().to_list() == [3]


# -- reused channels --------------------------------------------------------------------------------------------


def test_p_t_and_chance_have_a_row_for_every_module(kept: Trained) -> None:
    rows = table(kept, "reused_channels").filter(pl.col("level") == "module")
    assert rows.group_by("variant").len().sort("variant").rows() == [("P_T", 4), ("RI", 4), ("RI_T", 4)]
    assert set(rows["module"]) == {"stem", "block"}
    assert (rows["channels"] == 8).all()


def test_exemplars_are_the_images_that_excite_the_channel_most(kept: Trained) -> None:
    item = result(kept, "reused_channels")
    rows = table(kept, "reused_channels").filter(pl.col("level") == "channel")
    assert set(rows["fate"]) == {"reused", "lost"}
    p = kept.context.network(kept.study.untrained("P", 0))
    batches = kept.context.mixed_batches("test", 40, 20)
    with torch.no_grad():
        stem = torch.cat([p.stem(x) for x, _ in batches]).amax((2, 3))
    for row in rows.filter(pl.col("module") == "stem").iter_rows(named=True):
        best = stem[:, row["channel"]].argsort(descending=True, stable=True)[:3]
        assert row["exemplars"] == ", ".join(str(batches.indices[place]) for place in best.tolist())
    pictures = {name: data for name, data in item.files.items() if name.endswith(".png")}
    assert len(pictures) == rows.height == 4
    assert sum(map(len, pictures.values())) <= 16_000
    for data in pictures.values():
        assert Image.open(io.BytesIO(data)).format == "PNG"
    gallery = json.loads(item.files["exemplars.gallery.json"])
    assert {image["file"] for group in gallery["groups"] for image in group["images"]} == set(pictures)


def test_a_network_without_training_has_reused_everything(kept: Trained) -> None:
    """P in the role of P-T: all channels, in their places."""
    members = untrained(kept.study, "P 0", "P_T 0", "RI_T 0", "RI 1")
    (task,) = ReusedChannels(**IMAGES).tasks(kept.study, kept.evidence.for_decision())
    rows = ReusedChannels(**IMAGES, exemplar_modules=0).measure(
        task.model_copy(update={"members": members}), kept.context
    )
    assert rows.files == {}
    found = rows.table.filter(pl.col("variant") == "P_T")
    assert found["reused"].to_list() == found["same_index"].to_list() == [1.0, 1.0]
    chance = rows.table.filter(pl.col("variant") != "P_T")
    assert (chance["same_index"] < 1).all()


# -- distance along training ------------------------------------------------------------------------------------


def test_distances_are_those_of_the_checkpoints(kept: Trained) -> None:
    rows = table(kept, "distance_in_training")
    spec = tuned_member(kept.study, "RI_T", 1, kept.evidence.for_decision()).spec
    names = [name for name, _ in kept.context.start(spec).named_parameters()]
    states = [{name: kept.context.state(spec, epoch)[name] for name in names} for epoch in range(4)]
    own = rows.filter((pl.col("level") == "own") & (pl.col("a") == "RI-T[1]") & (pl.col("part") == "all")).sort("epoch")
    way = 0.0
    for epoch, row in enumerate(own.iter_rows(named=True)):
        way += parameter_distance(states[epoch], states[max(0, epoch - 1)]).l2
        assert row["from_start"] == pytest.approx(parameter_distance(states[epoch], states[0]).l2)
        assert row["to_end"] == pytest.approx(parameter_distance(states[epoch], states[3]).l2)
        assert row["travelled"] == pytest.approx(way)
        assert row["cosine"] == displacement_cosine(states[epoch], states[0], states[3], states[0])
    assert own["from_start"][0] == own["to_end"][3] == 0
    assert own["cosine"].to_list()[0] is None
    assert own["cosine"][3] == pytest.approx(1.0)


def test_modules_add_up_and_pairs_are_measured_at_equal_epochs(kept: Trained) -> None:
    rows = table(kept, "distance_in_training")
    one = rows.filter((pl.col("level") == "own") & (pl.col("a") == "P-T[0]") & (pl.col("epoch") == 2))
    squares = sum(value**2 for value in one.filter(pl.col("position") >= 0)["from_start"])
    assert squares**0.5 == pytest.approx(one.filter(pl.col("part") == "all")["from_start"][0])
    pairs = rows.filter((pl.col("level") == "pair") & (pl.col("part") == "trunk"))
    assert set(pairs["pair"]) == {"P-T/P-T", "RI-T/RI-T", "P-T/RI-T"}
    starts = pairs.filter((pl.col("pair") == "P-T/P-T") & (pl.col("epoch") == 0))
    assert starts["between"].to_list() == [0.0], "two P have one trunk"


# -- diverged ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["similarity_in_training", "similarity_by_size", "reused_channels", "distance_in_training"]
)
def test_diverged_networks_are_left_out(kept: Trained, name: str) -> None:
    analysis = result(kept, name).analysis
    *_, task = analysis.tasks(kept.study, kept.evidence.for_decision())
    lost = [member for member in task.members if member.label == "RI-T[1]"]
    rows = checked(analysis, analysis.measure(task, Diverging(kept.context, *lost)).table)
    columns = [column for column in ("a", "b", "network") if column in rows.columns]
    assert rows.height
    for column in columns:
        assert "RI-T[1]" not in rows[column].to_list()
    assert analysis.summarise(rows, Evidence()).verdict
    none = analysis.measure(task, Diverging(kept.context, *(m for m in task.members if m.spec.trained)))
    assert none.table.is_empty() or name == "reused_channels"
