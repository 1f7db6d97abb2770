"""Planes of a study: which, their rows, and the words they are given."""

import copy
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from tests.estimates import estimate_of
from tests.studies import Diverging, Trained
from transferscope.analyses.contract import checked, checked_summary
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.plane.analysis import PlaneAnalysis
from transferscope.measures.standard_error import standard_error
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.plane import plane_through
from transferscope.networks.batchnorm import recompute
from transferscope.study.columns import schema

ANALYSIS = PlaneAnalysis(resolution=5, batch_norm_images=40, train_images=40, test_images=30, extent=0.5)


def units(trained: Trained, analysis: PlaneAnalysis = ANALYSIS):
    return list(analysis.tasks(trained.study, trained.evidence.for_decision()))


@pytest.fixture(scope="module")
def tables(trained: Trained) -> dict[str, pl.DataFrame]:
    found = [checked(ANALYSIS, ANALYSIS.measure(task, trained.context).table) for task in units(trained)[1:3]]
    return {"through": found[0], "around": found[1]}


def test_planes_go_through_the_first_seeds(trained: Trained) -> None:
    assert [[member.label for member in task.members] for task in units(trained)] == [
        ["P[0]", "P-T[0]", "P-T[1]"], ["P-T[0]", "P-T[1]", "RI-T[0]"], ["P-T[0]"], ["RI-T[0]"],
    ]  # fmt: skip
    assert PlaneAnalysis().planes((7,)) == (("P[7]", "P_T[7]", "RI_T[7]"), ("P_T[7]",), ("RI_T[7]",))
    asked = PlaneAnalysis(via=(("RI[0]", "P-T[3]", "RI_T[2]"),), center=())
    assert [[member.label for member in task.members] for task in units(trained, asked)] == [
        ["RI[0]", "P-T[3]", "RI-T[2]"]
    ]
    assert ANALYSIS.forward_passes(units(trained)[0], trained.study) == (25 + 6) * (80 + 40 + 30)


def test_rows_are_the_plane(tables, trained: Trained) -> None:
    task, context = units(trained)[1], trained.context
    direct = plane_through(
        [context.network(member.spec) for member in task.members],
        {"train": context.batches("train", 40), "test": context.batches("test", 30)},
        evaluation=Evaluation(recompute_on=context.mixed_batches("train", 40), device="cpu"),
        resolution=5,
    )
    table = tables["through"]
    for split in ("train", "test"):
        points = table.filter((pl.col("level") == "point") & (pl.col("split") == split))
        assert points.height == 25
        assert set(points["plane"]) == {"P-T[0], P-T[1], RI-T[0]"}
        assert points["x"].to_list() == np.tile(direct.x, 5).tolist()
        assert points["y"].to_list() == np.repeat(direct.y, 5).tolist()
        assert points["loss"].to_list() == direct.loss[split].ravel().tolist()
        assert points["error"].to_list() == direct.error[split].ravel().tolist()
        assert points["interpolated"].to_list() == direct.interpolated.ravel().tolist()


def test_marks_are_the_networks_themselves(tables, trained: Trained) -> None:
    context = trained.context
    groups = np.asarray(context.images().groups)[context.indices("test", 30)]
    for task, table in zip(units(trained)[1:3], (tables["through"], tables["around"]), strict=True):
        for member in task.members:
            marks = table.filter((pl.col("network") == member.label) & (pl.col("split") == "test"))
            own = context.network(member.spec)
            redone = copy.deepcopy(own)
            recompute(redone, context.mixed_batches("train", 40))
            for policy, model in (("own statistics", own), ("recompute", redone)):
                wrong = np.concatenate([
                    (model(images).argmax(1) != labels).numpy() for images, labels in context.batches("test", 30)
                ])  # fmt: skip
                row = marks.row(by_predicate=pl.col("batch_norm") == policy, named=True)
                assert row["error"] == wrong.mean()
                assert row["metric"] == pytest.approx(1 - wrong.mean())
                assert row["error_se"] == pytest.approx(standard_error(wrong.astype(float), groups))
    centre = tables["around"].filter((pl.col("x") == 0) & (pl.col("y") == 0) & (pl.col("split") == "test"))
    kinds = dict(centre.filter(pl.col("batch_norm") == "recompute").select("level", "loss").iter_rows())
    assert kinds["point"] == kinds["mark"], "the centre of the grid is the network"
    assert 0 < abs(tables["around"]["cosine"][0]) < 0.5


def test_a_plane_with_a_diverged_network_is_not_measured(trained: Trained) -> None:
    task = units(trained)[1]
    found = ANALYSIS.measure(task, Diverging(trained.context, task.members[2])).table
    assert checked(ANALYSIS, found).height == 0
    assert ANALYSIS.summarise(found, Evidence()).verdict == "Not measured: a network of every plane diverged."


def test_a_plane_claims_nothing(tables) -> None:
    table = pl.concat(tables.values())
    summary = ANALYSIS.summarise(table, Evidence())
    assert summary.verdict.startswith("A picture, not a test: test error ")
    assert "on P-T[0], P-T[1], RI-T[0]; " in summary.verdict
    assert summary.verdict.endswith("for paths and basins to decide, with intervals.")
    assert checked_summary(ANALYSIS, summary).estimates
    mark = estimate_of(summary, "error", network="RI-T[0]", plane="P-T[0], P-T[1], RI-T[0]", split="test")
    assert mark.name == "test error of RI-T[0], plane P-T[0], P-T[1], RI-T[0]"
    assert mark.at["batch_norm"] == "recompute"
    assert mark.low <= mark.value <= mark.high
    assert (mark.basis, mark.n) == ("examples", 30)
    assert estimate_of(summary, "share_evaluated", plane="around P-T[0]").value == 1.0
    assert any("biases and parameters of norms do not move" in note for note in summary.notes)
    assert not any("head of their seed" in note for note in summary.notes)


def test_notes_say_what_a_reader_must_know(tables) -> None:
    off = tables["through"].with_columns(
        pl.col("batch_norm").replace("recompute", "none"), pl.col("network").replace("P-T[0]", "P[0]")
    )
    notes = ANALYSIS.summarise(off, Evidence()).notes
    assert "batch-norm statistics were not recomputed: these values are artefacts" in notes
    assert "untrained networks have the head of their seed, which nobody trained" in notes
    moved = PlaneAnalysis(norm_and_bias="normalise").summarise(tables["around"], Evidence()).notes
    assert any("biases and parameters of norms are one filter each" in note for note in moved)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"resolution": 8}, "resolution must be odd"),
        ({"via": (), "center": ()}, "there is no plane"),
        ({"center": ("Q_T[0]",)}, "'Q_T\\[0\\]' is no network"),
        ({"via": (("P_T", "P[0]", "RI[0]"),)}, "'P_T' is no network"),
        ({"via": (("P[0]", "P[0]", "RI[0]"),)}, "three different networks"),
        ({"via": (("P_T[0]", "P-T[0]", "RI[0]"),)}, "three different networks"),
    ],
)
def test_settings_that_do_not_hold_together(settings: dict, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        PlaneAnalysis(**settings)


def test_names_have_one_spelling() -> None:
    assert (
        PlaneAnalysis(center=("P-T[1]",)).key
        == PlaneAnalysis(center=("P_T[1]",)).key
        != PlaneAnalysis(center=("P_T[2]",)).key
    )


def test_networks_are_of_the_studys_seeds(plain) -> None:
    study = replace(plain.study).settings
    assert PlaneAnalysis().check_study(study) is None
    assert PlaneAnalysis(center=("P_T[9]",)).check_study(study) == "P_T[9]: the study has the seeds 0, 1, 2, 3"


def test_a_loss_that_is_not_finite_is_a_null(trained: Trained) -> None:
    far = PlaneAnalysis(via=(), center=("P_T[0]",), extent=1e25, resolution=5, batch_norm_images=40, train_images=40,
                test_images=30)  # fmt: skip
    table = checked(far, far.measure(units(trained, far)[0], trained.context).table)
    points = table.filter(pl.col("level") == "point")
    assert points["error"].null_count() == 0
    assert points.schema == schema(PlaneAnalysis.columns)
