"""Files of tables that are damaged, locked or something else: our error, naming the file, and never a hang."""

import errno
import io
import os
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.data.making import encoded
from transferscope.data.sources import Arrays, Parquet
from transferscope.errors import DataError

pytestmark = pytest.mark.kind("S10")
PIXELS = np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def packed(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **(arrays or {"images": PIXELS, "labels": LABELS}))
    return buffer.getvalue()


def locked(data: bytes) -> bytes:
    """An .npz as other programs write it with a password: the flag of every member is set."""
    changed = bytearray(data)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = changed.find(magic)
        while place >= 0:
            changed[place + offset] |= 1
            place = changed.find(magic, place + 1)
    return bytes(changed)


def promising(shape: tuple[int, ...]) -> bytes:
    """An .npz whose images are said to have another shape than they have."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
    buffer = io.BytesIO(packed(labels=LABELS))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("images.npy", member.getvalue() + PIXELS.tobytes())
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=PIXELS, labels=np.array(["a", 1] * 3, dtype=object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        locked(packed()),
        promising((6, 8, 8, 4)),
        promising((2**50, 8, 8)),
        promising((-6, 8, 8)),
        pickled(),
        packed(images=np.array(3), labels=LABELS),
        packed(images=PIXELS, labels=np.array(3)),
        packed(images=PIXELS, labels=LABELS, groups=np.array(3)),
        packed(images=PIXELS, labels=np.zeros((6, 2, 2))),
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        b"PK\x03\x04",
        struct.pack("<6sBBH", b"\x93NUMPY", 9, 9, 9),
    ],
)
def test_arrays_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.npz|differ in number"):
        Arrays(images=str(tmp_path / "x.npz")).listing()


@pytest.mark.parametrize("array", [np.array(3), np.array("a"), np.zeros(0), np.zeros((6, 8, 8), dtype="M8[s]")])
def test_arrays_of_no_pictures(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "i.npy", array)
    np.save(tmp_path / "l.npy", LABELS)
    with pytest.raises(DataError, match=r"i\.npy"):
        Arrays(images=str(tmp_path / "i.npy"), labels=str(tmp_path / "l.npy")).listing()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    os.mkfifo(tmp_path / "x.parquet")
    for source in (Arrays(images=str(tmp_path / "x.npy")), Parquet(path=str(tmp_path / "x.parquet"))):
        with pytest.raises(DataError, match="pipe"):
            source.listing()
    with pytest.raises(DataError, match="pipe"):
        Parquet(path=str(tmp_path)).listing()


@pytest.fixture
def no_files_left() -> Iterator[Callable[[], None]]:
    """Uses up what this process may open, until the test is over."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def use_up() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))

    yield use_up
    for number in taken:
        os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_machine_out_of_files_is_no_damaged_table(tmp_path: Path, no_files_left: Callable[[], None]) -> None:
    pl.DataFrame({"image": [encoded(0)] * 2, "label": [0, 1]}).write_parquet(tmp_path / "x.parquet")
    source = Parquet(path=str(tmp_path / "x.parquet"))
    listing = source.listing()
    no_files_left()
    for read in (source.listing, lambda: listing.read(0)):
        with pytest.raises(OSError, match="Too many open files") as caught:
            read()
        assert caught.value.errno == errno.EMFILE


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"image": [1, 2], "label": [0, 1]}, "'image'.*holds no pictures"),
        ({"image": [[1, 2], [3, 4]], "label": [0, 1]}, "'image'.*holds no pictures"),
        ({"image": [{"url": "a"}, {"url": "b"}], "label": [0, 1]}, "'image'.*holds no pictures"),
        ({"image": [b"", b""], "label": [{"a": 1}, {"a": 2}]}, "'label'.*holds no labels"),
        ({"image": [b"", b""], "label": [[[0]], [[1]]]}, "'label'.*holds no labels"),
        ({"image": [b"", b""], "Label": [0, 1]}, "label_column"),
        ({"Image": [b"", b""], "label": [0, 1]}, "image_column"),
        ({"label": [0, 1]}, "image_column"),
        ({"image": [b"", b""], "label": [None, None]}, "'label'.*empty rows"),
    ],
)
def test_columns_that_cannot_be(tmp_path: Path, columns: dict[str, list[object]], named: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=named) as caught:
        Parquet(path=str(tmp_path)).listing()
    assert "x.parquet" in str(caught.value)


@pytest.mark.parametrize(
    "metadata",
    [
        {"huggingface": "{"},
        {"huggingface": "[]"},
        {"huggingface": '{"info": null}'},
        {"huggingface": '{"info": {"features": {"label": {"names": {"x": "cat"}}}}}'},
        {"huggingface": '{"info": {"features": {"label": []}}}'},
        {"huggingface": '{"info": {"features": {"label": {"names": 3}}}}'},
        {"classes": "3"},
        {"classes": "["},
    ],
)
def test_metadata_that_name_no_classes(tmp_path: Path, metadata: dict[str, str]) -> None:
    pl.DataFrame({"image": [b"", b""], "label": [0, 1]}).write_parquet(tmp_path / "x.parquet", metadata=metadata)
    with pytest.raises(DataError, match=r"x\.parquet name no classes"):
        Parquet(path=str(tmp_path)).listing()
    assert Parquet(path=str(tmp_path), classes=("a", "b")).listing().classes == ("a", "b")


def test_groups_that_are_missing(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image": [b""] * 3, "label": [0, 1, 1], "patient": ["p", None, None]})
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"'patient' of \S+x\.parquet has empty rows"):
        Parquet(path=str(tmp_path), group_column="patient").listing()


@pytest.mark.parametrize(
    "name", ["a[1].parquet", "a*.parquet", "a?b.parquet", "label=cat.parquet", "~.parquet", "ä b.parquet"]
)
def test_names_of_files_are_no_patterns(tmp_path: Path, name: str) -> None:
    for number, file in enumerate((name, "a1.parquet")):
        place = tmp_path / str(number) / file
        place.parent.mkdir()
        pl.DataFrame({"image": [encoded(number)] * 2, "label": [0, 1]}).write_parquet(place)
    listing = Parquet(path=str(tmp_path)).listing()
    assert len(listing.names) == 4
    assert listing.read(0).size == (12, 10)
    assert len(Parquet(path=str(tmp_path / "0" / name)).listing().names) == 2


def mutated(data: bytes, rng: random.Random, tail: int) -> bytes:
    changed = bytearray(data)
    place = rng.randrange(max(0, len(data) - tail), len(data))
    match rng.randrange(4):
        case 0:
            changed[place] ^= 1 << rng.randrange(8)
        case 1:
            del changed[place:]
        case 2:
            del changed[place : place + rng.randrange(1, 30)]
        case 3:
            changed[place:place] = rng.randbytes(rng.randrange(1, 30))
    return bytes(changed)


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image": [encoded(number) for number in range(4)], "label": [0, 1, 0, 1]})
    frame.write_parquet(tmp_path / "m.parquet", metadata={"classes": '["a", "b"]'})
    table, arrays = (tmp_path / "m.parquet").read_bytes(), packed()
    refused = 0
    for seed in range(300):
        rng = random.Random(seed)
        (tmp_path / "m.parquet").write_bytes(mutated(table, rng, tail=600))
        (tmp_path / "m.npz").write_bytes(mutated(arrays, rng, tail=len(arrays)))
        for source in (Parquet(path=str(tmp_path / "m.parquet")), Arrays(images=str(tmp_path / "m.npz"))):
            try:
                listing = source.listing()
            except DataError as error:
                refused += "m." in str(error)
            else:
                assert len(listing.labels) == len(listing.names)
    assert refused > 300
