"""Parquet files in the layout of the Hugging Face hub."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transferscope.data.sources.base import AbstractSource, Listing, existing, files_stamp, split_of
from transferscope.data.sources.guarded import reading
from transferscope.data.sources.tree import read_tree
from transferscope.errors import DataError, nearest

if TYPE_CHECKING:
    import polars as pl
    from PIL import Image

    from transferscope.data.sources.class_names import TableLabels

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels")
_BLOCK_BYTES = 256 * 2**20
_READING = 2  # raised when the same files give other labels, so that no older listing is taken


class Parquet(AbstractSource):
    """A Parquet file, or a folder of them, with encoded pictures.

    The split of a file is read off its name (``train-00000-of-00001.parquet``, ``test...``, ``validation...``) or its
    folder's. Pictures are a struct of ``bytes`` and ``path``, plain bytes, or a path below the file's folder. Labels
    are whole numbers, words, or lists of either (several at once). Labels of several files are joined by the names of
    their classes, each file read by its own.

    Attributes:
        path: file or folder.
        image_column: column of pictures; ``image`` or ``img`` where None.
        label_column: column of labels; ``label`` or ``labels`` where None.
        group_column: column of what must not be torn apart by a split (patient, say).
        classes: names of the classes, in the order wanted; where None those in the files' metadata (of Hugging Face's
            features, or a JSON list under ``classes``), else the words or numbers themselves. Classes without rows are
            dropped.
        label_format: of rows of several numbers. ``multi_hot`` vectors hold 0 or 1 for each class, ``one_hot`` vectors
            a single 1 (read as one label per image), ``numbers`` are lists of class numbers. ``auto`` takes rows of one
            length that hold only 0 and 1 as multi-hot, one value in each row as one label per image, and other rows as
            numbers.
    """

    kind: Literal["parquet"] = "parquet"
    path: str
    image_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    classes: tuple[str, ...] | None = None
    label_format: Literal["auto", "multi_hot", "one_hot", "numbers"] = "auto"

    def listing(self) -> Listing:
        """Rows in the order of file names, named ``file#row``."""
        from transferscope.data.sources.labels import joined

        files, left_out = self._found()
        root = files[0].parent if len(files) == 1 else self._root()
        image, label = self._columns(files[0])
        tables = [self._labels(file, image, label) for file in files]
        joint = joined([labels for labels, _ in tables], self.classes, self.label_format)
        counts = [labels.rows for labels, _ in tables]
        splits, notes = _splits(files, root)
        return Listing(
            names=[
                f"{file.relative_to(root).as_posix()}#{row}"
                for file, count in zip(files, counts, strict=True)
                for row in range(count)
            ],
            labels=joint.labels,
            classes=joint.classes,
            read=_Reader(files, counts, image),
            splits=splits and [split for split, count in zip(splits, counts, strict=True) for _ in range(count)],
            groups=[group for _, groups in tables for group in groups] if self.group_column else None,
            multi_label=joint.multi_label,
            notes=(*notes, *joint.notes, *left_out),
        )

    def stamp(self) -> object:
        """The files' paths, sizes and times, and how labels are read from them."""
        return [self.identity(), _READING, files_stamp(self._root(), self._found()[0])]

    def _root(self) -> Path:
        place = existing(self.path, "the Parquet file or folder")
        return place if place.is_dir() else place.parent

    def _found(self) -> tuple[list[Path], list[str]]:
        """The files, and what was left out."""
        place = existing(self.path, "the Parquet file or folder")
        if place.is_file():
            return [place], []
        tree = read_tree(place)
        files = sorted(place / name for name in tree.files() if name.lower().endswith(".parquet"))
        if not files:
            raise DataError(f"no Parquet files in {self.path}", expected="files ending in .parquet")
        return files, tree.notes()

    def _columns(self, file: Path) -> tuple[str, str]:
        columns = list(_schema(file))
        chosen = []
        for asked, usual, setting in (
            (self.image_column, _IMAGE_NAMES, "image_column"),
            (self.label_column, _LABEL_NAMES, "label_column"),
        ):
            column = asked or next((name for name in usual if name in columns), None)
            if column is None:
                raise DataError(
                    f"{file} has no column called {' or '.join(usual)}",
                    got="columns " + ", ".join(columns),
                    hint=f"name the column in `{setting}` (--set target.data.{setting}=NAME)",
                )
            _present(column, columns, file)
            chosen.append(column)
        return chosen[0], chosen[1]

    def _labels(self, file: Path, image: str, label: str) -> "tuple[TableLabels, list[str]]":
        """Labels and groups of one file."""
        import polars as pl

        schema = _schema(file)
        columns = [label] + ([self.group_column] if self.group_column else [])
        for column in [image, *columns]:
            _present(column, list(schema), file)
        fields = {field.name for field in schema[image].fields} if isinstance(schema[image], pl.Struct) else set()
        if not (schema[image] in (pl.Binary, pl.String, pl.Categorical, pl.Enum) or fields & {"bytes", "path"}):
            raise DataError(
                f"the column {image!r} of {file} holds no pictures",
                expected="encoded pictures (bytes), paths, or a struct of bytes and path",
                got=str(schema[image]),
                hint="name the column of pictures in `image_column` (--set target.data.image_column=NAME)",
            )
        with reading(file, "cannot be read", f"whole columns {columns}", "is the download complete?"):
            table = pl.read_parquet(file, columns=columns, hive_partitioning=False, glob=False)
            names = _classes_of(file, label, given=self.classes is not None)
            labels = _table_labels(table[label], f"the column {label!r} of {file}", names)
            if self.group_column:
                _no_nulls(table[self.group_column], f"the column {self.group_column!r} of {file}")
            return labels, [str(group) for group in table[self.group_column]] if self.group_column else []


class _Reader:
    """Decodes rows; keeps one block of encoded pictures in memory, as rows are mostly read in order."""

    def __init__(self, files: list[Path], counts: list[int], column: str) -> None:
        self._files, self._counts, self._column = files, counts, column
        self._block: Any = None
        self._where = (-1, 0, 0)

    def __call__(self, index: int) -> "Image.Image":
        from transferscope.data.pictures import open_picture

        number = 0
        while index >= self._counts[number]:
            index -= self._counts[number]
            number += 1
        file, start, stop = self._where
        if number != file or not start <= index < stop:
            self._load(number, index)
            start = self._where[1]
        value = self._block[index - start]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            return open_picture(self._files[number].parent / value)
        if not isinstance(value, bytes):
            raise DataError("the row holds no picture", expected="bytes or a path", got=type(value).__name__)
        return open_picture(value)

    def _load(self, number: int, index: int) -> None:
        import polars as pl

        file, count = self._files[number], self._counts[number]
        rows = max(1, int(count * min(1.0, _BLOCK_BYTES / max(1, file.stat().st_size))))
        start = index // rows * rows
        with reading(file, "is damaged", f"pictures in the column {self._column!r}"):
            block = pl.scan_parquet(file, glob=False).select(self._column).slice(start, rows).collect()
        self._block = block[self._column]
        self._where = (number, start, start + len(block))


def _schema(file: Path) -> "dict[str, Any]":
    import polars as pl

    with reading(file, "cannot be read as Parquet", "a Parquet file", "is the download complete?"):
        # Not `read_parquet_schema`: it takes names with * and [ for patterns, and may answer for another file.
        return dict(pl.scan_parquet(file, glob=False, hive_partitioning=False).collect_schema())


def _present(column: str, columns: list[str], file: Path) -> None:
    if column not in columns:
        raise DataError(f"{file} has no column {column!r}", hint=nearest(column, columns))


def _splits(files: list[Path], root: Path) -> tuple[list[str | None] | None, list[str]]:
    """The split of each file, by its name or its folders'; None where the names give no training images."""
    splits = [_split_of(file, root) for file in files]
    given = {split for split in splits if split is not None}
    unnamed = [file.name for file, split in zip(files, splits, strict=True) if split is None]
    if not given or (not unnamed and "train" not in given):
        return None, [f"No file is called train: {', '.join(sorted(given))} is divided anew."] if given else []
    said = f"{len(unnamed)} of {len(files)} files name no split and are divided with the training images"
    return splits, [f"{said}: {', '.join(unnamed[:3])}."] if unnamed else []


def _split_of(file: Path, root: Path) -> str | None:
    names = (file.stem, *reversed(file.relative_to(root).parts[:-1]))
    return next((split for name in names if (split := split_of(name)) is not None), None)


def _classes_of(file: Path, label: str, *, given: bool) -> tuple[str, ...] | None:
    import polars as pl

    metadata = pl.read_parquet_metadata(file)
    try:
        if "huggingface" in metadata:
            feature = json.loads(metadata["huggingface"])["info"]["features"].get(label, {})
            # A list of labels is {"feature": {"names": ...}}, or [{"names": ...}] in older files.
            feature = feature[0] if isinstance(feature, list) else feature
            feature = feature if "names" in feature else feature.get("feature", {})
            names = feature.get("names")
            if isinstance(names, dict):  # {"0": "cat", "1": "dog"}, as a data set's card has them
                names = [names[key] for key in sorted(names, key=int)]
            if names is not None:
                return tuple(str(name) for name in names)
        if "classes" in metadata:
            return tuple(str(name) for name in json.loads(metadata["classes"]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if given:
            return None  # the user has said what the numbers mean
        raise DataError(
            f"the metadata of {file} name no classes that can be read",
            got=f"{type(error).__name__}: {error}",
            hint="give them as `classes` (--set 'target.data.classes=[first, second]')",
        ) from error
    return None


def _table_labels(column: "pl.Series", where: str, names: tuple[str, ...] | None) -> "TableLabels":
    import polars as pl

    from transferscope.data.sources.class_names import TableLabels

    _no_nulls(column, where)
    lengths, flat = None, column
    if isinstance(column.dtype, (pl.List, pl.Array)):
        if isinstance(column.dtype, pl.Array):
            column = column.arr.to_list()
        lengths = column.list.len()
        flat = column.filter(lengths > 0).explode()
        _no_nulls(flat, where)
    vector = lengths is not None and flat.dtype == pl.Boolean
    if isinstance(flat.dtype, (pl.Categorical, pl.Enum)):
        flat = flat.cast(pl.String)
    elif isinstance(flat.dtype, pl.Decimal):
        flat = flat.cast(pl.Float64)
    elif flat.dtype == pl.Null:  # of lists that are all empty
        flat = flat.cast(pl.Int64)
    elif not (flat.dtype == pl.String or flat.dtype == pl.Boolean or flat.dtype.is_numeric()):
        raise DataError(
            f"{where} holds no labels",
            expected="whole numbers, text, or lists of them",
            got=str(column.dtype),
            hint="name the label column in `label_column` (--set target.data.label_column=NAME)",
        )
    return TableLabels(where, flat.to_numpy(), None if lengths is None else lengths.to_numpy(), names, vector)


def _no_nulls(column: "pl.Series", where: str) -> None:
    if column.null_count():
        raise DataError(
            f"{where} has empty rows",
            expected="a value in every row",
            got=f"{column.null_count()} of {len(column)}, the first in row {column.is_null().arg_max()}",
            hint="leave those rows out of the file, or name another column",
        )
