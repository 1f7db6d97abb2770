"""``transferscope average``: files of networks, pictures in folders, and the file that is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from tests.commands.calling import call
from tests.studies import NAME, SIZE, tiny_network
from transferscope.networks.weight_files import read_file, write_state
from transferscope.networks.weights import state_hash
from transferscope.specs.architecture import Architecture

ARCHITECTURE = Architecture(name=NAME)
FACTS = {"architecture": json.dumps(ARCHITECTURE.model_dump(mode="json")), "image_size": str(SIZE)}
COUNT = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three classes, and networks: two of one start, a permuted copy, and one from elsewhere."""
    folder = tmp_path_factory.mktemp("average")
    generator = np.random.default_rng(0)
    inputs, labels = [], []
    for k in range(3):
        (folder / "pictures" / f"class{k}").mkdir(parents=True)
        for number in range(COUNT):
            pixels = (generator.integers(0, 200, (SIZE, SIZE, 3)) + 25 * np.eye(3, dtype=int)[k]).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / f"class{k}" / f"{number:02d}.png")
            inputs.append(torch.tensor(pixels).permute(2, 0, 1) / 127.5 - 1)
            labels.append(k)
    images, classes = torch.stack(inputs), torch.tensor(labels)
    start = fitted(None, images, classes, 0)
    one = fitted(start, images, classes, 1)
    for name, model in {
        "a": one, "b": fitted(start, images, classes, 2), "p": permuted(one), "x": fitted(None, images, classes, 9),
        "start": start,
    }.items():  # fmt: skip
        write_state(folder / f"{name}.safetensors", model.state_dict(), FACTS)
    write_state(folder / "four.safetensors", tiny_network(4).state_dict(), FACTS)
    return folder


def fitted(start: nn.Module | None, images: torch.Tensor, classes: torch.Tensor, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = tiny_network(3)
        if start is not None:
            model.load_state_dict(start.state_dict())
        optimiser = torch.optim.Adam(model.parameters(), 2e-2 if start is None else 1e-3)
        for _ in range(40):
            chosen = torch.randperm(len(images))[:48]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), classes[chosen]).backward()
            optimiser.step()
    return model.eval()


def permuted(model: nn.Module) -> nn.Module:
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in state:
        if name.startswith("stem") and state[name].ndim:
            state[name] = state[name][order]
    state["block.0.weight"] = state["block.0.weight"][:, order]
    other = tiny_network(3)
    other.load_state_dict(state)
    return other.eval()


def asked(place: Path, *names: str) -> list[str]:
    files = [str(place / f"{name}.safetensors") for name in names]
    return ["average", *files, "--model", NAME, "--data", str(place / "pictures"), "--quiet"]


def provenance(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["averaged"])


def test_yes_writes_a_file_with_its_provenance_whatever_the_order(place: Path, tmp_path: Path) -> None:
    written = []
    for names in (("a", "b"), ("b", "a")):
        soup = tmp_path / f"{''.join(names)}.safetensors"
        out, _ = call(*asked(place, *names), "--output", str(soup), "--margin", "0.2", "--method", "uniform")
        assert out.startswith("yes after re-estimation\n")
        assert "decided on 20 validation examples, proved on 45 test examples" in out
        assert f"wrote {soup}" in out
        written.append(soup.read_bytes())
    assert written[0] == written[1]
    said = provenance(soup)
    members = {state_hash(read_file(place / f"{name}.safetensors")) for name in ("a", "b")}
    assert {item["content"] for item in said["members"]} == members
    assert [item["share"] for item in said["members"]] == [0.5, 0.5]
    assert (said["answer"], said["forced"], said["method"], said["margin"]) == ("yes", False, "uniform", 0.2)
    assert said["decided_on"]["examples"] == 20
    assert said["proved_on"]["low"] <= said["proved_on"]["gain"] <= said["proved_on"]["high"]
    # What was written is a network that the other commands read by its metadata alone.
    out, _ = call("compare", str(soup), str(place / "a.safetensors"))
    assert "relative_change" in out
    states = [read_file(place / f"{name}.safetensors") for name in ("a", "b")]
    torch.testing.assert_close(
        read_file(soup)["head.weight"], (states[0]["head.weight"] + states[1]["head.weight"]) / 2
    )


def test_a_permuted_copy_is_averaged_after_alignment(place: Path, tmp_path: Path) -> None:
    soup = tmp_path / "soup.safetensors"
    out, _ = call(*asked(place, "a", "p"), "-o", str(soup), "--margin", "0.3", "--method", "uniform")
    assert out.startswith("yes after alignment and re-estimation\n")
    assert sorted(item["aligned"] for item in provenance(soup)["members"]) == [False, True]


def test_no_ends_with_its_exit_code_and_writes_nothing_unless_forced(place: Path, tmp_path: Path) -> None:
    soup = tmp_path / "soup.safetensors"
    out, err = call(*asked(place, "a", "x"), "--output", str(soup), code=3)
    assert out.startswith("no: ")
    assert f"{soup} was not written" in err
    assert not soup.exists()
    out, _ = call(*asked(place, "a", "x"), "--output", str(soup), "--force")
    assert f"wrote {soup}, forced" in out
    said = provenance(soup)
    assert (said["answer"], said["forced"], said["method"]) == ("no", True, "uniform")


def test_json_has_every_number_under_its_key(place: Path, tmp_path: Path) -> None:
    soup = tmp_path / "soup.safetensors"
    start = str(place / "start.safetensors")
    out, err = call(*asked(place, "a", "b"), "--start", start, "--json", "--margin", "0.3", "-o", str(soup))
    document = json.loads(out)
    assert document["answer"] == "yes"
    assert document["written"] == str(soup)
    assert f"wrote {soup}" in err
    assert document["decided_on"] == {"split": "validation", "examples": 20}
    assert document["not_tried"] == {}
    keys = {item["quantity"] for item in document["estimates"]}
    assert {"metric", "gain", "ensemble_gain", "error_barrier", "promised_regret", "proved_regret"} <= keys
    methods = {item["at"]["method"] for item in document["estimates"] if item["quantity"] == "gain"}
    assert {"uniform", "stock", "wise"} <= methods
    out, _ = call(*asked(place, "a", "x"), "--json", code=3)
    assert json.loads(out)["written"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "soup.pt"], "a name in .safetensors"),
        (["--force"], "--output FILE"),
        (["--method", "stock"], "--start FILE"),
        (["--which", "raw", "--which", "ema", "--which", "raw"], "once, or 2 times"),
    ],
)
def test_options_that_do_not_go_together(place: Path, options: list[str], said: str) -> None:
    _, err = call(*asked(place, "a", "b"), *options, code=2)
    assert said in err


def test_files_that_cannot_be_averaged(place: Path) -> None:
    _, err = call(*asked(place, "a", "four"), code=2)
    assert "four.safetensors tells other classes apart" in err
    _, err = call(*asked(place, "a"), code=2)
    assert "nothing to average" in err
    one = str(place / "a.safetensors")
    _, err = call(*asked(place, "a", "b"), "--output", one, code=2)
    assert "would take the place of one of the networks" in err
    _, err = call(*asked(place, "a", "none"), code=2)
    assert "none.safetensors" in err
