"""``--data`` of ``compare`` and ``modules``: what a study takes."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.commands.calling import call
from tests.studies import NAME, SIZE
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.specs.architecture import Architecture

pytestmark = pytest.mark.kind("data-18")
FACTS = {"architecture": json.dumps(Architecture(name=NAME).model_dump(mode="json")), "image_size": str(SIZE)}
LABELS = np.arange(36) % 3
PIXELS = np.random.default_rng(0).integers(0, 256, (36, SIZE, SIZE, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def table(place: Path, **columns: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    names = {"image": "image", "label": "label", **columns}
    pl.DataFrame({names["image"]: [encoded(one) for one in PIXELS], names["label"]: LABELS}).write_parquet(place)
    return place


def parquet(root: Path) -> list[str]:
    return [str(table(root / "all.parquet"))]


def shards(root: Path) -> list[str]:
    table(root / "train-00000-of-00001.parquet")
    return [str(table(root / "test-00000-of-00001.parquet").parent)]


def columns(root: Path) -> list[str]:
    file = table(root / "all.parquet", image="photo", label="species")
    settings = ["target.data.image_column=photo", "target.data.label_column=species"]
    return [str(file), *(word for setting in settings for word in ("--set", setting))]


def packed(root: Path) -> list[str]:
    np.savez(root / "all.npz", images=PIXELS, labels=LABELS[:, None])
    return [str(root / "all.npz")]


def folder_of_arrays(root: Path) -> list[str]:
    np.save(root / "images.npy", PIXELS)
    np.save(root / "labels.npy", LABELS)
    return [str(root)]


def array(root: Path) -> list[str]:
    return [str(Path(*folder_of_arrays(root)) / "images.npy")]


def classes(root: Path) -> list[str]:
    for number, (one, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        (root / f"c{label}").mkdir(exist_ok=True)
        Image.fromarray(one).save(root / f"c{label}" / f"{number}.png")
    return [str(root)]


@pytest.fixture
def networks(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for number, path in enumerate(paths):
        write_state(path, build(Architecture(name=NAME), 3, number).state_dict(), FACTS)
    return [str(path) for path in paths]


@pytest.mark.parametrize("made", [parquet, shards, columns, packed, folder_of_arrays, array, classes])
@pytest.mark.parametrize("command", ["compare", "modules"])
def test_all_that_a_study_takes(
    command: str, made: Callable[[Path], list[str]], networks: list[str], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    words = made(tmp_path / "data")
    out, _ = call(command, *networks, "--model", NAME, "--data", *words, "--image-size", str(SIZE), "--quiet")
    assert "classes, in the order of the outputs: " in out


@pytest.mark.parametrize("command", ["compare", "modules"])
def test_what_cannot_be_read_is_named(command: str, networks: list[str], tmp_path: Path) -> None:
    file = str(table(tmp_path / "all.parquet", label="species"))
    for words, named in (
        ([file], "label_column"),
        ([str(tmp_path / "none.parquet")], "none.parquet"),
        ([networks[0]], ".safetensors"),
        ([file, "--set", "target.data.label_column=specie"], "'species'"),
        ([file, "--set", "target.image_size=32"], "settings of target.data"),
        ([file, "--set", "target.data.column=species"], "no such setting"),
    ):
        _, err = call(command, *networks, "--model", NAME, "--data", *words, code=2)
        assert named in err
