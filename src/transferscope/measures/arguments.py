"""Arguments of measures as plain values: measures keep no gradient, whatever comes in, and take what fits alone."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.arguments import checked, is_plain
from transferscope.errors import MeasureError

__all__ = ["check_axes", "group_numbers", "of_arrays", "of_tensors"]

P = ParamSpec("P")
R = TypeVar("R")


def check_axes(name: str, array: Any, *axes: int | None) -> None:
    """Raise a MeasureError where an array has other axes.

    >>> check_axes("weights", torch.ones(2, 3), None, 3)
    """
    shape = tuple(array.shape)
    asked = [max(1, size) if axis is None else axis for size, axis in zip(shape, axes, strict=False)]
    if len(shape) != len(axes) or [*shape] != asked:
        raise MeasureError(
            f"{name} does not fit the other arguments",
            expected=f"the axes ({', '.join('any' if axis is None else str(axis) for axis in axes)})",
            got=str(shape),
        )


def of_tensors(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of tensors see them detached, those in lists and dictionaries too.

    >>> @of_tensors
    ... def keeps(x: Tensor) -> bool:
    ...     return x.requires_grad
    >>> keeps(torch.ones(1, requires_grad=True))
    False
    """
    return _with(function, torch.Tensor.detach)


def of_arrays(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of arrays take tensors in their place, of any device and floating-point type.

    >>> @of_arrays
    ... def kind(x: npt.ArrayLike) -> str:
    ...     return type(x).__name__
    >>> kind(torch.ones(1, dtype=torch.bfloat16, requires_grad=True))
    'ndarray'
    """
    return _with(function, _array)


def group_numbers(groups: npt.ArrayLike, examples: int, *, name: str = "clusters") -> npt.NDArray[np.intp]:
    """Number the groups that examples belong to from 0, in the order of their sorted names.

    >>> group_numbers(["b", "a", "b"], 3).tolist()
    [1, 0, 1]
    """
    labels = np.asarray(groups)
    if labels.shape != (examples,):
        raise MeasureError(
            f"{name} must name the group of each example", expected=f"({examples},)", got=str(labels.shape)
        )
    return np.unique(labels, return_inverse=True)[1]


def _with(function: Callable[P, R], change: Callable[[Tensor], Any]) -> Callable[P, R]:
    function = checked(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        plain = [_changed(item, change) for item in args]
        named = {name: _changed(item, change) for name, item in kwargs.items()}
        return function(*plain, **named)

    return call


def _changed(item: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(item, Tensor):
        return change(item) if is_plain(item) else item  # refused at the door
    if type(item) in (list, tuple) and any(isinstance(part, (Tensor, list, tuple)) for part in item):
        return type(item)(_changed(part, change) for part in item)
    if isinstance(item, Mapping) and any(isinstance(part, Tensor) for part in item.values()):
        return {key: _changed(part, change) for key, part in item.items()}
    return item


def _array(tensor: Tensor) -> Any:
    # NumPy has no bfloat16.
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
