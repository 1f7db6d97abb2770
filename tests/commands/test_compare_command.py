"""``transferscope compare``: what it hands over."""

import types
from collections.abc import Callable
from pathlib import Path

import pytest

import transferscope.running.compare_files as compare_module
from tests.commands.calling import call


def test_compare_hands_over_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def compare_files(a: Path, b: Path, *, on_step: Callable[[str, int, int], None], **options: object) -> object:
        on_step("path", 1, 24)
        on_step("average", 0, 0)
        seen.append((a, b, options))
        return types.SimpleNamespace(text="they are alike")

    monkeypatch.setattr(compare_module, "compare_files", compare_files)
    out, err = call("compare", "a.pt", "b.pt", "--model", "timm:resnet18", "--data", "photos")
    assert (out, err) == ("they are alike\n", "")
    call("compare", "a.pt", "b.pt", "--data", "photos", "--image-size", "32", "--fast", "--quiet")
    given = {"model": "timm:resnet18", "data": Path("photos"), "image_size": None, "fast": False}
    assert seen == [
        (Path("a.pt"), Path("b.pt"), given),
        (Path("a.pt"), Path("b.pt"), {"model": None, "data": Path("photos"), "image_size": 32, "fast": True}),
    ]
    _, err = call("compare", "a.pt", "b.pt", code=2)
    assert "--data" in err
