import numpy as np
import pytest
import torch
from torch import nn

from transferscope.data.images import ImageSet
from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import DataSpec
from transferscope.specs.network import NetworkSpec, Random
from transferscope.specs.recipe import Recipe

SIZE = 12


class Tiny(nn.Module):
    """A small convolutional network with everything that has a state: batch norm, dropout."""

    def __init__(self, classes=2, dropout=0.0):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        return self.head(self.dropout(self.block(self.stem(images)).mean((2, 3))))


def tiny(seed=1, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tiny(**settings)


def image_set(folder, labels, multi_label=False, seed=0):
    """Separable images: class k (or label k) is bright in channel k, on noise."""
    rng = np.random.default_rng(seed)
    rows = labels if multi_label else np.eye(3)[labels]
    pixels = rng.integers(0, 120, (len(labels), SIZE, SIZE, 3))
    pixels = pixels + 40 * np.pad(rows[:, :3], ((0, 0), (0, 3 - rows[:, :3].shape[1])))[:, None, None, :]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pixels.npy"
    np.save(path, pixels.astype(np.uint8))
    classes = labels.shape[1] if multi_label else int(labels.max()) + 1
    return ImageSet(
        path=path,
        names=tuple(str(number) for number in range(len(labels))),
        labels=labels,
        classes=tuple(str(number) for number in range(classes)),
        groups=None,
        given_splits=None,
        fingerprint="0" * 64,
        multi_label=multi_label,
        image_size=SIZE,
    )


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    labels = np.random.default_rng(1).integers(0, 2, 90).astype(np.int64)
    return image_set(tmp_path_factory.mktemp("images"), labels)


@pytest.fixture(scope="session")
def many_labels(tmp_path_factory):
    labels = np.random.default_rng(2).integers(0, 2, (90, 3)).astype(np.uint8)
    return image_set(tmp_path_factory.mktemp("many_labels"), labels, multi_label=True)


@pytest.fixture
def splits():
    order = np.random.default_rng(3).permutation(90)
    return {"train": np.sort(order[:50]), "validation": np.sort(order[50:70]), "test": np.sort(order[70:])}


def spec(classes=2, seed=0, **recipe):
    settings = {"learning_rate": 0.05, "epochs": 2, "batch_size": 8, "augmentation": {"crop_padding": 1}}
    return NetworkSpec(
        architecture="timm:resnet18",
        classes=classes,
        start=Random(),
        seed=seed,
        data=DataSpec(source=Arrays(images="images.npy"), fingerprint="0" * 64, image_size=SIZE),
        recipe=Recipe(**(settings | recipe)),
    )
