"""Declared columns of a table: type, unit, meaning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl


@dataclass(frozen=True)
class Column:
    """One declared column of a table.

    Attributes:
        dtype: ``str``, ``int``, ``float`` or ``bool``.
        meaning: one line for a reader.
        unit: ``1`` for ratios, ``count``, ``nat`` for losses, ``metric`` for the study's metric in [0, 1], ...
        measured_on: the split its values come from; ``test`` columns are hidden from decisions. ``row`` says that the
            column named ``split`` tells, row by row.
        null: what a null means; None if there never is one.
    """

    dtype: type
    meaning: str
    unit: str = "1"
    measured_on: Literal["train", "validation", "test", "row"] | None = None
    null: str | None = None


_DTYPES: dict[type, pl.DataType] = {str: pl.String(), int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean()}


def schema(columns: Mapping[str, Column]) -> dict[str, pl.DataType]:
    """The polars schema of declared columns: what an empty table, or rows with missing values, are built with."""
    return {name: _DTYPES[column.dtype] for name, column in columns.items()}


def fits(found: pl.DataType, declared: pl.DataType) -> bool:
    """Whether a cast loses nothing: numbers to wider ones, and columns of nulls alone."""
    if found == pl.Null() or found == declared:
        return True
    if declared == pl.Float64():
        return found.is_numeric()
    return declared == pl.Int64() and found.is_integer()
