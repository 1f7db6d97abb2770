"""Whether an argument is a number, a text, a path, a tensor, an array: :mod:`transferscope.arguments` asks it.

torch is not imported here: a value of its can only come where it is loaded.
"""

import numbers
import operator
import os
import sys
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from transferscope.errors import TransferscopeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MisfitError", "as_array", "as_flag", "as_function", "as_groups", "as_parameter", "as_path", "as_real", "as_tensor",
    "as_text", "as_whole", "is_network", "is_of_torch", "is_plain", "is_tensor", "is_tensor_or_array", "read_array",
    "shown",
]  # fmt: skip

_NARROW = {"torch.uint16", "torch.uint32", "torch.uint64"}
"""Types that torch stores and does not compute with."""


class MisfitError(Exception):
    """What was expected and what came, where within the argument."""

    def __init__(
        self, expected: str, got: object, hint: str | None = None, *, kind: type[TransferscopeError] | None = None
    ) -> None:
        super().__init__(expected)
        self.expected, self.got, self.hint, self.kind = expected, got, hint, kind
        self.where = ""

    def within(self, where: str) -> "MisfitError":
        """Say where within the argument."""
        self.where = where + self.where
        return self


def as_whole(value: Any) -> Any:
    """Take a whole number, also of NumPy or a tensor, no truth value."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except (TypeError, RuntimeError):  # the latter of tensors that are no whole numbers
        raise MisfitError("a whole number", value) from None


def as_real(value: Any) -> Any:
    """Take a real number, also of an array or a tensor without axes."""
    if is_tensor_or_array(value) and value.ndim == 0 and _is_real(value):
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise MisfitError("a number", value)
    return value if isinstance(value, (int, float)) else float(value)


def as_flag(value: Any) -> bool:
    """Take True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise MisfitError("True or False", value)
    return bool(value)


def as_text(value: Any) -> str:
    """Take text."""
    if not isinstance(value, str):
        raise MisfitError("text", value)
    return value


def as_path(value: Any) -> Path:
    """Take the path of a file or folder."""
    # Bytes, which some paths hold within, and zeros are none that the system takes.
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or "\0" in text:
        raise MisfitError("a path", value)
    return Path(text)


def as_function(value: Any) -> Any:
    """Take what can be called."""
    if not callable(value):
        raise MisfitError("a function", value)
    return value


def as_tensor(value: Any) -> "Tensor":
    """Take a dense tensor of real numbers; arrays and lists of numbers become one."""
    if isinstance(value, (np.ndarray, np.generic, list, tuple)):
        import torch

        array = as_array(value, "a tensor")
        value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))
    if not is_tensor(value):
        raise MisfitError("a tensor", value)
    if value.is_complex() or not is_plain(value):
        raise MisfitError("a dense tensor of real numbers that holds values", value)
    if value.ndim == 0:
        raise MisfitError("a tensor with axes", value)
    return value.long() if str(value.dtype) in _NARROW else value


def as_parameter(value: Any) -> "Tensor":
    """Take a tensor of a network."""
    # Of a network, whose own it is what it holds: counters without axes, complex numbers.
    return value if is_tensor(value) else as_tensor(value)


def as_array(value: Any, expected: str = "an array") -> npt.NDArray[Any]:
    """Take an array of real numbers."""
    array = read_array(value, expected)
    if not _is_real(array) or array.ndim == 0:
        raise MisfitError(f"{expected} of real numbers", value)
    return array


def as_groups(value: Any) -> Any:
    """Take what tells groups apart: numbers or names."""
    array = read_array(value, "a group for each example: numbers or names")
    if array.ndim != 1 or array.dtype.kind not in "biufUSM":
        raise MisfitError("a group for each example: numbers or names", value)
    return array


def read_array(value: Any, expected: str) -> npt.NDArray[Any]:
    """Take an array of whatever it holds, words of Python as words of NumPy."""
    no_array = is_network(value) or (is_tensor(value) and not is_plain(value))
    if value is None or no_array or isinstance(value, (str, bytes, Mapping, Set)):
        raise MisfitError(expected, value)
    try:
        if is_tensor(value):
            value = value.detach().cpu()
        array = np.asarray(value.float() if _is_half(value) else value)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of unequal lengths; objects that are no numbers
        raise MisfitError(f"{expected}: rows of one length", value) from error
    words = array.dtype.kind == "O" and array.size > 0 and all(isinstance(item, str) for item in array.flat)
    return array.astype(str) if words else array


def is_plain(tensor: "Tensor") -> bool:
    """Whether it can be computed with and read: neither sparse nor quantised, and not without values."""
    return str(tensor.layout) == "torch.strided" and not tensor.is_quantized and not tensor.is_meta


def _is_half(value: object) -> bool:
    return is_tensor(value) and str(value.dtype) == "torch.bfloat16"


def _is_real(value: Any) -> bool:
    return not value.is_complex() if is_tensor(value) else value.dtype.kind in "biuf"


def is_of_torch(value: object, module: str, name: str) -> bool:
    """Whether a value is of a class of torch; where that is not loaded, it is none."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def is_tensor(value: object) -> "TypeGuard[Tensor]":
    """Whether a value is a tensor."""
    return is_of_torch(value, "torch", "Tensor")


def is_network(value: object) -> bool:
    """Whether a value is a network."""
    return is_of_torch(value, "torch.nn", "Module")


def is_tensor_or_array(value: Any) -> bool:
    """Whether a value is a tensor or an array."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def shown(value: Any) -> str:
    """Say what came, in few words."""
    if isinstance(value, type):
        return f"the class {value.__name__}, no instance of it"
    if is_tensor(value):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, {value.layout}, on {value.device}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    if value is None or isinstance(value, (str, bool, int, float, complex, np.generic)):
        text = repr(value)
        return text if len(text) < 80 else f"{text[:80]}…"
    if isinstance(value, (list, tuple)) and value:
        return f"{type(value).__name__} of {type(value[0]).__name__}"
    return type(value).__name__
