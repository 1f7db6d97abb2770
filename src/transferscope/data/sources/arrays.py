"""Pictures and labels in NumPy files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transferscope.data.sources.base import SPLIT_WORDS, AbstractSource, Listing, existing, files_stamp
from transferscope.data.sources.guarded import reading
from transferscope.errors import DataError, nearest

if TYPE_CHECKING:
    import numpy as np

_READING = 2  # raised when the same files give other labels, so that no older listing is taken


class Arrays(AbstractSource):
    """NumPy files (``.npy`` or ``.npz``; nothing is unpickled).

    Pictures are uint8 or uint16, (examples, height, width) or (examples, height, width, channels) with 1 to 4 channels.
    Labels are whole numbers or text: (examples,) or (examples, 1) for one label each, (examples, labels) of 0 and 1 for
    several.

    Attributes:
        images: the file of pictures; an ``.npz`` may hold ``labels``, ``groups`` and ``splits`` as well, and
            ``classes``, the names of its labels.
        labels: the file of labels; in ``images`` under ``labels`` where None.
        groups: the file of groups (numbers or words), what must not be torn apart by a split.
        splits: the file of split names per example; an empty word where none is given.
        classes: names of the classes, in the order wanted; where None those beside the labels, else the words or
            numbers themselves. Classes without examples are dropped.
        label_format: of rows of several numbers: ``multi_hot`` (also ``auto``), ``one_hot`` (a single 1 in each row,
            read as one label per image) or ``numbers`` (each row a list of class numbers).
    """

    kind: Literal["arrays"] = "arrays"
    images: str
    labels: str | None = None
    groups: str | None = None
    splits: str | None = None
    classes: tuple[str, ...] | None = None
    label_format: Literal["auto", "multi_hot", "one_hot", "numbers"] = "auto"

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
        """Writes arrays in memory to ``folder`` and returns the source that reads them."""
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
        """Examples in the arrays' order, named by their number."""
        from transferscope.data.sources.class_names import TableLabels
        from transferscope.data.sources.labels import joined

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
        _check_pictures(images, self.images)
        for name, values in (("labels", labels), ("groups", groups), ("splits", splits)):
            if values is not None and (values.ndim == 0 or len(values) != len(images)):
                got = f"{len(images)} images, {name} of shape {values.shape}"
                raise DataError(f"images and {name} differ in number", expected="one for each image", got=got)
        if not len(images):
            raise DataError(f"{self.images} holds no images", expected="at least three images of each class")
        table = TableLabels.of_array(self.labels or f"the labels in {self.images}", labels, self._names())
        joint = joined([table], self.classes, self.label_format)
        return Listing(
            names=[str(number) for number in range(len(images))],
            labels=joint.labels,
            classes=joint.classes,
            read=images.__getitem__,
            splits=None if splits is None else [SPLIT_WORDS.get(word, word) or None for word in _words(splits)],
            groups=None if groups is None else _words(groups),
            multi_label=joint.multi_label,
            notes=joint.notes,
        )

    def stamp(self) -> object:
        """The files' paths, sizes and times, and how labels are read from them."""
        files = [path for path in (self.images, self.labels, self.groups, self.splits) if path is not None]
        places = [existing(path, "the file of arrays").resolve() for path in files]
        return [self.identity(), _READING, files_stamp(Path(places[0].anchor), places)]

    def _names(self) -> tuple[str, ...] | None:
        """The names of the classes that lie beside the labels (or the images)."""
        found: dict[tuple[str, ...], str] = {}
        for path in (self.labels, self.images):
            arrays = _load(path) if path is not None else None
            if isinstance(arrays, dict) and "classes" in arrays:
                found[tuple(_words(_member("classes", str(path)).reshape(-1)))] = str(path)
        if len(found) > 1:
            raise DataError(
                "the files name different classes",
                got=" and ".join(f"{', '.join(names[:6])} in {path}" for names, path in found.items()),
                hint="remove the array `classes` from one of them",
            )
        return next(iter(found), None)

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


def _check_pictures(images: "np.ndarray", path: str) -> None:
    import numpy as np

    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 2, 3, 4)):
        raise DataError(
            f"{path} holds no pictures",
            expected="shape (examples, height, width) or (examples, height, width, channels)",
            got=f"shape {images.shape}",
            hint="channels come last: images.transpose(0, 2, 3, 1) brings them there",
        )
    if images.dtype in (np.uint8, np.uint16) or not images.size:
        return
    got, hint = str(images.dtype), None
    if images.dtype.kind == "b":
        hint = "images.astype('uint8') * 255"
    elif images.dtype.kind in "iuf":
        low, high = images.min(), images.max()
        got = f"{images.dtype}, values from {low:g} to {high:g}"
        whole = images.dtype.kind in "iu"
        hint = "not pixels as they were taken: save them before they are normalised, in 0 to 255"
        if low >= 0 and high <= 1 and not whole:
            hint = "for values in [0, 1]: (images * 255).round().astype('uint8')"
        elif low >= 0 and high <= 255:
            hint = "for values in [0, 255]: " + ("images" if whole else "images.round()") + ".astype('uint8')"
        elif low >= 0 and high <= 65535 and whole:
            hint = "for 16-bit values: images.astype('uint16')"
        elif low >= -1 and high <= 1 and not whole:
            hint = "for values in [-1, 1]: ((images + 1) * 127.5).round().astype('uint8')"
    raise DataError(f"{path} holds pictures of another type", expected="uint8 or uint16", got=got, hint=hint)


def _words(values: "np.ndarray") -> list[str]:
    return [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value) for value in values]


@contextmanager
def _reading(path: str) -> Iterator[Path]:
    place = existing(path, "the file of arrays")
    expected = "a .npy or .npz file of numbers or text, not of pickled objects, without a password"
    try:
        with reading(place, "cannot be read", expected, "text is saved by numpy.save(file, labels.astype(str))"):
            yield place
    except MemoryError as error:
        got = str(error) or "more than there is"
        raise DataError(
            f"{path} needs more memory than there is", got=got, hint="save it as .npy: it is not read as a whole"
        ) from error


def _load(path: str) -> "np.ndarray | dict[str, Any]":
    import numpy as np

    with _reading(path) as place:
        loaded = np.load(place, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict.fromkeys(loaded.files)


def _member(name: str, path: str) -> "np.ndarray":
    import numpy as np

    with _reading(path) as place, np.load(place, allow_pickle=False) as loaded:
        return np.asarray(loaded[name])
