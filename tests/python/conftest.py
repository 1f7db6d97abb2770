import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.studies import NAME, RECIPE, SIZE, arrays
from transferscope import Study, StudyResults

CLASSES = ("<b>red</b>", "green & grey", "blue")


def images(count: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of class k are brighter in channel k."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = rng.integers(0, 160, (count, SIZE, SIZE, 3)) + 60 * np.eye(3, dtype=int)[labels][:, None, None, :]
    return pixels.astype(np.uint8), labels


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "source": {
            "architecture": NAME,
            "pretrain": {
                "data": arrays(folder / "source", 60, 5), "image_size": SIZE,
                "recipe": {**RECIPE, "epochs": 2}, "learning_rate": 0.1, "seed": 77,
            },
        },
        "training": {"recipe": {**RECIPE, "epochs": 2}, "learning_rates": [0.1], "extensions": 0},
        "seeds": [0, 4],
        "analyses": [{"outcome": {"n_bootstrap": 100}}, "learning_curves", "distance"],
        "compute": {"device": "cpu", "threads": 1, "evaluation_batch": 32},
        **changes,
    }  # fmt: skip


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """A tiny study of images in memory, run once."""
    folder = tmp_path_factory.mktemp("python")
    pixels, labels = images()
    study = Study.from_images(
        pixels, labels, classes=CLASSES, store=folder / "store", target={"image_size": SIZE}, **settings(folder)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)  # nothing here outlives the session
        return study.run(folder / "store", quiet=True)
