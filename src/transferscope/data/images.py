"""A decoded, memory-mapped set of images and what is known of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from transferscope.errors import CorruptEntryError, DataError, StoreError
from transferscope.store.integrity import check_file


@final
@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size with their labels. Cheap to send to another process: pixels stay in the file.

    Attributes:
        labels: int64 (examples,), or uint8 (examples, labels) of 0 and 1.
        groups: what a split must not tear apart, per example; None where unknown.
        given_splits: the source's own splits, per example; None where it has none.
        fingerprint: SHA-256 of pixels, labels, names, classes, groups and given splits.
        skipped: (name, reason) of images that could not be read.
        content: SHA-256 and size of the file of pixels; None where nobody wrote them down.
    """

    path: Path
    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: tuple[str, ...] | None
    given_splits: tuple[str | None, ...] | None
    fingerprint: str
    multi_label: bool
    image_size: int
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    content: tuple[str, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        what = f"{len(self)} images, {self.image_size} pixels, {len(self.classes)} classes"
        return f"ImageSet({what}, {self.fingerprint[:8]})"

    @cached_property
    def array(self) -> np.ndarray:
        """All pixels, uint8 ``examples height width channels``, mapped from the file.

        The map is private: writing to it changes neither the file nor another process's view.
        """
        self.check()
        try:
            return np.asarray(np.load(self.path, mmap_mode="c", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"the store of images cannot be read: {self.path}",
                got=str(error),
                hint="start again: it is rebuilt from the source",
            ) from error

    @cached_property
    def copies(self) -> dict[Any, Any]:
        """Pixels by the device they were copied to; filled by the batches of this process."""
        return {}

    def pixels(self, indices: Any) -> np.ndarray:
        """A copy of some images, for thumbnails and galleries."""
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise DataError(
                "there is no image of that number",
                expected=f"0 to {len(self) - 1}",
                got=f"{wanted.min()} to {wanted.max()}",
            )
        found = np.array(self.array[wanted])
        self.check()
        return found

    def check(self) -> None:
        """Make sure that the file of pixels is what was opened: by its size, times and inode, else by its hash."""
        if self.content is None:
            return
        try:
            check_file(self.path, *self.content)
        except CorruptEntryError as error:
            raise StoreError(
                f"the decoded images changed while they were in use: {self.path}",
                expected=error.expected or "the file as it was written",
                got=error.got or error.what,
                hint="nothing that was computed with them is kept: leave the store's files alone and run the same "
                "command again, which decodes the images anew",
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        # Only the fields: maps and copies on a device stay with the process that made them.
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}
