"""Input ablations: networks, settings, the table of a whole run, its words and pictures."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic_ablations import SIZE as SYNTHETIC_SIZE
from tests.report.synthetic_ablations import ablation_table
from tests.running import tiny
from transferscope.analyses.block_shuffle.analysis import InputAblations, default_blocks, published_rows
from transferscope.analyses.block_shuffle.summary import hardest, summary_of
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.image_strip import picture_strip, restored_pixels
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.tuned import chosen_rate, tuned_member
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.study_network import StudyNetwork
from transferscope.data.ablation_settings import BlockShuffle, Grayscale
from transferscope.data.ablations import ablate
from transferscope.published import published
from transferscope.running.results import AnalysisResult, Results
from transferscope.running.rounds import label_of
from transferscope.running.run import run_study
from transferscope.store import Store
from transferscope.study.columns import schema

SETTINGS = {"blocks": [4, 1, "*"], "grayscale": True, "published": "clipart", "n_bootstrap": 100, "n_shown": 3}


CHANGES: dict[str, Any] = {
    "analyses": [{"outcome": {"n_bootstrap": 100}}, {"block_shuffle": SETTINGS}],
    "training": {"learning_rates": [0.05]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Context]:
    folder = tmp_path_factory.mktemp("ablations")
    asked = tiny.study(folder, CHANGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the module
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    return results, Context(store, resolve(asked, store))


@pytest.fixture(scope="module")
def result(run: tuple[Results, Context]) -> AnalysisResult:
    return next(item for item in run[0].analyses if item.analysis.name == "block_shuffle")


@pytest.fixture(scope="module")
def table(result: AnalysisResult) -> pl.DataFrame:
    assert result.table is not None
    return result.table


@pytest.fixture(scope="module")
def evidence(run: tuple[Results, Context]) -> Evidence:
    found = next(item for item in run[0].analyses if isinstance(item.analysis, LearningRate))
    assert found.table is not None
    return Evidence({found.analysis.key: found.table})


# -- networks and units ------------------------------------------------------------------------------


def members(context: Context, evidence: Evidence, analysis: InputAblations) -> dict[str, list[StudyNetwork]]:
    found = {}
    for task in analysis.tasks(context.study, evidence):
        if task.members:
            found[str(task.settings["ablation"].get("block", task.settings["ablation"]["kind"]))] = list(task.members)
    return found


def test_every_ablation_has_all_seeds_of_both_variants(run: Any, evidence: Evidence) -> None:
    _, context = run
    found = members(context, evidence, InputAblations(**SETTINGS))
    assert list(found) == ["12", "4", "1", "*", "grayscale"]
    plain = found.pop("12")
    assert [(member.variant, member.seed) for member in plain] == [("RI_T", 0), ("RI_T", 1), ("P_T", 0), ("P_T", 1)]
    assert all(member.spec.data.ablation is None for member in plain)
    for name, every in found.items():
        own, compared = every[:4], every[4:]
        assert compared == plain
        for member in own:
            recipe = member.spec.recipe
            assert not recipe.augmentation.flip
            assert recipe.augmentation.crop_padding == 0
            assert recipe.learning_rate == chosen_rate(member.variant, evidence)
            ablation = member.spec.data.ablation
            expected = Grayscale() if name == "grayscale" else BlockShuffle(block=ablation.block, seed=member.seed)
            assert ablation == expected
    # The same order for P-T and RI-T of one seed, and data that differ in nothing else.
    orders = {(member.seed, member.spec.data.key) for member in found["4"][:4]}
    assert len(orders) == 2
    assert found["4"][0].spec.data.ablated(None) == context.study.data


def test_permutations_are_combined_with_every_seed(run: Any, evidence: Evidence) -> None:
    _, context = run
    analysis = InputAblations(blocks=(4,), grayscale=True, permutations=(7, 8, 9))
    found = members(context, evidence, analysis)
    assert [member.spec.data.ablation.seed for member in found["4"][:6]] == [7, 8, 9, 7, 8, 9]
    assert len(found["4"]) == 12 + 4
    assert len(found["grayscale"]) == 4 + 4  # nothing random: nothing to repeat
    assert len({member.spec.key for member in found["4"]}) == 16


def test_whole_images_without_augmentation_are_the_studys_own_networks(run: Any, evidence: Evidence) -> None:
    _, context = run
    plain = members(context, evidence, InputAblations(blocks=()))["12"]
    study = context.study
    augmented = tuned_member(study, "P_T", 0, evidence).spec
    assert plain[2].spec.key != augmented.key
    bare = {"augmentation": plain[2].spec.recipe.augmentation}
    same = augmented.model_copy(update={"recipe": augmented.recipe.model_copy(update=bare)})
    assert plain[2].spec.key == same.key


def test_labels_name_the_ablation(run: Any, evidence: Evidence) -> None:
    _, context = run
    member = members(context, evidence, InputAblations(blocks=(4,)))["4"][2]
    assert label_of("P_T", 0, member.spec).endswith(", blocks of 4")
    assert "blocks" not in label_of("P_T", 0, member.spec.untrained())


# -- settings ----------------------------------------------------------------------------------------


def test_default_blocks_are_divisors() -> None:
    assert default_blocks(64) == (64, 16, 8, 1, "*")
    assert default_blocks(30) == (30, 6, 3, 1, "*")
    assert default_blocks(13) == (13, 1, "*")
    assert [item.block for item in InputAblations().ablations(64)] == [64, 16, 8, 1, "*"]  # type: ignore[union-attr]


def test_a_block_that_does_not_fit_stops_the_study_before_it_starts(tmp_path: Path) -> None:
    wrong = {"analyses": [{"block_shuffle": {"blocks": [5]}}]}
    with pytest.raises(ValidationError, match=r"block_shuffle\.blocks: a block of 5 .* give one of 1, 2, 3, 4, 6, 12"):
        tiny.study(tmp_path, wrong)
    with pytest.raises(ValidationError, match=r"block_shuffle\.low_pass: a cutoff of 40 cycles"):
        tiny.study(tmp_path, {"analyses": [{"block_shuffle": {"low_pass": [40]}}]})


def test_settings_hold_together() -> None:
    with pytest.raises(ValidationError, match="blocks holds a value twice"):
        InputAblations(blocks=(4, 4))
    with pytest.raises(ValidationError, match="permutations holds a value twice"):
        InputAblations(permutations=(1, 1))
    with pytest.raises(ValidationError, match="at least 1 item"):
        InputAblations(permutations=())
    with pytest.raises(ValidationError):
        InputAblations(published="sketch")  # type: ignore[arg-type]


# -- the table ---------------------------------------------------------------------------------------


def test_table_holds_every_network_with_its_history(run: Any, table: pl.DataFrame, evidence: Evidence) -> None:
    _, context = run
    trained = table.filter((pl.col("level") == "network") & pl.col("variant").is_in(["P_T", "RI_T"]))
    assert trained.height == 5 * 4
    specs = {
        member.spec.key: member
        for every in members(context, evidence, InputAblations(**SETTINGS)).values()
        for member in every
    }
    for row in trained.iter_rows(named=True):
        history = context.history(specs[row["network"]].spec)
        assert row["test_metric"] == history["test_metric"][-1]
        assert row["speed"] == pytest.approx(history["train_metric"][1:].mean())
        assert row["permutation_seed"] == (None if row["label"] in ("whole images", "grayscale") else row["seed"])
    starts = table.filter((pl.col("level") == "network") & pl.col("variant").is_in(["P", "RI"]))
    assert starts.height == trained.height
    assert starts["epochs"].unique().to_list() == [0]
    assert starts["speed"].null_count() == starts.height


def test_gaps_and_differences_are_paired_by_seed(table: pl.DataFrame) -> None:
    trained = table.filter((pl.col("level") == "network") & (pl.col("origin") == "study"))

    def gaps(label: str) -> dict[int, float]:
        values = {
            (row["variant"], row["seed"]): row["test_metric"]
            for row in trained.filter(pl.col("label") == label).iter_rows(named=True)
        }
        return {seed: values["P_T", seed] - values["RI_T", seed] for seed in (0, 1)}

    for label in ("whole images", "blocks of 4", "single pixels", "all values", "grayscale"):
        rows = table.filter((pl.col("origin") == "study") & (pl.col("label") == label))
        gap = rows.filter((pl.col("level") == "gap") & (pl.col("basis") == "range")).row(0, named=True)
        found = gaps(label)
        assert gap["test_metric"] == pytest.approx(np.mean(list(found.values())))
        assert (gap["test_low"], gap["test_high"]) == pytest.approx((min(found.values()), max(found.values())))
        assert gap["n"] == 2
        assert gap["simultaneous_low"] is None
        examples = rows.filter((pl.col("level") == "gap") & (pl.col("basis") == "examples"))
        assert examples.height == 1
        assert examples["test_metric"][0] == pytest.approx(gap["test_metric"])
        assert examples["test_low"][0] <= examples["test_metric"][0] <= examples["test_high"][0]
        difference = rows.filter(pl.col("level") == "difference")
        if label == "whole images":
            assert difference.is_empty()
        else:
            plain = gaps("whole images")
            expected = np.mean([found[seed] - plain[seed] for seed in (0, 1)])
            assert difference["test_metric"][0] == pytest.approx(expected)


def test_outputs_are_those_of_ablated_images(run: Any, table: pl.DataFrame, evidence: Evidence) -> None:
    _, context = run
    for name, every in members(context, evidence, InputAblations(**SETTINGS)).items():
        spec = every[0].spec
        outputs = context.outputs(spec, "test")
        accuracy = float((outputs.logits.argmax(1) == outputs.labels).double().mean())
        row = table.filter((pl.col("network") == spec.key) & (pl.col("level") == "network")).row(0, named=True)
        assert accuracy == pytest.approx(row["test_metric"])
        x, _ = next(iter(context.batches("test")))
        data = context.data_of(spec)
        assert data.key == spec.data.key
        if name != "12":
            changed, _ = next(iter(context.batches("test", ablation=data.ablation)))
            assert torch.equal(changed, ablate(x, data.ablation, data.mean, data.std))
            mixed, _ = next(iter(context.mixed_batches("train", ablation=data.ablation)))
            whole, _ = next(iter(context.mixed_batches("train")))
            assert torch.equal(mixed, ablate(whole, data.ablation, data.mean, data.std))
    splits = context.splits()
    assert all(np.array_equal(splits[name], indices) for name, indices in context.splits(spec.data).items())


def test_published_rows_are_the_papers(table: pl.DataFrame) -> None:
    paper = table.filter(pl.col("origin") == "clipart")
    assert paper.height == 13 * 3
    whole = paper.filter(pl.col("label") == "whole images")
    assert dict(whole.select("variant", "test_metric").iter_rows())["P_T"] == pytest.approx(0.738)
    assert whole.filter(pl.col("level") == "gap")["relative_drop"].to_list() == [40]
    source = published("block_shuffle")
    assert len(source["rows"]) == 39
    assert "2008.11687" in source["url"]
    for row in (dict(zip(source["columns"], row, strict=True)) for row in source["rows"]):
        # Printed and read off the figure: they must tell the same story. The printed ones are of unrounded accuracies.
        drop = 100 * (1 - row["test_accuracy_ri_t"] / row["test_accuracy_p_t"])
        assert abs(drop - row["relative_drop_percent"]) < 5, row
    columns = schema(InputAblations.columns)
    for domain in ("quickdraw", "clipart", "real"):
        assert checked(InputAblations(), published_rows(domain, columns)).height == 39


def test_a_diverged_training_is_left_out(run: Any, evidence: Evidence) -> None:
    _, context = run
    analysis = InputAblations(**SETTINGS)
    task = next(task for task in analysis.tasks(context.study, evidence) if task.settings["place"] == 1)
    lost = task.members[0].spec.key

    class Lost(Context):
        def diverged(self, spec: Any) -> bool:
            return bool(spec.key == lost)

    measured = checked(analysis, analysis.measure(task, Lost(context.store, context.study)).table)
    row = measured.filter((pl.col("network") == lost) & (pl.col("level") == "network")).row(0, named=True)
    assert row["diverged"]
    assert row["test_metric"] is None
    assert row["speed"] is None
    gap = measured.filter((pl.col("level") == "gap") & (pl.col("basis") != "examples").fill_null(value=True))
    assert gap["n"].to_list() == [1]
    assert gap["diverged"].to_list() == [True]
    summary = analysis.summarise(measured, Evidence())
    assert any("RI-T[0] diverged with blocks of 4" in note for note in summary.notes)

    class Gone(Context):
        def diverged(self, spec: Any) -> bool:
            return True

    nothing = checked(analysis, analysis.measure(task, Gone(context.store, context.study)).table)
    assert nothing.filter(pl.col("level") == "gap").is_empty()
    assert analysis.summarise(nothing, Evidence()).verdict.startswith("Undecided: no seed of both")


def test_shuffling_takes_part_of_the_gain() -> None:
    table = ablation_table(seeds=tuple(range(6)))
    analysis = InputAblations()
    summary = checked_summary(analysis, analysis.summarise(table, Evidence()))
    change = estimate_of(summary, "gap_minus_whole", ablation="block_shuffle", block="1")
    assert (change.verdict, change.basis, change.n, change.n_comparisons) == ("smaller", "seeds", 6, 7)
    assert change.simultaneous_low < change.low < change.high < change.simultaneous_high
    assert "Shuffling takes part of the gain: the gap changes by −" in summary.verdict
    # Only the ablation that was named before any result was seen is decided by its own interval.
    decided = {item.at["label"] for item in summary.estimates if item.verdict is not None}
    assert decided == {"single pixels"}
    assert estimate_of(summary, "final_gap", ablation="low_pass", cutoff=8.0).n_comparisons == 8


def test_two_seeds_speak_for_their_networks_only() -> None:
    summary = summary_of(ablation_table(seeds=(0, 1)))
    gap = estimate_of(summary, "final_gap", block="1")
    assert (gap.basis, gap.flags, gap.verdict) == ("range", ("too_few_seeds",), "undecided")
    these = estimate_of(summary, "final_gap_of_these_networks", block="1")
    assert (these.basis, these.n, these.verdict) == ("examples", 656, "undecided")
    assert summary.verdict.startswith("Undecided: with single pixels")
    assert "2 seeds, range" in summary.verdict
    assert summary.verdict.endswith("A claim about training in general needs at least 3 seeds.")


def test_seeds_without_spread_speak_for_their_networks_only() -> None:
    rows = pl.col("level") == "gap"
    over_seeds = rows & (pl.col("basis") == "seeds")
    table = ablation_table().with_columns(
        pl.when(over_seeds).then(None).otherwise(name).alias(name)
        for name in ("basis", "test_low", "test_high", "simultaneous_low", "simultaneous_high")
    )
    summary = summary_of(table)
    gap = estimate_of(summary, "final_gap", block="1")
    assert (gap.basis, gap.n, gap.low, gap.flags, gap.verdict) == (None, 3, None, ("no_spread",), "undecided")
    assert estimate_of(summary, "final_gap_of_these_networks", block="1").basis == "examples"
    assert "equal for all 3 seeds" in summary.verdict


def test_no_claim_while_ri_t_improves() -> None:
    table = ablation_table().with_columns(
        pl.when((pl.col("label") == "single pixels") & (pl.col("variant") == "RI_T") & (pl.col("level") == "network"))
        .then(pl.lit(value=True))
        .otherwise(pl.col("improving"))
        .alias("improving")
    )
    summary = summary_of(table)
    gap = estimate_of(summary, "final_gap", block="1")
    assert ("still_improving" in gap.flags, gap.verdict) == (True, "undecided")
    assert "still_improving" in estimate_of(summary, "gap_minus_whole", block="1").flags
    assert "still_improving" not in estimate_of(summary, "final_gap", block="*").flags
    assert "still_improving" not in estimate_of(summary, "speed_gap", block="1").flags
    assert summary.verdict.startswith("No claim on the final gap, for RI-T is still improving at the end (3 of 3")
    assert any("RI-T is still improving at the end with single pixels" in note for note in summary.notes)


def test_too_few_epochs_to_tell_are_no_claim() -> None:
    single = (pl.col("label") == "single pixels") & (pl.col("level") == "network")
    table = ablation_table().with_columns(improving=pl.when(~single).then("improving"))
    summary = summary_of(table)
    gap = estimate_of(summary, "final_gap", block="1")
    assert (gap.flags, gap.verdict) == (("too_few_epochs",), "undecided")
    assert "too_few_epochs" in estimate_of(summary, "gap_minus_whole", block="1").flags
    assert estimate_of(summary, "final_gap", block="*").flags == ()
    assert summary.verdict.startswith("No claim on the final gap, for RI-T has too few epochs")


def test_whole_images_that_still_improve_put_every_change_in_doubt() -> None:
    whole = (pl.col("order") == 0) & (pl.col("variant") == "RI_T") & (pl.col("level") == "network")
    table = ablation_table().with_columns(improving=pl.when(whole).then(pl.lit(value=True)).otherwise("improving"))
    summary = summary_of(table)
    changes = estimates_of(summary, "gap_minus_whole")
    assert len(changes) == 7
    assert all("still_improving" in item.flags for item in changes)
    assert "still_improving" not in estimate_of(summary, "final_gap", block="1").flags


def test_a_missing_drop_names_its_reason() -> None:
    table = ablation_table()
    low = table.with_columns(
        pl.when((pl.col("label") == "all values") & (pl.col("level") == "gap")).then(None).otherwise(
            pl.col("relative_drop")).alias("relative_drop"),
        pl.when(pl.col("label") == "all values").then(0.7).otherwise(pl.col("chance")).alias("chance"),
    )  # fmt: skip
    drop = estimate_of(summary_of(low), "relative_drop", block="*")
    assert drop.value is None
    assert "not above chance (0.7)" in drop.note


def test_published_curves_of_another_metric_are_not_drawn() -> None:
    assert any("drawn behind ours" in note for note in summary_of(ablation_table()).notes)
    assert any("not drawn: it is top-1" in note for note in summary_of(ablation_table(metric="auc")).notes)


def test_the_verdict_is_about_the_hardest_shuffle() -> None:
    table = ablation_table()
    assert hardest(table) == "1"
    assert hardest(table.filter(pl.col("block").ne_missing("1"))) == "*"
    assert hardest(table.filter(~pl.col("label").is_in(["single pixels", "all values"]))) == "8"
    assert hardest(table.filter(pl.col("order") == 0)) is None
    assert summary_of(table.filter(pl.col("order") == 0)).verdict.startswith("Undecided: no seed of both")
    assert summary_of(table.clear()).verdict.startswith("Undecided: no network")


# -- pictures ----------------------------------------------------------------------------------------


def test_a_strip_of_examples_for_each_ablation(run: Any, result: AnalysisResult) -> None:
    names = [name for name in result.files if name.endswith(".png")]
    assert names == [f"ablation-{place:02d}.png" for place in range(5)]
    strips = [np.asarray(Image.open(io.BytesIO(result.files[name])).convert("RGB")) for name in names]
    assert all(strip.shape == (12, 3 * 12 + 2 * 4, 3) for strip in strips)
    _, context = run
    first = context.images().pixels(context.indices("test", 3)[0])
    assert np.array_equal(strips[0][:, :12], first)
    # Pixels are moved, not changed.
    assert sorted(map(tuple, strips[2][:, :12].reshape(-1, 3))) == sorted(map(tuple, first.reshape(-1, 3)))
    assert np.ptp(strips[4].astype(int), axis=2).max() <= 1  # each channel is rounded by itself


def test_each_strip_is_part_of_one_gallery(result: AnalysisResult) -> None:
    from transferscope.analyses.gallery import SUFFIX, Gallery

    found = [Gallery.model_validate_json(data) for name, data in result.files.items() if name.endswith(SUFFIX)]
    assert len({gallery.title for gallery in found}) == 1
    assert [gallery.groups[0].title for gallery in found] == [
        "Whole images", "Blocks of 4", "Single pixels", "All values", "Grayscale",
    ]  # fmt: skip
    for gallery in found:
        assert gallery.groups[0].layout == "strip"
        assert gallery.groups[0].images[0].file in result.files


def test_strips_keep_to_their_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 224, 224, 3), dtype=np.uint8)
    small = picture_strip(noise)
    assert len(small) <= 40_000
    assert len(picture_strip(noise, 9_000)) <= 9_000
    assert Image.open(io.BytesIO(picture_strip(noise, 1))).size[1] <= 8
    pixels = restored_pixels(torch.full((1, 3, 2, 2), 1e3), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert pixels.max() == pixels.min() == 255


def test_no_examples_no_strips(run: Any, evidence: Evidence) -> None:
    _, context = run
    units = list(InputAblations(n_shown=0).tasks(context.study, evidence))
    assert all("strip" not in task.settings for task in units)
    assert isinstance(units[0], Task)


def test_columns_measured_on_test_are_hidden_from_decisions() -> None:
    analysis = InputAblations()
    shown = Evidence({analysis.key: ablation_table()}, decision=True).table(analysis)
    assert not {"test_metric", "test_low", "relative_drop", "simultaneous_high"} & set(shown.columns)
    assert {"validation_metric", "speed"} <= set(shown.columns)
    assert SYNTHETIC_SIZE == 64
