"""``list`` and ``schema``: what there is, for people and for programs."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from transferscope.commands.printing import say, table
from transferscope.errors import AnalysisError

_TYPES = {str: "text", int: "whole number", float: "number", bool: "true / false"}


class Listed(StrEnum):
    """What can be listed."""

    analyses = "analyses"
    sources = "sources"
    architectures = "architectures"


def print_lists(listed: Sequence[Listed], *, as_json: bool) -> None:
    """Print analyses, data sources or architectures.

    Args:
        as_json: one JSON object with a name for each of ``listed``, each a list of objects.
    """
    found = {item.value: _FIND[item]() for item in listed}
    if as_json:
        say(json.dumps(found, indent=2))
        return
    for name, items in found.items():
        if name == "analyses":
            table("analyses", ["name", "question"], [(item["name"], item["question"]) for item in items])
        elif name == "sources":
            table(
                "data sources",
                ["kind", "what", "settings"],
                [(item["kind"], item["title"], ", ".join(item["settings"])) for item in items],
            )
        else:
            for item in items:
                say(item["name"])


def print_schema(*, markdown: bool) -> None:
    """Print the JSON schema of a study file, or the same as a page for readers."""
    from transferscope.study.schema import study_reference, study_schema

    say(study_reference().rstrip() if markdown else json.dumps(study_schema(), indent=2))


def _analyses() -> list[dict[str, Any]]:
    from transferscope.study.registry import ANALYSES, analysis_type
    from transferscope.study.schema import setting_meanings

    items: list[dict[str, Any]] = []
    for name in ANALYSES:
        try:
            kind = analysis_type(name)
        except AnalysisError as error:
            # One package that cannot be used must not hide all analyses.
            items.append({"name": name, "question": error.what, "problem": str(error)})
            continue
        items.append(
            {
                "name": name,
                "title": kind.title,
                "question": kind.question,
                "reference": kind.reference,
                "version": kind.version,
                "settings": setting_meanings(kind),
                "columns": [
                    {
                        "name": column,
                        "type": _TYPES[spec.dtype],
                        "unit": spec.unit,
                        "meaning": spec.meaning,
                        "measured_on": spec.measured_on,
                        "null": spec.null,
                    }
                    for column, spec in kind.columns.items()
                ],
            }
        )
    return items


def _sources() -> list[dict[str, Any]]:
    from transferscope.data.sources import known_sources
    from transferscope.study.schema import first_line, setting_meanings

    return [
        {"kind": name, "title": first_line(kind).replace("``", ""), "settings": setting_meanings(kind)}
        for name, kind in known_sources().items()
    ]


def _architectures() -> list[dict[str, Any]]:
    from transferscope.networks.architectures import known_architectures

    return [{"name": name} for name in known_architectures()]


_FIND = {Listed.analyses: _analyses, Listed.sources: _sources, Listed.architectures: _architectures}
