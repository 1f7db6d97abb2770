"""What is wrong with a study, in plain words: where, what was expected, what came, what was meant."""

import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from transferscope.errors import near, nearest
from transferscope.study.renamed import unknown_setting

Place = tuple[str | int, ...]
"""Where a setting stands: names and list positions from the top of the study."""


_MOST = 100  # problems told of one file; the nearest names of each take time


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        override: the ``--set`` that brought the value, None if it is the file's.
    """

    place: Place
    text: str
    line: int | None = None
    override: str | None = None

    def __str__(self) -> str:
        """One line: ``line 12, target.image_size: expected at least 8, got 4``."""
        if self.override is not None:
            where = f", {place_name(self.place)}" if self.place else ""
            return f"--set {self.override}{where}: {self.text}"
        where = f"line {self.line}, " if self.line is not None else ""
        return f"{where}{place_name(self.place)}: {self.text}"


def place_name(place: Place) -> str:
    """A place as written in ``--set``.

    >>> place_name(("analyses", 0, "similarity"))
    'analyses.0.similarity'
    """
    return ".".join(str(part) for part in place) or "the study"


def shown(value: object) -> str:
    """A value as a reader of YAML knows it, cut to 60 characters.

    >>> shown(None), shown(True), shown("a"), shown({"a": 1, "b": 2})
    ('nothing', 'true', "'a'", "settings ('a', 'b')")
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        text = f"settings ({', '.join(repr(name) for name in value)})" if value else "no settings"
    else:
        text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class _Found:
    place: Place
    expected: str  # "" where ``text`` says it all
    text: str
    branch: Place | None  # the setting whose type is one of several, where this is about one of them
    got: str = ""  # what came, with a hint; the part of ``text`` that holds for all alternatives


def problems_of(error: ValidationError, model: type[BaseModel], prefix: Place = ()) -> list[Problem]:
    """The problems behind a pydantic error, by the places of the file instead of pydantic's own.

    Returns:
        One problem per setting; alternatives of one setting are put together.
    """
    errors = error.errors(include_url=False)
    found = [_translate(problem, model) for problem in errors[:_MOST]]
    problems = [Problem((*prefix, *item.place), item.text) for item in _joined(found)]
    return problems + ([Problem(prefix, f"and {len(errors) - _MOST} more problems")] if len(errors) > _MOST else [])


def _joined(found: Sequence[_Found]) -> Iterator[_Found]:
    deeper = {item.branch for item in found if item.branch is not None and len(item.place) > len(item.branch)}
    seen: set[Place] = set()
    for item in found:
        if item.branch is None or item.place != item.branch:
            yield item
            continue
        if item.branch in deeper or item.branch in seen:
            continue  # one alternative fits better and says what is wrong inside it, or all have been told
        seen.add(item.branch)
        same = [other for other in found if other.branch == item.branch]
        expected = " or ".join(dict.fromkeys(other.expected for other in same if other.expected))
        yield replace(item, text=f"expected {expected}, got {item.got}") if expected and item.got else item


def _translate(problem: Any, model: type[BaseModel]) -> _Found:
    kind = problem["type"]
    context = problem.get("ctx", {})
    place, owners, branch = _walk(problem["loc"], model)
    value = problem["input"]
    if kind == "extra_forbidden":
        return _Found(place, "", f"there is no such setting; {unknown_setting(str(place[-1]), owners)}", branch)
    if kind == "missing":
        return _Found(place, "", "expected a value, but the setting is missing", branch)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        known = [tag for owner in owners for tag in _tags(owner)]
        field = context["discriminator"].strip("'")
        place = (*place, field)
        if kind == "union_tag_invalid":
            tag = str(context["tag"])
            return _Found(place, "", f"there is no {field} {tag!r}; {nearest(tag, known)}", branch)
        return _Found(place, "", f"expected one of {', '.join(known)}, but the setting is missing", branch)
    if kind in ("value_error", "assertion_error"):
        return _Found(place, "", str(context["error"]), branch)
    if kind in _EXPECTED:
        expected = _EXPECTED[kind](context)
        hint = ""
        if kind == "literal_error" and isinstance(value, str):
            known = _literals(context["expected"])
            hint = f"; {nearest(value, known)}" if near(value, known) else ""
        elif kind == "string_type" and value is not None and not isinstance(value, (list, dict)):
            hint = " (write it in quotes)"
        elif value is None:
            hint = " (remove the name, or give it a value)"
        got = f"{shown(value)}{hint}"
        return _Found(place, expected, f"expected {expected}, got {got}", branch, got)
    return _Found(place, "", f"{problem['msg']}, got {shown(value)}", branch)


def _walk(loc: Sequence[str | int], model: type[BaseModel]) -> tuple[Place, list[type[BaseModel]], Place | None]:
    """The place that pydantic's location means: it also holds union tags and names of union members.

    Returns:
        The place, the models that could stand there or own its last part, and the place of a union on the way.
    """
    options: list[Any] = [model]
    owners: list[type[BaseModel]] = [model]
    place: Place = ()
    branch: Place | None = None
    for index, part in enumerate(loc):
        models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        tagged = [option for option in models if part in _tags(option)] if len(models) > 1 else []
        fields = [option.model_fields[part] for option in models if part in option.model_fields]
        inside = [item for option in options for item in _items(option, part)]
        if tagged:
            options = list(tagged)
        elif fields:
            options = [item for info in fields for item in _members(info.annotation)]
            place = (*place, part)
        elif inside:
            options = [item for option in inside for item in _members(option)]
            place = (*place, part)
        elif models and index == len(loc) - 1 and isinstance(part, str):
            return (*place, part), models, branch
        else:
            branch = place
            continue
        owners = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    return place, owners, branch


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, without None and metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [item for option in get_args(annotation) for item in _members(option)]
    return [] if annotation is type(None) else [annotation]


def _items(annotation: Any, part: str | int) -> list[Any]:
    """The annotation of an item of a list, tuple or dictionary."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict and isinstance(part, str):
        return [arguments[1]]
    if origin in (list, tuple, set, frozenset) and isinstance(part, int):
        if origin is tuple and Ellipsis not in arguments:
            return [arguments[part]] if part < len(arguments) else []
        return [arguments[0]]
    return []


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    """The kinds a member of a union told apart by ``kind`` answers to."""
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind is not None and get_origin(kind.annotation) is Literal else ()


def _literals(expected: str) -> list[str]:
    return [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]


def _always(words: str) -> Callable[[Any], str]:
    return lambda _: words


def _items_at_least(context: Any) -> str:
    return "at least one item" if context["min_length"] == 1 else f"at least {context['min_length']} items"


_PATTERNS = {"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "letters, digits, '.', '_' and '-', at most 64"}
_SETTINGS = "settings, as 'name: value'"
_LIST = "a list"
_EXPECTED: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _always("a whole number")),
    **dict.fromkeys(("float_type", "float_parsing"), _always("a number")),
    **dict.fromkeys(("bool_type", "bool_parsing"), _always("true or false")),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), _always(_LIST)),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _always(_SETTINGS)),
    "string_type": _always("text"),
    "path_type": _always("a path"),
    "finite_number": _always("a finite number"),
    "literal_error": lambda context: str(context["expected"]),
    "string_pattern_mismatch": lambda context: _PATTERNS.get(
        context["pattern"], f"text that matches {context['pattern']}"
    ),
    "greater_than": lambda context: f"a number above {context['gt']:g}",
    "greater_than_equal": lambda context: f"a number of at least {context['ge']:g}",
    "less_than": lambda context: f"a number below {context['lt']:g}",
    "less_than_equal": lambda context: f"a number of at most {context['le']:g}",
    "too_short": _items_at_least,
    "too_long": lambda context: f"at most {context['max_length']} items",
}
