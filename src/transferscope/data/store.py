"""The store of decoded images: made once, then memory-mapped."""

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import filelock
import numpy as np
from PIL import Image

from transferscope.data.checks import checked_labels
from transferscope.data.decode import UNREADABLE, Fit, reason, square
from transferscope.data.images import ImageSet
from transferscope.data.sources.base import AbstractSource, Listing
from transferscope.errors import CorruptEntryError, DataError, StoreError
from transferscope.frozen import content_key

__all__ = ["ImageSet", "open_images"]

Progress = Callable[[int, int], None]

_VERSION: Final = 1
_ALWAYS_HASHED: Final = 256 * 2**20
_BLOCK: Final = 64
_THREADS: Final = 2


def open_images(
    source: AbstractSource,
    image_size: int,
    folder: Path,
    on_unreadable: Literal["error", "skip"] = "error",
    progress: Progress | None = None,
    *,
    fit: Fit = "crop",
    verify: bool | None = None,
) -> ImageSet:
    """The source's images as 8-bit RGB squares, from the store, or decoded into it.

    One folder for each (content of the source, image size, fit), written under another name, synced and
    renamed, so that what is there is whole. Of two processes that want the same, one decodes, the other
    waits. A source whose files have changed gets a new folder; the old one stays until it is deleted.

    Args:
        source: where images come from.
        image_size: height and width in pixels, at least 8.
        folder: of the store; made if it does not exist.
        on_unreadable: of images that cannot be read: ``error`` names them all and stops, ``skip`` leaves them
            out and says so in ``skipped`` and ``notes``.
        progress: called as ``progress(done, total)`` while images are decoded.
        fit: how an image that is not square becomes square.
        verify: hash all files before they are used; None: those up to 256 MiB, of larger ones only the size.

    Returns:
        The images.

    Raises:
        DataError: images cannot be read, or labels do not fit (see :class:`Listing`).
        StoreError: the folder cannot be read or written, for example a full disk.
        CorruptEntryError: a stored file is not what was written.
    """
    if image_size < 8:
        raise DataError("the image size does not fit", expected="at least 8 pixels", got=str(image_size))
    # The same pixels for every path that leads to the same folder of files.
    place = _place(source, image_size, fit, folder)
    if not (place / "manifest.json").is_file():
        with _reported(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(str(place) + ".lock")
            lock.acquire()
        try:
            if not (place / "manifest.json").is_file():
                place = _build(source, image_size, fit, folder, on_unreadable, progress)
        finally:
            lock.release()
    images = _read(place, verify)
    if images.skipped and on_unreadable == "error":
        raise _unreadable(images.skipped, len(images) + len(images.skipped))
    return images


def _place(source: AbstractSource, image_size: int, fit: Fit, folder: Path) -> Path:
    # A source may state paths and other facts in any JSON-like form, tuples included.
    return folder / content_key([_VERSION, json.loads(json.dumps(source.stamp())), image_size, fit])


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """System errors of the store's own files, as errors of the store."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the store of images cannot be written: {folder}",
            got=f"{type(error).__name__}: {error}",
            hint="free some space, or choose another folder; nothing that was finished is lost",
        ) from error


@dataclass
class _Decoded:
    pixels: np.ndarray | None
    why: str = ""


def _build(
    source: AbstractSource,
    image_size: int,
    fit: Fit,
    folder: Path,
    on_unreadable: Literal["error", "skip"],
    progress: Progress | None,
) -> Path:
    listing = source.listing()
    # Asked again: listing may have fetched the data.
    place = _place(source, image_size, fit, folder)
    if (place / "manifest.json").is_file():
        return place
    with _reported(folder):
        working = Path(tempfile.mkdtemp(prefix=f"{place.name}.", suffix=".partial", dir=folder))
    try:
        kept, skipped, pixels_hash = _write_pixels(listing, working, image_size, fit, progress)
        if skipped and on_unreadable == "error":
            raise _unreadable(skipped, len(listing.names))
        _write_rest(listing, working, image_size, kept, skipped, pixels_hash)
        with _reported(folder):
            if place.is_dir():
                shutil.rmtree(place)  # without a manifest: left by someone who deleted files by hand
            working.rename(place)
            _sync(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return place


def _write_pixels(
    listing: Listing, working: Path, image_size: int, fit: Fit, progress: Progress | None
) -> tuple[np.ndarray, list[tuple[str, str]], str]:
    """Pixels to ``images.npy``; the numbers kept, what was skipped and why, and the pixels' hash."""
    total = len(listing.names)
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    digest = hashlib.sha256()
    with _reported(working), (working / "images.npy").open("wb") as file:
        # Plain writes, not a map: a full disk is then an error and not a dead process.
        _write_head(file, total, image_size)
        for number, decoded in enumerate(_decoded(listing, image_size, fit)):
            if decoded.pixels is None:
                skipped.append((listing.names[number], decoded.why))
            else:
                data = decoded.pixels.tobytes()
                digest.update(data)
                file.write(data)
                kept.append(number)
            if progress is not None:
                progress(number + 1, total)
        file.seek(0)
        _write_head(file, len(kept), image_size)
        file.flush()
        os.fsync(file.fileno())
    return np.array(kept, dtype=np.int64), skipped, digest.hexdigest()


def _write_head(file: IO[bytes], examples: int, size: int) -> None:
    # NumPy pads its header so that the number of examples can change later.
    header = {"descr": "|u1", "fortran_order": False, "shape": (examples, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _decoded(listing: Listing, size: int, fit: Fit) -> Iterator[_Decoded]:
    """All examples in order. Reading is serial (a source need not be thread-safe), decoding is not."""

    def opened(number: int) -> Image.Image | str:
        try:
            return listing.read(number)
        except UNREADABLE as error:
            return reason(error)

    def decode(image: Image.Image | str) -> _Decoded:
        if isinstance(image, str):
            return _Decoded(None, image)
        try:
            with image:
                return _Decoded(square(image, size, fit))
        except UNREADABLE as error:
            return _Decoded(None, reason(error))

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(listing.names), _BLOCK):
            block = [opened(number) for number in range(start, min(start + _BLOCK, len(listing.names)))]
            yield from pool.map(decode, block)


def _write_rest(
    listing: Listing,
    working: Path,
    image_size: int,
    kept: np.ndarray,
    skipped: list[tuple[str, str]],
    pixels_hash: str,
) -> None:
    names = [listing.names[int(number)] for number in kept]
    # Checked again: a class may have lost all its images.
    labels = checked_labels(listing.labels[kept], names, listing.classes, listing.multi_label) if names else kept
    if not names:
        raise _unreadable(skipped, len(listing.names))
    groups = None if listing.groups is None else [listing.groups[int(number)] for number in kept]
    splits = None if listing.splits is None else [listing.splits[int(number)] for number in kept]
    examples = {
        "names": names,
        "classes": list(listing.classes),
        "groups": groups,
        "splits": splits,
        "multi_label": listing.multi_label,
    }
    text = json.dumps(examples, sort_keys=True).encode()
    fingerprint = hashlib.sha256()
    for part in (str(image_size).encode(), pixels_hash.encode(), _hashable(labels), text):
        fingerprint.update(struct.pack("<Q", len(part)) + part)
    notes = [*listing.notes, *_torn_by_source(groups, splits)]
    if skipped:
        shown = ", ".join(name for name, _ in skipped[:3]) + (", …" if len(skipped) > 3 else "")
        notes.append(f"{len(skipped)} of {len(listing.names)} images could not be read and were left out: {shown}.")
    with _reported(working):
        np.save(working / "labels.npy", labels, allow_pickle=False)
        (working / "examples.json").write_bytes(text)
        manifest = {
            "version": _VERSION,
            "fingerprint": fingerprint.hexdigest(),
            "image_size": image_size,
            "notes": notes,
            "skipped": skipped,
            "files": {
                name: {"size": (working / name).stat().st_size, "sha256": _file_hash(working / name)}
                for name in ("images.npy", "labels.npy", "examples.json")
            },
        }
        (working / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for name in ("labels.npy", "examples.json", "manifest.json"):
            _sync(working / name)
        _sync(working)


def _torn_by_source(groups: list[str] | None, splits: list[str | None] | None) -> list[str]:
    if groups is None or splits is None:
        return []
    where: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        if split is not None:
            where.setdefault(group, set()).add(split)
    torn = sum(len(found) > 1 for found in where.values())
    return [f"{torn} groups lie in more than one of the splits the source gives: they leak."] if torn else []


def _hashable(labels: np.ndarray) -> bytes:
    return str(labels.shape).encode() + labels.astype("<i8").tobytes()


def _read(place: Path, verify: bool | None) -> ImageSet:
    try:
        manifest: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
        for name, facts in manifest["files"].items():
            file = place / name
            size = file.stat().st_size if file.is_file() else -1
            hashed = verify if verify is not None else size <= _ALWAYS_HASHED
            if size != facts["size"] or (hashed and _file_hash(file) != facts["sha256"]):
                raise _corrupt(place, f"{name} of {size} bytes", f"{name} of {facts['size']} bytes, as written")
        examples = json.loads((place / "examples.json").read_bytes())
        groups, splits = examples["groups"], examples["splits"]
        return ImageSet(
            path=place / "images.npy",
            names=tuple(examples["names"]),
            labels=np.load(place / "labels.npy", allow_pickle=False),
            classes=tuple(examples["classes"]),
            groups=None if groups is None else tuple(groups),
            given_splits=None if splits is None else tuple(splits),
            fingerprint=manifest["fingerprint"],
            multi_label=examples["multi_label"],
            image_size=manifest["image_size"],
            skipped=tuple((name, why) for name, why in manifest["skipped"]),
            notes=tuple(manifest["notes"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _corrupt(place, reason(error), "a manifest as written") from error
    except OSError as error:
        raise StoreError(
            f"the store of images cannot be read: {place}", got=reason(error), hint="check its permissions"
        ) from error


def _corrupt(place: Path, got: str, expected: str) -> CorruptEntryError:
    return CorruptEntryError(
        f"the store of images is damaged: {place}",
        expected=expected,
        got=got,
        hint="delete this folder; it is rebuilt from the source",
    )


def _unreadable(skipped: "list[tuple[str, str]] | tuple[tuple[str, str], ...]", total: int) -> DataError:
    shown = "; ".join(f"{name} ({why})" for name, why in skipped[:5])
    return DataError(
        f"{len(skipped)} of {total} images cannot be read",
        got=shown + (f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""),
        hint="repair or remove them, or ask for unreadable images to be skipped",
    )


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """To disk, so that a rename never shows what a crash could take back."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle for folders
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
