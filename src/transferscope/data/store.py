"""The store of decoded images: made once, then memory-mapped."""

import hashlib
import io
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np

from transferscope.data.checks import checked_labels
from transferscope.data.decode_all import decoded
from transferscope.data.decoding import BY_DEFAULT, MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, Decoding
from transferscope.data.duplicates import duplicate_notes, grouped_duplicates, twin_numbers
from transferscope.data.images import ImageSet
from transferscope.data.near_duplicates import near_duplicate_notes, near_pairs
from transferscope.data.picture_notes import PictureNotes, named
from transferscope.data.sources.base import AbstractSource, Listing
from transferscope.errors import DataError, StoreError
from transferscope.frozen import content_key
from transferscope.store import Entry
from transferscope.store.integrity import stamp, trust
from transferscope.store.locks import hold

Progress = Callable[[int, int], None]

_VERSION: Final = 2
_PIXELS: Final = "images.npy"
_ALWAYS_HASHED: Final = 256 * 2**20


def open_images(
    source: AbstractSource,
    image_size: int,
    folder: Path,
    on_unreadable: Literal["error", "skip"] = "error",
    progress: Progress | None = None,
    *,
    decoding: Decoding = BY_DEFAULT,
) -> ImageSet:
    """The source's images as 8-bit RGB squares, from the store, or decoded into it.

    One entry of the store for each (content of the source, image size, decoding). Of two processes that want the same,
    one decodes, the other waits. A source whose files have changed gets a new entry; the old one stays until it is
    deleted.

    All files are hashed before they are used; pixels of more than 256 MiB where they are not as they were written, by
    size, times and inode.

    Args:
        image_size: height and width in pixels, 8 to 8192.
        folder: of the store's images; made if it does not exist.
        on_unreadable: of images that cannot be read: ``error`` names them all and stops, ``skip`` leaves them out and
            says so in ``skipped`` and ``notes``.
        decoding: how a picture becomes a square, and whether equal ones stay together.
    """
    if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise DataError(
            "the image size does not fit",
            expected=f"at least {MIN_IMAGE_SIZE} pixels, at most {MAX_IMAGE_SIZE}",
            got=str(image_size),
        )
    entry = _entry(source, image_size, decoding, folder)
    if not entry.exists():
        with hold(folder / "locks", f"images-{entry.key}"):
            if not entry.exists():
                entry = _build(source, image_size, decoding, folder, on_unreadable, progress)
    images = _read(entry)
    if images.skipped and on_unreadable == "error":
        raise _unreadable(images.skipped, len(images) + len(images.skipped))
    return images


def _entry(source: AbstractSource, image_size: int, decoding: Decoding, folder: Path) -> Entry:
    # The same pixels for every path that leads to the same folder of files. A source may state paths and other
    # facts in any JSON-like form, tuples included.
    stamped = json.loads(json.dumps(source.stamp()))
    key = content_key([_VERSION, stamped, image_size, decoding.fit, decoding.changed()])
    return Entry(folder / key[:2] / key, "images", key, working=folder / "working" / key)


def _build(
    source: AbstractSource,
    image_size: int,
    decoding: Decoding,
    folder: Path,
    on_unreadable: Literal["error", "skip"],
    progress: Progress | None,
) -> Entry:
    listing = source.listing()
    # Asked again: listing may have fetched the data.
    entry = _entry(source, image_size, decoding, folder)
    if entry.exists():
        return entry
    facts: dict[str, Any] = {"version": _VERSION, "image_size": image_size}
    provenance: dict[str, Any] = {}
    with entry.write(facts, provenance) as working:
        _check_disk(len(listing.names), image_size, folder)
        written = _write_pixels(listing, working, image_size, decoding, progress)
        if written.skipped and on_unreadable == "error":
            raise _unreadable(written.skipped, len(listing.names))
        facts |= _write_rest(listing, working, image_size, decoding, written)
        provenance["stamp"] = stamp(working / _PIXELS)
    return entry


def _check_disk(examples: int, image_size: int, folder: Path) -> None:
    need, free = examples * image_size**2 * 3, shutil.disk_usage(folder).free
    if need > free:
        raise StoreError(
            f"the decoded images do not fit on the disk of the store: {folder}",
            expected=f"{need / 1e9:,.1f} GB for {examples:,} images of {image_size} px",
            got=f"{free / 1e9:,.1f} GB free",
            hint="set a smaller image_size, make room, or name another folder with --store",
        )


@dataclass(frozen=True)
class _Written:
    """What came of the pixels.

    Attributes:
        twins: for each kept one the first that is equal, counted among the kept.
    """

    kept: np.ndarray
    skipped: list[tuple[str, str]]
    pixels_hash: str
    twins: np.ndarray
    thumbnails: list[bytes]
    notes: list[str]


def _write_pixels(
    listing: Listing, working: Path, image_size: int, decoding: Decoding, progress: Progress | None
) -> _Written:
    """Pixels to ``images.npy``."""
    total = len(listing.names)
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    digests: list[bytes] = []
    thumbnails: list[bytes] = []
    notes = PictureNotes(decoding)
    digest = hashlib.sha256()
    with (working / _PIXELS).open("wb") as file:
        # Plain writes, not a map: a full disk is then an error and not a dead process.
        _write_head(file, total, image_size)
        for number, one in enumerate(decoded(listing, image_size, decoding)):
            if one.pixels is None:
                skipped.append((listing.names[number], one.why))
            else:
                data = one.pixels.tobytes()
                digest.update(data)
                file.write(data)
                kept.append(number)
                digests.append(one.digest)
                thumbnails.append(one.thumbnail)
                notes.add(listing.names[number], one.traits)
            if progress is not None:
                progress(number + 1, total)
        file.seek(0)
        _write_head(file, len(kept), image_size)
    return _Written(
        np.array(kept, dtype=np.int64),
        skipped,
        digest.hexdigest(),
        twin_numbers(digests),
        thumbnails,
        notes.lines(len(kept)),
    )


def _write_head(file: IO[bytes], examples: int, size: int) -> None:
    # NumPy pads its header so that the number of examples can change later.
    header = {"descr": "|u1", "fortran_order": False, "shape": (examples, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _write_rest(
    listing: Listing, working: Path, image_size: int, decoding: Decoding, written: _Written
) -> dict[str, Any]:
    """Labels and what is known of each example; the facts of the manifest."""
    kept, skipped, twins = written.kept, written.skipped, written.twins
    names = [listing.names[int(number)] for number in kept]
    # Checked again: a class may have lost all its images.
    labels = checked_labels(listing.labels[kept], names, listing.classes, listing.multi_label) if names else kept
    if not names:
        raise _unreadable(skipped, len(listing.names))
    own = None if listing.groups is None else [listing.groups[int(number)] for number in kept]
    groups = grouped_duplicates(own, names, twins) if decoding.duplicates == "group" else own
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
    for part in (str(image_size).encode(), written.pixels_hash.encode(), _hashable(labels), text):
        fingerprint.update(struct.pack("<Q", len(part)) + part)
    notes = [*listing.notes, *_torn_by_source(own, splits)]
    notes += duplicate_notes(names, labels, splits, twins, grouped=decoding.duplicates == "group")
    pixels = np.load(working / "images.npy", mmap_mode="r", allow_pickle=False)
    notes += near_duplicate_notes(names, splits, near_pairs(written.thumbnails, pixels, twins))
    notes += written.notes
    if skipped:
        shown = named([f"{name}: {why}" for name, why in skipped])
        notes.append(f"{len(skipped)} of {len(listing.names)} images could not be read and were left out ({shown})")
    np.save(working / "labels.npy", labels, allow_pickle=False)
    (working / "examples.json").write_bytes(text)
    return {"fingerprint": fingerprint.hexdigest(), "notes": notes, "skipped": skipped}


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


def _read(entry: Entry) -> ImageSet:
    manifest = entry.manifest()
    pixels = manifest["files"][_PIXELS]
    if pixels["bytes"] > _ALWAYS_HASHED:
        # As it was written, by size, times and inode: hashing it anew in every process would take long.
        trust(entry.folder / _PIXELS, pixels["sha256"], entry.provenance().get("stamp", []))
    examples = json.loads(entry.read_bytes("examples.json"))
    groups, splits = examples["groups"], examples["splits"]
    return ImageSet(
        path=entry.path(_PIXELS),
        names=tuple(examples["names"]),
        labels=np.load(io.BytesIO(entry.read_bytes("labels.npy")), allow_pickle=False),
        classes=tuple(examples["classes"]),
        groups=None if groups is None else tuple(groups),
        given_splits=None if splits is None else tuple(splits),
        fingerprint=manifest["fingerprint"],
        multi_label=examples["multi_label"],
        image_size=manifest["image_size"],
        skipped=tuple((name, why) for name, why in manifest["skipped"]),
        notes=tuple(manifest["notes"]),
        content=(pixels["sha256"], pixels["bytes"]),
    )


def _unreadable(skipped: "list[tuple[str, str]] | tuple[tuple[str, str], ...]", total: int) -> DataError:
    shown = "; ".join(f"{name} ({why})" for name, why in skipped[:5])
    return DataError(
        f"{len(skipped)} of {total} images cannot be read",
        got=shown + (f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""),
        hint="repair or remove them, or leave them out: --set target.on_unreadable=skip",
    )
