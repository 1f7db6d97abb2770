"""Options that travel together: a frozen dataclass as one parameter of a command."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints

__all__ = ["grouped"]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let every field of a dataclass among a command's parameters be an option of its own.

    Args:
        command: some of its parameters are annotated with dataclasses, whose fields are annotated as parameters of
            typer's are.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint) and isinstance(hint, type)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        fields = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=fields[field.name]
            )
            for field in dataclasses.fields(groups[name])
        ]

    @wraps(command)
    def called(**given: Any) -> None:
        whole = {
            name: group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**given, **whole)

    setattr(called, "__signature__", inspect.Signature(parameters))  # noqa: B010 - mypy knows no such attribute
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called
