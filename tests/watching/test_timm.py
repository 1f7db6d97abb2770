"""Folders of timm's train.py, written by timm's own code."""

import argparse
import copy
from pathlib import Path

import polars as pl
import pytest
import timm
import torch
import yaml
from timm.utils import CheckpointSaver, update_summary
from torch import nn

from transferscope.errors import DataError
from transferscope.watching.timm_output import read_timm


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[int, nn.Module]]:
    folder = tmp_path_factory.mktemp("train") / "exp"
    folder.mkdir()
    arguments = argparse.Namespace(model="test_resnet", num_classes=3, epochs=4, pretrained=True, opt="sgd")
    (folder / "args.yaml").write_text(yaml.safe_dump(vars(arguments)))
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    start = timm.create_model("test_resnet", num_classes=10)
    own = model.state_dict()
    start.load_state_dict({n: own[n] if own[n].shape == v.shape else v for n, v in start.state_dict().items()})
    torch.save(start.state_dict(), folder.parent / "start.pth")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    saver = CheckpointSaver(
        model, optimizer, args=arguments, checkpoint_dir=str(folder), recovery_dir=str(folder), max_history=2
    )
    ends = {}
    for epoch, top1 in enumerate((10.0, 30.0, 20.0)):
        model(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
        update_summary(
            epoch, {"loss": 1.0 - epoch / 10}, {"loss": 2.0, "top1": top1}, str(folder / "summary.csv"), lr=0.1
        )
        saver.save_checkpoint(epoch, metric=top1)
        ends[epoch + 1] = copy.deepcopy(model)
    return folder, folder.parent / "start.pth", ends


def test_metrics_and_checkpoints_are_those_of_train_py(trained: tuple[Path, Path, dict[int, nn.Module]]) -> None:
    run = read_timm(trained[0])
    assert run.kind == "timm"
    assert run.status == "unfinished"  # three epochs of four
    assert run.facts["architecture"] == "timm:test_resnet"
    top1 = run.tables["metrics"].filter(pl.col("name") == "eval_top1")
    assert top1["value"].to_list() == [10.0, 30.0, 20.0]
    assert top1["epoch"].to_list() == [1.0, 2.0, 3.0]
    assert {item.step: item.reasons for item in run.checkpoints} == {2: ("best", "epochs"), 3: ("epochs", "last")}
    assert run.tables["steps"].is_empty()
    assert [note.kind for note in run.notes] == ["no_start"]


def test_distances_are_those_of_the_checkpoints(trained: tuple[Path, Path, dict[int, nn.Module]]) -> None:
    folder, start, ends = trained
    run = read_timm(folder, start)
    steps = run.tables["steps"]
    assert "fc" not in set(steps["module"])
    assert [note.kind for note in run.notes] == ["left_out"]
    first = torch.load(start)
    for step, model in ends.items():
        if step == 1:
            continue
        moved = [p.double() - first[n].double() for n, p in model.named_parameters() if first[n].shape == p.shape]
        right = torch.cat([item.flatten() for item in moved]).norm().item()
        got = steps.filter((pl.col("step") == step) & (pl.col("module") == "(all)")).to_dicts()[0]
        assert got["distance"] == pytest.approx(right, rel=1e-5)
        assert got["mean_drift"] > 0


def test_what_is_damaged_is_noted_and_the_rest_is_read(
    trained: tuple[Path, Path, dict[int, nn.Module]], tmp_path: Path
) -> None:
    source, start, _ = trained
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "checkpoint-1.pth.tar").write_bytes(b"PK cut")
    (tmp_path / "model_best.pth.tar").write_bytes(b"PK cut")
    (tmp_path / "args.yaml").write_text("model: [test_resnet\n")
    with (tmp_path / "summary.csv").open("a") as file:
        file.write("epoch,train_loss\n2,0.5,2.0,25.0,0.1\n3,nan")
    run = read_timm(tmp_path, start)
    assert "damaged" in {note.kind for note in run.notes}
    top1 = run.tables["metrics"].filter(pl.col("name") == "eval_top1")
    assert top1["value"].to_list() == [10.0, 30.0, 25.0]
    assert run.tables["metrics"].filter(pl.col("step") == 4)["value"].to_list() == [None]
    with pytest.raises(DataError, match=r"no output of timm's train\.py"):
        read_timm(tmp_path / "nothing")
