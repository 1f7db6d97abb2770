"""The door for arguments: each is what the annotation of its parameter says, or an error names it.

One check for each kind of annotation, made once for each function: tensors, arrays, numbers, options, sequences,
mappings, loaders, settings objects. What is clear is taken: lists and arrays of numbers for tensors, numbers of NumPy.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import operator
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from transferscope.errors import LoaderError, MeasureError, TransferscopeError, nearest

__all__ = ["checked", "checks_of", "is_plain"]

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[[Any], Any]

_LEAST = {"seed": 0, "draws": 1, "classes": 1, "positions": 1, "probes": 1, "restarts": 1, "resolution": 1}
"""The smallest whole number that an argument of a name can be."""
_GROUPS = ("clusters", "groups", "groups_a", "groups_b")
"""Arrays of whatever tells groups apart: numbers or names."""
_LIKE_ARRAYS = set(get_args(npt.ArrayLike))
_WIDER = {torch.uint16: torch.int64, torch.uint32: torch.int64, torch.uint64: torch.int64}
"""Types that torch stores and does not compute with."""


class _MisfitError(Exception):
    """What was expected and what came, where within the argument."""

    def __init__(
        self, expected: str, got: object, hint: str | None = None, *, kind: type[TransferscopeError] = MeasureError
    ) -> None:
        super().__init__(expected)
        self.expected, self.got, self.hint, self.kind = expected, got, hint, kind
        self.where = ""

    def within(self, where: str) -> "_MisfitError":
        self.where = where + self.where
        return self


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function see arguments of the kinds that its annotations name alone.

    Raises:
        MeasureError: an argument is none; LoaderError where batches were expected.

    >>> checked(math.dist)  # without annotations nothing is checked
    Traceback (most recent call last):
    TypeError: no annotations to check by: dist
    """
    if not getattr(function, "__annotations__", None):
        raise TypeError(f"no annotations to check by: {function.__name__}")
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        checks = checks_of(function)
        for name, value in bound.arguments.items():
            if name in checks:
                bound.arguments[name] = checks[name](value)
        return function(*bound.args, **bound.kwargs)

    return call


@functools.cache
def checks_of(function: Callable[..., object]) -> dict[str, Check]:
    """The check of each parameter by its name: gives the argument back, as the function takes it, or raises."""
    hints = get_type_hints(function)
    return {
        name: functools.partial(_named, function.__name__, name, _check(hints[name], _arrays_of(name)))
        for name in inspect.signature(function).parameters
        if name in hints
    }


def _named(function: str, name: str, check: Check, value: Any) -> Any:
    try:
        fit = check(value)
        if isinstance(fit, int) and fit < _LEAST.get(name, fit):
            raise _MisfitError(f"a whole number of at least {_LEAST[name]}", fit)
        # Within others it may stand for what is not known.
        if isinstance(fit, float) and math.isnan(fit):
            raise _MisfitError("a number", fit)
        return fit
    except _MisfitError as check_study:
        raise check_study.kind(
            f"{function}() cannot take this as {name}{check_study.where}",
            expected=check_study.expected,
            got=_shown(check_study.got),
            hint=check_study.hint
            or (f"give an instance: {check_study.got.__name__}(...)" if isinstance(check_study.got, type) else None),
        ) from None


def _arrays_of(name: str) -> Check:
    return _groups if name in _GROUPS else _array


def _check(hint: Any, array: Check) -> Check:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(inner, array)
    if origin is Literal:
        return functools.partial(_option, inner)
    if hint is Path:
        return _path
    if hint in _SCALARS:
        return _SCALARS[hint]
    if origin is np.ndarray:
        return array
    if isinstance(origin, type):
        if issubclass(origin, Mapping):
            each = _parameter if inner[1] is Tensor else _check(inner[1], array)
            return functools.partial(_mapping, _check(inner[0], array), each)
        if origin is Iterable and inner[0] in (Any, object):
            return _batches
        if origin is tuple and inner[-1] is not Ellipsis:
            return functools.partial(_several, [_check(part, array) for part in inner])
        if issubclass(origin, Iterable):
            return functools.partial(_items, _check(inner[0], array), origin)
        if origin.__name__ == "Callable":
            return _function
    if isinstance(hint, type) and hint is not object and not getattr(hint, "_is_protocol", False):
        return functools.partial(_instance, hint)
    return _anything


def _union(kinds: tuple[Any, ...], array: Check) -> Check:
    checks: list[Check] = []
    if set(kinds) >= _LIKE_ARRAYS:
        kinds, checks = tuple(kind for kind in kinds if kind not in _LIKE_ARRAYS), [array]
    checks = [_check(kind, array) for kind in kinds if kind is not types.NoneType] + checks

    def union(value: Any) -> Any:
        if value is None and types.NoneType in kinds:
            return None
        misfits = []
        for check in checks:
            try:
                return check(value)
            except _MisfitError as check_study:
                misfits.append(check_study)
        # Where one kind fitted but for an item of it, that item is what is wrong.
        nearest_fit = max(misfits, key=lambda check_study: len(check_study.where))
        if not nearest_fit.where:
            expected = dict.fromkeys(check_study.expected for check_study in misfits)
            nearest_fit.expected = " or ".join([*expected, *(["None"] if types.NoneType in kinds else [])])
        raise nearest_fit

    return union


def _anything(value: Any) -> Any:
    return value


def _option(options: tuple[object, ...], value: Any) -> Any:
    if not isinstance(value, str) or value not in options:
        hint = nearest(value, map(str, options)) if isinstance(value, str) else None
        raise _MisfitError(" or ".join(map(repr, options)), value, hint)
    return value


def _whole(value: Any) -> Any:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except (TypeError, RuntimeError):  # the latter of tensors that are no whole numbers
        raise _MisfitError("a whole number", value) from None


def _real(value: Any) -> Any:
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0 and _is_real(value):
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise _MisfitError("a number", value)
    return value if isinstance(value, (int, float)) else float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise _MisfitError("True or False", value)
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _MisfitError("text", value)
    return value


def _path(value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)):
        raise _MisfitError("a path", value)
    return Path(value)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, (np.ndarray, np.generic, list, tuple)):
        array = _array(value, "a tensor")
        value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=True))
    if not isinstance(value, Tensor):
        raise _MisfitError("a tensor", value)
    if value.is_complex() or not is_plain(value):
        raise _MisfitError("a dense tensor of real numbers that holds values", value)
    if value.ndim == 0:
        raise _MisfitError("a tensor with axes", value)
    return value.to(_WIDER[value.dtype]) if value.dtype in _WIDER else value


def _parameter(value: Any) -> Tensor:
    # Of a network, whose own it is what it holds: counters without axes, complex numbers.
    return value if isinstance(value, Tensor) else _tensor(value)


def _array(value: Any, expected: str = "an array") -> npt.NDArray[Any]:
    array = _as_array(value, expected)
    if not _is_real(array) or array.ndim == 0:
        raise _MisfitError(f"{expected} of real numbers", value)
    return array


def _groups(value: Any) -> Any:
    array = _as_array(value, "a group for each example: numbers or names")
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat):
        array = array.astype(str)
    if array.ndim != 1 or array.dtype.kind not in "biufUSM":
        raise _MisfitError("a group for each example: numbers or names", value)
    return array


def _as_array(value: Any, expected: str) -> npt.NDArray[Any]:
    no_array = isinstance(value, Tensor) and not is_plain(value)
    if value is None or no_array or isinstance(value, (str, bytes, Mapping, Set, nn.Module)):
        raise _MisfitError(expected, value)
    try:
        return np.asarray(value.detach().cpu().float() if _is_half(value) else value)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of unequal lengths; objects that are no numbers
        raise _MisfitError(f"{expected}: rows of one length", value) from error


def is_plain(tensor: Tensor) -> bool:
    """Whether it can be computed with and read: neither sparse nor quantised, and not without values."""
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _is_half(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _is_real(value: Tensor | npt.NDArray[Any]) -> bool:
    return not value.is_complex() if isinstance(value, Tensor) else value.dtype.kind in "biuf"


def _items(check: Check, origin: type, value: Any) -> Any:
    if isinstance(value, str) and check is _text:
        return [value]  # one name is what is meant, not its letters
    wrong = isinstance(value, (str, bytes, nn.Module, type))
    if isinstance(value, (np.ndarray, Tensor)):
        wrong = value.ndim == 0 or (isinstance(value, Tensor) and not is_plain(value))
    elif not isinstance(value, Iterable if origin is not Sequence else Sequence):
        wrong = True
    if wrong:
        raise _MisfitError("several, as a list or tuple", value)
    if isinstance(value, (np.ndarray, Tensor)):
        return _each(check, list(value) if value.ndim > 1 else value.tolist())
    if not isinstance(value, (list, tuple)):
        return value  # what can be read only once is left to the function
    found = _each(check, value)
    return value if all(a is b for a, b in zip(found, value, strict=True)) else type(value)(found)


def _each(check: Check, values: Iterable[Any]) -> list[Any]:
    found = []
    for index, item in enumerate(values):
        try:
            found.append(check(item))
        except _MisfitError as check_study:
            raise check_study.within(f"[{index}]") from None
    return found


def _several(checks: Sequence[Check], value: Any) -> Any:
    array = isinstance(value, np.ndarray) and value.ndim > 0
    if not (array or isinstance(value, (list, tuple))) or len(value) != len(checks):
        raise _MisfitError(f"{len(checks)} of them, as a tuple", value)
    return tuple(_each(lambda pair: pair[0](pair[1]), zip(checks, value, strict=True)))


def _mapping(key: Check, check: Check, value: Any) -> Any:
    if not isinstance(value, Mapping):
        hint = None
        if check is _parameter:
            hint = "of a network: dict(network.named_parameters())"
        elif check is _batches:
            raise _MisfitError('loaders by the name of their split: a dictionary such as {"test": loader}', value)
        raise _MisfitError("a dictionary", value, hint)
    found = {}
    for name, item in value.items():
        try:
            found[key(name)] = check(item)
        except _MisfitError as check_study:
            raise check_study.within(f"[{name!r}]") from None
    return value if all(found[name] is item for name, item in value.items()) else found


def _batches(value: Any) -> Any:
    wrong = isinstance(value, (str, bytes, Mapping, Tensor, np.ndarray, nn.Module, Dataset, type))
    hint = "one batch alone is [(images, labels)]"
    if isinstance(value, Dataset):
        hint = "torch.utils.data.DataLoader(data, batch_size=64)"
    elif isinstance(value, Mapping):
        hint = "give one of its loaders: data['test']"
    elif isinstance(value, tuple) and len(value) == 2 and all(isinstance(item, (Tensor, np.ndarray)) for item in value):
        # Images and labels, which would be read as two batches.
        wrong = value[0].ndim > value[1].ndim
    if wrong or not (isinstance(value, Iterable) or hasattr(value, "__getitem__")):
        raise _MisfitError("a loader: batches that can be iterated", value, hint, kind=LoaderError)
    return value


def _function(value: Any) -> Any:
    if not callable(value):
        raise _MisfitError("a function", value)
    return value


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise _MisfitError(f"a {kind.__module__}.{kind.__name__}".replace("a builtins.", "a "), value)
    if dataclasses.is_dataclass(value):
        kind_of: Any = type(value)
        for name, check in _fields(kind_of).items():
            try:
                check(getattr(value, name))
            except _MisfitError as check_study:
                raise check_study.within(f".{name}") from None
    return value


@functools.cache
def _fields(kind: Any) -> dict[str, Check]:
    hints = get_type_hints(kind)
    return {field.name: _check(hints[field.name], _arrays_of(field.name)) for field in dataclasses.fields(kind)}


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}, no instance of it"
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, {value.layout}, on {value.device}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    if value is None or isinstance(value, (str, bool, int, float, complex, np.generic)):
        text = repr(value)
        return text if len(text) < 80 else f"{text[:80]}…"
    if isinstance(value, (list, tuple)) and value:
        return f"{type(value).__name__} of {type(value[0]).__name__}"
    return type(value).__name__


_SCALARS: dict[Any, Check] = {int: _whole, float: _real, bool: _flag, str: _text, Tensor: _tensor}
