"""The report of runs that were not trained here."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import transferscope
from tests.watching.loops import EVERY, batches, small, train
from transferscope.cli import app
from transferscope.measures.intervals import seeds_interval
from transferscope.networks.weight_files import read_file


def command(*words: object) -> str:
    done = CliRunner().invoke(app, ["report", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    start = small(seed=7)
    made = []
    for seed in range(3):
        model = small()
        model.load_state_dict(start.state_dict())
        made.append(folder / f"run_{seed}")
        with transferscope.watch(model, start, made[-1], recording=EVERY, probe=batches(1)[0][0], group="lr 0.1") as w:
            train(model, w, seed=10 * seed)
    return made


def test_numbers_are_estimates_over_runs(runs: list[Path], tmp_path: Path) -> None:
    command(*runs, "--output", tmp_path)
    estimates = pl.read_parquet(tmp_path / "tables" / "estimates.parquet")
    ends = []
    for run in runs:
        table = transferscope.read_watched(run).tables["steps"]
        ends.append(table.filter(pl.col("module") == "(all)")["distance"][-1])
    right = seeds_interval(ends)
    got = estimates.filter(pl.col("quantity") == "distance").to_dicts()
    assert len(got) == 1
    assert (got[0]["value"], got[0]["low"], got[0]["high"], got[0]["basis"], got[0]["n"]) == pytest.approx(
        (right.value, right.low, right.high, "seeds", 3)
    )
    assert {"relative", "module_relative", "last_value", "start_similarity", "pair_distance", "pair_cosine"} <= set(
        estimates["quantity"]
    )
    pairs = pl.read_parquet(tmp_path / "tables" / "pairs.parquet")
    states = [read_file(transferscope.read_watched(run).last) for run in runs]
    names = [name for name, _ in small().named_parameters()]
    between = sum(float((states[0][n].double() - states[1][n].double()).square().sum()) for n in names) ** 0.5
    assert pairs["distance"][0] == pytest.approx(between, rel=1e-6)
    assert pairs["error_barrier"].null_count() == 3


def test_what_needs_data_says_so_and_the_page_is_whole(runs: list[Path], tmp_path: Path) -> None:
    command(*runs, "--output", tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "need labelled pictures: give <code>--data FOLDER</code>" in page
    assert page.count("<svg") >= 6
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for name in ("metrics-metrics", "movement-movement", "start_similarity-similarity"):
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size > 1000


def test_runs_of_no_group_stand_alone_unless_they_are_said_to_repeat(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for seed, folder in enumerate(folders):
        model = small()
        with transferscope.watch(model, out=folder, recording=EVERY) as w:
            train(model, w, epochs=1, seed=seed)
    command(*folders, "--output", tmp_path / "apart")
    command(*folders, "--output", tmp_path / "together", "--repeats")
    apart, together = (
        pl.read_parquet(tmp_path / name / "tables" / "estimates.parquet").filter(pl.col("quantity") == "distance")
        for name in ("apart", "together")
    )
    assert (apart["group"].to_list(), apart["n"].to_list(), apart["basis"].to_list()) == (
        ["a", "b"],
        [1, 1],
        [None] * 2,
    )
    assert (together["n"].to_list(), together["basis"].to_list()) == ([2], ["range"])
    assert "stands alone" in (tmp_path / "apart" / "report.html").read_text(encoding="utf-8")


def test_what_is_no_run_is_refused(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, what in (
        ((tmp_path / "empty",), "is no run"),
        ((runs[0], "--image-size", "32"), "--data with them"),
        ((tmp_path / "study.yaml", "--repeats"), "are for the report of runs"),
    ):
        done = CliRunner().invoke(app, ["report", *map(str, words)])
        assert done.exit_code == 2
        assert what in done.output


def test_with_data_there_are_paths_and_mistakes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for label in range(2):
        (tmp_path / "photos" / f"class{label}").mkdir(parents=True)
        for number in range(12):
            image = draw.integers(0, 120, (32, 32, 3), dtype=np.uint8) + np.uint8(100 * label)
            Image.fromarray(image).save(tmp_path / "photos" / f"class{label}" / f"{number}.png")
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        torch.manual_seed(seed)
        with transferscope.watch(model, out=folder, recording=EVERY, architecture="timm:test_resnet", group="g") as w:
            for _ in range(2):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 0, 1])).backward()
                optimizer.step()
                w.step()
    command(*folders, "--data", tmp_path / "photos", "--image-size", 32, "--output", tmp_path / "report")
    row = pl.read_parquet(tmp_path / "report" / "tables" / "pairs.parquet").to_dicts()[0]
    assert row["connected"] in ("stable", "unstable", "undecided")
    assert row["error_barrier_low"] <= row["error_barrier"] <= row["error_barrier_high"]
    assert 0 < row["cka"] <= 1
    paths = pl.read_parquet(tmp_path / "report" / "tables" / "paths.parquet")
    assert {0.0, 1.0} <= set(paths["alpha"])
    assert (tmp_path / "report" / "figures" / "pairs-paths.svg").exists()
    assert "need labelled pictures" not in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
