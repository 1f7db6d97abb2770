from pathlib import Path

import numpy as np
import pytest

from transferscope.data.sources import Arrays
from transferscope.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_saved_and_read_back(tmp_path: Path) -> None:
    source = Arrays.save(
        tmp_path / "new" / "folder",
        PIXELS,
        LABELS,
        classes=("x", "y", "z"),
        groups=[1, 1, 2, 2, 3, 3],
        splits=["train", "train", "test", None, None, "validation"],
    )
    listing = source.listing()
    assert listing.classes == ("x", "y", "z")
    assert listing.groups == ["1", "1", "2", "2", "3", "3"]
    assert listing.splits == ["train", "train", "test", None, None, "validation"]
    assert np.array_equal(np.asarray(listing.read(4)), PIXELS[4])


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS[..., 0], labels=LABELS.astype(np.uint8))
    listing = Arrays(images=str(tmp_path / "x.npz")).listing()
    assert listing.classes == ("0", "1", "2")
    assert np.array_equal(np.asarray(listing.read(1)), PIXELS[1, :, :, 0])
    np.savez(tmp_path / "l.npz", anything=LABELS)
    np.savez(tmp_path / "i.npz", images=PIXELS)
    two = Arrays(images=str(tmp_path / "i.npz"), labels=str(tmp_path / "l.npz")).listing()
    assert two.labels.tolist() == LABELS.tolist()


def test_several_labels(tmp_path: Path) -> None:
    listing = Arrays.save(tmp_path, PIXELS, np.eye(3, dtype=np.int8)[LABELS]).listing()
    assert listing.multi_label
    assert listing.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS.transpose(0, 3, 1, 2), LABELS, r"holds no pictures(.|\n)*channels come last"),
        (PIXELS[0, 0], LABELS, "holds no pictures"),
        (PIXELS / 255, LABELS, r"uint8 or uint16(.|\n)*float64"),
        (PIXELS, LABELS[:3], "differ in number"),
        (PIXELS, LABELS + 0.5, "whole numbers"),
        (PIXELS, LABELS - 1, "out of range"),
        (PIXELS, LABELS * 0, "only one class"),
        (PIXELS[:0], LABELS[:0], "no images"),
    ],
)
def test_bad_arrays(tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Arrays.save(tmp_path, images, labels).listing()


def test_labels_beyond_the_named_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"out of range(.|\n)*0 to 1"):
        Arrays.save(tmp_path, PIXELS, LABELS, classes=("x", "y")).listing()


def test_bad_files(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", PIXELS)
    with pytest.raises(DataError, match="there are no labels"):
        Arrays(images=str(tmp_path / "i.npy")).listing()
    with pytest.raises(DataError, match="does not exist"):
        Arrays(images=str(tmp_path / "i.npy"), labels="none.npy").listing()
    (tmp_path / "short.npy").write_bytes((tmp_path / "i.npy").read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read"):
        Arrays(images=str(tmp_path / "short.npy"), labels=str(tmp_path / "i.npy")).listing()
    np.savez(tmp_path / "x.npz", image=PIXELS, labels=LABELS)
    with pytest.raises(DataError, match=r"no array called 'images'(.|\n)*'image'"):
        Arrays(images=str(tmp_path / "x.npz")).listing()
    (tmp_path / "y.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:300])
    with pytest.raises(DataError, match="cannot be read"):
        Arrays(images=str(tmp_path / "y.npz")).listing()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([print, len], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", images=PIXELS, labels=np.array([print] * 6, dtype=object))
    with pytest.raises(DataError, match="not of pickled objects"):
        Arrays(images=str(tmp_path / "o.npy")).listing()
    with pytest.raises(DataError, match="not of pickled objects"):
        Arrays(images=str(tmp_path / "o.npz")).listing()


def test_stamp_changes_with_the_files(tmp_path: Path) -> None:
    source = Arrays.save(tmp_path, PIXELS, LABELS)
    before = source.stamp()
    np.save(tmp_path / "labels.npy", LABELS[:5])
    assert source.stamp() != before
