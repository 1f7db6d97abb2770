"""The contract of a data source: settings that can list their examples and decode one."""

import abc
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.data.regular_files import regular_file
from transferscope.errors import DataError, printable
from transferscope.frozen import Frozen

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "trn": "train",
    "tst": "test",
}
"""What data sets call their splits (lower case), and what they are called here."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOUNS = ("set", "data", "dataset", "images", "imgs", "pictures", "photos", "split", "folder")


def split_of(name: str) -> str | None:
    """The split that a name tells of, by one of its words; None where it tells of none, or of several.

    >>> [split_of(name) for name in ("seg_train", "TestSet", "val2017", "trainval", "contest", "train_or_test")]
    ['train', 'test', 'validation', 'train', None, None]
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    words += [word.removesuffix(noun) for word in words for noun in _NOUNS if word.endswith(noun)]
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    # Both at once: validation examples are cut from them, as from any training examples.
    found = {"train"} if found == {"train", "validation"} or "trainval" in words else found
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Listing:
    """What a source holds, before anything is decoded. Checked when it is made.

    Attributes:
        names: one per example, unique, in a fixed order (file names, or numbers).
        labels: int64 (examples,) for one label each, uint8 (examples, labels) of 0 and 1 for several.
        classes: the names of the classes or labels; each has at least one example.
        read: example ``index``: a PIL picture in any mode and size, opened lazily or decoded, or an array with channels
            last.
        splits: per example ``"train"``, ``"validation"``, ``"test"``, or None where the source does not say.
        groups: per example, what must not be torn apart by a split (patient, panel); None where unknown.
        multi_label: several labels may hold at once.
        notes: what a reader must know (licence, leakage).

    Raises:
        DataError: no examples, one class only, a class without examples, labels that are not whole numbers from 0 to
            the number of classes less one, names twice, or lengths that do not fit.
    """

    names: Sequence[str]
    labels: "np.ndarray"
    classes: tuple[str, ...]
    read: "Callable[[int], Image.Image | np.ndarray]"
    splits: Sequence[str | None] | None = None
    groups: Sequence[str] | None = None
    multi_label: bool = False
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        # Imported late: sources are settings, and settings must load fast.
        from transferscope.data.checks import checked_labels, checked_names, checked_splits

        # The one boundary of all sources: what is shown, drawn and stored from here on is printable. The source's
        # own ``read`` goes by number and keeps the raw names.
        for field_name in ("names", "classes", "groups", "notes"):
            texts = getattr(self, field_name)
            if texts is not None:
                kind = tuple if isinstance(texts, tuple) else list
                object.__setattr__(self, field_name, kind(printable(str(text)) for text in texts))
        checked_names(self.names)
        labels = checked_labels(self.labels, self.names, self.classes, self.multi_label)
        object.__setattr__(self, "labels", labels)
        checked_splits(self.splits, len(self.names))
        if self.groups is not None and len(self.groups) != len(self.names):
            raise DataError(
                "the groups do not fit the examples",
                expected=f"one group for each of {len(self.names)} examples",
                got=f"{len(self.groups)} groups",
            )


class AbstractSource(Frozen, abc.ABC):
    """Settings that say where labelled images come from."""

    @abc.abstractmethod
    def listing(self) -> Listing:
        """All examples; checked, nothing kept in memory that can be read later."""

    @abc.abstractmethod
    def stamp(self) -> object:
        """JSON-like facts that change whenever the content may have changed (names, sizes, times, version).

        Used to find an image store built before without decoding again.
        """

    def __hash__(self) -> int:
        # Options are dictionaries, which pydantic's own hash of frozen models cannot take.
        return hash(json.dumps(self.model_dump(mode="json"), sort_keys=True))  # a path may be no UTF-8

    def image(self, index: int) -> "Image.Image":
        """Example ``index`` of the listing, decoded, in any mode and size.

        Lists anew each time: to read many, keep a listing and call its ``read``.
        """
        from transferscope.data.decode import as_image

        return as_image(self.listing().read(index))


def existing(path: str, what: str) -> Path:
    """``path`` with ``~`` expanded."""
    place = Path(os.path.expanduser(path))
    try:
        mode = os.stat(place).st_mode
    except (OSError, ValueError) as error:
        raise DataError(
            f"{what} does not exist: {path}",
            expected="a path that exists; in a study file relative ones start at the file's folder",
            got=f"{place.absolute()} ({getattr(error, 'strerror', None) or error})",
        ) from error
    return place if stat.S_ISDIR(mode) else Path(regular_file(place))


def files_stamp(root: Path, files: Iterable[Path]) -> list[object]:
    """Where files lie, how many they are, and a hash of their names, sizes and times.

    Args:
        files: in a fixed order; one that cannot be looked at (a dangling link) counts with size -1.

    Returns:
        A JSON-like list; equal as long as no file was added, removed, renamed or written to.
    """
    digest, count = hashlib.sha256(), 0
    for file in files:
        try:
            status = os.stat(file)
            facts = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            facts = "-1 0"  # decoding names it; here it is only a fact that may change
        digest.update(f"{file.relative_to(root).as_posix()}\0{facts}\n".encode("utf-8", "surrogateescape"))
        count += 1
    return [str(root.resolve()), count, digest.hexdigest()]
