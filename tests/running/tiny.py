"""A whole study of seconds: a network of 1,500 weights, 90 pictures of 12 × 12 pixels."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.data.sources.arrays import Arrays
from transferscope.networks.architectures import build
from transferscope.networks.weights import write_state
from transferscope.specs.architecture import Architecture
from transferscope.store import Store
from transferscope.study.settings import Study

SIZE = 12
NAME = "tests.running.tiny:network"


class Network(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.stem(images)).mean((2, 3)))


def network(num_classes: int) -> nn.Module:
    return Network(num_classes)


def pictures(folder: Path, *, count: int = 90, classes: int = 2, seed: int = 0) -> dict[str, Any]:
    """Pictures of class k are brighter in channel k; the settings of their source."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % classes
    pixels = rng.integers(0, 150, (count, SIZE, SIZE, 3)) + 60 * np.eye(3, dtype=int)[labels][:, None, None, :]
    return Arrays.save(folder, pixels.astype(np.uint8), labels).model_dump(mode="json")


def weights(folder: Path, seed: int = 77) -> Path:
    """A file of "pre-trained" weights with a head of 5 classes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "weights.safetensors"
    write_state(path, build(Architecture(name=NAME), 5, seed).state_dict(), {})
    return path


FAST = {"epochs": 2, "batch_size": 16, "memory_format": "contiguous", "schedule": "constant"}
ANALYSES = [
    {"similarity": {"test_images": 16, "batch_size": 8}},
    {
        "path": {
            "points": 3,
            "refine": None,
            "points_outside": 0,
            "extrapolate": 0.0,
            "batch_norm_images": 32,
            "train_images": 16,
            "control_images": 16,
        }
    },
]


def settings(folder: Path, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a study: two seeds, three rates, every kind of analysis; ``changes`` are merged in.

    Args:
        folder: where pictures and weights lie; made where they do not.
        changes: nested; a value of None removes a setting.
    """
    if not (folder / "target" / "images.npy").exists():
        pictures(folder / "target")
        weights(folder)
    asked: dict[str, Any] = {
        "name": "tiny",
        "source": {"architecture": NAME, "weights": str(folder / "weights.safetensors")},
        "target": {
            "data": {
                "kind": "arrays",
                "images": str(folder / "target" / "images.npy"),
                "labels": str(folder / "target" / "labels.npy"),
            },
            "image_size": SIZE,
        },
        "training": {"recipe": FAST, "learning_rates": [0.01, 0.05, 0.2], "extensions": 0},
        "seeds": [0, 1],
        "analyses": [
            {"outcome": {"n_bootstrap": 100}},
            "learning_curves",
            {"mistakes": {"n_bootstrap": 100}},
            "distance",
            *ANALYSES,
        ],
        "compute": {"device": "cpu", "threads": 1, "evaluation_batch": 32},
    }
    return _merged(copy.deepcopy(asked), changes or {})


def study(folder: Path, changes: dict[str, Any] | None = None) -> Study:
    """The study of :func:`settings`."""
    return Study.model_validate(settings(folder, changes))


def pretrained(folder: Path, **pretrain: Any) -> dict[str, Any]:
    """Changes for a pre-training of our own on pictures of three classes."""
    data = pictures(folder / "source", classes=3, seed=5)
    return {
        "source": {
            "weights": None,
            "pretrain": {
                "data": data,
                "image_size": SIZE,
                "recipe": FAST,
                "learning_rate": 0.05,
                "seed": 2000,
                **pretrain,
            },
        }
    }


def bound(folder: Path, changes: dict[str, Any] | None = None) -> tuple[ResolvedStudy, Store, Context]:
    """A bound study with its store (``folder/store``) and context; nothing is trained."""
    store = Store(folder / "store")
    found = resolve(study(folder, changes), store)
    return found, store, Context(store, found)


def contents(store: Path, *kinds: str) -> dict[str, bytes]:
    """All bytes that are compared between runs: names below the store, without provenance."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for kind in kinds or ("networks", "units", "artefacts")
        for path in sorted((store / kind).rglob("*"))
        if path.is_file() and path.name != "provenance.json"
    }


def _merged(asked: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for name, value in changes.items():
        if value is None:
            asked.pop(name, None)
        elif isinstance(value, dict) and isinstance(asked.get(name), dict) and "kind" not in value:
            _merged(asked[name], value)
        else:
            asked[name] = value
    return asked
