"""Pictures and labels in NumPy files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transferscope.data.sources.base import AbstractSource, Listing, existing, files_stamp
from transferscope.errors import DataError, nearest

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Arrays"]


class Arrays(AbstractSource):
    """NumPy files (``.npy`` or ``.npz``; nothing is unpickled).

    Pictures are uint8 or uint16, (examples, height, width) or (examples, height, width, channels) with 1 to 4
    channels. Labels are integers: (examples,) for one label each, (examples, labels) of 0 and 1 for several.

    Attributes:
        images: the file of pictures; an ``.npz`` may hold ``labels``, ``groups`` and ``splits`` as well.
        labels: the file of labels; in ``images`` under ``labels`` where None.
        groups: the file of groups (numbers or words), what must not be torn apart by a split.
        splits: the file of split names per example; an empty word where none is given.
        classes: names of the classes; the numbers themselves where None.
    """

    kind: Literal["arrays"] = "arrays"
    images: str
    labels: str | None = None
    groups: str | None = None
    splits: str | None = None
    classes: tuple[str, ...] | None = None

    @classmethod
    def save(
        cls,
        folder: str | os.PathLike[str],
        images: "np.ndarray",
        labels: "np.ndarray",
        *,
        classes: tuple[str, ...] | None = None,
        groups: Sequence[object] | None = None,
        splits: Sequence[str | None] | None = None,
    ) -> "Arrays":
        """Writes arrays in memory to ``folder`` and returns the source that reads them.

        Args:
            folder: made if it does not exist.
            images: as for the class.
            labels: as for the class.
            classes: names of the classes.
            groups: one per example.
            splits: one per example.

        Returns:
            The source.
        """
        import numpy as np

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        written: dict[str, str | None] = {"groups": None, "splits": None}
        for name, values in (
            ("images", np.asarray(images)),
            ("labels", np.asarray(labels)),
            ("groups", None if groups is None else np.array([str(group) for group in groups])),
            ("splits", None if splits is None else np.array([split or "" for split in splits])),
        ):
            if values is not None:
                np.save(place / f"{name}.npy", values, allow_pickle=False)
                written[name] = str(place / f"{name}.npy")
        return cls(classes=classes, **{name: path for name, path in written.items() if path is not None})

    def listing(self) -> Listing:
        """Examples in the arrays' order, named by their number.

        Raises:
            DataError: a missing or damaged file, another type or shape, lengths that differ.
        """
        import numpy as np

        images = self._array("images")
        labels = self._array("labels")
        groups = self._array("groups")
        splits = self._array("splits")
        if images is None or labels is None:
            raise DataError(
                "there are no labels",
                expected=f"`labels`, or an array called labels in {self.images}",
                hint="set `labels` to the .npy file of labels",
            )
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 2, 3, 4)):
            raise DataError(
                f"{self.images} holds no pictures",
                expected="shape (examples, height, width) or (examples, height, width, channels)",
                got=f"shape {images.shape}",
                hint="channels come last: images.transpose(0, 2, 3, 1) brings them there",
            )
        if images.dtype not in (np.uint8, np.uint16):
            raise DataError(
                f"{self.images} holds no pictures",
                expected="type uint8 or uint16",
                got=str(images.dtype),
                hint="for values in [0, 1]: (images * 255).round().astype('uint8')",
            )
        if len(labels) != len(images):
            raise DataError("images and labels differ in number", got=f"{len(images)} images, {len(labels)} labels")
        multi = labels.ndim == 2
        return Listing(
            names=[str(number) for number in range(len(images))],
            labels=labels,
            classes=self.classes or _numbered(labels, multi),
            read=images.__getitem__,
            splits=None if splits is None else [str(split) or None for split in splits],
            groups=None if groups is None else [str(group) for group in groups],
            multi_label=multi,
        )

    def stamp(self) -> object:
        """The files' paths, sizes and times."""
        files = [path for path in (self.images, self.labels, self.groups, self.splits) if path is not None]
        places = [existing(path, "the file of arrays").resolve() for path in files]
        return [self.identity(), files_stamp(Path(places[0].anchor), places)]

    def _array(self, name: str) -> "np.ndarray | None":
        own = getattr(self, name)
        path = own or self.images
        arrays = _load(path)
        if not isinstance(arrays, dict):
            return arrays if own else None
        if name in arrays:
            return _member(name, path)
        if own is None:
            return None
        if name != "images" and len(arrays) == 1:
            return _member(next(iter(arrays)), path)
        raise DataError(f"{path} holds no array called {name!r}", hint=nearest(name, arrays))


def _numbered(labels: "np.ndarray", multi: bool) -> tuple[str, ...]:
    if multi:
        return tuple(str(number) for number in range(labels.shape[1]))
    # Of another type, the listing's own check says so.
    top = int(labels.max()) if labels.size and labels.dtype.kind in "iu" else 1
    return tuple(str(number) for number in range(top + 1))


def _load(path: str) -> "np.ndarray | dict[str, Any]":
    import zipfile

    import numpy as np

    place = existing(path, "the file of arrays")
    try:
        loaded = np.load(place, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return dict.fromkeys(loaded.files)


def _member(name: str, path: str) -> "np.ndarray":
    import zipfile
    import zlib

    import numpy as np

    try:
        with np.load(existing(path, "the file of arrays"), allow_pickle=False) as loaded:
            return np.asarray(loaded[name])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> DataError:
    return DataError(
        f"{path} cannot be read",
        expected="a .npy or .npz file of numbers, not of pickled objects",
        got=" ".join(str(error).split()) or type(error).__name__,
    )
