"""The door for arguments: each is what the annotation of its parameter says, or an error names it.

One check for each kind of annotation, made once for each function: tensors, arrays, numbers, options, sequences,
mappings, loaders, settings objects. What is clear is taken: lists and arrays of numbers for tensors, numbers of NumPy.
torch is not imported here: a value of its can only come where it is loaded.
"""

import dataclasses
import functools
import inspect
import math
import os
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from transferscope.argument_kinds import (
    MisfitError,
    as_array,
    as_flag,
    as_function,
    as_groups,
    as_parameter,
    as_path,
    as_real,
    as_tensor,
    as_text,
    as_whole,
    is_network,
    is_of_torch,
    is_plain,
    is_tensor,
    is_tensor_or_array,
    shown,
)
from transferscope.errors import LoaderError, MeasureError, TransferscopeError, nearest

__all__ = ["check_fields", "checked", "checked_as", "checks_of", "is_plain"]

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[..., Any]

_LEAST = {"seed": 0, "draws": 1, "classes": 1, "positions": 1, "probes": 1, "restarts": 1, "resolution": 1}
"""The smallest whole number that an argument of a name can be."""
_GROUPS = ("clusters", "groups", "groups_a", "groups_b")
"""Arrays of whatever tells groups apart: numbers or names."""
_LIKE_ARRAYS = set(get_args(npt.ArrayLike))


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function see arguments of the kinds that its annotations name alone.

    Raises:
        MeasureError: an argument is none (:func:`checked_as` names another error); LoaderError where batches were
            expected.

    >>> checked(math.dist)  # without annotations nothing is checked
    Traceback (most recent call last):
    TypeError: no annotations to check by: dist
    """
    return checked_as(MeasureError)(function)


def checked_as(error: type[TransferscopeError]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """As :func:`checked`, of a function whose wrong arguments are another error."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not getattr(function, "__annotations__", None):
            raise TypeError(f"no annotations to check by: {function.__name__}")
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            checks = checks_of(function)
            for name, value in bound.arguments.items():
                if name in checks:
                    bound.arguments[name] = checks[name](value, error)
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


@functools.cache
def checks_of(function: Callable[..., object]) -> dict[str, Check]:
    """The check of each parameter by its name: gives the argument back, as the function takes it, or raises."""
    # What comes back may be named by a type that is imported for type checkers alone.
    hints = {name: hint for name, hint in inspect.get_annotations(function).items() if name != "return"}
    hints = get_type_hints(types.SimpleNamespace(__annotations__=hints), getattr(function, "__globals__", None))
    return {
        name: functools.partial(
            _named, f"{_name_of(function)}()", name, _further(parameter, _check(hints[name], _arrays_of(name)))
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if name in hints
    }


def _further(parameter: inspect.Parameter, check: Check) -> Check:
    """The check of what comes under one name: of ``*names`` and ``**names`` each."""
    if parameter.kind is parameter.VAR_KEYWORD:
        return functools.partial(_mapping, _anything, check)
    return functools.partial(_each_of, check) if parameter.kind is parameter.VAR_POSITIONAL else check


def _each_of(check: Check, values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_each(check, values))


def _name_of(function: Callable[..., object]) -> str:
    name = function.__qualname__.removesuffix(".__init__")
    return function.__name__ if "<locals>" in name else name


def check_fields(settings: Any, error: type[TransferscopeError]) -> None:
    """Raise where a field of a dataclass is none of what its annotation says."""
    kind: Any = type(settings)
    for name, check in _fields(kind).items():
        _named(kind.__name__, name, check, getattr(settings, name), error)


def _named(taker: str, name: str, check: Check, value: Any, error: type[TransferscopeError] = MeasureError) -> Any:
    try:
        fit = check(value)
        if isinstance(fit, int) and fit < _LEAST.get(name, fit):
            raise MisfitError(f"a whole number of at least {_LEAST[name]}", fit)
        # Within others it may stand for what is not known.
        if isinstance(fit, float) and math.isnan(fit):
            raise MisfitError("a number", fit)
        return fit
    except MisfitError as misfit:
        raise (misfit.kind or error)(
            f"{taker} cannot take this as {name}{misfit.where}",
            expected=misfit.expected,
            got=shown(misfit.got),
            hint=misfit.hint
            or (f"give an instance: {misfit.got.__name__}(...)" if isinstance(misfit.got, type) else None),
        ) from None


def _arrays_of(name: str) -> Check:
    return as_groups if name in _GROUPS else as_array


def _check(hint: Any, array: Check) -> Check:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(inner, array)
    if origin is Literal:
        return functools.partial(_option, inner)
    if hint is Path or origin is os.PathLike:
        return as_path
    if hint in _SCALARS:
        return _SCALARS[hint]
    if _is_named(hint, "Tensor"):
        return as_tensor
    if origin is np.ndarray:
        return array
    if isinstance(origin, type):
        if issubclass(origin, Mapping):
            each = as_parameter if _is_named(inner[1], "Tensor") else _check(inner[1], array)
            return functools.partial(_mapping, _check(inner[0], array), each)
        if origin is Iterable and inner[0] in (Any, object):
            return _batches
        if origin is tuple and inner[-1] is not Ellipsis:
            return functools.partial(_several, [_check(part, array) for part in inner])
        if issubclass(origin, Iterable):
            return functools.partial(_items, _check(inner[0], array), origin)
        if origin.__name__ == "Callable":
            return as_function
    if isinstance(hint, type) and hint not in (object, Any) and not getattr(hint, "_is_protocol", False):
        return functools.partial(_instance, hint)
    return _anything


def _union(kinds: tuple[Any, ...], array: Check) -> Check:
    checks: list[Check] = []
    if set(kinds) >= _LIKE_ARRAYS:
        kinds, checks = tuple(kind for kind in kinds if kind not in _LIKE_ARRAYS), [array]
    if Path in kinds and str in kinds:
        kinds, checks = tuple(kind for kind in kinds if kind not in (Path, str)), [_path_as_given, *checks]
    checks = [_check(kind, array) for kind in kinds if kind is not types.NoneType] + checks

    def union(value: Any) -> Any:
        if value is None and types.NoneType in kinds:
            return None
        misfits = []
        for check in checks:
            try:
                return check(value)
            except MisfitError as misfit:
                misfits.append(misfit)
        # Where one kind fitted but for an item of it, that item is what is wrong.
        nearest_fit = max(misfits, key=lambda misfit: len(misfit.where))
        if not nearest_fit.where:
            expected = dict.fromkeys(misfit.expected for misfit in misfits)
            nearest_fit.expected = " or ".join([*expected, *(["None"] if types.NoneType in kinds else [])])
        raise nearest_fit

    return union


def _path_as_given(value: Any) -> Any:
    as_path(value)
    return value


def _anything(value: Any) -> Any:
    return value


def _option(options: tuple[object, ...], value: Any) -> Any:
    if not isinstance(value, str) or value not in options:
        hint = nearest(value, map(str, options)) if isinstance(value, str) else None
        raise MisfitError(" or ".join(map(repr, options)), value, hint)
    return value


def _is_named(hint: Any, name: str) -> bool:
    return getattr(hint, "__module__", None) == "torch" and getattr(hint, "__name__", None) == name


def _items(check: Check, origin: type, value: Any) -> Any:
    if isinstance(value, str) and check is as_text:
        return [value]  # one name is what is meant, not its letters
    # Of what has no order, or stands for its keys, nobody knows what the first one is.
    unordered = origin is Collection and isinstance(value, (Mapping, Set))
    wrong = isinstance(value, (str, bytes, type)) or is_network(value) or unordered
    if is_tensor_or_array(value):
        wrong = value.ndim == 0 or (is_tensor(value) and not is_plain(value))
    elif not isinstance(value, Iterable if origin is not Sequence else Sequence):
        wrong = True
    if wrong:
        raise MisfitError("several, as a list or tuple", value)
    if is_tensor_or_array(value):
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
        except MisfitError as misfit:
            raise misfit.within(f"[{index}]") from None
    return found


def _several(checks: Sequence[Check], value: Any) -> Any:
    array = isinstance(value, np.ndarray) and value.ndim > 0
    if not (array or isinstance(value, (list, tuple))) or len(value) != len(checks):
        raise MisfitError(f"{len(checks)} of them, as a tuple", value)
    return tuple(_each(lambda pair: pair[0](pair[1]), zip(checks, value, strict=True)))


def _mapping(key: Check, check: Check, value: Any) -> Any:
    if not isinstance(value, Mapping):
        hint = None
        if check is as_parameter:
            hint = "of a network: dict(network.named_parameters())"
        elif check is _batches:
            raise MisfitError('loaders by the name of their split: a dictionary such as {"test": loader}', value)
        raise MisfitError("a dictionary", value, hint)
    found = {}
    for name, item in value.items():
        try:
            found[key(name)] = check(item)
        except MisfitError as misfit:
            raise misfit.within(f"[{name!r}]") from None
    return value if all(found[name] is item for name, item in value.items()) else found


def _batches(value: Any) -> Any:
    data_set = is_of_torch(value, "torch.utils.data", "Dataset")
    wrong = isinstance(value, (str, bytes, Mapping, type)) or is_tensor_or_array(value) or is_network(value) or data_set
    hint = "one batch alone is [(images, labels)]"
    if data_set:
        hint = "torch.utils.data.DataLoader(data, batch_size=64)"
    elif isinstance(value, Mapping):
        hint = "give one of its loaders: data['test']"
    elif isinstance(value, tuple) and len(value) == 2 and all(map(is_tensor_or_array, value)):
        # Images and labels, which would be read as two batches.
        wrong = value[0].ndim > value[1].ndim
    if wrong or not (isinstance(value, Iterable) or hasattr(value, "__getitem__")):
        raise MisfitError("a loader: batches that can be iterated", value, hint, kind=LoaderError)
    return value


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise MisfitError(f"a {kind.__module__}.{kind.__name__}".replace("a builtins.", "a "), value)
    if dataclasses.is_dataclass(value):
        kind_of: Any = type(value)
        for name, check in _fields(kind_of).items():
            try:
                check(getattr(value, name))
            except MisfitError as misfit:
                raise misfit.within(f".{name}") from None
    return value


@functools.cache
def _fields(kind: Any) -> dict[str, Check]:
    hints = get_type_hints(kind)
    return {field.name: _check(hints[field.name], _arrays_of(field.name)) for field in dataclasses.fields(kind)}


_SCALARS: dict[Any, Check] = {int: as_whole, float: as_real, bool: as_flag, str: as_text}
