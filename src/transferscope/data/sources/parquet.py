"""Parquet files in the layout of the Hugging Face hub."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transferscope.data.sources.base import SPLIT_WORDS, AbstractSource, Listing, existing, files_stamp
from transferscope.data.sources.tree import read_tree
from transferscope.errors import DataError, nearest

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from PIL import Image

__all__ = ["Parquet"]

_IMAGE_NAMES = ("image", "img")
_LABEL_NAMES = ("label", "labels")
_BLOCK_BYTES = 256 * 2**20


class Parquet(AbstractSource):
    """A Parquet file, or a folder of them, with encoded pictures.

    The split of a file is read off its name (``train-00000-of-00001.parquet``, ``test...``,
    ``validation...``) or its folder's. Pictures are a struct of ``bytes`` and ``path``, plain bytes, or a
    path below the file's folder. Labels are whole numbers, words, or lists of either (several at once).

    Attributes:
        path: file or folder.
        image_column: column of pictures; ``image`` or ``img`` where None.
        label_column: column of labels; ``label`` or ``labels`` where None.
        group_column: column of what must not be torn apart by a split (patient, say).
        classes: names of the classes; where None those in the file's metadata (of Hugging Face's features, or
            a JSON list under ``classes``), else the words or numbers themselves.
    """

    kind: Literal["parquet"] = "parquet"
    path: str
    image_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    classes: tuple[str, ...] | None = None

    def listing(self) -> Listing:
        """Rows in the order of file names, named ``file#row``.

        Raises:
            DataError: no file, not Parquet, a missing column, or labels without meaning.
        """
        import polars as pl

        files = self._files()
        root = files[0].parent if len(files) == 1 else self._root()
        image, label = self._columns(files[0])
        columns = [label] + ([self.group_column] if self.group_column else [])
        tables: list[pl.DataFrame] = []
        for file in files:
            schema = _schema(file)
            for column in [image, *columns]:
                _present(column, list(schema), file)
            tables.append(pl.read_parquet(file, columns=columns, hive_partitioning=False))
        counts = [len(table) for table in tables]
        try:
            rows = pl.concat(tables, how="vertical_relaxed")
        except pl.exceptions.PolarsError as error:
            raise DataError(f"the files of {self.path} differ in the type of their labels", got=str(error)) from error
        classes = self.classes or _classes_of(files[0], label)
        labels, names, multi = _labels(rows[label], classes)
        splits = [_split_of(file, root) for file in files]
        return Listing(
            names=[
                f"{file.relative_to(root).as_posix()}#{row}"
                for file, count in zip(files, counts, strict=True)
                for row in range(count)
            ],
            labels=labels,
            classes=names,
            read=_Reader(files, counts, image),
            splits=[split for split, count in zip(splits, counts, strict=True) for _ in range(count)]
            if any(splits)
            else None,
            groups=[str(value) for value in rows[self.group_column]] if self.group_column else None,
            multi_label=multi,
        )

    def stamp(self) -> object:
        """The files' paths, sizes and times."""
        return [self.identity(), files_stamp(self._root(), self._files())]

    def _root(self) -> Path:
        place = existing(self.path, "the Parquet file or folder")
        return place if place.is_dir() else place.parent

    def _files(self) -> list[Path]:
        place = existing(self.path, "the Parquet file or folder")
        if place.is_file():
            return [place]
        found = read_tree(place).files()
        files = sorted(place / name for name in found if name.lower().endswith(".parquet"))
        if not files:
            raise DataError(f"no Parquet files in {self.path}", expected="files ending in .parquet")
        return files

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
                    f"{file.name} has no column called {' or '.join(usual)}",
                    got="columns " + ", ".join(columns),
                    hint=f"name the column in `{setting}`",
                )
            _present(column, columns, file)
            chosen.append(column)
        return chosen[0], chosen[1]


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
        try:
            block = pl.scan_parquet(file).select(self._column).slice(start, rows).collect()
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{file} is damaged", got=str(error).splitlines()[0]) from error
        self._block = block[self._column]
        self._where = (number, start, start + len(block))


def _schema(file: Path) -> "dict[str, Any]":
    import polars as pl

    try:
        return dict(pl.read_parquet_schema(file))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{file} cannot be read as Parquet",
            got=str(error).splitlines()[0],
            hint="is the download complete?",
        ) from error


def _present(column: str, columns: list[str], file: Path) -> None:
    if column not in columns:
        raise DataError(f"{file.name} has no column {column!r}", hint=nearest(column, columns))


def _split_of(file: Path, root: Path) -> str | None:
    words = [file.stem.split("-")[0].split("_")[0], *reversed(file.relative_to(root).parts[:-1])]
    return next((SPLIT_WORDS[word.lower()] for word in words if word.lower() in SPLIT_WORDS), None)


def _classes_of(file: Path, label: str) -> tuple[str, ...] | None:
    import polars as pl

    metadata = pl.read_parquet_metadata(file)
    try:
        if "huggingface" in metadata:
            feature = json.loads(metadata["huggingface"])["info"]["features"].get(label, {})
            # A list of labels is {"feature": {"names": ...}}, or [{"names": ...}] in older files.
            feature = feature[0] if isinstance(feature, list) else feature
            feature = feature if "names" in feature else feature.get("feature", {})
            if "names" in feature:
                return tuple(str(name) for name in feature["names"])
        if "classes" in metadata:
            return tuple(str(name) for name in json.loads(metadata["classes"]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"the metadata of {file.name} name no classes that can be read",
            got=f"{type(error).__name__}: {error}",
            hint="give them as `classes`",
        ) from error
    return None


def _labels(column: "pl.Series", classes: tuple[str, ...] | None) -> "tuple[np.ndarray, tuple[str, ...], bool]":
    import numpy as np
    import polars as pl

    if column.null_count():
        raise DataError(
            f"the label column {column.name!r} has empty rows", got=f"{column.null_count()} of {len(column)}"
        )
    multi = isinstance(column.dtype, (pl.List, pl.Array))
    flat = column.explode().drop_nulls() if multi else column
    if isinstance(flat.dtype, (pl.Categorical, pl.Enum)):
        flat = flat.cast(pl.String)
    if flat.dtype == pl.String:
        names = classes or tuple(sorted(set(flat)))
        unknown = sorted(set(flat) - set(names))
        if unknown:
            raise DataError("labels name unknown classes", got=", ".join(unknown[:5]), hint=nearest(unknown[0], names))
        numbers = {name: number for number, name in enumerate(names)}
        values = np.array([numbers[word] for word in flat], dtype=np.int64)
    elif flat.dtype.is_integer():
        values = flat.to_numpy().astype(np.int64)
        names = classes or tuple(str(number) for number in range(int(values.max(initial=-1)) + 1))
    else:
        raise DataError(
            f"the labels in {column.name!r} are not whole numbers or words",
            expected="integers, text, or lists of them",
            got=str(column.dtype),
            hint="name the label column in `label_column`",
        )
    if not multi:
        return values, names, False
    wrong = (values < 0) | (values >= len(names))
    if wrong.any():
        raise DataError("labels are out of range", expected=f"0 to {len(names) - 1}", got=str(values[wrong][0]))
    lengths = column.list.len() if isinstance(column.dtype, pl.List) else column.cast(pl.List(flat.dtype)).list.len()
    matrix = np.zeros((len(column), len(names)), dtype=np.uint8)
    matrix[np.repeat(np.arange(len(column)), lengths.to_numpy()), values] = 1
    return matrix, names, True
