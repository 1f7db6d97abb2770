"""Files of weights at the command line: what ``init`` accepts, ``plan`` accepts; what cannot be used is named."""

import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.commands.calling import call
from tests.situations.checkpoints import FORMATS, _parts, network, other, under
from transferscope.errors import WeightsError
from transferscope.files import compare as compare_files
from transferscope.networks import known_layouts
from transferscope.networks.architectures import build
from transferscope.specs.architecture import Architecture

NAME = "timm:test_resnet"
SMALL = ["--image-size", "32"]


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a file of unknown origin is compared with takes long to build; three stand for them."""
    monkeypatch.setattr(known_layouts, "CANDIDATES", ("timm:resnet18", "torchvision:resnet18", "timm:resnet10t"))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return network()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of coloured noise, 28 × 28 pixels."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for k in range(3):
        (folder / f"class{k}").mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 120, (28, 28, 3)) + 100 * np.eye(3, dtype=int)[k]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class{k}" / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def planned(weights: str, photos: Path, store: Path, code: int = 0) -> str:
    Path("asked.yaml").write_text(
        f"""\
name: asked
source: {{architecture: {NAME}, weights: {weights}}}
target: {{data: {{kind: folder, path: {photos}}}, image_size: 32}}
training: {{recipe: {{epochs: 1, batch_size: 8, memory_format: contiguous}}, learning_rates: [0.1]}}
seeds: [0]
analyses: [mistakes]
""",
        encoding="utf-8",
    )
    return " ".join(call("plan", "asked.yaml", "--store", str(store), code=code)[0 if code == 0 else 1].split())


def folder_of_trainer(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """What the Trainer of Hugging Face leaves."""
    path.mkdir()
    save_file(state, path / "model.safetensors")
    torch.save({"state": {}}, path / "optimizer.pt")
    (path / "training_args.bin").write_bytes(pickle.dumps({}))
    (path / "config.json").write_text("{}")
    return path


def one_in_a_folder(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.mkdir()
    torch.save(state, path / "best.pth.tar")
    torch.save({}, path / "optimizer.bin")
    (path / "log.txt").write_text("epoch 3")
    return path


def sharded(index: str, shown: str) -> Callable[[Path, dict[str, torch.Tensor]], Path]:
    return lambda path, state: _parts(path, state, index) / shown


@pytest.mark.kind("data-10")
@pytest.mark.parametrize(
    "write",
    [
        *FORMATS.values(),
        folder_of_trainer,
        one_in_a_folder,
        sharded("model.safetensors.index.json", ""),
        sharded("model.safetensors.index.json", "model.safetensors.index.json"),
        sharded("model.safetensors.index.json", "model-00002-of-00002.safetensors"),
        sharded("pytorch_model.bin.index.json", "pytorch_model.bin.index.json"),
        lambda path, state: FORMATS["no suffix"](path.with_suffix(".txt"), {"state_dict": state}),
    ],
)
def test_init_and_plan_accept(
    here: Path, photos: Path, store: Path, state: dict[str, torch.Tensor], write: Callable[[Path, Any], Path]
) -> None:
    path = write(here / "w", state)
    call("init", str(photos), "--model", str(path), "--architecture", NAME)
    assert f"weights: {path.relative_to(here)}" in (here / "photos.yaml").read_text(encoding="utf-8")
    assert "90 tensors loaded, 2 of a new head" in planned(str(path), photos, store)


@pytest.mark.kind("data-10")
def test_init_tells_folders_from_names(here: Path, state: dict[str, torch.Tensor]) -> None:
    folder_of_trainer(here / "resnet50", state)
    call("init", "--model", "resnet50", "--output", "name.yaml")
    assert "architecture: timm:resnet50" in (here / "name.yaml").read_text(encoding="utf-8")
    call("init", "--model", "resnet50", "--architecture", NAME, "--output", "folder.yaml")
    assert "weights: resnet50" in (here / "folder.yaml").read_text(encoding="utf-8")
    folder_of_trainer(here / "run-7", state)
    _, err = call("init", "--model", "run-7", "--output", "x.yaml", code=2)
    assert "the architecture of run-7 is not known" in err
    _, err = call("init", "--model", "timm/resnet50", "--output", "x.yaml", code=2)
    assert "no architecture named 'timm/resnet50'" in err
    _, err = call("init", "--model", "run-7/best", "--output", "x.yaml", "--architecture", NAME, code=2)
    assert "run-7/best does not exist" in err


def web_page(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.write_text("<!doctype HTML><title>Not found</title>")
    return path


def written(data: bytes) -> Callable[[Path, dict[str, torch.Tensor]], Path]:
    def write(path: Path, state: dict[str, torch.Tensor]) -> Path:
        path.write_bytes(data)
        return path

    return write


def one_of_two(path: Path, state: dict[str, torch.Tensor]) -> Path:
    folder = _parts(path, state, "model.safetensors.index.json")
    (folder / "model-00001-of-00002.safetensors").unlink()
    (folder / "model.safetensors.index.json").unlink()
    return folder / "model-00002-of-00002.safetensors"


def elsewhere(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.mkdir()
    (path / "model.safetensors.index.json").write_text('{"weight_map": {"fc.weight": "../../etc/passwd"}}')
    return path


def several(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.mkdir()
    for name in ("checkpoint-10", "checkpoint-20"):
        folder_of_trainer(path / name, state)
    return path


def pipe(path: Path, state: dict[str, torch.Tensor]) -> Path:
    os.mkfifo(path)
    return path


def link_to_itself(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path.symlink_to(path)
    return path


def old_tar(path: Path, state: dict[str, torch.Tensor]) -> Path:
    (path.parent / "sys_info").write_text("x")
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent / "sys_info", "sys_info")
    return path


def zipped(path: Path, state: dict[str, torch.Tensor]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/model.bin", "x")
    return path


def bomb(path: Path, state: dict[str, torch.Tensor]) -> Path:
    """Twelve bytes that unpack to a gigabyte would do; here it is 64 MiB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(2**26))
    return path


def endless(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"fc.weight": torch.ones(1).expand(10**6, 10**6)}, path)
    return path


def script(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    return path


UNUSABLE = {
    "empty": (written(b""), "is empty (0 bytes)"),
    "Git LFS": (written(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"), "git lfs pull"),
    "web page": (web_page, "a web page"),
    "XML": (written(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), "a web page"),
    "text": (written(b"see the drive for the weights\n"), "is text"),
    "picture": (written(b"\x89PNG\r\n\x1a\n" + bytes(99)), "a PNG picture"),
    "Keras": (written(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "GGUF": (written(b"GGUF" + bytes(99)), "GGUF"),
    "gzip": (written(b"\x1f\x8b\x08" + bytes(99)), "gzip"),
    "noise": (written(bytes(range(255, 0, -1))), "is damaged"),
    "settings": (written(b'{"architectures": ["ResNet"]}'), "JSON without weights"),
    "broken JSON": (written(b'{"weight_map": '), "is damaged"),
    "deep JSON": (written(b'{"a":' * 100_000), "is damaged"),
    "header too long": (written((2**40).to_bytes(8, "little") + b"{}"), "is damaged"),
    "header of nothing": (written((2).to_bytes(8, "little") + b"{}"), "holds no tensor"),
    "header deep": (written((10**5).to_bytes(8, "little") + b'{"a":' + b"[" * 10**5), "is damaged"),
    "pickle cut off": (written(b"\x80\x02}q\x00X"), "is damaged"),
    "zip": (zipped, "it holds model.bin"),
    "zip bomb": (bomb, "unpacks to"),
    "endless tensor": (endless, "its tensors would take"),
    "TorchScript": (script, "TorchScript"),
    "old tar": (old_tar, "tar archive"),
    "pipe": (pipe, "FIFO"),
    "link to itself": (link_to_itself, "cannot be read"),
    "nothing": (lambda path, state: path, "does not exist"),
    "empty folder": (lambda path, state: (path.mkdir(), path)[1], "does not tell which weights"),
    "several": (several, "checkpoint-10, checkpoint-20"),
    "one part of two": (one_of_two, "missing: model-00001-of-00002.safetensors"),
    "parts elsewhere": (elsewhere, "names a part outside its folder"),
}


@pytest.mark.kind("S10")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", UNUSABLE)
def test_init_plan_and_compare_refuse(
    here: Path, photos: Path, store: Path, state: dict[str, torch.Tensor], name: str
) -> None:
    write, message = UNUSABLE[name]
    path = write(here / "w", state)
    _, said = call("init", "--model", str(path), "--architecture", NAME, code=2)
    _, compared = call("compare", str(path), str(path), "--model", NAME, "--data", str(photos), code=2)
    texts = [said, compared]
    if name in ("Git LFS", "broken JSON", "pipe", "one part of two"):  # each of another place in the reading
        texts.append(planned(str(path), photos, store, code=2))
    for text in texts:
        assert message in " ".join(text.split())
        assert str(path.parent if name == "one part of two" else path) in text
        assert "do:" in text


@pytest.mark.kind("data-22")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: build(Architecture(name="timm:resnet18"), 3, 0).state_dict(),
            "do: by names and shapes the file fits",
        ),
        (lambda s: {n: v for n, v in s.items() if not n.startswith("layer2")}, "missing (layer2"),
        (lambda s: {**s, "layer1.0.conv1.weight": torch.ones(1)}, "1 of another shape (layer1.0.conv1.weight"),
        (lambda s: {**s, "layer1.5.conv1.weight": torch.ones(1)}, "1 unexpected (layer1.5.conv1.weight)"),
        (lambda s: {**s, "bn1.running_var": -s["bn1.running_var"]}, "bn1.running_var: the variance -"),
        (lambda s: {"a": s, "b": other(s)}, "holds 2 networks that fit: a, b"),
    ],
)
def test_a_plan_of_weights_that_cannot_be_used_is_an_error(
    here: Path,
    photos: Path,
    store: Path,
    state: dict[str, torch.Tensor],
    change: Callable[[dict[str, torch.Tensor]], Any],
    message: str,
) -> None:
    torch.save(change(state), here / "w.pt")
    text = planned("w.pt", photos, store, code=2)
    assert message in text
    assert str(here / "w.pt") in text


@pytest.mark.kind("data-23")
def test_a_plan_says_which_weights_are_taken(
    here: Path, photos: Path, store: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(
        {"state_dict": {**under("model.", state), "loss.w": torch.ones(1)}, "state_dict_ema": other(state)}, "w.ckpt"
    )
    text = planned("w.ckpt", photos, store)
    assert "found under state_dict.model; left out: loss.w, state_dict_ema (92 tensors)" in text
    assert "state_dict_ema fits as well (which: ema)" in text
    assert "found under state_dict_ema" in planned("{kind: file, path: w.ckpt, which: ema}", photos, store)
    call("init", str(photos), "--model", "w.ckpt", "--architecture", NAME, "--which", "ema")
    assert "weights: {kind: file, path: w.ckpt, which: ema}" in (here / "photos.yaml").read_text(encoding="utf-8")
    _, err = call("init", "--model", "resnet18", "--which", "ema", code=2)
    assert "--model names no file" in err


@pytest.mark.kind("C10")
@pytest.mark.parametrize(
    ("options", "size", "warned"),
    [([], 160, True), (SMALL, 32, False), (["--image-size", "64"], 64, True), (["--image-size", "40"], 40, False)],
)
def test_sizes_are_said_before_anything_is_done(
    photos: Path,
    here: Path,
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    size: int,
    warned: bool,
) -> None:
    def compare(*_: object, on_step: Callable[[str, int, int], None], **__: object) -> None:
        on_step("outputs and features", 0, 0)
        raise WeightsError("stopped here: what follows takes long")

    monkeypatch.setattr(compare_files, "compare", compare)
    for name, weights in (("a.pt", state), ("b.pt", {"model": other(state)})):
        torch.save(weights, name)
    asked = ["compare", "a.pt", "b.pt", "--model", NAME, "--data", str(photos), *options]
    _, err = call(*asked, code=2)
    lines = err.splitlines()
    declared = "" if size == 160 else " (timm declares 160 for timm:test_resnet)"
    stats = "mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"
    assert lines[0] == "b.pt: found under model"
    assert lines[1].startswith(f"images of {size} × {size} pixels{declared}; {stats}, ")
    assert ("the pictures are about 28 pixels wide" in err) == warned
    assert ("--image-size 28" in err) == warned
    assert "outputs and features" in lines
    _, err = call(*asked, "--quiet", code=2)
    assert err.startswith("error: stopped here")
