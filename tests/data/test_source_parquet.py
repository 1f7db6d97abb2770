import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.data.making import encoded, picture
from transferscope.data.decode import square
from transferscope.data.sources import Parquet
from transferscope.data.store import open_images
from transferscope.errors import DataError


def write(path: Path, labels: list[object], metadata: dict[str, str] | None = None, start: int = 0, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(start + k), "path": f"{start + k}.png"} for k in range(len(labels))]
    pl.DataFrame({"image": images, "label": labels, **more}).write_parquet(path, metadata=metadata or {})
    return path


def hugging_face(feature: object) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": feature}}})}


def test_folder_of_shards(tmp_path: Path) -> None:
    names = hugging_face({"names": ["cat", "dog"], "_type": "ClassLabel"})
    write(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1, 1], names)
    write(tmp_path / "data" / "train-00001-of-00002.parquet", [0], names, start=3)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", [1, 0], names, start=4)
    write(tmp_path / "test" / "0000.parquet", [1, 0], names, start=6)
    write(tmp_path / ".cache" / "train-0.parquet", [0, 0])
    listing = Parquet(path=str(tmp_path)).listing()
    assert listing.classes == ("cat", "dog")
    assert listing.labels.tolist() == [0, 1, 1, 0, 1, 0, 1, 0]
    assert list(listing.splits or []) == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    assert listing.names[3] == "data/train-00001-of-00002.parquet#0"
    for index in (7, 0, 3, 5, 4):
        assert np.array_equal(np.asarray(listing.read(index)), np.asarray(picture(index)))


def test_blocks_are_read_as_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.parquet", [0, 1] * 5)
    monkeypatch.setattr("transferscope.data.sources.parquet._BLOCK_BYTES", 1000)
    listing = Parquet(path=str(tmp_path / "x.parquet")).listing()
    for index in (0, 9, 4, 5, 0):
        assert np.array_equal(np.asarray(listing.read(index)), np.asarray(picture(index)))


def test_a_single_file_with_words_groups_and_plain_bytes(tmp_path: Path) -> None:
    file = tmp_path / "all.parquet"
    frame = {"img": [encoded(0), encoded(1)], "labels": ["dog", "cat"], "patient": [7, 8]}
    pl.DataFrame(frame).write_parquet(file)
    listing = Parquet(path=str(file), group_column="patient").listing()
    assert listing.classes == ("cat", "dog")
    assert listing.labels.tolist() == [1, 0]
    assert listing.groups == ["7", "8"]
    assert listing.splits is None
    assert listing.read(1).size == (12, 10)


def test_paths_beside_the_file(tmp_path: Path) -> None:
    picture(3).save(tmp_path / "p.png")
    frame = {"image": [{"bytes": None, "path": "p.png"}, {"bytes": encoded(1), "path": None}], "label": [0, 1]}
    pl.DataFrame(frame).write_parquet(tmp_path / "x.parquet")
    listing = Parquet(path=str(tmp_path)).listing()
    assert np.array_equal(np.asarray(listing.read(0)), np.asarray(picture(3)))


def test_several_labels(tmp_path: Path) -> None:
    feature = {"feature": {"names": ["a", "b", "c"], "_type": "ClassLabel"}, "_type": "List"}
    write(tmp_path / "x.parquet", [[0, 2], [1], [2]], hugging_face(feature))
    listing = Parquet(path=str(tmp_path / "x.parquet")).listing()
    assert listing.multi_label
    assert listing.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    write(tmp_path / "y.parquet", [[0, 3], [1], [2]], hugging_face([{"names": ["a", "b", "c"]}]))
    with pytest.raises(DataError, match=r"out of range(.|\n)*0 to 2"):
        Parquet(path=str(tmp_path / "y.parquet")).listing()


def test_examples_without_any_label(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", [[0, 1], [], [1]])
    assert Parquet(path=str(tmp_path / "x.parquet")).listing().labels.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_class_names_from_settings_or_a_plain_list(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", [0, 1], {"classes": '["u", "v"]'})
    assert Parquet(path=str(file)).listing().classes == ("u", "v")
    assert Parquet(path=str(file), classes=("x", "y")).listing().classes == ("x", "y")
    assert Parquet(path=str(write(tmp_path / "y.parquet", [0, 1]))).listing().classes == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, -1], {}, "out of range"),
        ([0.5, 1.0], {}, "0.5 in row 0"),
        ([0, None], {}, r"empty rows(.|\n)*1 of 2"),
        (["a", "x"], {"classes": ("a", "b")}, r"unknown classes(.|\n)*x"),
        ([0, 1], {"label_column": "lable"}, "no column 'lable'(.|\n)*'label'"),
        ([0, 1], {"image_column": "imag"}, "no column 'imag'(.|\n)*'image'"),
        ([0, 1], {"group_column": "patient"}, "no column 'patient'"),
    ],
)
def test_bad_columns(tmp_path: Path, labels: list[object], options: dict[str, object], message: str) -> None:
    file = write(tmp_path / "x.parquet", labels)
    with pytest.raises(DataError, match=message):
        Parquet(path=str(file), **options).listing()


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Parquet(path=str(tmp_path / "none")).listing()
    with pytest.raises(DataError, match="no Parquet files"):
        Parquet(path=str(tmp_path)).listing()
    file = write(tmp_path / "x.parquet", [0, 1])
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cannot be read as Parquet(.|\n)*download complete"):
        Parquet(path=str(file)).listing()
    pl.DataFrame({"picture": [b"", b""], "label": [0, 1]}).write_parquet(file)
    with pytest.raises(DataError, match=r"no column called image or img(.|\n)*`image_column`"):
        Parquet(path=str(file)).listing()
    write(file, [0, 1], {"classes": "{"})
    with pytest.raises(DataError, match="name no classes that can be read"):
        Parquet(path=str(file)).listing()
    write(file, [0, 1])
    write(tmp_path / "y.parquet", [[0], [1, 0]])
    with pytest.raises(DataError, match="one label per row"):
        Parquet(path=str(tmp_path)).listing()


def test_rows_without_a_picture_are_named(tmp_path: Path) -> None:
    frame = {"image": [{"bytes": encoded(k), "path": None} for k in range(3)], "label": [0, 1, 1]}
    frame["image"][2] = {"bytes": None, "path": None}
    pl.DataFrame(frame).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"1 of 3 images cannot be read(.|\n)*x.parquet#2(.|\n)*no picture"):
        open_images(Parquet(path=str(tmp_path / "x.parquet")), 8, tmp_path / "store")


def test_a_file_damaged_in_the_middle(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", [0, 1] * 20)
    listing = Parquet(path=str(file)).listing()
    data = bytearray(file.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="is damaged"):
        listing.read(0)


@pytest.mark.skipif(
    "TRANSFERSCOPE_DATA" not in os.environ, reason="TRANSFERSCOPE_DATA does not name a folder of real data"
)
def test_real_data_in_this_layout(tmp_path: Path) -> None:
    root = Path(os.environ["TRANSFERSCOPE_DATA"]) / "emoji" / "openmojiblack"
    source = Parquet(path=str(root))
    images = open_images(source, 32, tmp_path)
    assert len(images) == 1544
    assert len(images.classes) == 8
    assert set(images.given_splits or ()) == {"train", "test"}
    listing = source.listing()
    for index in (0, 385, 386, 1543):
        assert np.array_equal(images.pixels(index), square(listing.read(index), 32))
