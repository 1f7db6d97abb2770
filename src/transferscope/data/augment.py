"""Random changes of training images: drawn per sample, applied to a batch as one gather."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from transferscope.data.spec import Augmentation
from transferscope.errors import DataError
from transferscope.frozen import derive_seed


@final
@dataclass(frozen=True)
class Draws:
    """What happens to each sample.

    Attributes:
        down: int64 (samples,), 0 … 2·padding: first row of the cut in the padded image.
        right: int64 (samples,), 0 … 2·padding: first column of the cut in the padded image.
    """

    down: Tensor
    right: Tensor
    flip: Tensor
    padding: int

    def at(self, samples: Tensor) -> "Draws":
        """The draws of some samples."""
        return Draws(self.down[samples], self.right[samples], self.flip[samples], self.padding)


def draw(samples: int, augmentation: Augmentation, seed: int, epoch: int) -> Draws:
    """The draws of one epoch, made on the CPU: equal on every device and for every batch size."""
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "augmentation", epoch)))
    # Always drawn, so that switching one change off leaves the others' draws as they were.
    numbers = torch.from_numpy(generator.random((3, samples)))
    steps = 2 * augmentation.crop_padding + 1
    down, right = ((row * steps).floor().long() for row in numbers[:2])
    flip = (numbers[2] < 0.5) & augmentation.flip
    return Draws(down, right, flip, augmentation.crop_padding)


def augmented(pixels: Tensor, rows: Tensor, draws: Draws) -> Tensor:
    """Images ``rows`` of ``pixels``: padded by reflection, cut back to size, mirrored.

    Nothing is padded or copied in between: for each output pixel the place it comes from is computed, and all are
    gathered at once.

    Args:
        pixels: uint8 ``images height width channels``, contiguous.
    """
    _, height, width, channels = pixels.shape
    if draws.padding >= min(height, width):
        raise DataError(
            "crop_padding does not fit the image size",
            expected=f"below {min(height, width)}, as an image can be reflected only once",
            got=str(draws.padding),
        )
    down = _reflected(draws.down, height, draws.padding)
    right = _reflected(draws.right, width, draws.padding)
    right = torch.where(draws.flip[:, None], right.flip(1), right)
    lines = rows[:, None] * height + down
    places = (lines[:, :, None] * width + right[:, None, :]).reshape(-1)
    return pixels.view(-1, channels).index_select(0, places).view(len(rows), height, width, channels)


def _reflected(first: Tensor, size: int, padding: int) -> Tensor:
    """``samples size``: the positions a cut that starts at ``first`` of the padded line shows."""
    place = (torch.arange(size, device=first.device) + (first - padding)[:, None]).abs()
    return torch.where(place >= size, 2 * (size - 1) - place, place)
