"""Labels of several tables brought to one list of classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from transferscope.data.sources.class_names import GIVE_CLASSES, TableLabels, numbered
from transferscope.data.sources.same_names import doubtful
from transferscope.errors import DataError

LabelFormat = Literal["auto", "multi_hot", "one_hot", "numbers"]
"""How rows of several numbers are read."""

_Form = Literal["single", "lists", "vectors", "one_hot"]
_LARGEST_MATRIX = 2**31  # bytes
_AS_NUMBERS = "--set target.data.label_format=numbers reads each row as a list of class numbers"
_AS_ONE_HOT = "--set target.data.label_format=one_hot reads them as one label per image (metric top1)"


@dataclass(frozen=True)
class Labels:
    """Labels as a listing wants them.

    Attributes:
        labels: int64 (examples,), or uint8 (examples, labels).
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    multi_label: bool
    notes: tuple[str, ...]


def joined(
    tables: Sequence[TableLabels],
    classes: tuple[str, ...] | None = None,
    label_format: LabelFormat | None = None,
    remedy: str = GIVE_CLASSES,
) -> Labels:
    """Join the labels of all tables, each read by its own names.

    Args:
        remedy: what the user can do where names disagree or lack: another hint where the source has no ``classes``.
    """
    notes: list[str] = []
    tables, form = _in_one_form([table.cleaned() for table in tables], classes, label_format, notes)
    vocabulary, numbers = numbered(tables, classes, notes, remedy)
    if classes is None:
        notes += doubtful(vocabulary)
    flat = np.concatenate(numbers)
    if form != "single":
        starts = np.cumsum([0, *(table.rows for table in tables)])
        owners = np.concatenate([table.owners + start for table, start in zip(tables, starts, strict=False)])
        counts = np.bincount(owners, minlength=int(starts[-1]))
        if form == "one_hot" and (counts != 1).any():
            row = int(np.flatnonzero(counts != 1)[0])
            got = f"{counts[row]} in row {row} of all"
            raise DataError(f"{tables[0].where} is not one-hot", expected="one 1 in every row", got=got)
        once = bool((counts == 1).all())
        if form == "vectors" or not once:
            if once and label_format != "multi_hot":
                said = "Every label vector holds a single 1; they are read as several labels per image (metric auc)"
                notes.append(f"{said}; {_AS_ONE_HOT}." if label_format else f"{said}.")
            matrix = _matrix(tables[0].where, owners, flat, len(counts), len(vocabulary))
            return Labels(*_varying(matrix, vocabulary, notes), True, tuple(notes))
        if form == "lists":
            notes.append("Every row lists exactly one label: read as one label per image.")
    return Labels(*_present(flat, vocabulary, notes), False, tuple(notes))


def _in_one_form(
    tables: list[TableLabels], classes: tuple[str, ...] | None, label_format: LabelFormat | None, notes: list[str]
) -> tuple[list[TableLabels], _Form]:
    """The form of all tables together: the rows of one may look like another form by chance."""
    auto, hint = label_format in (None, "auto"), label_format and _AS_NUMBERS
    lists = [table for table in tables if table.lengths is not None]
    widths = sorted({int(width) for table in lists for width in np.unique(np.asarray(table.lengths))})
    if auto and widths in ([], [1]):
        return [replace(table, lengths=None) for table in tables], "single"
    if len(lists) < len(tables):
        single = next(table for table in tables if table.lengths is None)
        raise DataError(
            f"{single.where} holds one label per row",
            expected=f"several, as in {lists[0].where}" if lists else f"vectors, for `label_format: {label_format}`",
        )
    words = any(table.words for table in lists)
    binary = not words and all(((table.values == 0) | (table.values == 1)).all() for table in lists)
    vector = any(table.vector for table in lists)
    if label_format == "numbers" or words or not (not auto or vector or (binary and len(widths) == 1)):
        return tables, "lists"
    first = lists[0]
    if len(widths) != 1 or not binary:
        raise DataError(
            f"{first.where} holds no vectors of 0 and 1",
            expected="rows of one length, of 0 and 1",
            got="other numbers" if len(widths) == 1 else f"rows of {widths[0]} to {widths[-1]} values",
            hint=hint,
        )
    for table in lists:
        names = table.names or classes
        if names is not None and len(names) != widths[0]:
            raise DataError(
                f"the label vectors of {table.where} do not fit the names of the classes",
                expected=f"{len(names)} values in a row, one for each name",
                got=str(widths[0]),
                hint=hint,
            )
    if not vector and auto:
        notes.append(
            f"Every row of {first.where} holds {widths[0]} numbers, all 0 or 1: read as vectors, one place per label. "
            f"({_AS_NUMBERS}.)"
        )
    matrices = [(table, table.values.reshape(-1, widths[0])) for table in lists]
    vectors = [replace(table, values=np.nonzero(ones)[1], lengths=ones.sum(axis=1)) for table, ones in matrices]
    return vectors, "one_hot" if label_format == "one_hot" else "vectors"


def _matrix(where: str, owners: np.ndarray, flat: np.ndarray, rows: int, labels: int) -> np.ndarray:
    if rows * labels > _LARGEST_MATRIX:
        raise DataError(
            f"{where} holds too many different labels",
            expected=f"images x labels of at most {_LARGEST_MATRIX:,}",
            got=f"{rows:,} x {labels:,}",
        )
    matrix = np.zeros((rows, labels), dtype=np.uint8)
    matrix[owners, flat] = 1
    return matrix


def _present(numbers: np.ndarray, vocabulary: tuple[str, ...], notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    present, within = np.unique(numbers, return_inverse=True)
    if len(present) < 2:
        return numbers, vocabulary  # the listing's own check says what is wrong
    _note_dropped(vocabulary, present, "have no rows", notes)
    return within, tuple(vocabulary[int(number)] for number in present)


def _varying(matrix: np.ndarray, vocabulary: tuple[str, ...], notes: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    counts = matrix.sum(axis=0, dtype=np.int64)
    kept = np.flatnonzero((counts > 0) & (counts < len(matrix)))
    if not len(kept):
        return matrix, vocabulary  # as above
    _note_dropped(vocabulary, kept, "are the same in all rows", notes)
    return matrix[:, kept], tuple(vocabulary[int(number)] for number in kept)


def _note_dropped(vocabulary: tuple[str, ...], kept: np.ndarray, why: str, notes: list[str]) -> None:
    dropped = [vocabulary[number] for number in sorted(set(range(len(vocabulary))) - set(kept.tolist()))]
    if dropped:
        shown = ", ".join(repr(name) for name in dropped[:5]) + (", …" if len(dropped) > 5 else "")
        notes.append(f"{len(dropped)} of {len(vocabulary)} named classes {why} and were dropped: {shown}.")
