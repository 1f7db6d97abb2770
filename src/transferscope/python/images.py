"""Images and labels that a caller has in memory, as the data of a study."""

import hashlib
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.argument_kinds import MisfitError, is_tensor, read_array, shown
from transferscope.arguments import checked_as
from transferscope.data.sources import Arrays
from transferscope.errors import DataError
from transferscope.store.system_errors import translated

__all__ = ["images_source"]

_PAIRS = "NumPy images and labels, tensors, or a data set of (image, label)"


@checked_as(DataError)
def images_source(
    images: Any,
    labels: Any = None,
    *,
    classes: Collection[str | int] | None = None,
    groups: Collection[object] | None = None,
    splits: Collection[str | float | None] | None = None,
    folder: str | Path = Path("transferscope-runs") / "images",
) -> Arrays:
    """Write images in memory to a folder of their own, as the ``target.data`` of a study.

    A study reads files, so that it can be resumed, reported and exported in another process. The folder is named after
    what is in it: equal images are written once, and no study's images are overwritten by another's.

    Args:
        images: uint8 or uint16, (examples, height, width[, channels]) as an array or a list of equally large ones;
            (examples, channels, height, width) as a tensor; or a data set whose items are ``(image, label)``.
        labels: one number or word per image, or rows of 0 and 1; None where ``images`` is a data set.
        classes: names of the classes; of a data set those it calls ``classes`` where None.
        groups: one per image: what must not be torn apart by a split.
        splits: one of train, validation, test per image, or None (NaN of a data frame).
        folder: in which the folder is made.

    Raises:
        DataError: images that are no pictures as they were taken, or of different sizes; labels that are missing.
    """
    if labels is None:
        classes = classes or getattr(images, "classes", None)
        images, labels = _items(images)
    pixels, labels = _pixels(images), _array(labels, "labels", "a number or a word for each image, or rows of 0 and 1")
    named = None if classes is None else tuple(map(str, classes))
    # Whole lists: what stands for an array or a series in text leaves its middle out.
    groups, splits = _listed(groups), _listed(splits)
    digest = hashlib.sha256(repr((pixels.shape, str(pixels.dtype), labels.tolist(), named, groups, splits)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    place = Path(folder).resolve() / digest.hexdigest()[:16]
    with translated(None, "use"):
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            # Beside its place and moved there: a folder that is there is whole.
            part = Path(tempfile.mkdtemp(dir=place.parent))
            Arrays.save(part, pixels, labels, groups=groups, splits=splits)
            part.rename(place)
    files = {name: str(path) for name in _FILES if (path := place / f"{name}.npy").exists()}
    source = Arrays.model_validate({**files, "classes": named})
    source.listing()  # says what is wrong now, not when the study runs
    return source


_FILES = ("images", "labels", "groups", "splits")


def _items(images: Any) -> "tuple[list[Any], list[Any]]":
    """Images and labels of a data set, read once."""
    try:
        items = [images[index] for index in range(len(images))]
    except (TypeError, AttributeError, KeyError) as error:
        raise DataError(
            "there are no labels", expected=_PAIRS, got=type(images).__name__, hint="give labels beside the images"
        ) from error
    wrong = next((item for item in items if not (isinstance(item, (tuple, list)) and len(item) == 2)), None)
    if wrong is not None or not items:
        got = "nothing" if wrong is None else f"items of type {type(wrong).__name__}"
        raise DataError("there are no labels", expected=_PAIRS, got=got, hint="give labels beside the images")
    pictures, labels = zip(*items, strict=True)
    return list(pictures), [_label(label) for label in labels]


def _listed(values: Collection[Any] | None) -> list[Any] | None:
    """One value for each image; what data frames have where there is none is None."""
    if values is None:
        return None
    return [None if value != value else value for value in map(_label, values)]  # NaN alone


def _array(values: Any, what: str, expected: str) -> np.ndarray:
    try:
        array = read_array(values, expected)
        if array.dtype.kind not in "biufUS":
            raise MisfitError(expected, values)
    except MisfitError as misfit:
        raise DataError(
            f"these are no {what}", expected=misfit.expected, got=shown(values), hint=f"give them as NumPy {what}"
        ) from misfit
    return array


def _label(label: Any) -> Any:
    return label.tolist() if hasattr(label, "tolist") else label


def _pixels(images: Any) -> np.ndarray:
    """Channels last, as pictures are kept."""
    if isinstance(images, (list, tuple)):
        each = [_channels_last(item, 3) for item in images]
        if len(shapes := {item.shape for item in each}) > 1:
            raise DataError(
                "the images are of different sizes",
                expected="images of one height and width, all grey or all in colour",
                got=" and ".join(map(str, sorted(shapes)[:3])),
                hint="save them in a folder per class and name it: target={'data': {'kind': 'folder', 'path': ...}}",
            )
        return np.stack(each) if each else np.empty((0, 1, 1, 3), np.uint8)
    return _channels_last(images, 4)


def _channels_last(images: Any, dimensions: int) -> np.ndarray:
    """Of a tensor of (..., channels, height, width) an array with its channels at the end."""
    pixels = _array(_plain(images), "images", "arrays or tensors of pixels, or pictures")
    return np.moveaxis(pixels, -3, -1) if is_tensor(images) and pixels.ndim == dimensions else pixels


def _plain(image: Any) -> Any:
    """Of a picture with a palette its colours, not their numbers."""
    return image.convert("RGB") if hasattr(image, "convert") and image.mode not in _MODES else image


_MODES = ("L", "RGB", "RGBA", "I;16")
