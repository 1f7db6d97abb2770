from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.data.making import folder_of, picture
from transferscope.data.sources import Folder
from transferscope.errors import DataError


def test_class_folders(tmp_path: Path) -> None:
    folder_of(tmp_path, {"dog": 3, "cat": 2})
    listing = Folder(path=str(tmp_path)).listing()
    assert listing.classes == ("cat", "dog")
    assert list(listing.names)[:2] == ["cat/000.png", "cat/001.png"]
    assert listing.labels.tolist() == [0, 0, 1, 1, 1]
    assert listing.splits is None
    assert np.array_equal(np.asarray(listing.read(2)), np.asarray(picture(0)))
    assert Folder(path=str(tmp_path)).image(0).size == (12, 10)


def test_nested_hidden_linked_and_other_files(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", {"a": 1, "b/deep/er": 1, ".hidden": 1, "__MACOSX": 1})
    (root / "a" / ".hidden.png").write_bytes(b"")
    (root / "a" / "notes.txt").write_text("x")
    (root / "read.me").write_text("x")
    picture(5).save(tmp_path / "elsewhere.JPG", format="JPEG")
    (root / "a" / "link.JPG").symlink_to(tmp_path / "elsewhere.JPG")
    folder_of(tmp_path / "far", {"c": 2})
    (root / "c").symlink_to(tmp_path / "far" / "c")
    (root / "b" / "loop").symlink_to(root / "b")
    listing = Folder(path=str(root)).listing()
    assert list(listing.names) == ["a/000.png", "a/link.JPG", "b/deep/er/000.png", "c/000.png", "c/001.png"]
    assert "2 files left out" in listing.notes[0]


def test_split_folders(tmp_path: Path) -> None:
    for split, count in (("Train", 3), ("val", 1), ("test", 2)):
        folder_of(tmp_path / split, {"a": count, "b": count})
    listing = Folder(path=str(tmp_path)).listing()
    assert listing.classes == ("a", "b")
    assert sorted(set(zip([n.split("/")[0] for n in listing.names], listing.splits, strict=True))) == [
        ("Train", "train"),
        ("test", "test"),
        ("val", "validation"),
    ]


def test_a_class_called_train(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train": 1, "car": 1})
    assert Folder(path=str(tmp_path)).listing().classes == ("car", "train")


def test_split_folders_mixed_with_others(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1, "extra": 1})
    with pytest.raises(DataError, match=r"mixes split folders(.|\n)*layout=classes"):
        Folder(path=str(tmp_path)).listing()
    assert Folder(path=str(tmp_path), layout="splits").listing().classes == ("a", "b")
    assert Folder(path=str(tmp_path), layout="classes").listing().classes == ("extra", "test", "train")


def test_splits_without_train_or_named_twice(tmp_path: Path) -> None:
    folder_of(tmp_path, {"test/a": 1, "val/a": 1})
    with pytest.raises(DataError, match="no train folder"):
        Folder(path=str(tmp_path), layout="splits").listing()
    folder_of(tmp_path, {"train/a": 1, "valid/a": 1})
    with pytest.raises(DataError, match="names a split twice"):
        Folder(path=str(tmp_path)).listing()


def test_groups_from_paths(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a/p1": 2, "b/p2": 1})
    assert Folder(path=str(tmp_path), group=r"(p\d)").listing().groups == ["p1", "p1", "p2"]
    with pytest.raises(DataError, match=r"no group in the path 'a/p1/000\.png'"):
        Folder(path=str(tmp_path), group=r"(q\d)").listing()
    with pytest.raises(ValidationError, match="not a regular expression"):
        Folder(path="x", group="(")
    with pytest.raises(ValidationError, match="exactly one"):
        Folder(path="x", group="p")


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the image folder does not exist: nowhere"):
        Folder(path="nowhere").listing()
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is not a folder"):
        Folder(path=str(tmp_path / "file")).listing()
    with pytest.raises(DataError, match=r"0 class folders(.|\n)*no folders"):
        Folder(path=str(tmp_path)).listing()
    folder_of(tmp_path, {"only": 4})
    with pytest.raises(DataError, match=r"1 class folder\n(.|\n)*only"):
        Folder(path=str(tmp_path)).listing()
    folder_of(tmp_path, {"other": 1, "another": 1}, ".png")
    (tmp_path / "another" / "000.png").rename(tmp_path / "another" / "000.heic")
    with pytest.raises(DataError, match=r"class folder 'another' holds no pictures(.|\n)*1 \.heic"):
        Folder(path=str(tmp_path)).listing()


def test_stamp_changes_with_the_files(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": 1, "b": 1})
    source = Folder(path=str(tmp_path))
    before = source.stamp()
    assert source.stamp() == before
    picture(9, (20, 20)).save(tmp_path / "a" / "000.png")
    after = source.stamp()
    assert after != before
    (tmp_path / "a" / "dangling.png").symlink_to(tmp_path / "gone.png")
    assert source.stamp() != after
