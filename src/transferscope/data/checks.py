"""What a listing of examples must fulfil, each with its own error."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from transferscope.errors import DataError


def checked_names(names: Sequence[str]) -> None:
    """Names are there, and unique."""
    if not len(names):
        raise DataError("the data source holds no images", expected="at least three images of each class")
    if len(set(names)) != len(names):
        name, count = Counter(names).most_common(1)[0]
        raise DataError("names of examples must be unique", expected="each once", got=f"{name!r} {count} times")


def checked_labels(labels: Any, names: Sequence[str], classes: Sequence[str], multi_label: bool) -> np.ndarray:
    """Labels as int64 (examples,), or uint8 (examples, labels) of 0 and 1."""
    array = np.asarray(labels)
    shape = (len(names), len(classes)) if multi_label else (len(names),)
    if array.shape != shape:
        raise DataError(
            "the labels do not fit the images and classes",
            expected=f"shape {shape}: {len(names)} images"
            + (f", {len(classes)} labels each" if multi_label else ", one label each"),
            got=f"shape {array.shape}",
        )
    if array.dtype.kind not in "iub":
        raise DataError(
            "labels must be whole numbers",
            expected="an integer type: the place of each label's name in `classes`",
            got=str(array.dtype),
            hint="classes, labels = numpy.unique(labels, return_inverse=True) gives both",
        )
    if len(set(classes)) != len(classes):
        name, count = Counter(classes).most_common(1)[0]
        raise DataError("names of classes must be unique", expected="each once", got=f"{name!r} {count} times")
    highest = 1 if multi_label else len(classes) - 1
    wrong = (array < 0) | (array > highest)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise DataError(
            "labels are out of range",
            expected=f"0 to {highest}",
            got=f"{array[wrong][0]} for {names[row]!r}, {int(wrong.sum())} such labels",
            hint="-1 often stands for an example without a label: leave those out",
        )
    if multi_label:
        _both_values(array, classes)
        return np.ascontiguousarray(array, dtype=np.uint8)
    counts = np.bincount(array.astype(np.int64), minlength=len(classes))
    present = int((counts > 0).sum())
    if present < 2:
        only = [classes[int(k)] for k in np.flatnonzero(counts)]
        raise DataError("there is only one class", expected="at least two classes with images", got=", ".join(only))
    if present < len(classes):
        empty = [classes[int(k)] for k in np.flatnonzero(counts == 0)]
        raise DataError(
            f"{len(empty)} of {len(classes)} classes have no images",
            got="no images of " + ", ".join(repr(name) for name in empty[:5]),
            hint="add images, or leave the class out",
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def _both_values(array: np.ndarray, classes: Sequence[str]) -> None:
    positives = array.astype(np.int64).sum(axis=0)
    for name, count in zip(classes, positives, strict=True):
        if count in (0, len(array)):
            raise DataError(
                f"the label {name!r} is the same for all images",
                expected="images with and without it",
                got=f"{count} of {len(array)} images have it",
            )


def checked_splits(splits: Sequence[str | None] | None, examples: int) -> None:
    """Splits are None or named as here, one per example."""
    if splits is None:
        return
    if len(splits) != examples:
        raise DataError(
            "the splits do not fit the examples",
            expected=f"one split (or None) for each of {examples} examples",
            got=f"{len(splits)} splits",
        )
    unknown = {split for split in splits if split not in {"train", "validation", "test", None}}
    if unknown:
        raise DataError(
            "a split has an unknown name",
            expected="'train', 'validation', 'test' or None",
            got=", ".join(sorted(repr(split) for split in unknown)),
        )
