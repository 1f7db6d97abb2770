"""Settings written into the text of a study, its comments kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from transferscope.errors import StudyError
from transferscope.study.overrides import override
from transferscope.study.problems import Place
from transferscope.study.yaml import compose, parse_document, write_flow


def with_settings(text: str, path: Path, overrides: Sequence[str]) -> str:
    """The text of a study with settings changed in it.

    Args:
        overrides: as after ``--set``.

    Returns:
        Text that reads as ``text`` with these overrides; comments stay, except within a value that is replaced.
    """
    for given in overrides:
        values = parse_document(text, path).values
        try:
            place = override(values, given)
        except ValueError as error:
            raise StudyError(f"--set {given}: {error}", expected="SETTING=VALUE") from error
        text = _written(text, values, place)
    return text


def _written(text: str, values: dict[str, Any], place: Place) -> str:
    nodes: list[yaml.Node] = [compose(text)]
    for part in place:
        inner = _child(nodes[-1], part)
        if inner is None:
            break
        nodes.append(inner)
    depth, node = len(nodes) - 1, nodes[-1]
    if depth < len(place) and isinstance(node, yaml.CollectionNode) and not node.flow_style:
        # Not there yet: a line of its own after the last one beside it.
        value = write_flow(_value(values, place[: depth + 1]))
        line = f"{place[depth]}: {value}" if isinstance(node, yaml.MappingNode) else f"- {value}"
        end = text.find("\n", _end(node))
        end = len(text) if end < 0 else end
        return f"{text[:end]}\n{' ' * node.start_mark.column}{line}{text[end:]}"
    space = "" if text[node.start_mark.index - 1 : node.start_mark.index].isspace() else " "
    return text[: node.start_mark.index] + space + write_flow(_value(values, place[:depth])) + text[_end(node) :]


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item: yaml.Node = node.value[part]
        return item
    return None


def _end(node: yaml.Node) -> int:
    """Where a value ends; of a block PyYAML tells where the next one begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)


def _value(values: Any, place: Place) -> Any:
    for part in place:
        values = values[part]
    return values
