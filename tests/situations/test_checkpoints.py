"""Thirty checkpoints of other programs: loaded to the last bit, or refused with what they are."""

from pathlib import Path

import pytest
import torch

from tests.commands.calling import call
from tests.situations.checkpoints import ARCHITECTURE, CLASSES, Situation, situations
from transferscope.errors import WeightsError
from transferscope.networks import known_layouts
from transferscope.networks.architectures import build
from transferscope.networks.weights import load, take
from transferscope.specs.architecture import Architecture, FileWeights

pytestmark = pytest.mark.kind("checkpoints")
COUNT = 30


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a file of unknown origin is compared with takes long to build; three stand for them."""
    monkeypatch.setattr(known_layouts, "CANDIDATES", ("timm:resnet18", "torchvision:resnet18", "timm:resnet10t"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Situation]:
    return situations(tmp_path_factory.mktemp("checkpoints"))


@pytest.mark.parametrize("number", range(COUNT))
def test_a_checkpoint(made: list[Situation], number: int, tmp_path: Path) -> None:
    assert len(made) == COUNT
    case = made[number]
    architecture = Architecture(name=ARCHITECTURE)
    weights = FileWeights(path=str(case.path), which=case.which)
    study = tmp_path / "study.yaml"
    asked = ["init", "--model", str(case.path), "--architecture", ARCHITECTURE, "--output", str(study)]
    if case.state is None:
        with pytest.raises(WeightsError) as caught:
            take(weights, architecture)
        text = str(caught.value)
        assert str(case.path) in text or "fit the network" in text, case.name
        assert caught.value.hint, case.name
        _, said = call(*asked, code=2)
        assert not study.exists()
    else:
        model = build(architecture, CLASSES, 1)
        taken = take(weights, architecture)
        text = "; ".join(taken.remarks)
        load(model, taken.state, "fc", new_head=not case.head)
        wrong = [
            name
            for name, value in model.state_dict().items()
            if (case.head or not name.startswith("fc.")) and not torch.equal(value, case.state[name])
        ]
        assert wrong == [], case.name
        call(*asked, *(["--which", case.which] if case.which else []))
        said = " ".join(word for word in study.read_text(encoding="utf-8").split() if word != "#")
    for words in case.says:
        assert words in text, (case.name, text)
        assert words in said, (case.name, said)
