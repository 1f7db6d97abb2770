"""The choice of a checkpoint: whose networks, what they end with, what is advised, promised and proved."""

import os

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError

from tests.estimates import estimate_of, estimates_of
from tests.report.synthetic_choices import FLAT_FROM_2, checkpoint_ends, checkpoint_table
from tests.studies import NAME, RECIPE, SIZE, Trained, arrays, bound, study
from tests.tables import example
from transferscope.analyses.checkpoint.analysis import CheckpointAnalysis
from transferscope.analyses.checkpoint.rows import advised_epoch, end_rows, loss_rows
from transferscope.analyses.checkpoint.scores import SCORES
from transferscope.analyses.contract import checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import Ends
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.measures.agreement import weighted_tau
from transferscope.measures.h_score import h_score
from transferscope.measures.intervals import bonferroni_confidence, paired_seeds_interval
from transferscope.measures.label_transfer import leep, nce
from transferscope.measures.logme import logme
from transferscope.measures.regret import arm_metrics, expected_regret
from transferscope.methods.landscape.linear_path import alpha_grid, linear_path
from transferscope.report.figures import figures
from transferscope.running.run import run_study
from transferscope.specs.network import Checkpoint
from transferscope.store import Store

SHORT = {**RECIPE, "epochs": 2, "keep": "none"}
ASKED = {"epochs": [1, 2], "pretrain_seeds": [78], "points": 5, "train_images": 60, "batch_norm_images": 64,
         "n_bootstrap": 200}  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Trained:
    """Two pre-trainings of four epochs, four checkpoints of each, three seeds."""
    folder = tmp_path_factory.mktemp("checkpoint")
    asked = study(
        folder,
        training={"recipe": SHORT, "learning_rates": [0.1], "extensions": 0, "rate_rule": "best"},
        seeds=[0, 1, 2],
        analyses=[{"outcome": {"n_bootstrap": 100}}, {"checkpoint": ASKED}],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
        results = run_study(asked, folder / "store", quiet=True)
    store = Store(folder / "store")
    found = resolve(asked, store)
    return Trained(found, Context(store, found), results)


def table_of(done):
    return done.evidence.table(done.analysis("checkpoint"))


def summary_in(done):
    return next(item for item in done.results.analyses if item.analysis.name == "checkpoint").summary


def specs(done, pretraining, epoch):
    """The networks fine-tuned from a checkpoint, named by hand."""
    study_ = done.study
    (run,) = {
        start.of.key: start.of for seed, _, start in done.analysis("checkpoint").starts(study_) if seed == pretraining
    }.values()
    start = Checkpoint(of=run, epoch="last" if epoch == 4 else epoch)
    return [study_.trained_from(start, seed, 0.1) for seed in (0, 1, 2)]


def test_every_checkpoint_of_every_run_is_fine_tuned_and_the_last_is_p_t(done):
    table = table_of(done)
    assert table.filter(level="checkpoint").select("pretraining", "epoch").unique().sort(pl.all()).rows() == [
        (run, epoch) for run in (77, 78) for epoch in (0, 1, 2, 4)]  # fmt: skip
    assert [spec.key for spec in specs(done, 77, 4)] == [done.study.trained("P_T", s, 0.1).key for s in (0, 1, 2)]
    for run, epoch in ((77, 1), (78, 4)):
        rows = table.filter(level="network", quantity="metric", split="test", pretraining=run, epoch=epoch)
        found = [done.context.history(spec)["test_metric"][-1] for spec in specs(done, run, epoch)]
        assert rows.sort("seed")["value"].to_list() == found
    other = specs(done, 78, 1)[0].start.of
    own = done.study.pretrained.of
    assert other == own.model_copy(update={"seed": 78})


def test_how_good_a_checkpoint_is_at_its_own_task_is_read_from_its_run(done):
    rows = table_of(done).filter(level="pretraining", split="validation", pretraining=77).sort("epoch")
    history = done.context.history(done.study.pretrained.of)
    values = dict(history.select("epoch", "validation_metric").iter_rows())
    assert rows["value"].to_list() == [values[epoch] for epoch in (0, 1, 2, 4)]


def test_updates_are_counted_to_a_threshold_that_all_share(done):
    rows = table_of(done).filter(quantity="updates")
    (threshold,) = rows["threshold"].unique().to_list()
    curves = [
        done.context.history(spec) for run in (77, 78) for epoch in (0, 1, 2, 4) for spec in specs(done, run, epoch)
    ]
    start = max(curve["train_metric"][0] for curve in curves)
    best = max(curve["train_metric"].max() for curve in curves)
    assert threshold == pytest.approx(start + (best - start) * 4 / 5)
    for seed, spec in enumerate(specs(done, 78, 2)):
        (value,) = rows.filter(pretraining=78, epoch=2, seed=seed)["value"].to_list()
        there = done.context.history(spec).filter(pl.col("train_metric") >= threshold)["updates"]
        assert value == (float(there[0]) if len(there) else None)


def test_barriers_are_those_of_the_line_to_the_last_checkpoints_network(done):
    context, analysis = done.context, done.analysis("checkpoint")
    rows = table_of(done).filter(level="barrier", split="test", pretraining=77, epoch=1, seed=1)
    path = linear_path(
        context.network(specs(done, 77, 1)[1]), context.network(specs(done, 77, 4)[1]), analysis.data(context),
        evaluation=analysis.evaluation(context), alphas=alpha_grid(5, 0),
    )  # fmt: skip
    errors = path.values("test", "error").mean(axis=1)
    assert rows["value"].to_list() == [pytest.approx(max(0.0, (errors - (errors[0] + errors[-1]) / 2).max()))]
    assert table_of(done).filter(level="barrier", epoch=4).is_empty()
    assert len(estimates_of(summary_in(done), "error_barrier", split="test")) == 6


def test_promise_and_proof_are_of_the_advised_checkpoint(done):
    context = done.context
    for run in (77, 78):
        (epoch,) = set(table_of(done).filter(level="advice", pretraining=run)["epoch"])
        assert estimate_of(summary_in(done), "advised_epoch", pretraining=run).value == epoch
        for quantity, split, confidence in (("expected_regret", "validation", 0.9), ("proved_regret", "test", 0.975)):
            outputs = [[context.outputs(spec, split).logits for spec in specs(done, run, at)] for at in (0, 1, 2, 4)]
            groups = np.asarray(context.images().groups)[context.indices(split)]
            seeds = (context.seed(name, split) for name in ("checkpoint", "checkpoint regret"))
            known = arm_metrics(outputs, context.labels(split), "top1", groups, 200, next(seeds))
            regret = expected_regret(known.means, known.covariance, known.n, (0, 1, 2, 4).index(epoch),
                                     confidence=confidence, seed=next(seeds))  # fmt: skip
            item = estimate_of(summary_in(done), quantity, pretraining=run)
            assert (item.value, item.low, item.high) == pytest.approx(
                (regret.interval.value, regret.interval.low, regret.interval.high))  # fmt: skip


def test_scores_see_training_and_validation_images_alone(done):
    rows = table_of(done).filter(level="score")
    assert "test" not in set(rows["split"])
    assert rows.height == len(SCORES) * 8
    context = done.context
    start = Checkpoint(of=done.study.pretrained.of, epoch=2)
    spec = done.study.untrained("P", 0).model_copy(update={"start": start})
    tables = [context.features(spec, split, "stage").tables["(features)"].double() for split in ("train", "validation")]
    mean, std = tables[0].mean(0), tables[0].std(0, correction=0)
    train, asked = ((table - mean) / torch.where(std > 0, std, 1.0) for table in tables)
    labels = context.labels("train")
    right = 0
    for row, label in zip(asked, context.labels("validation"), strict=True):
        cosines = torch.nn.functional.cosine_similarity(train, row[None])
        near = cosines.argsort(descending=True)[:10]
        votes = torch.zeros(3).double().index_add(0, labels[near], 1 + cosines[near])
        right += int(votes.argmax() == label)
    value = rows.filter(pretraining=77, epoch=2, quantity="nearest_neighbours")["value"][0]
    assert value == pytest.approx(
        right / len(asked), abs=1.5 / len(asked)
    )  # float32 may order two neighbours otherwise


def test_a_rank_correlation_needs_two_pre_trainings(done):
    table, summary = table_of(done), summary_in(done)
    item = estimate_of(summary, "weighted_tau", score="linear_probe")
    taus = []
    for run in (77, 78):
        scores, outcomes = (
            table.filter(pl.col("pretraining") == run, *where).sort("epoch")["value"].to_list()
            for where in ((pl.col("quantity") == "linear_probe",),
                          (pl.col("level") == "checkpoint", pl.col("quantity") == "metric", pl.col("split") == "test"))
        )  # fmt: skip
        taus.append(weighted_tau(scores, outcomes))
    if None in taus:
        assert item.value is None
    else:
        assert (item.value, item.basis, item.n) == (pytest.approx(np.mean(taus)), "range", 2)
    alone = CheckpointAnalysis().summarise(table.filter(pretraining=77), Evidence())
    assert estimates_of(alone, "weighted_tau") == []
    assert any("one pre-training" in note for note in alone.notes)


def test_scores_of_training_images_are_those_of_the_measures(done):
    context, study_ = done.context, done.study
    rows = table_of(done).filter(level="score", pretraining=78, epoch=1)
    found = dict(rows.select("quantity", "value").iter_rows())
    of = specs(done, 78, 1)[0].start.of
    start = Checkpoint(of=of, epoch=1)
    features = context.features(study_.untrained("P", 0).model_copy(update={"start": start}), "train", "stage")
    labels = context.labels("train")
    assert found["logme"] == logme(features.tables["(features)"], torch.eye(3)[labels]).value
    assert found["h_score"] == h_score(features.tables["(features)"], labels).value
    # The network as it was after the first epoch of its pre-training, head included.
    model = context.network(of, 1)
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in context.batches("train")])
    assert found["leep"] == pytest.approx(leep(logits.softmax(1), labels), abs=1e-5)
    assert found["nce"] == pytest.approx(nce(logits.argmax(1), labels))


# -- the choice, on values that were never trained -----------------------------------------------------------


def test_the_earliest_checkpoint_that_is_as_good_is_advised():
    losses = list(loss_rows(checkpoint_ends(FLAT_FROM_2), 7, list(FLAT_FROM_2)))
    assert advised_epoch(losses, 8, 0.005) == 2
    row = next(row for row in losses if (row["epoch"], row["split"]) == (2, "validation"))
    expected = paired_seeds_interval(FLAT_FROM_2[8], FLAT_FROM_2[2], bonferroni_confidence(4, 0.90))
    assert row["simultaneous_high"] == expected.high < 0.005
    assert advised_epoch(losses, 8, 1e-6) == 8


def test_test_data_do_not_advise():
    swapped = {0: FLAT_FROM_2[4], **dict.fromkeys((1, 2, 4), FLAT_FROM_2[0]), 8: FLAT_FROM_2[8]}
    for test in (FLAT_FROM_2, swapped):
        losses = list(loss_rows(checkpoint_ends(FLAT_FROM_2, test), 7, list(FLAT_FROM_2)))
        assert advised_epoch(losses, 8, 0.005) == 2


def test_two_seeds_judge_nothing():
    few = {epoch: dict(enumerate(values[:2])) for epoch, values in FLAT_FROM_2.items()}
    found = Ends(
        {("metric", split): {f"7 {epoch}": of for epoch, of in few.items()} for split in ("validation", "test")}
    )
    assert advised_epoch(list(loss_rows(found, 7, list(few))), 8, 0.005) == 8


def test_the_first_small_barrier_is_told_and_later_large_ones_are_named():
    summary = checked_summary(
        CheckpointAnalysis(),
        CheckpointAnalysis().summarise(checkpoint_table({0: 0.3, 1: 0.005, 2: 0.08, 4: 0.001}), Evidence()),
    )
    item = estimate_of(summary, "first_connected_epoch", pretraining=7)
    assert (item.value, item.note) == (1.0, "not shown for later ones: 2")
    none = CheckpointAnalysis().summarise(checkpoint_table({0: 0.3, 1: 0.2, 2: 0.2, 4: 0.2}), Evidence())
    assert estimate_of(none, "first_connected_epoch", pretraining=7).value is None


def test_what_is_said(approved):
    summary = CheckpointAnalysis().summarise(checkpoint_table(), Evidence())
    kept = {item.at["epoch"]: item.verdict for item in estimates_of(summary, "loss_of_metric", split="validation")}
    assert kept == {0: "lost", 1: "lost", 2: "kept", 4: "kept"}
    approved(summary.verdict, *summary.notes)


def test_a_checkpoint_that_loses_the_margin_is_rarely_called_as_good():
    # At the margin itself the one-sided limits of all earlier checkpoints at once are wrong in at most 5 % of studies.
    rng, wrong, studies = np.random.default_rng(3), 0, 300
    for _ in range(studies):
        last = 0.8 + 0.01 * rng.standard_normal(5)
        values = {epoch: (last - 0.005 + 0.004 * rng.standard_normal(5)).tolist() for epoch in (0, 1, 2)}
        found = checkpoint_ends({**values, 8: last.tolist()})
        wrong += advised_epoch(list(loss_rows(found, 7, [0, 1, 2, 8])), 8, 0.005) != 8
    assert wrong / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


def test_where_all_networks_diverged_nothing_is_advised_but_the_last():
    lost = frozenset((f"7 {epoch}", seed) for epoch in (0, 2, 8) for seed in (0, 1, 2))
    found = Ends({("metric", "validation"): {}, ("metric", "test"): {}, ("speed", "train"): {}}, lost)
    losses = list(loss_rows(found, 7, [0, 2, 8]))
    none = {"level": "advice", "pretraining": 7, "epoch": 8, "n": 0, "diverged": True, "note": "none"}
    rows = [
        *end_rows(found, [(7, epoch) for epoch in (0, 2, 8)], [0, 1, 2]),
        *losses,
        *({**none, "quantity": quantity, "split": split}
          for quantity, split in (("expected_regret", "validation"), ("proved_regret", "test"))),
    ]  # fmt: skip
    assert advised_epoch(losses, 8, 0.005) == 8
    analysis = CheckpointAnalysis()
    summary = checked_summary(analysis, analysis.summarise(example(CheckpointAnalysis, rows), Evidence()))
    assert estimate_of(summary, "expected_regret").value is None
    assert all("diverged" in item.flags for item in estimates_of(summary, "final_metric"))
    assert figures(analysis, example(CheckpointAnalysis, rows), "top1") == ()


# -- bad input -----------------------------------------------------------------------------------------------


def test_a_source_of_given_weights_has_no_checkpoints(tmp_path):
    from tests.analyses.test_negative_transfer import PLAIN, dead

    context = bound(tmp_path, source={"architecture": PLAIN, **dead(tmp_path)}, analyses=["checkpoint"])
    (analysis,) = context.study.settings.analyses
    assert "need source.pretrain" in analysis.skip_reason(context.study)


def pretrained(folder, **recipe):
    pretrain = {
        "data": arrays(folder / "source", 120, 5),
        "image_size": SIZE,
        "recipe": {**RECIPE, **recipe},
        "seed": 77,
    }
    return {"architecture": NAME, "pretrain": pretrain}


def test_epochs_that_are_not_kept_are_an_error_that_names_the_setting(tmp_path):
    with pytest.raises(
        ValidationError, match=r"epochs: source.pretrain.recipe.keep does not keep 3 \(it has 0, 2, 4\)"
    ):
        study(tmp_path, source=pretrained(tmp_path, keep=[2]), analyses=[{"checkpoint": {"epochs": [3]}}])
    context = bound(tmp_path, source=pretrained(tmp_path, keep="none"), analyses=["checkpoint"])
    (analysis,) = context.study.settings.analyses
    assert "set source.pretrain.recipe.keep to all" in analysis.skip_reason(context.study)


@pytest.mark.parametrize("seed", [77, 0, 1000])
def test_a_further_pre_training_has_a_seed_of_its_own(tmp_path, seed):
    with pytest.raises(ValidationError, match=f"pretrain_seeds: {seed} is also"):
        study(tmp_path, analyses=[{"checkpoint": {"pretrain_seeds": [seed]}}])
