"""Thirty files of weights as other people's programs leave them, each with what should come of it.

A seeded script of variations: what wraps the names, in what they are nested, what lies beside them, in which format
they are written, and how they are damaged. ``situations(folder)`` writes them.
"""

import argparse
import collections
import copy
import datetime
import io
import json
import os
import pathlib
import pickle
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from transferscope.networks.architectures import build
from transferscope.specs.architecture import Architecture

ARCHITECTURE = "timm:test_resnet"
CLASSES = 3
State = dict[str, Tensor]


@dataclass(frozen=True)
class Situation:
    """A file of weights and what should come of it.

    Attributes:
        name: what it is like.
        path: the file or folder.
        which: the setting of that name.
        state: what the network should hold; None where the file is refused.
        head: whether the file holds the network's own head.
        says: words of the account, or of the error.
    """

    name: str
    path: Path
    which: str | None = None
    state: State | None = None
    head: bool = True
    says: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wrapped:
    """Weights as a program puts them into a file."""

    content: Any
    says: tuple[str, ...] = ()
    head: bool = True


def network() -> State:
    """The weights that should come out again."""
    state = copy.deepcopy(build(Architecture(name=ARCHITECTURE), CLASSES, 7).state_dict())
    generator = torch.Generator().manual_seed(7)
    for name, value in state.items():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.endswith("num_batches_tracked"):
            value.fill_(5)
    return dict(state)


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def other(state: State) -> State:
    """Other weights of the same network, as an average of them is."""
    return {name: value * 0.5 if value.is_floating_point() else value for name, value in state.items()}


def trunk(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def by_position(state: State) -> State:
    """The names that ``nn.Sequential(*network.children())`` gives."""
    model = build(Architecture(name=ARCHITECTURE), CLASSES, 0)
    numbers = {name: number for number, (name, _) in enumerate(model.named_children())}
    return {f"{numbers[name.partition('.')[0]]}.{name.partition('.')[2]}": value for name, value in state.items()}


def inside(segment: str, state: State) -> State:
    """A wrapper around every block: its segment stands in the middle of the names."""
    return {
        name.replace("layer", "layer", 1).replace(".0.", f".0.{segment}.", 1)
        if name.startswith("layer")
        else name: value
        for name, value in state.items()
    }


WRAPPERS: dict[str, Callable[[State], Wrapped]] = {
    "plain": lambda s: Wrapped(s),
    "nested in net": lambda s: Wrapped({"net": s, "epoch": 3}, ("net",)),
    "nested in params": lambda s: Wrapped({"params": s}, ("params",)),
    "nested twice": lambda s: Wrapped({"model": {"state_dict": s}}, ("model.state_dict",)),
    "in a list": lambda s: Wrapped({"models": [s]}, ("models.0",)),
    "DataParallel, compiled": lambda s: Wrapped(under("module._orig_mod.", s)),
    "blocks compiled": lambda s: Wrapped(inside("_orig_mod", s)),
    "blocks sharded and checkpointed": lambda s: Wrapped(
        {"model": under("_fsdp_wrapped_module.", inside("_checkpoint_wrapped_module", s))}
    ),
    "Lightning with a loss": lambda s: Wrapped(
        {
            "state_dict": {**under("model.", s), "criterion.weight": torch.ones(10)},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(4)}}}],
            "hyper_parameters": {"rate": 0.1},
        },
        ("criterion.weight", "optimizer_states"),
    ),
    "a loss beside bare names": lambda s: Wrapped({**s, "loss_fn.pos_weight": torch.ones(3)}, ("loss_fn.pos_weight",)),
    "timm's train.py": lambda s: Wrapped(
        {"arch": "x", "state_dict": s, "state_dict_ema": other(s), "optimizer": {"state": {}}}, ("state_dict_ema",)
    ),
    "MoCo": lambda s: Wrapped(
        {
            "state_dict": {
                **under("module.encoder_q.", trunk(s)),
                "module.encoder_q.fc.0.weight": torch.ones(8, 8),
                **under("module.encoder_k.", other(trunk(s))),
                "module.queue": torch.ones(8, 4),
            }
        },
        ("encoder_k",),
        head=False,
    ),
    "DINO": lambda s: Wrapped(
        {"student": under("module.backbone.", trunk(s)), "teacher": under("backbone.", other(trunk(s)))},
        ("teacher",),
        head=False,
    ),
    "mmengine": lambda s: Wrapped(
        {"meta": {"epoch": 1}, "state_dict": {**under("backbone.", trunk(s)), "head.fc.weight": torch.ones(9, 8)}},
        ("head.fc.weight",),
        head=False,
    ),
    "fastai": lambda s: Wrapped(
        {"model": {**under("0.", by_position(trunk(s))), "1.8.weight": torch.ones(3, 8)}, "opt": {}},
        ("1.8.weight",),
        head=False,
    ),
    "parts in a Sequential": lambda s: Wrapped(by_position(s)),
    "a head of another name": lambda s: Wrapped(
        {**trunk(s), "classifier.1.weight": torch.ones(10, 8), "classifier.1.bias": torch.ones(10)}, head=False
    ),
    "a head of two layers": lambda s: Wrapped({**trunk(s), "fc.0.weight": torch.ones(10, 8)}, head=False),
    "an averaged model": lambda s: Wrapped({"n_averaged": torch.tensor(4), **under("module.", s)}),
}
"""What other programs put around the names, and what should be said of it."""

BESIDE: dict[str, Any] = {
    "numpy": {"metric": np.float64(0.5), "dtype": np.dtype("f4"), "losses": np.arange(3.0)},
    "settings": {"args": argparse.Namespace(out=pathlib.PurePosixPath("/x"), lr=0.1)},
    "dates and paths": {"when": datetime.datetime(2024, 1, 2), "path": pathlib.PosixPath("/x")},
    "counts": {"seen": collections.defaultdict(int, {"a": 1}), "recent": collections.deque([1.0])},
}
"""What training scripts store beside the weights, none of it a tensor."""


def _torch(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def _safetensors(path: Path, state: State) -> Path:
    save_file({name: value.clone() for name, value in state.items()}, path)
    return path


def _parts(folder: Path, state: State, index: str) -> Path:
    """The state in two files with an index, as the Hugging Face libraries write it."""
    folder.mkdir()
    names, end = list(state), ".safetensors" if "safetensors" in index else ".bin"
    placed = {}
    for number, some in enumerate((names[::2], names[1::2]), start=1):
        name = f"{index.partition('.')[0]}-{number:05d}-of-00002{end}"
        part = {key: state[key] for key in some}
        _safetensors(folder / name, part) if end == ".safetensors" else _torch(folder / name, part)
        placed |= dict.fromkeys(some, name)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


FORMATS: dict[str, Callable[[Path, Any], Path]] = {
    "zip .pt": lambda path, content: _torch(path.with_suffix(".pt"), content),
    "legacy .pth.tar": lambda path, content: _torch(
        path.with_suffix(".pth.tar"), content, _use_new_zipfile_serialization=False
    ),
    ".bin": lambda path, content: _torch(path.with_suffix(".bin"), content),
    "no suffix": _torch,
}


class Hostile:
    """A pickle that would run a command when it is opened freely."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _cut(path: Path) -> Path:
    return _write(path, path.read_bytes()[: path.stat().st_size // 2])


def _archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _without_a_part(folder: Path) -> Path:
    next(folder.glob("*-00002-of-*")).unlink()
    return folder / "model.safetensors.index.json"


def _changed(state: State, name: str, change: Callable[[Tensor], Tensor]) -> State:
    return {key: change(value) if key == name else value for key, value in state.items()}


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


DAMAGE: dict[str, tuple[Callable[[Path, State], Path], tuple[str, ...]]] = {
    "cut off": (lambda p, s: _cut(_torch(p, s)), ("is damaged",)),
    "safetensors cut off": (lambda p, s: _cut(_safetensors(p, s)), ("is damaged",)),
    "empty": (lambda p, s: _write(p, b""), ("empty",)),
    "a pointer of LFS": (lambda p, s: _write(p, b"version https://git-lfs.github.com/spec/v1\noid"), ("git lfs pull",)),
    "a web page": (lambda p, s: _write(p, b"\n<!DOCTYPE html><html>"), ("web page",)),
    "an archive": (lambda p, s: _archive(p), ("readme.txt", "torch.save did not write")),
    "a header too long": (lambda p, s: _write(p, (2**62).to_bytes(8, "little") + b'{"a":'), ("is damaged",)),
    "an empty folder": (lambda p, s: (p.mkdir(), p)[1], ("does not tell which",)),
    "a pipe": (lambda p, s: _pipe(p), ("FIFO",)),
    "a part missing": (
        lambda p, s: _without_a_part(_parts(p, s, "model.safetensors.index.json")),
        ("model-00002-of-00002.safetensors", "not complete"),
    ),
    "a command": (
        lambda p, s: _torch(p, {"state_dict": s, "x": Hostile(os.system, "false")}),
        ("os", "was not opened"),
    ),
    "an expression": (lambda p, s: _torch(p, {"w": s, "x": Hostile(eval, "1")}), ("eval", "was not opened")),
    "a plain pickle": (
        lambda p, s: _write(p, pickle.dumps({"x": Hostile(os.system, "false")}, 4)),
        ("was not opened",),
    ),
    "NaN": (
        lambda p, s: _torch(p, _changed(s, "conv1.0.weight", lambda v: v * float("nan"))),
        ("conv1.0.weight", "NaN", "finite"),
    ),
    "a negative variance": (
        lambda p, s: _torch(p, _changed(s, "bn1.running_var", lambda v: v - 9)),
        ("bn1.running_var", "variance"),
    ),
    "integers": (lambda p, s: _torch(p, _changed(s, "fc.weight", lambda v: v.to(torch.int8))), ("fc.weight", "int8")),
    "two networks": (lambda p, s: _torch(p, {"net_a": s, "net_b": other(s)}), ("net_a", "net_b", "which")),
    "another network": (
        lambda p, s: _torch(p, build(Architecture(name="timm:resnet18"), 3, 0).state_dict()),
        ("do not fit", "timm:resnet18"),
    ),
    "no tensor": (lambda p, s: _torch(p, {"epoch": 3}), ("holds no tensor",)),
}
"""Ways in which a file is of no use, and what should be said of it."""


def situations(folder: Path, seed: int = 0) -> list[Situation]:
    """Write thirty files of weights.

    Args:
        folder: where.
        seed: of the variations.
    """
    draw, state = random.Random(seed), network()
    made = []
    for number, name in enumerate(draw.sample(sorted(WRAPPERS), 13)):
        wrapped, form = WRAPPERS[name](state), draw.choice(sorted(FORMATS))
        content, beside = wrapped.content, draw.choice(sorted(BESIDE))
        if all(not isinstance(value, Tensor) for value in content.values()):
            content = {**content, **BESIDE[beside]}
        path = FORMATS[form](folder / f"good{number}", content)
        made.append(Situation(f"{name}, {form}, {beside}", path, None, state, wrapped.head, wrapped.says))
    both = {"model": state, "model_ema": under("module.", other(state))}
    average = _torch(folder / "both.ckpt", both)
    made += [
        Situation("the average asked for", average, "ema", other(state), says=("model_ema",)),
        Situation("a Hugging Face folder", _parts(folder / "hf", state, "model.safetensors.index.json"), None, state),
        Situation("an index of .bin", _parts(folder / "bin", state, "pytorch_model.bin.index.json"), None, state),
        Situation(
            "half precision",
            _safetensors(
                folder / "half.safetensors", {n: v.half() if v.is_floating_point() else v for n, v in state.items()}
            ),
            None,
            {name: value.half().float() if value.is_floating_point() else value for name, value in state.items()},
            says=("float16",),
        ),
    ]
    for number, name in enumerate(draw.sample(sorted(DAMAGE), 13)):
        write, says = DAMAGE[name]
        made.append(Situation(name, write(folder / f"bad{number}", state), says=says))
    return made
