"""Commands and Python blocks of README and docs, run as they stand, on pictures and networks of seconds."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import transferscope
from tests.commands.calling import RUNNER
from tests.commands.test_next_steps import parsed
from transferscope.cli import app
from transferscope.study.file import load_study

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
HERE = {"/data/runs": "runs", "resnet18": "test_resnet", "resnet50": "test_resnet"}
"""What a line names that is not on this disk, or takes minutes: a cluster's store, networks of many millions."""
ELSEWHERE = {
    "demo": "a study of minutes: `make demo`",
    "report output/train/20260101-resnet18 --start pretrained.pth": "tests/watching/test_timm.py",
    "modules tuned.safetensors timm --model timm:resnet18.a1_in1k --data photos --picture modules.svg": "timm's hub",
    "init photos --model timm:resnet50.a1_in1k --name my-study --output studies/my-study.yaml": "timm's hub",
}
STUDY = {
    "name": "photos",
    "source": {"architecture": "timm:test_resnet", "weights": "tiny.safetensors"},
    "target": {"data": {"kind": "folder", "path": "photos"}, "image_size": 32},
    "training": {"recipe": {"epochs": 1, "batch_size": 8}, "learning_rates": [0.01], "extensions": 0},
    "seeds": [0, 1],
    "analyses": ["outcome", "distance"],
    "compute": {"device": "cpu", "threads": 1},
}


def blocks(page: Path, kind: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [
        found for name, found in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if name == kind
    ]


def commands() -> list[str]:
    """What is typed behind the name of the command, once each, without what a shell makes of the output."""
    shown: dict[str, None] = {}
    for page in PAGES:
        for line in "\n".join(blocks(page, "")).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if line.startswith("transferscope ") else []
            ends = [at for at, word in enumerate(words) if word in ("|", ">")]
            if words:
                shown[shlex.join(words[1 : min(ends, default=len(words))])] = None
    return list(shown)


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 120, (40, 40, 3)) + 100 * (number % 2) * np.eye(3, dtype=int)[0]
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages name."""
    folder = tmp_path_factory.mktemp("documented")
    for number in range(40):
        path = folder / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    files = [path.read_bytes() for path in sorted((folder / "photos").rglob("*.png"))]
    pl.DataFrame({"photo": files, "kind": ["cat"] * 20 + ["dog"] * 20}).write_parquet(folder / "table.parquet")
    for name in ("a", "b", "base", "tuned", "main", "new"):
        torch.manual_seed(ord(name[0]))
        save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), folder / f"{name}.safetensors")
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "my.pt")
    save_file(timm.create_model("test_resnet").state_dict(), folder / "mine.safetensors")
    save_file(timm.create_model("test_resnet").state_dict(), folder / "tiny.safetensors")
    (folder / "base-folder").mkdir()
    weights = {"layer.weight": torch.randn(16, 8)}
    save_file(weights, folder / "base-folder" / "model.safetensors")
    (folder / "lora-folder").mkdir()
    adapter = {"layer.lora_A.weight": torch.randn(2, 8), "layer.lora_B.weight": torch.randn(16, 2)}
    save_file({f"base_model.model.{name}": value for name, value in adapter.items()},
              folder / "lora-folder" / "adapter_model.safetensors")  # fmt: skip
    (folder / "lora-folder" / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["layer"]}', encoding="utf-8"
    )
    (folder / "photos.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    for run in ("run_a", "run_b"):
        watched(folder / run)
    return folder


def watched(out: Path) -> None:
    torch.manual_seed(0)
    start = timm.create_model("test_resnet", num_classes=2)
    model = timm.create_model("test_resnet", num_classes=2)
    model.load_state_dict(start.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with transferscope.watch(model, start=start, out=str(out), group="lr 0.01") as w:
        for _ in range(2):
            nn.functional.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 0, 1])).backward()
            optimizer.step()
            w.step()
        w.epoch()


@pytest.fixture
def place(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(world)
    return world


@pytest.mark.parametrize("line", commands())
def test_command_is_understood(line: str) -> None:
    parsed(f"transferscope {line}")


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands() if line not in ELSEWHERE])
def test_command(line: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for shown, here in HERE.items():
        line = line.replace(shown, here)
    if line.startswith("init"):
        monkeypatch.chdir(tmp_path)
        for path in place.iterdir():
            if path.name != "photos.yaml":
                (tmp_path / path.name).symlink_to(path)
    if "layout=parts" in line:  # folders of parts, with those of classes in them
        (tmp_path / "photos").unlink()
        for part in ("train", "test"):
            shutil.copytree(place / "photos", tmp_path / "photos" / part)
    found = RUNNER.invoke(app, shlex.split(line))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code in ((0, 3) if "--fail-if" in line else (0,)), found.output
    assert found.stdout


def test_what_is_run_elsewhere_is_shown() -> None:
    assert set(commands()) >= ELSEWHERE.keys()


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks(ROOT / "README.md", "python"))
def test_python_of_the_readme(block: str, place: Path) -> None:
    for run in ("run_a", "run_b"):
        save_file(timm.create_model("test_resnet", num_classes=10).state_dict(), place / f"{run}.safetensors")
    loader = torch.utils.data.DataLoader([(torch.randn(3, 32, 32), at % 10) for at in range(40)], batch_size=20)
    network = timm.create_model("test_resnet", num_classes=10)
    known = {"test_loader": loader, "train_loader": loader, "model": network, "pretrained": network}
    code = block.replace('"run_a", group', '"run_c", group').replace("resnet18", "test_resnet")
    exec(compile(code, "README.md", "exec"), {**known, "transferscope": transferscope, "__name__": "shown"})


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "adding-an-analysis"], ids=lambda p: p.name)
def test_studies_are_read(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        settings = yaml.safe_load(text)
        if isinstance(settings, dict):
            whole = {**STUDY, **settings}
            (tmp_path / "study.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
            assert load_study(tmp_path / "study.yaml").name == whole["name"]
