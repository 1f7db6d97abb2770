"""What can be listed."""

import json

from tests.commands.calling import call
from transferscope.data.sources import known_sources
from transferscope.study.registry import ANALYSES


def test_list_for_people() -> None:
    out, _ = call("list")
    for name in (*ANALYSES, *known_sources()):
        assert name in out
    assert "Do networks from the same pre-trained start make the same mistakes?" in out
    out, _ = call("list", "architectures")
    assert {"timm:resnet18", "torchvision:resnet18"} <= set(out.split())


def test_list_for_programs() -> None:
    out, _ = call("list", "--json")
    found = json.loads(out)
    assert [item["name"] for item in found["analyses"]] == list(ANALYSES)
    assert [item["kind"] for item in found["sources"]] == list(known_sources())
    mistakes = next(item for item in found["analyses"] if item["name"] == "mistakes")
    assert {"title", "question", "columns", "settings", "reference", "version"} <= set(mistakes)
    assert all({"name", "type", "unit", "meaning"} <= set(column) for column in mistakes["columns"])
    assert json.loads(call("list", "architectures", "--json")[0])["architectures"][0]["name"]


def test_schema() -> None:
    out, _ = call("schema")
    assert json.loads(out)["properties"]["target"]
    out, _ = call("schema", "--markdown")
    assert out.startswith("# The study file\n")
