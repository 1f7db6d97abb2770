from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.making import random_set
from tests.reference.augment_reference import augment_one, normalise_one
from transferscope.data.augment import draw
from transferscope.data.batches import (
    EvaluationBatches,
    TrainingBatches,
    epoch_order,
    normalised,
    updates_per_epoch,
)
from transferscope.data.images import ImageSet
from transferscope.data.spec import Augmentation
from transferscope.errors import DataError
from transferscope.specs.recipe import Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return random_set(tmp_path_factory.mktemp("images"))


def recipe(**more: object) -> Recipe:
    return Recipe(**{"learning_rate": 0.1, "epochs": 1, "batch_size": 8, **more})


def test_evaluation_batches_in_order(images: ImageSet) -> None:
    indices = np.array([3, 1, 39, 8, 20])
    batches = EvaluationBatches(images, indices, MEAN, STD, 2)
    assert len(batches) == 3
    found = list(batches)
    assert [len(x) for x, _ in found] == [2, 2, 1]
    assert torch.cat([y for _, y in found]).tolist() == images.labels[indices].tolist()
    x = torch.cat([x for x, _ in found])
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    expected = np.stack([normalise_one(images.pixels(k), MEAN, STD) for k in indices])
    assert np.abs(x.numpy() - expected).max() < 1e-6
    again = torch.cat([x for x, _ in batches])
    assert torch.equal(again, x)


def test_batch_size_does_not_change_values(images: ImageSet) -> None:
    one, all_at_once = (
        torch.cat([x for x, _ in EvaluationBatches(images, range(40), MEAN, STD, size)]) for size in (1, 64)
    )
    assert torch.equal(one, all_at_once)


def test_memory_formats_agree_to_the_bit(images: ImageSet) -> None:
    plain, last = (
        next(iter(EvaluationBatches(images, range(10), MEAN, STD, 10, "cpu", name)))[0]
        for name in ("contiguous", "channels_last")
    )
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    assert torch.equal(plain, last)


def test_several_labels_come_as_floats(tmp_path: Path) -> None:
    several = random_set(tmp_path, multi=True)
    _, y = next(iter(EvaluationBatches(several, range(6), MEAN, STD, 6)))
    assert y.dtype == torch.float32
    assert y.tolist() == several.labels[:6].tolist()


def test_no_examples(images: ImageSet) -> None:
    batches = EvaluationBatches(images, [], MEAN, STD)
    assert len(batches) == 0
    assert list(batches) == []


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_training_batches_as_one_image_at_a_time(images: ImageSet, memory_format: str) -> None:
    indices = np.arange(5, 35)
    asked = recipe(memory_format=memory_format, augmentation=Augmentation(crop_padding=3))
    batches = TrainingBatches(images, indices, MEAN, STD, asked, seed=4, epoch=2)
    order, draws = epoch_order(30, 4, 2), draw(30, asked.augmentation, 4, 2)
    assert sorted(order.tolist()) == list(range(30))
    seen = 0
    for x, y in batches:
        assert x.is_contiguous(memory_format=torch.channels_last) == (memory_format == "channels_last")
        for k in range(len(x)):
            sample = int(order[seen])
            image = images.pixels(indices[sample])
            changed = augment_one(image, int(draws.down[sample]), int(draws.right[sample]), bool(draws.flip[sample]), 3)
            assert np.abs(x[k].numpy() - normalise_one(changed, MEAN, STD)).max() < 1e-6
            assert int(y[k]) == images.labels[indices[sample]]
            seen += 1
    assert seen == 30


def test_without_augmentation_the_same_pixels_as_in_evaluation(images: ImageSet) -> None:
    plain = recipe(augmentation=Augmentation(flip=False, crop_padding=0))
    x = torch.cat([x for x, _ in TrainingBatches(images, range(16), MEAN, STD, plain, 0, 1)])
    expected = torch.cat([x for x, _ in EvaluationBatches(images, range(16), MEAN, STD)])
    assert torch.equal(x, expected[epoch_order(16, 0, 1)])


def test_order_and_augmentation_come_from_seed_and_epoch_alone(images: ImageSet) -> None:
    def first(seed: int, epoch: int, size: int = 8) -> torch.Tensor:
        asked = recipe(batch_size=size)
        return torch.cat([x for x, _ in TrainingBatches(images, range(32), MEAN, STD, asked, seed, epoch)])

    torch.manual_seed(0)
    one = first(1, 1)
    torch.rand(5)
    assert torch.equal(first(1, 1), one)
    assert torch.equal(first(1, 1, size=5), one)
    assert not torch.equal(first(2, 1), one)
    assert not torch.equal(first(1, 2), one)


def test_the_caller_s_random_numbers_are_left_alone(images: ImageSet) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(TrainingBatches(images, range(16), MEAN, STD, recipe(), 0, 1))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(("count", "sizes"), [(16, [8, 8]), (17, [8, 8]), (18, [8, 8, 2]), (3, [3])])
def test_a_last_single_image_is_left_out(images: ImageSet, count: int, sizes: list[int]) -> None:
    batches = TrainingBatches(images, range(count), MEAN, STD, recipe(), 0, 1)
    assert [len(x) for x, _ in batches] == sizes
    assert len(batches) == len(sizes) == updates_per_epoch(count, 8)


def test_bad_input(images: ImageSet) -> None:
    with pytest.raises(DataError, match=r"too few training images(.|\n)*got: +1"):
        TrainingBatches(images, [3], MEAN, STD, recipe(), 0, 1)
    with pytest.raises(DataError, match=r"no image of that number(.|\n)*0 to 39"):
        EvaluationBatches(images, [40], MEAN, STD)
    with pytest.raises(DataError, match="no image of that number"):
        EvaluationBatches(images, [-1], MEAN, STD)
    with pytest.raises(DataError, match="list of numbers"):
        EvaluationBatches(images, [[0, 1]], MEAN, STD)
    with pytest.raises(DataError, match="batch size does not fit"):
        EvaluationBatches(images, [0], MEAN, STD, 0)
    with pytest.raises(DataError, match="unknown memory format 'nchw'"):
        EvaluationBatches(images, [0], MEAN, STD, 1, "cpu", "nchw")


def test_normalised_range() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    x = normalised(pixels, (0.5, 0.5, 0.5), (0.5, 0.25, 1.0), torch.contiguous_format)
    assert x[0, :, 0, 0].tolist() == [-1.0, -2.0, -0.5]
    assert x[0, :, 1, 0].tolist() == [1.0, 2.0, 0.5]


ACCELERATORS = [
    name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there
]


@pytest.mark.skipif(not ACCELERATORS, reason="no accelerator on this machine")
@pytest.mark.parametrize("resident", [0, 2**31])
def test_an_accelerator_sees_the_same(images: ImageSet, resident: int) -> None:
    device = ACCELERATORS[0]
    for memory_format in ("contiguous", "channels_last"):
        asked = recipe(memory_format=memory_format)
        here = list(TrainingBatches(images, range(30), MEAN, STD, asked, 0, 1))
        there = list(TrainingBatches(images, range(30), MEAN, STD, asked, 0, 1, device, resident_bytes=resident))
        for (x, y), (other_x, other_y) in zip(here, there, strict=True):
            assert other_x.device.type == device
            assert (other_x.cpu() - x).abs().max() < 1e-6
            assert torch.equal(other_y.cpu(), y)


def test_batches_brought_over_one_by_one(images: ImageSet) -> None:
    """The way for image sets too large for an accelerator, on the meta device: shapes only."""
    batches = EvaluationBatches(images, range(10), MEAN, STD, 4, "meta", resident_bytes=0)
    assert [tuple(x.shape) for x, _ in batches] == [(4, 3, 16, 16), (4, 3, 16, 16), (2, 3, 16, 16)]
    asked = recipe(batch_size=4)
    found = TrainingBatches(images, range(10), MEAN, STD, asked, 0, 1, "meta", resident_bytes=0)
    assert [x.device.type for x, _ in found] == ["meta"] * 3
    resident = TrainingBatches(images, range(10), MEAN, STD, asked, 0, 1, "meta")
    assert [x.device.type for x, _ in resident] == ["meta"] * 3
    assert list(images.copies) == [torch.device("meta")]
