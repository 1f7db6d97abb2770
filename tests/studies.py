"""A whole study of seconds for the tests of analyses: pictures of 16 × 16 pixels, a network of 1,200 weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.data.sources.arrays import Arrays
from transferscope.running.results import Results
from transferscope.store import Store
from transferscope.study.settings import Study

SIZE = 16
NAME = "tests.studies:tiny_network"


class Tiny(nn.Module):
    """Convolutions with or without batch norm, and a head."""

    def __init__(self, classes: int, width: int, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=not norm), _norm(width, norm), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(width, width, 3, stride=2), _norm(width, norm), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.stem(images)).mean((2, 3)))


def _norm(width: int, norm: bool) -> nn.Module:
    return nn.BatchNorm2d(width) if norm else nn.Identity()


def tiny_network(num_classes: int, width: int = 8, norm: bool = True) -> nn.Module:
    return Tiny(num_classes, width, norm)


def arrays(folder: Path, count: int, seed: int, *, classes: int = 3, multi: bool = False, groups: int = 1) -> Arrays:
    """Pictures of class k are brighter in channel k, on much noise; one class after the other, as folders list them."""
    rng = np.random.default_rng(seed)
    if multi:
        labels = (rng.random((count, 3)) < 0.4).astype(np.uint8)
        rows = labels.astype(int)
    else:
        labels = np.sort(np.arange(count) % classes)
        rows = np.eye(3, dtype=int)[labels % 3]
    strength = rng.uniform(0, 40, (count, 1, 1, 1))
    pixels = rng.integers(0, 160, (count, SIZE, SIZE, 3)) + strength * rows[:, None, None, :]
    return Arrays.save(
        folder, pixels.astype(np.uint8), labels, groups=None if groups == 1 else [k // groups for k in range(count)]
    )


RECIPE = {"epochs": 4, "batch_size": 16, "memory_format": "contiguous", "schedule": "constant", "keep": "all"}
ANALYSES = [
    {"outcome": {"n_bootstrap": 200}},
    "learning_curves",
    {"mistakes": {"n_bootstrap": 200}},
    {"similarity": {"test_images": 50, "batch_size": 20, "max_seeds": 2}},
    "distance",
    {"path": {"points": 5, "refine": None, "points_outside": 2, "batch_norm_images": 64, "train_images": 60}},
]


def study(folder: Path, **changes: Any) -> Study:
    """Four seeds, three rates, a pre-training of our own; ``changes`` replaces settings of the first level."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "source": {
            "architecture": NAME,
            "pretrain": {
                "data": arrays(folder / "source", 120, 5),
                "image_size": SIZE,
                "recipe": RECIPE,
                "learning_rate": 0.1,
                "seed": 77,
            },
        },
        "target": {"data": arrays(folder / "target", 180, 0, groups=3), "image_size": SIZE},
        "training": {
            "recipe": RECIPE,
            "learning_rates": [0.02, 0.1, 0.5],
            "tuning_epochs": 3,
            "extensions": 1,
            "plateau_epochs": 6,
        },
        "seeds": [0, 1, 2, 3],
        "analyses": ANALYSES,
        "compute": {"device": "cpu", "threads": 1, "evaluation_batch": 32},
    }
    return Study.model_validate({**settings, **changes})


def bound(folder: Path, **changes: Any) -> Context:
    """A context of a bound study; nothing is trained."""
    found, store = study(folder, **changes), Store(folder / "store")
    return Context(store, resolve(found, store))


def untrained(study: ResolvedStudy, *labels: str) -> tuple[StudyNetwork, ...]:
    """Networks in the roles of trained ones, without a training: ``P_T 0`` is P of seed 0."""
    return tuple(
        StudyNetwork(variant=variant, seed=int(seed), spec=study.untrained(variant, int(seed)))
        for variant, seed in (label.split() for label in labels)
    )


@dataclass(frozen=True)
class Trained:
    """A finished study, with what its analyses read."""

    study: ResolvedStudy
    context: Context
    results: Results

    @property
    def evidence(self) -> Evidence:
        return Evidence({item.analysis.key: item.table for item in self.results.analyses if item.table is not None})

    def analysis(self, name: str) -> AbstractAnalysis:
        return next(item.analysis for item in self.results.analyses if item.analysis.name == name)


class Diverging(Context):
    """A context in which the networks of some members diverged."""

    def __init__(self, context: Context, *lost: StudyNetwork) -> None:
        super().__init__(context.store, context.study)
        self.lost = {member.spec.key for member in lost}

    def diverged(self, spec: Any) -> bool:
        return spec.key in self.lost
