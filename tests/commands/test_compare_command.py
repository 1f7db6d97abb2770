"""``transferscope compare``: what it hands over."""

import types
from collections.abc import Callable
from pathlib import Path

import pytest

import transferscope.files.compare as compare_module
import transferscope.files.comparison_estimates as estimates_module
from tests.commands.calling import call
from transferscope.files.networks import FileSettings
from transferscope.methods.compare.compare import PathGrid
from transferscope.specs.architecture import FileWeights


def files(first: str | None, second: str | None) -> tuple[FileWeights, FileWeights]:
    return FileWeights(path="a.pt", which=first), FileWeights(path="b.pt", which=second)


def test_compare_hands_over_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    more: list[object] = []

    def compare_files(
        *given: object,
        old_head: FileWeights | None,
        ranks: bool,
        path: PathGrid,
        on_step: Callable[[str, int, int], None],
        on_note: Callable[[str], None],
    ) -> object:
        on_note("images of 224 pixels")
        on_step("path", 1, 24)
        on_step("average", 0, 0)
        seen.append((*given, path))
        more.append((old_head, ranks))
        return types.SimpleNamespace(text="they are alike", notes=(), not_measured={}, weights=None)

    monkeypatch.setattr(compare_module, "compare_files", compare_files)
    monkeypatch.setattr(estimates_module, "data_estimates", lambda found: ())
    out, err = call("compare", "a.pt", "b.pt", "--model", "timm:resnet18", "--data", "photos")
    # What is done is told without a terminal as well.
    assert (out.strip(), err) == ("they are alike", "images of 224 pixels\npath: 1 of at most 24 points\naverage\n")
    options = ["--image-size", "32", "--which", "ema", "--fast", "--quiet", "--old-head", "old.pt", "--no-ranks"]
    out, err = call("compare", "a.pt", "b.pt", "--data", "photos", *options)
    assert more == [(None, True), (FileWeights(path="old.pt"), False)]
    assert err == ""
    photos, slow = Path("photos"), PathGrid()
    assert seen == [
        (*files(None, None), FileSettings(photos, "timm:resnet18"), slow),
        (*files("ema", "ema"), FileSettings(photos, image_size=32), PathGrid(fast=True)),
    ]
    call("compare", "a.pt", "b.pt", "--data", "photos", "--which", "raw", "--which", "ema")
    assert seen[-1] == (*files("raw", "ema"), FileSettings(photos), slow)
    _, err = call("compare", "a.pt", "b.pt", "--data", "photos", *["--which", "ema"] * 3, code=2)
    assert "--which was given too often" in err
