"""What the labels of a table are called, and one list of names for several tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from transferscope.errors import DataError, nearest

_IDENTIFIERS = 1000  # so many different labels, fewer than three rows of each, are no classes
GIVE_CLASSES = "give all names in `classes` (--set 'target.data.classes=[first, second]')"
"""What to do where names disagree or lack, in a source with the setting ``classes``."""


@dataclass(frozen=True)
class TableLabels:
    """The labels of one table, as they lie there.

    Attributes:
        lengths: how many each row has; None for one label each.
    """

    where: str
    values: np.ndarray
    lengths: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    vector: bool = False

    @classmethod
    def of_array(cls, where: str, labels: np.ndarray, names: tuple[str, ...] | None = None) -> "TableLabels":
        """The labels of an array: (rows,), or (rows, labels)."""
        if labels.ndim not in (1, 2):
            expected = "shape (examples,), or (examples, labels)"
            raise DataError(f"{where} holds no labels", expected=expected, got=f"shape {labels.shape}")
        lengths = None if labels.ndim == 1 else np.full(len(labels), labels.shape[1])
        return cls(where, labels.ravel(), lengths, names, vector=labels.ndim == 2)

    @property
    def rows(self) -> int:
        """The number of examples."""
        return len(self.values if self.lengths is None else self.lengths)

    @property
    def owners(self) -> np.ndarray:
        """The row of each value."""
        return np.repeat(np.arange(self.rows), 1 if self.lengths is None else self.lengths)

    @property
    def words(self) -> bool:
        """Whether labels are text; else they are numbers."""
        return self.values.dtype.kind in "OU"

    def cleaned(self) -> "TableLabels":
        """The same labels as int64 or text."""
        values = self.values
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "backslashreplace")
        if values.dtype.kind == "O" and not all(isinstance(value, str) for value in values):
            raise self._no_labels(", ".join(sorted({type(value).__name__ for value in values})))
        if values.dtype.kind in "OU":
            self._reject(values == "", "rows have no label", "text in every row")
            return replace(self, values=values)
        if values.dtype.kind not in "iufb":
            raise self._no_labels(str(values.dtype))
        if values.dtype.kind == "f":
            self._reject(np.isnan(values), "rows have no label (NaN)", "a whole number in every row")
            self._reject(values != np.floor(values), "labels are not whole numbers", "whole numbers or text")
        if values.dtype.kind in "fu":
            self._reject(np.abs(values.astype(np.float64)) >= 2.0**63, "labels are out of range", "numbers of classes")
        return replace(self, values=values.astype(np.int64))

    def in_range(self, count: int | None) -> None:
        """Check that numbers are those of ``count`` classes; None where that is not known."""
        expected = "0 or more" if count is None else f"0 to {count - 1}"
        hint = "-1 often stands for an image without a label: leave those rows out of the file"
        if count is not None and len(self.values) and self.values.min() == 1 and self.values.max() == count:
            hint = "these labels start at 1: subtract 1, or put one more name before the first in `classes`"
        beyond = np.zeros(len(self.values), dtype=bool) if count is None else self.values >= count
        self._reject((self.values < 0) | beyond, "labels are out of range", expected, hint)

    def _reject(self, wrong: np.ndarray, what: str, expected: str, hint: str | None = None) -> None:
        if not wrong.any():
            return
        first = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{self.where}: {int(wrong.sum())} of {len(wrong)} {what}",
            expected=expected,
            got=f"{self.values[first]!s} in row {int(self.owners[first])}",
            hint=hint or "leave those rows out, or name another column or file of labels",
        )

    def _no_labels(self, got: str) -> DataError:
        return DataError(
            f"{self.where} holds no labels",
            expected="whole numbers, text, or lists of them",
            got=got,
            hint="name another column or file of labels",
        )


def numbered(
    tables: Sequence[TableLabels], classes: tuple[str, ...] | None, notes: list[str], remedy: str
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """One list of class names, and every table's labels as numbers in it.

    Args:
        remedy: what the user can do where names disagree or lack; it names settings that the source has.
    """
    for names, where in [(classes, "`classes`"), *((table.names, table.where) for table in tables)]:
        if names is not None and len(set(names)) < len(names):
            raise DataError(
                f"names of classes must be unique in {where}",
                expected="a name of its own for each class",
                got=", ".join(names[:8]),
            )
    named = [table for table in tables if table.names is not None]
    for table in tables:
        if not table.words:
            names = table.names if table.names is not None else classes
            table.in_range(None if names is None else len(names))
    if len({table.names for table in named}) > 1:
        notes.append("The tables number their classes differently: each was read by its own names.")
    if classes is not None:
        return classes, [_by_name(table, _names_in(table, named, classes), classes) for table in tables]
    vocabulary = _vocabulary(tables, named, notes, remedy)
    return vocabulary, [_by_name(table, table.names, vocabulary) for table in tables]


def _names_in(table: TableLabels, named: Sequence[TableLabels], classes: tuple[str, ...]) -> tuple[str, ...]:
    """What the numbers of a table are called among the user's names."""
    if table.words or table.names is None or set(table.names) <= set(classes):
        return table.names or classes
    moved = [name for number, name in enumerate(table.names) if name in classes and classes.index(name) != number]
    if moved or len({other.names for other in named}) > 1 or len(classes) < len(table.names):
        raise DataError(
            f"`classes` and the names in {table.where} disagree",
            expected="the same names in any order, or new names for all of them in their order",
            got=f"{_shown(classes)} and {_shown(table.names)}",
        )
    return classes


def _vocabulary(
    tables: Sequence[TableLabels], named: Sequence[TableLabels], notes: list[str], remedy: str
) -> tuple[str, ...]:
    words = {str(word) for table in tables if table.words for word in np.unique(table.values)}
    bare = [table for table in tables if not table.words and table.names is None]
    if named:
        longest = max(named, key=lambda table: len(table.names or ()))
        if bare:
            raise DataError(
                f"{longest.where} names its classes, {bare[0].where} has numbers alone",
                expected="names in all tables or in none: the numbers may mean other classes",
                hint=remedy,
            )
        for table in named:
            if not set(table.names or ()) <= set(longest.names or ()):
                raise DataError(
                    "the tables name different classes",
                    expected="the same names, in any order",
                    got=", ".join(f"{_shown(one.names or ())} in {one.where}" for one in (longest, table)),
                    hint=remedy,
                )
        return longest.names or ()
    numbers = sorted({int(number) for table in bare for number in np.unique(table.values)})
    texts = [str(number) for number in numbers]
    if words and bare and not all(word.isdecimal() for word in words):
        raise DataError(
            "some tables hold labels as text, some as numbers",
            got=f"{_shown(sorted(words))}, and in {bare[0].where} {_shown(texts)}",
            hint=remedy,
        )
    rows = sum(table.rows for table in tables)
    count = len(words | set(texts))
    if count > max(_IDENTIFIERS, sum(len(table.values) for table in tables) // 3):
        raise DataError(
            f"{tables[0].where} holds {count:,} different labels in {rows:,} rows",
            expected="classes, with at least three images of each",
            hint="name another column or file of labels",
        )
    if numbers and not words and numbers != list(range(len(numbers))):
        notes.append(
            f"Labels are the numbers {_shown(texts)}, not 0 to {len(texts) - 1}: each is a class of that name."
        )
    return tuple(texts if bare and not words else sorted(words | set(texts)))


def _by_name(table: TableLabels, names: tuple[str, ...] | None, vocabulary: tuple[str, ...]) -> np.ndarray:
    """The numbers in ``vocabulary`` of the labels of a table whose numbers are called ``names``."""
    numbers = {name: number for number, name in enumerate(vocabulary)}
    different, within = np.unique(table.values, return_inverse=True)
    words = [str(label) if table.words or names is None else names[int(label)] for label in different]
    unknown = [word for word in words if word not in numbers]
    if unknown:
        got = ", ".join(unknown[:5])
        raise DataError(f"labels of {table.where} name unknown classes", got=got, hint=nearest(unknown[0], vocabulary))
    return np.array([numbers[word] for word in words], dtype=np.int64)[within.reshape(-1)]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f", … ({len(names)})" if len(names) > 6 else "")
