"""``transferscope modules``: a fine-tuned network, its pre-trained weights, and pictures in folders."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.commands.calling import call
from tests.studies import NAME, SIZE
from transferscope.files.modules import module_files
from transferscope.files.networks import FileSettings
from transferscope.methods.landscape.landscape import Landscape
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.specs.architecture import Architecture, FileWeights

ARCHITECTURE = Architecture(name=NAME)
TRAIN = 46  # of 72 images: 18 judge, 8 choose
FACTS = {"architecture": json.dumps(ARCHITECTURE.model_dump(mode="json")), "image_size": str(SIZE)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for k in range(3):
        (folder / f"class{k}").mkdir()
        for number in range(24):
            pixels = generator.integers(0, 120, (SIZE, SIZE, 3)) + 100 * np.eye(3, dtype=int)[k]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class{k}" / f"{number:02d}.png")
    return folder


def file(place: Path, seed: int, classes: int = 3, **facts: str) -> str:
    write_state(place, build(ARCHITECTURE, classes, seed).state_dict(), facts)
    return str(place)


def test_the_page_is_printed_and_the_picture_drawn(tmp_path: Path, pictures: Path) -> None:
    tuned = file(tmp_path / "tuned.safetensors", 0, **FACTS)
    other = file(tmp_path / "other.safetensors", 1, classes=10)
    for name, start in (("modules.svg", b"<svg"), ("made/modules.png", b"\x89PNG")):
        picture = tmp_path / name
        out, _ = call("modules", tuned, other, "--model", NAME, "--data", str(pictures), "--picture", str(picture))
        assert picture.read_bytes().startswith(start)
        assert f"picture: {picture}" in out
    assert "18 test examples; top1" in out
    assert "chosen on 8 validation examples" in out
    assert f"measured on 18 of 72 images, {SIZE} px" in out
    # The pre-trained head is for ten classes: there is nothing to put back.
    lines = [line.split()[0] for line in out.splitlines() if line]
    assert "head" not in lines
    assert {"stem", "block"} <= {name.split(".")[0] for name in lines}


def test_a_head_of_the_same_classes_is_a_module(tmp_path: Path, pictures: Path) -> None:
    tuned = file(tmp_path / "tuned.safetensors", 0, **FACTS)
    same = file(tmp_path / "same.safetensors", 1)
    out, _ = call("modules", tuned, same, "--model", NAME, "--data", str(pictures), "--margin", "0.9")
    assert "\nhead " in out
    assert "less than 0.9" in out


def test_what_does_not_fit_is_named(tmp_path: Path, pictures: Path) -> None:
    tuned = file(tmp_path / "tuned.safetensors", 0, **FACTS)
    _, err = call("modules", tuned, tuned, "--model", NAME, "--data", str(pictures), "--picture", "modules.pdf", code=2)
    assert "the picture is of an unknown kind" in err
    _, err = call(
        "modules", tuned, str(tmp_path / "none.safetensors"), "--model", NAME, "--data", str(pictures), code=2
    )
    assert "none.safetensors" in err
    four = file(tmp_path / "four.safetensors", 0, classes=4, **FACTS)
    _, err = call("modules", four, tuned, "--model", NAME, "--data", str(pictures), code=2)
    assert "do not have the network's classes" in err
    _, err = call("modules", tuned, code=2)
    assert "PRETRAINED" in err


def test_the_plan_bounds_what_is_done_and_progress_counts_to_its_end(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = []
    evaluate = Landscape.evaluate

    def noted(self: Landscape, *, own_statistics: bool = False, **options: Any) -> Any:
        found = evaluate(self, own_statistics=own_statistics, **options)
        again = TRAIN if self.policy == "recompute" and not own_statistics else 0
        evaluated.append(again + sum(len(point.losses) for point in found.values()))
        return found

    tuned, other = file(tmp_path / "tuned.safetensors", 0, **FACTS), file(tmp_path / "other.safetensors", 1, classes=10)
    plans, steps = [], []
    monkeypatch.setattr(Landscape, "evaluate", noted)
    module_files(
        FileWeights(path=tuned),
        FileWeights(path=other),
        FileSettings(pictures, NAME),
        on_step=lambda *step: steps.append(step),
        on_plan=lambda work, seconds: plans.append((work, seconds)),
    )
    ((work, seconds),) = plans
    assert 0 < len(evaluated) <= work.points
    assert 0 < sum(evaluated) <= work.images
    assert seconds > 0
    names = ["single modules", "noise", "several modules at once"]
    assert list(dict.fromkeys(name for name, _, _ in steps)) == names
    assert {most for _, _, most in steps} == {work.points}
    counts = [done for _, done, _ in steps]
    assert counts == sorted(counts)
    assert max(counts) <= work.points
    # A step that leaves nothing out ends where the next one begins.
    assert max(done for name, done, _ in steps if name == names[0]) == work.single
    assert min(done for name, done, _ in steps if name == names[1]) == work.single


def test_what_will_be_done_is_said_before_it_is_begun(tmp_path: Path, pictures: Path) -> None:
    tuned, other = file(tmp_path / "tuned.safetensors", 0, **FACTS), file(tmp_path / "other.safetensors", 1, classes=10)
    _, err = call("modules", tuned, other, "--model", NAME, "--data", str(pictures))
    plan = re.search(r"to do: (\d+) modules .*at most ([\d,]+) points .* ([\d,]+) images, \d+ s", err)
    assert plan is not None
    first = re.search(r"single modules: 0 of at most (\d+) points", err)
    assert first is not None
    assert first[1] == plan[2].replace(",", "")
    assert plan.start() < first.start()
    _, err = call("modules", tuned, other, "--model", NAME, "--data", str(pictures), "--quiet")
    assert not err
