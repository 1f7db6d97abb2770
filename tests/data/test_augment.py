import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.augment_reference import augment_one
from transferscope.data.augment import Draws, augmented, draw
from transferscope.data.spec import Augmentation
from transferscope.errors import DataError


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 7), st.integers(8, 13), st.integers(8, 13), st.integers(0, 1000))
def test_as_one_image_at_a_time(padding: int, height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (9, height, width, 3), dtype=torch.uint8, generator=generator)
    rows = torch.randint(0, 9, (6,), generator=generator)
    steps = 2 * padding + 1
    draws = Draws(
        torch.randint(0, steps, (6,), generator=generator),
        torch.randint(0, steps, (6,), generator=generator),
        torch.rand(6, generator=generator) < 0.5,
        padding,
    )
    found = augmented(pixels, rows, draws).numpy()
    for k in range(6):
        expected = augment_one(
            pixels[rows[k]].numpy(), int(draws.down[k]), int(draws.right[k]), bool(draws.flip[k]), padding
        )
        assert np.array_equal(found[k], expected)


def test_draws_cover_their_range_evenly() -> None:
    draws = draw(20_000, Augmentation(flip=True, crop_padding=2), seed=0, epoch=1)
    for offsets in (draws.down, draws.right):
        found = torch.bincount(offsets, minlength=5)
        assert len(found) == 5
        assert (found - 4000).abs().max() < 5 * 57
    assert abs(int(draws.flip.sum()) - 10_000) < 5 * 71
    assert abs(np.corrcoef(draws.down, draws.right)[0, 1]) < 0.04


def test_draws_come_from_seed_and_epoch_alone() -> None:
    def drawn(seed: int, epoch: int) -> list[list[int]]:
        draws = draw(50, Augmentation(), seed, epoch)
        return [draws.down.tolist(), draws.right.tolist(), draws.flip.tolist()]

    torch.manual_seed(1)
    one = drawn(0, 1)
    torch.manual_seed(2)
    assert drawn(0, 1) == one
    assert drawn(1, 1) != one
    assert drawn(0, 2) != one


def test_each_change_can_be_switched_off() -> None:
    both = draw(50, Augmentation(), 0, 1)
    cut = draw(50, Augmentation(flip=False), 0, 1)
    mirrored = draw(50, Augmentation(crop_padding=0), 0, 1)
    assert not cut.flip.any()
    assert torch.equal(cut.down, both.down)
    assert not mirrored.down.any()
    assert torch.equal(mirrored.flip, both.flip)


def test_padding_that_does_not_fit() -> None:
    pixels = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"crop_padding does not fit(.|\n)*below 8"):
        augmented(pixels, torch.tensor([0]), draw(1, Augmentation(crop_padding=8), 0, 1))
