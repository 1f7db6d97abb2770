"""Images and labels in memory become the data of a study, or a message that says what they should be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from transferscope.errors import DataError
from transferscope.python.images import images_source

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


class Pairs:
    """A data set as torchvision has them: items and the names of classes."""

    classes = ("cat", "dog", "owl")

    def __init__(self, images: list[Any]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], int(LABELS[index])


TENSOR = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (PIXELS, LABELS),
        (list(PIXELS), LABELS.tolist()),
        (TENSOR, torch.from_numpy(LABELS)),
        (list(TENSOR), LABELS),
        (TensorDataset(TENSOR, torch.from_numpy(LABELS)), None),
        (Pairs([Image.fromarray(image) for image in PIXELS]), None),
        (Pairs(list(TENSOR)), None),
    ],
    ids=["array", "list", "tensor", "list of tensors", "tensor data set", "pictures", "data set of tensors"],
)
def test_every_form_gives_the_same_pixels_and_labels(tmp_path: Path, images: Any, labels: Any) -> None:
    listing = images_source(images, labels, classes=Pairs.classes, folder=tmp_path).listing()
    assert listing.classes == Pairs.classes
    assert np.asarray(listing.labels).tolist() == LABELS.tolist()
    for index, image in enumerate(PIXELS):
        assert np.array_equal(listing.read(index), image)


def test_a_picture_with_a_palette_is_read_by_its_colours(tmp_path: Path) -> None:
    flat = np.zeros((6, 8, 3), np.uint8) + np.uint8([10, 200, 30])
    picture = Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE)
    listing = images_source([picture] * 12, LABELS, folder=tmp_path).listing()
    assert np.array_equal(listing.read(0), flat)


def test_a_data_set_gives_the_names_of_its_classes(tmp_path: Path) -> None:
    assert images_source(Pairs(list(TENSOR)), folder=tmp_path).classes == ("cat", "dog", "owl")


def test_equal_images_are_written_once_and_others_beside_them(tmp_path: Path) -> None:
    first = images_source(PIXELS, LABELS, folder=tmp_path)
    stamp = first.stamp()
    assert images_source(PIXELS.copy(), LABELS, folder=tmp_path).stamp() == stamp
    assert images_source(PIXELS, LABELS[::-1], folder=tmp_path).images != first.images
    assert images_source(PIXELS, LABELS, groups=list("aabbccddeeff"), folder=tmp_path).groups is not None
    assert first.stamp() == stamp
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS, None, "there are no labels"),
        (Pairs([]), None, "there are no labels"),
        (7, None, "there are no labels"),
        (PIXELS, LABELS[:-1], "differ in number"),
        (TENSOR / 255, LABELS, r"\(images \* 255\)"),
        ([PIXELS[0], PIXELS[1, :4]] * 6, LABELS, "different sizes"),
        (PIXELS[:, :, 0, 0], LABELS, "no pictures"),
        (PIXELS, LABELS.astype(float) + 0.5, "label"),
    ],
)
def test_what_is_no_picture_or_label_is_told(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        images_source(images, labels, folder=tmp_path)


def test_classes_must_name_every_label(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        images_source(PIXELS, LABELS, classes=["cat", "dog"], folder=tmp_path)
