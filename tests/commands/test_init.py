"""``transferscope init``: a study for the user's pictures and model."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from tests.commands.calling import STUDY, call, pictures
from transferscope.data.sources import Arrays
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.specs.architecture import Architecture, FileWeights
from transferscope.study.file import load_study
from transferscope.study.settings import Study


def test_init_looks_at_class_folders(here: Path) -> None:
    pictures(here / "my photos: 1", {"cat": 4, "a dog #2": 3}, size=(130, 100))
    out, _ = call("init", "my photos: 1")
    assert "found 7 pictures of 2 classes" in out
    text = (here / "my-photos-1.yaml").read_text(encoding="utf-8")
    assert "# Found: 7 pictures, 2 classes: a dog #2, cat." in text
    assert "100 to 100 pixels high, 130 to 130 wide" in text
    study = load_study(here / "my-photos-1.yaml")
    assert study.name == "my-photos-1"
    assert study.target.data.model_dump()["path"] == str(here / "my photos: 1")
    assert len(study.target.data.listing().names) == 7
    assert study.target.image_size == 96
    assert study.source.architecture.name == "timm:resnet18.a1_in1k"
    assert study.source.weights is not None
    assert study.source.weights.kind == "timm"
    for name in (analysis.name for analysis in study.analyses):
        assert re.search(rf"- {name} +# .*\?", text)


def test_init_defaults_are_those_of_a_study(here: Path) -> None:
    pictures(here / "photos", {"a": 3, "b": 3})
    call("init", "photos")
    written = load_study(here / "photos.yaml")
    bare = Study.model_validate(
        {
            "name": "photos",
            "source": {"architecture": "timm:resnet18.a1_in1k", "weights": "timm"},
            "target": {"data": written.target.data, "image_size": written.target.image_size},
        }
    )
    assert written == bare


def test_init_tells_of_splits_and_unreadable_pictures(here: Path) -> None:
    pictures(here / "photos" / "train", {f"class{n}": 2 for n in range(10)})
    pictures(here / "photos" / "test", {f"class{n}": 1 for n in range(10)})
    (here / "photos" / "train" / "class0" / "bad.png").write_bytes(b"no picture")
    (here / "photos" / "readme.txt").write_text("x")
    call("init", "photos", "--name", "mine", "--output", "deep/er/x.yaml")
    text = (here / "deep" / "er" / "x.yaml").read_text(encoding="utf-8")
    assert "class7 and 2 more." in text
    assert "20 train" in text or "21 train" in text
    assert "bad.png" in text
    study = load_study(here / "deep" / "er" / "x.yaml")
    assert study.name == "mine"
    assert len(study.target.data.listing().names) == 31


def test_init_looks_at_parquet_and_arrays(here: Path) -> None:
    import io

    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "PNG")
    (here / "table").mkdir()
    table = pl.DataFrame({"image": [{"bytes": buffer.getvalue(), "path": None}] * 8, "label": [0, 1] * 4})
    table.write_parquet(here / "table" / "train-00000-of-00001.parquet")
    images = np.zeros((8, 8, 8, 3), np.uint8)
    labels = np.array([[0, 1], [1, 0], [1, 1], [0, 0]] * 2)
    Arrays.save(here / "arrays", images, labels)
    np.savez(here / "packed.npz", images=images, labels=np.array([0, 1] * 4))
    (here / "folder").mkdir()
    np.savez(here / "folder" / "packed.npz", images=images, labels=np.array([0, 1] * 4))
    for place, kind in (
        ("table", "parquet"),
        ("table/train-00000-of-00001.parquet", "parquet"),
        ("arrays", "arrays"),
        ("packed.npz", "arrays"),
        ("folder", "arrays"),
    ):
        call("init", place, "--force", "--output", "found.yaml")
        study = load_study(here / "found.yaml")
        assert study.target.data.kind == kind
        assert len(study.target.data.listing().names) == 8
    call("init", "arrays", "--output", "labels.yaml")
    assert "2 labels: 0, 1." in (here / "labels.yaml").read_text(encoding="utf-8")


def test_init_of_a_folder_elsewhere_names_it_in_full(here: Path) -> None:
    pictures(here / "photos", {"a": 3, "b": 3})
    (here / "studies").mkdir()
    call("init", "photos", "--output", "studies/photos.yaml")
    text = (here / "studies" / "photos.yaml").read_text(encoding="utf-8")
    assert str(here / "photos") in text
    assert load_study(here / "studies" / "photos.yaml").target.data.model_dump()["path"] == str(here / "photos")


def test_init_with_models(here: Path) -> None:
    call("init", "--model", "efficientnet-lite0")
    study = load_study(here / "efficientnet-lite0.yaml")
    assert study.source.architecture.name == "timm:tf_efficientnet_lite0"
    assert study.source.weights is not None
    assert study.source.weights.model_dump() == {"kind": "package", "name": "efficientnet-lite0"}
    assert study.target.data.kind == "elpv"
    call("init", "--model", "resnet50", "--name", "r")
    assert load_study(here / "r.yaml").source.architecture.name == "timm:resnet50"
    (here / "w").mkdir()
    write_state(here / "w" / "mine.safetensors", build(Architecture(name="timm:test_resnet"), 5, 0).state_dict())
    call("init", "--model", "w/mine.safetensors", "--architecture", "timm:test_resnet")
    study = load_study(here / "mine.yaml")
    assert study.source.architecture.name == "timm:test_resnet"
    assert study.source.weights == FileWeights(path=str(here / "w" / "mine.safetensors"))
    assert "weights: w/mine.safetensors" in (here / "mine.yaml").read_text(encoding="utf-8")
    call("init")
    assert load_study(here / "solar-cells.yaml").name == "solar-cells"


def test_init_refuses_to_overwrite(here: Path) -> None:
    _, err = call("init", "--output", "study.yaml", code=2)
    assert "study.yaml exists already" in err
    assert (here / "study.yaml").read_text(encoding="utf-8") == STUDY
    call("init", "--output", "study.yaml", "--force")
    assert (here / "study.yaml").read_text(encoding="utf-8") != STUDY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["notes.txt"], "notes.txt is not a file of labelled pictures"),
        (["empty"], "holds 0 class folders"),
        (["--name", "a b"], "'a b' cannot be the name of a study"),
        (["--model", "mine.safetensors"], "mine.safetensors does not exist"),
        (["--model", "here.pt"], "--model here.pt --architecture timm:resnet18"),
        (["--model", "here.pt", "--architecture", "timm:resnet19"], "did you mean 'resnet18'"),
        (["--model", "resnet19"], "did you mean 'resnet18'"),
        (["--model", "torchvision:resnet18"], "there are no weights for 'torchvision:resnet18' yet"),
        (["--architecture", "torchvision:resnet18"], "there are no weights for 'torchvision:resnet18' yet"),
        (["--model", "resnet18", "--architecture", "timm:resnet18"], "--model names no file"),
        (["--model", "efficientnet-lite0", "--architecture", "timm:x"], "has its architecture"),
    ],
)
def test_init_with_bad_input(here: Path, arguments: list[str], message: str) -> None:
    (here / "empty").mkdir()
    torch.save(build(Architecture(name="torchvision:resnet18"), 2, 0).state_dict(), here / "here.pt")
    (here / "notes.txt").write_text("x")
    before = sorted(here.iterdir())
    _, err = call("init", *arguments, code=2)
    assert message in err
    assert sorted(here.iterdir()) == before
