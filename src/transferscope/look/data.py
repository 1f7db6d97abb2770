"""What the images are: counted, and searched for copies, from one reading of the files. No torch here."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from PIL import Image
from pydantic import PrivateAttr

from transferscope.analyses.estimates import Estimate
from transferscope.data.decoding import Decoding
from transferscope.data.duplicates import twin_numbers
from transferscope.data.images import ImageSet
from transferscope.data.near_duplicates import near_pairs, thumbnail
from transferscope.data.sources.base import AbstractSource, Listing
from transferscope.data.splits import nested_subset
from transferscope.data.store import open_images
from transferscope.errors import DataError
from transferscope.look.quantities import count_of, plain
from transferscope.look.result import DuplicateSet

__all__ = ["Examined", "examine", "first_numbers", "read_images", "sample"]

_ORIENTATION: Final = 0x0112
_BLOCK: Final = 2**24
"""Bytes of pixels in memory at once."""
_GREY: Final = 8
"""Levels by which the channels of a grey picture may differ: JPEG rounds colours."""
_FLAT: Final = 1.5
"""Standard deviation, in levels, below which a picture is of one colour."""


@dataclass
class _Seen:
    """What files say of pictures before they are decoded; filled while they are read."""

    sides: list[tuple[int, int]]
    grey: int = 0
    exif: int = 0
    turned: int = 0
    damaged: int = 0

    def add(self, value: Any) -> None:
        if not isinstance(value, Image.Image):
            height, width, *channels = np.shape(value)
            self.sides.append((int(width), int(height)))
            self.grey += not channels or channels[0] <= 2
            return
        self.sides.append(value.size)
        self.grey += value.mode[:1] in ("L", "1", "I", "F")
        if value.info.get("exif"):
            self.exif += 1
            try:
                self.turned += value.getexif().get(_ORIENTATION, 1) in range(2, 9)
            except Exception as error:  # whatever a parser of metadata raises; decoding takes the pixels as they lie
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                self.damaged += 1


@final
class _Watched(AbstractSource):
    """A listing that notes what is read of it."""

    kind: str = "watched"
    _listing: Listing = PrivateAttr()
    _seen: _Seen = PrivateAttr()

    def __init__(self, listing: Listing, seen: _Seen) -> None:
        super().__init__()
        self._listing, self._seen = listing, seen

    def listing(self) -> Listing:
        """The listing, reading through :class:`_Seen`."""
        inner = self._listing

        def read(number: int) -> Any:
            value = inner.read(number)
            self._seen.add(value)
            return value

        return replace(inner, read=read)

    def stamp(self) -> object:
        """Nothing: the store is new, and gone afterwards."""
        return "look"


def sample(listing: Listing, limit: int | None) -> Listing:
    """A stratified part of a listing, the same every time; all of it where it holds no more than ``limit``."""
    count = len(listing.names)
    if limit is None or limit >= count:
        return listing
    chosen = nested_subset(listing.labels, np.arange(count), limit / count, 0)
    inner = listing.read

    def part(values: Any) -> Any:
        return None if values is None else [values[int(number)] for number in chosen]

    return replace(
        listing,
        names=part(listing.names),
        labels=listing.labels[chosen],
        read=lambda number: inner(int(chosen[number])),
        splits=part(listing.splits),
        groups=part(listing.groups),
    )


def first_numbers(
    labels: np.ndarray, classes: Sequence[str], splits: Sequence[str | None] | None, whole: int
) -> tuple[Estimate, ...]:
    """What is known before a picture is opened: images, classes, imbalance.

    Args:
        labels: of the images that will be read; of several axes where several labels hold at once.
        classes: their names.
        splits: where the images lie; None where the data name no splits.
        whole: images that lie there.
    """
    counts, total = _per_class(labels, len(classes)), len(labels)
    held = [count_of("class_images", int(k), total, label=name) for name, k in zip(classes, counts, strict=True)]
    for split in ("train", "validation", "test"):
        inside = np.array([(where or "train") == split for where in splits or ()], dtype=bool)
        if inside.any():
            part = _per_class(labels[inside], len(classes))
            held += [
                count_of("class_images", int(k), int(inside.sum()), label=name, split=split)
                for name, k in zip(classes, part, strict=True)
            ]
    return (
        count_of("images_listed", whole, whole),
        count_of("classes", len(classes), total),
        plain("imbalance", float(counts.max() / max(counts.min(), 1)), total),
        plain("largest_share", float(counts.max() / total), total),
        *held,
    )


def _per_class(labels: np.ndarray, classes: int) -> np.ndarray:
    return labels.sum(0, dtype=np.int64) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


def read_images(
    listing: Listing,
    size: int,
    folder: Path,
    decoding: Decoding,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ImageSet, tuple[Estimate, ...]]:
    """Decode a listing into a folder, and count what its files say.

    Args:
        listing: what to read.
        size: height and width in pixels.
        folder: for the pixels.
        decoding: how.
        progress: called as ``progress(done, total)``.

    Raises:
        DataError: nothing can be read, or a class has lost all its images.
    """
    seen = _Seen([])
    images = open_images(_Watched(listing, seen), size, folder, "skip", progress, decoding=decoding)
    sides = sorted(min(pair) for pair in seen.sides)
    if not sides:
        raise DataError(
            "no picture could be opened",
            expected="pictures that Pillow reads",
            got=f"{len(images.skipped)} unreadable files",
        )
    n = len(sides)
    return images, (
        count_of("images", len(images), len(listing.names)),
        count_of("images_unreadable", len(images.skipped), len(listing.names)),
        plain("short_side", float(sides[0]), n, which="smallest"),
        plain("short_side", float(sides[n // 2]), n, which="median"),
        plain("short_side", float(sides[-1]), n, which="largest"),
        count_of("not_square", sum(width != height for width, height in seen.sides), n),
        count_of("grey_files", seen.grey, n),
        count_of("with_exif", seen.exif, n),
        count_of("turned", seen.turned, n),
        count_of("damaged_metadata", seen.damaged, n),
    )


@dataclass(frozen=True)
class Examined:
    """What the pixels say.

    Attributes:
        numbers: counts.
        duplicates: sets of files that show one picture, those that do harm first.
        together: for each image the number of its set of copies; images of one number are never torn apart.
        blank: numbers of images of one colour.
    """

    numbers: tuple[Estimate, ...]
    duplicates: tuple[DuplicateSet, ...]
    together: np.ndarray
    blank: tuple[int, ...]


def examine(images: ImageSet) -> Examined:
    """Search decoded images for copies, grey and blank ones."""
    digests: list[bytes] = []
    thumbnails: list[bytes] = []
    grey, blank = 0, []
    for start, block in _blocks(images):
        for pixels in block:
            digests.append(hashlib.blake2b(pixels.data, digest_size=16).digest())
            thumbnails.append(thumbnail(pixels))
        red, green, blue = (block[..., channel].astype(np.int16) for channel in range(3))
        apart = np.maximum(np.abs(red - green).max((1, 2)), np.abs(green - blue).max((1, 2)))
        grey += int((apart <= _GREY).sum())
        flat = block.reshape(len(block), -1).std(1, dtype=np.float32) < _FLAT
        blank += (start + np.flatnonzero(flat)).tolist()
    twins = twin_numbers(digests)
    pairs = near_pairs(thumbnails, np.load(images.path, mmap_mode="r", allow_pickle=False), twins)
    together = _components(twins, pairs or [])
    found = tuple(sorted(_sets(images, twins, together), key=lambda s: (not s.conflicting, not s.across, s.images)))
    n = len(images)

    def of_near(which: Iterable[bool]) -> int | None:
        return None if pairs is None else sum(which)

    numbers = [
        count_of("grey_content", grey, n),
        count_of("blank", len(blank), n),
        count_of("identical_sets", sum(s.kind == "identical" for s in found), n),
        count_of("near_sets", of_near(s.kind == "near" for s in found), n),
        count_of("extra_copies", sum(len(s.images) - 1 for s in found), n),
        count_of("conflicts_identical", sum(s.conflicting and s.kind == "identical" for s in found), n),
        count_of(
            "conflicts_near", None if pairs is None else sum(s.conflicting and s.kind == "near" for s in found), n
        ),
    ]
    if images.given_splits is not None:
        tested = [k for s in found if s.across for k in range(len(s.images)) if s.splits[k] == "test"]
        numbers += [
            count_of("across_splits", sum(s.across for s in found), n),
            count_of("leaked_test", len(tested), sum(split == "test" for split in images.given_splits)),
        ]
    return Examined(tuple(numbers), found, together, tuple(blank))


def _blocks(images: ImageSet) -> Iterator[tuple[int, np.ndarray]]:
    """All pixels, some at a time: a map held open would count all it has shown as memory."""
    images.check()
    step = max(1, _BLOCK // (3 * images.image_size**2))
    for start in range(0, len(images), step):
        yield start, np.array(np.load(images.path, mmap_mode="r", allow_pickle=False)[start : start + step])
    images.check()


def _components(twins: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(twins)
    edges = np.array([*zip(range(count), twins.tolist(), strict=True), *pairs], dtype=np.int64)
    graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _sets(images: ImageSet, twins: np.ndarray, together: np.ndarray) -> Iterator[DuplicateSet]:
    rows = images.labels.reshape(len(images), -1)
    repeated = np.flatnonzero(np.bincount(together) > 1)
    order = np.argsort(together, kind="stable")
    starts = np.searchsorted(together[order], repeated)
    ends = np.searchsorted(together[order], repeated, side="right")
    for start, end in zip(starts, ends, strict=True):
        members = np.sort(order[start:end])
        splits = () if images.given_splits is None else tuple(images.given_splits[k] or "train" for k in members)
        yield DuplicateSet(
            "identical" if len(set(twins[members].tolist())) == 1 else "near",
            tuple(int(k) for k in members),
            tuple(images.names[k] for k in members),
            tuple(label_words(images, int(k)) for k in members),
            splits,
            len(set(splits)) > 1,
            bool((rows[members] != rows[members[0]]).any()),
        )


def label_words(images: ImageSet, number: int) -> str:
    """The label of an image in words; of several that hold at once all, joined."""
    if not images.multi_label:
        return images.classes[int(images.labels[number])]
    return " + ".join(images.classes[k] for k in np.flatnonzero(images.labels[number])) or "no label"
