"""Functions that users name as ``package.module:function``: found without running them, imported only with consent.

A factory is code. It may run where the user typed its name (``--model``, ``--architecture``, ``--set``, a Python call),
where the user said so (``--allow-code``), or where an installed package offers it. Files never give that consent.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from transferscope.errors import TransferscopeError, nearest

GROUP = "transferscope.factories"
"""Entry points by which an installed package offers its factories to every study."""

_forbidden: ContextVar[tuple[str, str] | None] = ContextVar("forbidden", default=None)


@contextmanager
def code_forbidden(command: str, instead: str = "transferscope run STUDY --allow-code") -> Iterator[None]:
    """Refuse every factory meanwhile: reading what a study left must not run its code."""
    token = _forbidden.set((command, instead))
    try:
        yield
    finally:
        _forbidden.reset(token)


def offered(name: str) -> bool:
    """Whether an installed package offers a factory, by an entry point of the group ``transferscope.factories``."""
    return any(point.value == name for point in entry_points(group=GROUP))


def find_module(name: str) -> Path | None:
    """The file of a module, found without importing it or its packages; None where there is none.

    Args:
        name: dotted, of an installed package or of a file in the current folder.
    """
    places: list[str] | None = [*sys.path, os.getcwd()]
    found = None
    for depth in range(1, len(parts := name.split(".")) + 1):
        found = PathFinder.find_spec(".".join(parts[:depth]), places)
        if found is None:
            return None
        places = found.submodule_search_locations
        if places is None and depth < len(parts):
            return None
    origin = Path(found.origin) if found is not None and found.origin else None
    return origin if origin is not None and origin.is_file() else None


_EXPECTED = "package.module:function of an installed package, or of a file in the current folder"


def import_factory(
    name: str, error: type[TransferscopeError], what: str, expected: str = _EXPECTED
) -> Callable[..., Any]:
    """Import a function of the user's own.

    Args:
        name: ``package.module:function``, installed or in the current folder.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise error(f"{what} of your own needs a module and a function", expected="package.module:function", got=name)
    if (forbidden := _forbidden.get()) is not None:
        command, instead = forbidden
        raise error(
            f"{command} does not run code, and this study's {what} is code: {name}",
            expected="a study without functions of its own",
            hint=f"{instead} finds what is finished in the store and writes the report",
        )
    with current_folder():
        try:
            module = importlib.import_module(module_name)
        except Exception as problem:  # a module of somebody's may raise anything when it is imported
            raise error(
                f"cannot import the module of the {what} {name!r}: {type(problem).__name__}: {problem}",
                expected=expected,
                got=name,
                hint="check the spelling, install the package, or run from the folder it lies in",
            ) from problem
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [item for item, value in vars(module).items() if callable(value) and not item.startswith("_")]
        raise error(
            f"the module {module_name!r} has no function {function_name!r}",
            got=name,
            hint=nearest(function_name, names),
        )
    checked: Callable[..., Any] = function
    return checked


def call_factory(name: str, error: type[TransferscopeError], what: str, options: dict[str, Any]) -> Any:
    """Import a function of the user's own and call it with ``options``; see :func:`import_factory`.

    What the function raises is raised as it is.
    """
    function = import_factory(name, error, what)
    with current_folder():
        return function(**options)


@contextmanager
def current_folder() -> Iterator[None]:
    """The current folder at the end of the path meanwhile: no file there can hide a library."""
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
