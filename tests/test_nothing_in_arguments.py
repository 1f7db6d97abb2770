"""Measures of nothing: an error that says what is missing, or a null; never NaN, a warning, a library's own error."""

import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_wrong_arguments import METHODS, PUBLIC, function_of, row_of
from transferscope.errors import MeasureError

MEASURES = [name for name in PUBLIC if name not in METHODS]
NULLS_AS_NAN = {"weighted_mistakes"}
"""Whose NaN stands for what is not defined, as it says: a stratum may be empty."""


def emptied(value: Any) -> Iterator[Any]:
    """The same without examples, without features, without seeds."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        yield value[:0]
        if value.ndim > 1:
            yield value[:, :0]
        yield from (value[None][:0], value[None][:, :0])
    elif isinstance(value, (list, tuple, dict)):
        yield type(value)()


def holds_nan(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and bool(value.isnan().any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and bool(np.isnan(value).any())
    if isinstance(value, dict):
        return any(map(holds_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(holds_nan, value))
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    return any(holds_nan(getattr(value, field.name)) for field in fields)


def calls(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One argument empty, then all of them in the same way."""
    found = {word: list(emptied(value)) for word, value in row.items()}
    yield from ({**row, word: value} for word, values in found.items() for value in values)
    for index in range(4):
        yield row | {word: values[index] for word, values in found.items() if index < len(values)}


@pytest.mark.kind("empty")
@pytest.mark.parametrize("name", MEASURES)
def test_of_nothing_a_measure_makes_no_number(name: str) -> None:
    for row in calls(row_of(name)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                value = function_of(name)(**row)
            except MeasureError:
                continue
        assert name in NULLS_AS_NAN or not holds_nan(value)
