"""Paths of a study: which pairs, and what is measured on them."""

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError

from tests.analyses.path_units import ANALYSIS, QUICK, units_of
from tests.estimates import estimate_of
from tests.studies import Diverging, Trained
from transferscope.analyses.contract import Task, checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.path.analysis import Path
from transferscope.analyses.path_pairs import KINDS, POSITIVE, again
from transferscope.analyses.tuned import tuned_member, tuned_members
from transferscope.measures.standard_error import standard_error
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.linear_path import linear_path
from transferscope.networks.evaluate import logits
from transferscope.running.work import TrainJob, do
from transferscope.training.continued_training import continue_training


@pytest.fixture(scope="module")
def measured(trained: Trained):
    """One pair: its table, and the same path by hand."""
    task = next(iter(ANALYSIS.tasks(trained.study, trained.evidence.for_decision())))
    context = trained.context
    table = checked(ANALYSIS, ANALYSIS.measure(task, context).table)
    path = linear_path(
        *(context.network(member.spec) for member in task.members),
        {"train": context.batches("train", 50), "test": context.batches("test")},
        evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        alphas=(-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5),
    )
    return task, table, path


def test_points_are_those_of_the_line(measured, trained: Trained) -> None:
    task, table, path = measured
    assert [member.label for member in task.members] == ["P-T[0]", "P-T[1]"]
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
    task, table, _ = measured
    own = table.filter((pl.col("batch_norm") == "own statistics") & (pl.col("split") == "test")).sort("alpha")
    for member, error in zip(task.members, own["error"], strict=True):
        outputs = trained.context.outputs(member.spec, "test")
        assert error == float((outputs.logits.argmax(1) != outputs.labels).double().mean())


def test_barriers_are_those_of_the_points(measured, trained: Trained) -> None:
    _, table, path = measured
    groups = np.asarray(trained.context.images().groups)
    counted = {
        split: len(set(groups[trained.context.indices(split, limit)].tolist()))
        for split, limit in (("train", 50), ("test", None))
    }
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
        assert row["n"] == counted[row["split"]], "groups, not images"
        assert row["l2"] == pytest.approx(path.distance)
        assert row["midpoint_gap"] == pytest.approx(values[2] - (values[0] + values[-1]) / 2)
        assert row["smallest_gap"] == pytest.approx((values - (1 - grid) * values[0] - grid * values[-1]).min())
    assert rows["loss"].null_count() == rows.height


def named(units: list[Task]) -> list[tuple[str, ...]]:
    return [(task.settings["pair"], *(member.label for member in task.members)) for task in units]


def test_units_are_pairs_of_each_variant_and_the_ruler(trained: Trained) -> None:
    every = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    ruler = [(POSITIVE, "RI-T[0]")]
    pairs = [(f"{v}/{v}", f"{v}[{s}]", f"{v}[{t}]") for v in ("P-T", "RI-T") for s, t in every]
    assert named(units_of(trained)) == pairs + ruler
    few = [pair for pair in pairs if "3" not in pair[2]]
    assert named(units_of(trained, max_seeds=3)) == few + ruler
    assert all(ANALYSIS.forward_passes(task, trained.study) > 0 for task in units_of(trained))


@pytest.mark.parametrize("value", ["disjoint", "all"])
def test_a_setting_that_let_pairs_be_left_out_is_refused_with_what_to_write(value: str) -> None:
    with pytest.raises(ValidationError, match=f"no setting combinations any more .*'{value}'.* write max_seeds: 2"):
        Path(combinations=value)


def test_the_known_negative_pair_is_measured_where_it_is_not_asked_for(trained: Trained) -> None:
    for settings in ({"pairs": ("P_T/P_T",)}, {"moves": ("trunk",)}):
        *_, positive, negative = units_of(trained, **settings)
        assert named([positive, negative]) == [(POSITIVE, "RI-T[0]"), ("RI-T/RI-T", "RI-T[0]", "RI-T[1]")]
        assert {task.settings["role"] for task in (positive, negative)} == {"ruler"}
        assert negative.settings["moved"] == "all"


def test_the_default_pairs_need_no_network_of_their_own(trained: Trained) -> None:
    """Every network of the default path is one that the study trains for its outcome."""
    own = {m.spec.key for m in tuned_members(trained.study, trained.evidence.for_decision(), ("P_T", "RI_T"))}
    assert {spec.key for spec in ANALYSIS.networks(trained.study, trained.evidence.for_decision())} <= own


def test_pairs_of_one_seed_are_of_one_run_or_of_one_start(trained: Trained) -> None:
    kinds = ("P_T/RI_T", "RI_T best/last", "P_T/P_T same head", "RI_T/RI_T same init")
    units = units_of(trained, pairs=kinds, max_seeds=2)[:8]
    assert named(units) == [
        (KINDS[kind].label, *ends.replace("S", str(seed)).split())
        for kind, ends in zip(kinds, ("P-T[S] RI-T[S]", "RI-T[S] RI-T[S]", "P-T[S] P-T-again[S]",
                                      "RI-T[S] RI-T-again[S]"), strict=True)
        for seed in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("variant", ["P_T", "RI_T"])
def test_a_second_run_starts_where_the_first_one_did(trained: Trained, variant: str) -> None:
    evidence = trained.evidence.for_decision()
    first, second = (
        tuned_member(trained.study, variant, 1, evidence).spec,
        again(trained.study, variant, 1, evidence).spec,
    )
    start, other = trained.context.start(first).state_dict(), trained.context.start(second).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in start.items()), "head included"
    assert first.key != second.key
    assert first.seed != second.seed, "another order of the images"
    assert (first.recipe, first.data) == (second.recipe, second.data)
    assert second.trained
    assert second.key not in {network.key for network in second.ancestors}
    assert all(not network.trained or network.start.kind == "random" for network in second.ancestors)
    # The same in every process, and another one for each seed.
    assert again(trained.study, variant, 1, evidence).spec.key == second.key
    assert again(trained.study, variant, 2, evidence).spec.seed != second.seed


def test_a_pair_with_a_diverged_end_has_no_path(trained: Trained) -> None:
    task = next(iter(ANALYSIS.tasks(trained.study, trained.evidence.for_decision())))
    found = ANALYSIS.measure(task, Diverging(trained.context, task.members[1])).table
    assert checked(ANALYSIS, found).height == 0


def test_one_seed_has_no_path(plain) -> None:
    from dataclasses import replace

    one = replace(plain.study, settings=plain.study.settings.model_copy(update={"seeds": (0,)}))
    assert Path().skip_reason(one) == "a path between two networks needs at least two seeds"
    assert Path().skip_reason(plain.study) is None


def test_no_extrapolation_is_no_grid_of_equal_points(trained: Trained) -> None:
    task = next(iter(ANALYSIS.tasks(trained.study, trained.evidence.for_decision())))
    asked = QUICK.model_copy(update={"extrapolate": 0, "points_outside": 6, "batch_norm": "interpolate"})
    table = checked(asked, asked.measure(task, trained.context).table)
    line = table.filter(pl.col("batch_norm") == "interpolate").filter(pl.col("level") == "point")
    assert line.filter(pl.col("split") == "test")["alpha"].to_list() == [0.0, 0.5, 1.0]
    # Without recomputation the ends are the networks themselves.
    for column in ("loss", "error"):
        ends = line.filter(pl.col("alpha") != 0.5)[column].to_list()
        assert ends == table.filter(pl.col("batch_norm") == "own statistics")[column].to_list()
    summary = asked.summarise(table, Evidence())
    assert "batch-norm statistics were interpolated, not recomputed: these barriers are artefacts" in summary.notes
    assert {item.at["batch_norm"] for item in summary.estimates} == {"batch norm interpolated"}
    assert all("batch norm interpolated" in item.name for item in checked_summary(asked, summary).estimates)


def test_a_second_run_is_a_training_like_any_other(trained: Trained) -> None:
    """It is asked for, trained from its start, and measured; the study's own networks are not asked for anew."""
    asked = QUICK.model_copy(update={"pairs": ("RI_T/RI_T same init",), "max_seeds": 2})
    evidence, study = trained.evidence.for_decision(), trained.study
    own = {m.spec.key for m in tuned_members(study, evidence, ("P_T", "RI_T"))}
    extra = [spec for spec in asked.networks(study, evidence) if spec.key not in own]
    assert len({spec.key for spec in extra}) == 2, "one for each seed"
    task = next(iter(asked.tasks(study, evidence)))
    second = task.members[1]
    do(TrainJob(trained.context.store.root, study, second.spec, second.label), lambda event: None)
    table = measure(asked, task, trained)
    assert (set(table["a"]), set(table["b"])) == ({"RI-T[0]"}, {"RI-T-again[0]"})
    assert set(table["pair"]) == {"RI-T/RI-T, same init"}
    assert table["l2"].max() > 0


def measure(analysis: Path, task: Task, trained: Trained) -> pl.DataFrame:
    return checked(analysis, analysis.measure(task, trained.context).table)


def test_statistics_of_the_first_network_everywhere(trained: Trained) -> None:
    """Policy none: the second end differs from the network itself, which is listed apart, and artefacts are named."""
    asked = QUICK.model_copy(update={"batch_norm": "none"})
    every = measure(asked, units_of(trained)[0], trained)
    table = every.filter(pl.col("split") == "test")
    own = table.filter(pl.col("batch_norm") == "own statistics").sort("alpha")["loss"].to_list()
    line = table.filter((pl.col("batch_norm") == "none") & (pl.col("level") == "point")).sort("alpha")["loss"].to_list()
    assert own[0] == line[0]
    assert own[1] != line[-1]
    context, member = trained.context, units_of(trained)[0].members[1]
    outputs = logits(context.network(member.spec), context.batches("test", 20), torch.device("cpu"))
    assert own[1] == pytest.approx(float(torch.nn.functional.cross_entropy(*outputs)))
    notes = asked.summarise(every, Evidence()).notes
    assert any("first network everywhere, not recomputed: these barriers are artefacts" in note for note in notes)


def test_the_known_positive_pair_is_a_run_and_its_own_next_epoch(trained: Trained) -> None:
    task = next(task for task in units_of(trained) if len(task.members) == 1)
    table = measure(QUICK, task, trained)
    assert set(table["role"]) == {"ruler"}
    assert set(table["a"]) == {"RI-T[0]"}
    assert set(table["b"]) == {"RI-T[0] trained on"}
    rows = table.filter(pl.col("level") == "barrier")
    assert set(rows["points"]) == {5}
    assert rows["l2"][0] > 0, "it did move"
    assert measure(QUICK, task, trained).equals(table), "the same to the last bit"
    faster = QUICK.model_copy(update={"control_rate": 0.5})
    assert measure(faster, task, trained)["l2"].max() > table["l2"].max()


def test_the_run_that_is_trained_on_is_left_as_it_was(trained: Trained) -> None:
    context = trained.context
    member = tuned_member(trained.study, "RI_T", 0, trained.evidence)
    model = context.network(member.spec)
    model.stem.train()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again_ = continue_training(model, member.spec, context.images(), context.indices("train", 40), 0.1, context.device)
    assert again_ is model
    assert [module.training for module in model.modules()] == modes
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    stored = context.network(member.spec).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in stored.items())


def test_best_and_last_epoch_of_one_run(trained: Trained) -> None:
    task = units_of(trained, pairs=("RI_T best/last",))[0]
    table = measure(QUICK, task, trained)
    assert (set(table["a"]), set(table["b"])) == ({"RI-T[0] best"}, {"RI-T[0] last"})
    spec, context = task.members[0].spec, trained.context
    best, last = (dict(context.network(spec, epoch).named_parameters()) for epoch in ("best", "last"))
    apart = sum(float((best[n] - last[n]).detach().double().square().sum()) for n in best) ** 0.5
    rows = table.filter(pl.col("level") == "barrier")
    assert rows["l2"].to_list() == pytest.approx([apart] * rows.height)


def test_where_only_the_trunk_moves_the_head_is_that_of_the_first(trained: Trained) -> None:
    task = units_of(trained, moves=("trunk",))[0]
    table = measure(QUICK.model_copy(update={"batch_norm": "interpolate"}), task, trained)
    assert set(table["moves"]) == {"trunk"}
    context = trained.context
    a, b = (context.network(member.spec) for member in task.members)
    b.head.load_state_dict(a.head.state_dict())
    values, labels = logits(b, context.batches("test", 20), torch.device("cpu"))
    end = table.filter((pl.col("split") == "test") & (pl.col("alpha") == 1) & (pl.col("level") == "point"))
    assert end["loss"][0] == pytest.approx(float(torch.nn.functional.cross_entropy(values, labels)))
    trunk = [name for name, _ in a.named_parameters() if not name.startswith("head")]
    first, second = dict(a.named_parameters()), dict(b.named_parameters())
    apart = sum(float((first[n] - second[n]).detach().double().square().sum()) for n in trunk) ** 0.5
    assert end["l2"][0] == pytest.approx(apart)
    asked = QUICK.model_copy(update={"moves": ("trunk",), "pairs": ("P_T/P_T",)})
    said = asked.summarise(table, Evidence())
    assert any(note.startswith("trunk only: the head is that of the first network") for note in said.notes)
    assert "P-T/P-T (trunk only, head of the first)" in said.verdict
    barrier = estimate_of(said, "error_barrier", moves="trunk", split="test", baseline="mean")
    assert barrier.at["pair"] == "P-T/P-T"
    assert barrier.name.startswith("error barrier of P-T/P-T (trunk only, head of the first) (test, mean baseline")


def test_a_refined_path_says_how_fine_it_is_and_a_fast_one_how_far_it_is_off(trained: Trained) -> None:
    asked = ANALYSIS.model_copy(
        update={"points": 7, "refine": 0.05, "fast": True, "train_images": 20, "points_outside": 0}
    )
    table = measure(asked, units_of(trained)[0], trained)
    rows = table.filter(pl.col("level") == "barrier")
    points = table.filter((pl.col("level") == "point") & (pl.col("split") == "test")).filter(
        pl.col("batch_norm") == "recompute"
    )
    assert set(rows["points"]) == {points.height}
    assert rows["points"][0] < rows["equivalent"][0] == 25
    assert rows["recheck_loss"].null_count() == rows["recheck_error"].null_count() == 0
    notes = " ".join(asked.summarise(table, Evidence()).notes)
    assert f"α from coarse to fine: {points.height} points in [0, 1] in place of the 25" in notes
    assert "computed in bfloat16, ends and maxima again in float32" in notes


def test_the_unit_names_its_ends(trained: Trained) -> None:
    task = units_of(trained)[0]
    turned = Task(members=task.members[::-1], settings=task.settings)
    assert turned.key != task.key, "the pair has a direction: α = 0 is the first"
