"""YAML with line numbers, by the core words of YAML 1.2.

PyYAML's own resolver reads ``no`` as false, ``1e-4`` as text, ``010`` as 8 and ``1:30`` as 90: words of YAML 1.1 that a
study must not trip over. Here a plain word is null, true/false, a decimal, 0x or 0o number, or text; nothing else.
"""

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from transferscope.errors import StudyError, nearest, printable
from transferscope.study.problems import Place, Problem, shown

_PLAIN = re.compile(r"(?!(?i:true|false|null|yes|no|on|off|y|n)$)[A-Za-z][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)*")
_LARGEST = 30_000  # values in one file; more is an alias bomb or a data set in the wrong place
_LONGEST = 500_000  # bytes of a file; PyYAML reads some hundred kB in a second
_DEEPEST = 50  # brackets or indents within each other; PyYAML takes the square of their number
_LARGE = 2**63
_DIGITS = 30  # of a whole number below that, in base 8 or more
_TOO_DEEP = f"nested too deeply: a study has at most {_DEEPEST} levels"
_TOO_MANY = f"more than {_LARGEST} values: a study is settings, not data"
_TAG = "tag:yaml.org,2002:"
_WORDS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^<<$", "<"),
)


class _BeyondLimitError(yaml.MarkedYAMLError):
    """YAML, but deeper or larger than a study is."""


class _CoreLoader(yaml.SafeLoader):
    """Gives up where a file is none that people write: what is deep or long costs PyYAML minutes."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's way
    nodes = 0

    def fetch_more_tokens(self) -> Any:
        if max(self.flow_level, len(self.indents)) > _DEEPEST:
            raise _BeyondLimitError(None, None, _TOO_DEEP, self.get_mark())
        return super().fetch_more_tokens()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > _LARGEST:
            raise _BeyondLimitError(None, None, _TOO_MANY, self.get_mark())
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either YAML 1.1 or 1.2 would read as something else."""


for _word, _pattern, _first in _WORDS:
    for _kind in (_CoreLoader, _Dumper):
        _kind.add_implicit_resolver(_TAG + _word, re.compile(_pattern), list(_first))


@dataclass(frozen=True)
class Document:
    """A YAML file: its values, and where they stand."""

    values: dict[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def line(self, place: Place) -> int | None:
        """The line of ``place``, or of the nearest enclosing setting that has one."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None


def read_document(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping."""
    return parse_document(_text(path), path)


def parse_document(text: str, path: Path) -> Document:
    """Parse YAML text of a file whose top level is a mapping."""
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise _unreadable(str(path), error) from error
    if node is None:
        raise StudyError(f"the study {path} is empty", hint="'transferscope init FOLDER' writes one to start from")
    if not isinstance(node, yaml.MappingNode):
        got = "a list" if isinstance(node, yaml.SequenceNode) else repr(node.value)
        raise StudyError(
            f"the study {path} is not a list of settings", expected="lines such as 'name: my-study'", got=got
        )
    walk = _Walk()
    try:
        values = walk.value(node, ())
    except (yaml.YAMLError, RecursionError) as error:
        raise _unreadable(str(path), error) from error
    return Document(values, walk.lines, tuple(walk.problems))


def read_value(text: str) -> Any:
    """One YAML value, as given after ``--set name=``.

    >>> read_value("[1e-4, no, 010]")
    [0.0001, 'no', 10]
    """
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
        if node is None:
            return None
        walk = _Walk()
        value = walk.value(node, ())
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{shown(text)} is {_plain(error)}") from error
    if walk.problems:
        raise ValueError("; ".join(problem.text for problem in walk.problems))
    return value


def write_values(values: Mapping[str, Any]) -> str:
    """JSON-like values as YAML text, keys in their order."""
    text: str = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def write_flow(value: Any) -> str:
    """One JSON-like value as YAML within a line.

    >>> write_flow({"rates": [0.1, 1], "name": "yes, it: is", "none": None})
    '{rates: [0.1, 1], name: "yes, it: is", none: null}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write_flow(str(name))}: {write_flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(write_flow(item) for item in value)}]"
    # A word needs no quotes where it can be nothing but a word.
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    if isinstance(value, str) and printable(value) != value:
        text: str = yaml.dump(value, Dumper=_Dumper, default_style='"', allow_unicode=True, width=float("inf"))
        return text.strip()
    return json.dumps(value, ensure_ascii=False)


def compose(text: str) -> yaml.Node:
    """The nodes of YAML text, with their places, by the words of this module."""
    node = yaml.compose(text, Loader=_CoreLoader)
    if node is None:
        raise ValueError("the text holds no YAML")
    return node


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode) or stat.S_ISSOCK(status.st_mode):
            raise StudyError(f"{path} is no file but a pipe, device or socket", expected="a study file (YAML)")
        if status.st_size > _LONGEST:
            raise StudyError(f"{path} is too large", expected=f"a study file (YAML) of at most {_LONGEST:,} bytes")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        folder = path.parent
        files = [item.name for item in folder.glob("*.y*ml")] if folder.is_dir() else []
        raise StudyError(
            f"there is no study file {path}",
            hint=nearest(path.name, files) if files else "'transferscope init FOLDER' writes one to start from",
        ) from error
    except IsADirectoryError as error:
        raise StudyError(
            f"{path} is a folder",
            expected="a study file (YAML)",
            hint=f"'transferscope init {path}' writes one for a folder of images",
        ) from error
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path} is not a text file in UTF-8",
            expected="a study file (YAML)",
            got=f"byte 0x{error.object[error.start]:02x} at position {error.start}",
            hint="save it as UTF-8 text",
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise StudyError(
            f"the study {path} cannot be read: {getattr(error, 'strerror', None) or error}",
            expected="a study file (YAML) that you may read",
        ) from error


def _plain(error: Exception) -> str:
    """What is wrong, to be read after "this is"."""
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    if isinstance(error, _BeyondLimitError):
        return str(error.problem)
    if isinstance(error, yaml.MarkedYAMLError):
        words = " ".join(part for part in (error.context, error.problem) if part)
        return "not YAML: " + words.replace("'\\t'", "a tab (indent with spaces)")
    return f"not YAML: {error}"


def _unreadable(name: str, error: Exception) -> StudyError:
    place = ""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        place = f", line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    beyond = isinstance(error, (_BeyondLimitError, RecursionError))
    return StudyError(
        f"{name}{place}: this is {_plain(error)}",
        expected=(
            f"settings, at most {_DEEPEST} levels deep and {_LARGEST:,} values in all; pictures and labels in files of "
            "their own, named under target.data"
            if beyond
            else "lines of 'name: value', indented with spaces; text that holds ': ' or ' #' in quotes"
        ),
    )


class _Walk:
    """Convert nodes to values, noting lines and problems on the way."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self._open: list[int] = []
        self._count = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        self._count += 1
        if self._count > _LARGEST:  # aliases of aliases: few nodes, many values
            raise _BeyondLimitError(None, None, _TOO_MANY, node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if id(node) in self._open:
            self._problem(node, place, "an alias that contains itself")
            return None
        self._open.append(id(node))
        try:
            return self._mapping(node, place) if isinstance(node, yaml.MappingNode) else self._list(node, place)
        finally:
            self._open.pop()

    def _problem(self, node: yaml.Node, place: Place, text: str) -> None:
        self.problems.append(Problem(place, text, line=node.start_mark.line + 1))

    def _unknown_tag(self, node: yaml.Node, place: Place) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self._problem(
            node, place, f"the tag {shown(tag)} is not understood: a study is plain values, lists and settings"
        )

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        try:
            match kind:
                case "str" | "merge":
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    # Digits first: Python refuses to show numbers of thousands of them.
                    number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)) if len(text) < _DIGITS else _LARGE
                    if abs(number) >= _LARGE:
                        self._problem(node, place, f"expected a whole number of 64 bits, got {shown(text)}")
                        return None
                    return number
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except (ValueError, KeyError):
            self._problem(node, place, f"{shown(text)} is not what the tag '!!{kind}' says")
            return None
        self._unknown_tag(node, place)
        return None

    def _list(self, node: yaml.Node, place: Place) -> list[Any]:
        if node.tag != _TAG + "seq":
            self._unknown_tag(node, place)
        values = []
        for index, item in enumerate(node.value):
            self.lines[(*place, index)] = item.start_mark.line + 1
            values.append(self.value(item, (*place, index)))
        return values

    def _mapping(self, node: yaml.Node, place: Place) -> dict[str, Any]:
        if node.tag != _TAG + "map":
            self._unknown_tag(node, place)
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, place, "expected a name before ':', got a list or settings")
                continue
            if key.tag == _TAG + "merge":
                self._merge(item, place, merged)
                continue
            name, line = str(key.value), key.start_mark.line + 1
            if name in first:
                self._problem(key, (*place, name), f"given twice: already in line {first[name]}")
            first[name] = line
            self.lines[(*place, name)] = line
            values[name] = self.value(item, (*place, name))
        return {**merged, **values}

    def _merge(self, node: yaml.Node, place: Place, merged: dict[str, Any]) -> None:
        # The first of several merged mappings wins, as the YAML merge type says.
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(item, yaml.MappingNode):
                self._problem(item, place, "'<<' merges settings only")
                continue
            # None where the alias contains itself: that is told already.
            for name, value in (self.value(item, place) or {}).items():
                merged.setdefault(name, value)
