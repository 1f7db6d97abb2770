"""Trouble of the machine is not damage of a picture; files and settings that ask for too much; files that are none."""

import builtins
import errno
import io
import os
import resource
import shutil
import stat
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, ImageFile

from tests.data.broken_pictures import SIZE, damaged_metadata, encoded, folder_with, no_pictures, opened, png
from tests.data.making import folder_of, picture
from transferscope.data import decode
from transferscope.data.sources import Folder, Torchvision
from transferscope.data.spec import DataSpec
from transferscope.data.store import open_images
from transferscope.errors import DataError, StoreError, StudyError
from transferscope.study.file import load_study
from transferscope.study.settings import Target
from transferscope.study.template import find_data

TROUBLE = [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.EBUSY]


def nothing_stored(root: Path) -> bool:
    return not list((root.parent / "store").rglob("manifest.json"))


@pytest.mark.kind("R3")
@pytest.mark.parametrize("number", TROUBLE)
def test_trouble_while_a_picture_is_opened(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_with(tmp_path / "data", {})
    real = io.open

    def failing(file: Any, *rest: Any, **more: Any) -> Any:
        if str(file).endswith("good1.png"):
            raise OSError(number, os.strerror(number), str(file))
        return real(file, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", failing)
        patch.setattr(io, "open", failing)
        with pytest.raises(
            DataError, match=r"could not read the image a/good1\.png(.|\n)*no image is left out"
        ) as caught:
            opened(root)
    assert os.strerror(number) in str(caught.value)
    assert "skip" not in (caught.value.hint or "") or number == errno.ENOMEM
    assert nothing_stored(root)
    assert len(opened(root)) == 6


@pytest.mark.kind("R3")
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_trouble_while_a_picture_is_decoded(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_with(tmp_path / "data", {})

    def load(self: ImageFile.ImageFile) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", load)
        with pytest.raises(DataError, match="the system could not read the image a/good0"):
            opened(root)
    assert nothing_stored(root)
    assert opened(root).skipped == ()


@pytest.mark.kind("R3")
def test_few_files_are_open_at_once(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", {"a": 40, "b": 40})
    opened(folder_with(tmp_path / "warm" / "data", {}), 8)  # modules are imported before the limit
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 30
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, limit[1]))
        assert opened(root, 8).skipped == ()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


@pytest.mark.kind("data-21")
def test_pictures_of_many_pixels_name_a_setting_that_reads_them(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {"large.png": png(1, 0, b"", size=(30_000, 30_000))})
    ((name, why),) = opened(root).skipped
    assert name == "a/large.png"
    assert "900,000,000 pixels are more than target.max_pixels" in why
    assert "--set target.max_pixels=900000000" in why
    target = Target(data={"kind": "folder", "path": str(root)}, max_pixels=100)
    with pytest.raises(DataError, match="7 of 7 images cannot be read"):
        opened(root, decoding=target)
    allowed = opened(root, decoding=target.model_copy(update={"max_pixels": 24 * 24}))
    assert [name for name, _ in allowed.skipped] == ["a/large.png"]


@pytest.mark.kind("data-21")
def test_pictures_that_others_open_obey_the_same_limit(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {})
    source = Torchvision(name="ImageFolder", root=str(root), options={"root": str(root)})
    target = Target(data=source, max_pixels=500)
    with pytest.raises(DataError, match=r"6 of 6 images cannot be read(.|\n)*target\.max_pixels"):
        open_images(source, 8, tmp_path / "store", decoding=target)
    assert len(open_images(source, 8, tmp_path / "store", decoding=Target(data=source, max_pixels=600))) == 6


@pytest.mark.kind("S9")
def test_memory_is_checked_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_with(tmp_path / "data", {"large.png": png(8, 2, b"", size=(13_300, 13_300))})
    monkeypatch.setattr(decode, "available_memory", lambda: 10**9)
    with pytest.raises(DataError, match=r"a/large\.png(.|\n)*13,300 × 13,300 pixels take about 2\.1 GB"):
        opened(root)
    assert nothing_stored(root)


@pytest.mark.kind("S9")
def test_disk_is_checked_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_with(tmp_path / "data", {})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 0, 10**9))
    with pytest.raises(StoreError, match=r"do not fit(.|\n)*1\.2 GB for 6 images of 8192 px(.|\n)*image_size"):
        opened(root, 8192)
    assert nothing_stored(root)


@pytest.mark.kind("S9")
@pytest.mark.parametrize("size", [8193, 100_000, 10**9, 7, 0, -1])
def test_image_sizes_have_bounds(size: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 8 pixels, at most 8192"):
        opened(folder_with(tmp_path / "data", {}), size)
    with pytest.raises(ValueError):
        DataSpec(source={"kind": "elpv"}, fingerprint="f", image_size=size)


@pytest.mark.kind("S14")
@pytest.mark.parametrize("analysis", ["block_shuffle", "path", "criticality: {blocks: [7]}"])
def test_an_absurd_image_size_is_an_error_of_the_study(analysis: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: s\nsource: {architecture: timm:resnet18, weights: timm}\n"
        f"target: {{data: {{kind: elpv}}, image_size: 1000000000}}\nanalyses: [{analysis}]\n"
    )
    with pytest.raises(StudyError, match=r"image_size(.|\n)*8192"):
        load_study(tmp_path / "s.yaml")


def mutated(count: int = 60) -> dict[str, bytes]:
    """Encoded pictures of every format with some bytes changed, cut or repeated."""
    rng = np.random.default_rng(0)
    forms = {
        "png": ("PNG", "RGB"), "jpg": ("JPEG", "RGB"), "gif": ("GIF", "P"), "tif": ("TIFF", "RGB"),
        "webp": ("WEBP", "RGB"), "bmp": ("BMP", "RGB"), "ppm": ("PPM", "RGB"), "pgm": ("PPM", "L"),
        "tiff": ("TIFF", "CMYK"),
    }  # fmt: skip
    files = {}
    for ending, (form, mode) in forms.items():
        options = {"compression": "tiff_lzw"} if ending == "tiff" else {}
        whole = encoded(picture(1, SIZE).convert(mode), form, **options)
        for number in range(count):
            data = bytearray(whole)
            reach = 120 if number % 2 else len(data)  # headers more often
            for place in rng.integers(0, min(reach, len(data)), 1 + number % 5):
                data[place] = rng.integers(0, 256)
            if number % 7 == 0:
                data = data[: rng.integers(0, len(data))]
            if number % 11 == 0:
                data = data * 2
            files[f"m{number:04d}.{ending}"] = bytes(data)
    return files


@pytest.mark.kind("S10")
def test_mutated_files_are_read_or_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = mutated()
    root = folder_with(tmp_path / "data", files)
    images = opened(root, 8)
    assert len(images) + len(images.skipped) == len(files) + 6
    assert all(why and "\n" not in why for _, why in images.skipped)
    assert not [why for _, why in images.skipped if str(tmp_path) in why]
    assert capfd.readouterr().err == ""


@pytest.mark.kind("S10")
def test_init_looks_at_anything(tmp_path: Path) -> None:
    files = {"large.png": png(1, 0, b"", size=(30_000, 30_000)), **damaged_metadata()}
    files |= {f"{name}.jpg": data for name, (data, _) in no_pictures().items()}
    root = folder_with(tmp_path / "data", {})
    for name, data in files.items():
        for path in (root / "a").iterdir():
            path.unlink()
        (root / "a" / name).write_bytes(data)
        found = find_data(root, {})
        assert len(found.sizes) + len(found.unreadable) == 4


@pytest.mark.kind("S11")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop", "socket"])
def test_what_is_no_file_is_never_opened(kind: str, tmp_path: Path) -> None:
    root = folder_with(tmp_path / "data", {})
    place = root / "a" / "x.jpg"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        os.mknod(place, stat.S_IFSOCK | 0o600)
    else:
        place.symlink_to({"device": "/dev/zero", "folder": "/tmp/nowhere-at-all", "loop": "x.jpg"}[kind])
    images = opened(root)
    assert len(images) == 6
    assert [name for name, _ in images.skipped] in (["a/x.jpg"], [])


@pytest.mark.kind("S11")
@pytest.mark.parametrize("source", ["folder", "torchvision"])
def test_postscript_starts_no_program(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    root = folder_with(tmp_path / "data", {"x.jpg": text})
    given = Torchvision(name="ImageFolder", root=str(root), options={"root": str(root)})
    images = open_images(
        Folder(path=str(root)) if source == "folder" else given, 8, tmp_path / "store", on_unreadable="skip"
    )
    assert len(images.skipped) == 1
    assert not (tmp_path / "ran").exists()
    assert EpsImagePlugin.gs_binary is None
