"""``transferscope compare --data``, from files to exit code."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.calling import call
from tests.studies import NAME, SIZE
from transferscope.files.comparison_estimates import DATA, WEIGHTS
from transferscope.networks.architectures import build
from transferscope.networks.weight_files import write_state
from transferscope.specs.architecture import Architecture

ARCHITECTURE = Architecture(name=NAME)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    rng = np.random.default_rng(0)
    for number in range(60):
        place = folder / "photos" / f"class{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (SIZE, SIZE, 3)) + 100 * np.eye(3, dtype=int)[number % 3]
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:02d}.png")
    for name, seed, classes in (("a", 0, 3), ("b", 1, 3), ("wide", 2, 7)):
        write_state(folder / f"{name}.safetensors", build(ARCHITECTURE, classes, seed).state_dict(), {})
    return folder


def compared(folder: Path, a: str, b: str, *more: str, code: int = 0) -> tuple[str, str]:
    files = (str(folder / f"{name}.safetensors") for name in (a, b))
    given = ("--data", str(folder / "photos"), "--model", NAME, "--image-size", str(SIZE), "--quiet")
    return call("compare", *files, *given, *more, code=code)


def test_a_gate_on_pictures(folder: Path) -> None:
    document = json.loads(compared(folder, "a", "b", "--json", "--fail-if", "churn >= 0 and nll_b > 0", code=3)[0])
    found = {item["quantity"]: item for item in document["estimates"]}
    assert found.keys() >= DATA.keys() - {"aligned_error_barrier"}
    assert found.keys() <= DATA.keys() | WEIGHTS.keys()
    assert document["condition"]["values"]["churn"] == found["churn"]["value"]
    assert found["churn"]["n"] == 15
    # The same head on both trunks: that of a, whose own metric is the first of the two.
    assert found["forgetting"]["value"] <= found["metric_a"]["value"]
    assert found["relative_change"]["value"] > 0


def test_another_head_is_forgetting_alone(folder: Path) -> None:
    text, _ = compared(folder, "a", "wide", "--old-head", str(folder / "b.safetensors"), "--no-ranks")
    assert "mistakes and metric of b" in text
    assert "\nforgetting " in text
    assert "tensors_reshaped" in text
    assert "\nchurn " not in text
    _, err = compared(folder, "a", "wide", "--fail-if", "churn > 0.01", code=1)
    assert "cannot be judged" in err
    assert "outputs" in err
    _, err = compared(folder, "a", "b", "--old-head", str(folder / "wide.safetensors"), code=2)
    assert "of the old head" in err
