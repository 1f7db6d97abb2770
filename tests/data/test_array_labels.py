"""Labels of arrays: vectors, numbers that are not 0 to k − 1, and hints for pixels."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_table_labels import CAT, DOG, HOT, called, joining, numbering, vectors
from transferscope.data.sources import Arrays
from transferscope.errors import DataError


@joining
def test_arrays_with_their_own_class_names(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "i.npz", images=images, classes=np.array(CAT))
    np.savez(tmp_path / "l.npz", labels=np.array([0, 1, 1, 0]), classes=np.array(DOG))
    with pytest.raises(DataError, match=r"cat, dog in \S+i.npz"):
        Arrays(images=str(tmp_path / "i.npz"), labels=str(tmp_path / "l.npz")).listing()
    np.savez(tmp_path / "both.npz", images=images, labels=np.array([0, 1, 1, 0]), classes=np.array(DOG))
    assert called(Arrays(images=str(tmp_path / "both.npz")).listing()) == ["dog", "cat", "cat", "dog"]
    asked = Arrays(images=str(tmp_path / "both.npz"), classes=("cat", "dog")).listing()
    assert asked.classes == ("cat", "dog")
    assert called(asked) == ["dog", "cat", "cat", "dog"]


@vectors
@pytest.mark.parametrize(
    ("labels", "settings", "single"),
    [
        (np.arange(24)[:, None] % 2, {}, [str(k % 2) for k in range(24)]),
        (np.arange(24)[:, None] % 3, {}, [str(k % 3) for k in range(24)]),
        (np.arange(24)[:, None] % 3, {"classes": ("a", "b", "c")}, ["abc"[k % 3] for k in range(24)]),
        ((np.arange(24)[:, None] % 2).astype(bool), {}, [str(k % 2) for k in range(24)]),
        ((np.arange(24)[:, None] % 2).astype(float), {}, [str(k % 2) for k in range(24)]),
        (np.array(["a", "b"] * 12)[:, None], {}, ["a", "b"] * 12),
        (np.eye(3)[np.arange(24) % 3], {"label_format": "one_hot"}, [str(k % 3) for k in range(24)]),
        (np.eye(3, dtype=int)[np.arange(24) % 3], {}, None),
        (np.eye(3)[np.arange(24) % 3], {}, None),
        (np.eye(3, dtype=bool)[np.arange(24) % 3], {}, None),
        (np.tile(np.array(HOT), (6, 1)), {}, None),
    ],
)
def test_arrays_of_vectors(tmp_path: Path, labels: np.ndarray, settings: dict, single: list[str] | None) -> None:
    saved = Arrays.save(tmp_path, np.zeros((24, 8, 8), dtype=np.uint8), labels)
    listing = saved.model_copy(update=settings).listing()
    if single is not None:
        assert called(listing) == single
        return
    assert listing.multi_label
    assert np.array_equal(listing.labels, labels.astype(np.uint8))


@numbering
@pytest.mark.parametrize(
    ("labels", "expected", "note"),
    [
        (np.array(["dog", "cat", "dog"]), ["dog", "cat", "dog"], ""),
        (np.array([b"dog", b"cat", b"dog"]), ["dog", "cat", "dog"], ""),
        (np.array([1.0, 2.0, 2.0]), ["1", "2", "2"], "1, 2"),
        (np.array([0, 1, 50_000_000]), ["0", "1", "50000000"], "50000000"),
        (np.array([True, False, True]), ["1", "0", "1"], ""),
        (np.array([7, 9, 7], dtype=np.uint8), ["7", "9", "7"], "7, 9"),
    ],
)
def test_label_arrays_that_are_not_0_to_k(tmp_path: Path, labels: np.ndarray, expected: list[str], note: str) -> None:
    listing = Arrays.save(tmp_path, np.zeros((3, 8, 8), dtype=np.uint8), labels).listing()
    assert called(listing) == expected
    assert note in " ".join(listing.notes)


@numbering
@pytest.mark.parametrize(
    ("labels", "classes", "named"),
    [
        (np.array([0, 1, -1]), None, "-1 in row 2"),
        (np.array([0, 1, np.nan]), None, "nan in row 2"),
        (np.array([0.5, 1, 0]), None, "0.5 in row 0"),
        (np.array([1, 2, 1]), ("a", "b"), "start at 1"),
        (np.array(["a", "b", "x"]), ("a", "b"), "unknown classes"),
        (np.array([0, 1, 2], dtype="datetime64[D]"), None, "datetime64"),
        (np.array([0, 1, 1j]), None, "complex128"),
        (np.zeros((3, 2, 2), dtype=int), None, r"shape \(3, 2, 2\)"),
        (np.array(1), None, r"shape \(\)"),
    ],
)
def test_label_arrays_that_are_none(tmp_path: Path, labels: np.ndarray, classes: tuple | None, named: str) -> None:
    source = Arrays.save(tmp_path, np.zeros((3, 8, 8), dtype=np.uint8), labels, classes=classes)
    with pytest.raises(DataError, match=named):
        source.listing()


@numbering
@pytest.mark.parametrize(
    ("images", "hint"),
    [
        (np.arange(192).reshape(3, 8, 8), r"images\.astype\('uint8'\)"),
        (np.arange(192).reshape(3, 8, 8) * 300, r"images\.astype\('uint16'\)"),
        (np.arange(192.0).reshape(3, 8, 8), r"images\.round\(\)\.astype\('uint8'\)"),
        (np.arange(192.0).reshape(3, 8, 8) / 191, r"\(images \* 255\)\.round\(\)"),
        (np.arange(192.0).reshape(3, 8, 8) / 95.5 - 1, r"\(images \+ 1\) \* 127\.5"),
        (np.arange(192.0).reshape(3, 8, 8) / 10 - 9, "before they are normalised"),
        (np.arange(192).reshape(3, 8, 8) % 2 == 0, r"astype\('uint8'\) \* 255"),
        (np.full((3, 8, 8), np.nan), "before they are normalised"),
    ],
)
def test_hints_for_pixels_of_another_type(tmp_path: Path, images: np.ndarray, hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        Arrays.save(tmp_path, images, np.array([0, 1, 1])).listing()
