"""Every command, option and setting that an error names exists: a refusal can be followed to success."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from transferscope import errors
from transferscope.cli import app
from transferscope.frozen import Frozen
from transferscope.study.registry import BUILT_IN, analysis_type
from transferscope.study.settings import Study

SOURCES = Path(__file__).parents[1] / "src" / "transferscope"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
OPTIONS = {
    name: {option for parameter in command.params for option in parameter.opts} for name, command in COMMANDS.items()
}
CALLS = [
    (path, node)
    for path in sorted(SOURCES.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]
# What messages quote that is no setting: keys of other people's files, and pieces of Python.
QUOTED = {"state_dict", "model", "head", "data"}


def words(node: ast.AST) -> Iterator[str]:
    """The texts an expression can give; what is filled in is ``{}``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.BinOp):
        yield " ".join([*words(node.left), *words(node.right)])
    elif isinstance(node, ast.IfExp):
        yield from words(node.body)
        yield from words(node.orelse)


def messages() -> list[tuple[str, str]]:
    found = []
    for path, node in CALLS:
        for given in node.keywords:
            if given.arg in ("hint", "expected"):
                found += [(f"{path.stem}:{node.lineno}", text) for text in words(given.value)]
    return found


PASSED_ON = {"ablations", "analysis_settings", "failures", "plan", "results", "workers"}
"""Modules with an error that tells of another one, which says what is to do."""


def unguided() -> Iterator[str]:
    """Places of errors that say neither what was expected nor what to do."""
    kinds = {name for name in errors.__all__ if name.endswith("Error")} - {"MissingExtraError"}
    for path, node in CALLS:
        # None is **what a caller hands on.
        guided = {given.arg for given in node.keywords} & {"expected", "hint", None}
        if isinstance(node.func, ast.Name) and node.func.id in kinds and not guided:
            yield path.stem


def settings() -> set[str]:
    """The names of all settings of a study, of every analysis and source."""
    for name in BUILT_IN:
        analysis_type(name)
    kinds, names = [Frozen], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        names |= set(kind.model_fields)
    return names


def has(kind: type, path: list[str]) -> bool:
    """Whether a dotted setting exists below a model; what is filled in may be any."""
    name, *rest = path
    if "{}" in name:
        return True
    fields = getattr(kind, "model_fields", {})
    if name not in fields:
        return False
    inner = list(models(fields[name].annotation))
    return not rest or not inner or any(has(item, rest) for item in inner)


def models(annotation: object) -> Iterator[type]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        yield annotation
    for item in getattr(annotation, "__args__", ()):
        yield from models(item)


MESSAGES = messages()
NAMES = settings()


def test_there_are_messages_to_look_at() -> None:
    assert len(MESSAGES) > 300
    assert sum("transferscope " in text for _, text in MESSAGES) > 5


def test_every_error_says_what_was_expected_or_what_to_do() -> None:
    assert sorted(unguided()) == sorted(PASSED_ON)


@pytest.mark.kind("messages")
def test_commands_that_messages_name_exist_with_their_options() -> None:
    wrong = []
    for place, text in MESSAGES:
        for found in re.finditer(r"transferscope ([a-z]+)((?: (?!transferscope)[^\s;()`,]+)*)", text):
            name, rest = found.groups()
            if name not in COMMANDS:
                wrong.append(f"{place}: transferscope {name}")
                continue
            options = {option.rstrip(".,;:)'") for option in re.findall(r"(?<!\S)--[a-z-]+", rest)}
            wrong += [f"{place}: {name} {option}" for option in options - OPTIONS[name]]
        known = {option for each in OPTIONS.values() for option in each}
        loose = {option.rstrip("-") for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
        wrong += [f"{place}: {option}" for option in loose - known - {"--force-reinstall", "--pre", "--user"}]
    assert not wrong


@pytest.mark.kind("messages")
def test_settings_that_messages_name_exist() -> None:
    wrong = []
    for place, text in MESSAGES:
        for path in re.findall(r"--set '?\"?([A-Za-z_][\w.{}]*)=", text):
            wrong += [] if has(Study, path.split(".")) else [f"{place}: --set {path}"]
        for quoted in re.findall(r"`([a-z][a-z_]*)(?:: [^`]*)?`", text):
            wrong += [] if quoted in NAMES | QUOTED | set(COMMANDS) else [f"{place}: `{quoted}`"]
    assert not wrong
