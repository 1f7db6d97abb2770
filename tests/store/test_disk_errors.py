import errno
import os
from pathlib import Path

import pytest

from transferscope.errors import StoreError
from transferscope.store import Store, system_errors
from transferscope.store.atomic import replace_file
from transferscope.store.system_errors import disk_free

HINTS = {
    errno.ENOSPC: "free space on this disk",
    errno.EDQUOT: "within your quota",
    errno.EFBIG: "ulimit -f",
    errno.EROFS: "mount the disk writable",
    errno.EACCES: "get the right to read and write there",
    errno.EPERM: "get the right to read and write there",
    errno.EIO: "check this disk",
}


@pytest.fixture
def entry(tmp_path: Path):
    return Store(tmp_path / "store").entry("units", "abcd")


@pytest.mark.parametrize("number", HINTS)
def test_each_answer_of_the_disk_has_its_hint(entry, number: int):
    with pytest.raises(StoreError, match=os.strerror(number)) as caught, entry.write():
        raise OSError(number, os.strerror(number))
    assert HINTS[number] in str(caught.value)
    assert "bytes free" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left"),
        (ValueError("[Errno 30] somewhere"), "Read-only"),
        (RuntimeError("disk quota exceeded"), "quota"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "writ"),
        (OSError("500000 requested and 300 written"), "writ"),
    ],
)
def test_the_words_of_other_libraries_are_understood(entry, error: Exception, words: str):
    with pytest.raises(StoreError, match=words), entry.write():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/image.png"),
        PermissionError(errno.EACCES, "Permission denied", "/data/image.png"),
        ValueError("os error 2"),
        RuntimeError("permission denied by the labels"),
        OSError("image file is truncated"),
    ],
)
def test_errors_that_are_not_of_the_disk_pass(entry, error: Exception):
    with pytest.raises(type(error)) as caught, entry.write():
        raise error
    assert caught.value is error


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    replace_file(tmp_path / "report.html", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*report.html: No space left"):
        replace_file(tmp_path / "report.html", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("report.html", b"old")]


def test_reading_that_fails_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(tmp_path)
    with store.entry("units", "abcd").write() as folder:
        (folder / "table").write_bytes(b"rows")

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(StoreError, match=r"cannot read .*manifest.json: Input/output error"):
        store.entry("units", "abcd").manifest()


def test_free_space_unknown_does_not_hide_the_error(entry, monkeypatch: pytest.MonkeyPatch):
    def unknown(path: Path) -> int:
        raise OSError(errno.ESTALE, "stale")

    monkeypatch.setattr(system_errors, "disk_free", unknown)
    with pytest.raises(StoreError, match=r"(?s)No space left.*free space unknown.*stale"), entry.write():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_free_space_of_a_folder_to_come(tmp_path: Path):
    assert disk_free(tmp_path / "a" / "b") > 0
