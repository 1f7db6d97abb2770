"""Batches for evaluation and training: uint8 to the device, augmented, normalised there."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, final

import numpy as np
import torch
from torch import Tensor

from transferscope.data.ablation_settings import Ablation
from transferscope.data.ablations import AbstractOperator, operator_of
from transferscope.data.augment import Draws, augmented, draw
from transferscope.data.images import ImageSet
from transferscope.data.spec import Augmentation
from transferscope.errors import DataError
from transferscope.frozen import derive_seed

RESIDENT_BYTES: Final = 2 * 2**30
"""Pixels of up to this size are copied to an accelerator once; larger ones batch by batch."""

_FORMATS: Final = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def normalised(
    pixels: Tensor, mean: Sequence[float], std: Sequence[float], memory_format: torch.memory_format
) -> Tensor:
    """(pixels / 255 − mean) / std, as one scale and one shift per channel.

    The values are the same to the bit in both memory formats.

    Args:
        pixels: uint8 ``samples height width 3``.
    """
    centre, spread = (torch.tensor(list(values), dtype=torch.float64) for values in (mean, std))
    scale = (1 / (255 * spread)).float().to(pixels.device)
    shift = (-centre / spread).float().to(pixels.device)
    samples, height, width, channels = pixels.shape
    if memory_format == torch.channels_last:
        # Whole lines at once: broadcasting over three channels alone is several times slower.
        lines = pixels.reshape(samples, height, width * channels).float()
        lines.mul_(scale.repeat(width)).add_(shift.repeat(width))
        return lines.view(samples, height, width, channels).permute(0, 3, 1, 2)
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.mul_(scale[:, None, None]).add_(shift[:, None, None])


@final
class _Pixels:
    """Some images of a set, brought to a device as cheaply as their size allows."""

    def __init__(self, images: ImageSet, indices: Any, device: torch.device, resident_bytes: int) -> None:
        self.indices = torch.from_numpy(np.array(indices, dtype=np.int64))
        if self.indices.ndim != 1:
            raise DataError(
                "indices must be a list of numbers", expected="one axis", got=f"shape {tuple(self.indices.shape)}"
            )
        if len(self.indices) and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < len(images):
            raise DataError(
                "there is no image of that number",
                expected=f"0 to {len(images) - 1}",
                got=f"{int(self.indices.min())} to {int(self.indices.max())}",
            )
        self.device = device
        self._check = images.check
        # Mapped, not read: processes that train side by side share the pages.
        self.all = torch.from_numpy(images.array)
        self.here = device.type == "cpu" or self.all.numel() <= resident_bytes
        if device.type != "cpu" and self.here:
            copies = images.copies
            if device not in copies:
                copies[device] = self.all.to(device)
            self.all = copies[device]
        labels = torch.from_numpy(images.labels)
        self.labels = (labels.float() if images.multi_label else labels)[self.indices].to(device)
        self.chosen = self.indices.to(device)

    def take(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """A tensor of images on the device, and which of its rows are the images at ``positions``."""
        self._check()
        if self.here:
            return self.all, self.chosen[positions.to(self.device)]
        batch = self.all.index_select(0, self.indices[positions])
        if self.device.type == "cuda":
            batch = batch.pin_memory()
        return batch.to(self.device, non_blocking=True), torch.arange(len(positions), device=self.device)

    def label(self, positions: Tensor) -> Tensor:
        return self.labels[positions.to(self.device)]


@final
class EvaluationBatches:
    """Batches in the order of the indices, without augmentation; the same every time it is iterated.

    Yields:
        x float32 ``samples 3 height width`` and labels: int64 (samples,), or float32 (samples, labels).
    """

    def __init__(
        self,
        images: ImageSet,
        indices: Any,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int = 256,
        device: str | torch.device = "cpu",
        memory_format: str = "contiguous",
        *,
        resident_bytes: int = RESIDENT_BYTES,
        ablation: Ablation | None = None,
    ) -> None:
        if batch_size < 1:
            raise DataError("the batch size does not fit", expected="at least 1", got=str(batch_size))
        self._pixels = _Pixels(images, indices, torch.device(device), resident_bytes)
        self.indices = self._pixels.indices.numpy()
        self.batch_size, self.device = batch_size, torch.device(device)
        self._mean, self._std = tuple(mean), tuple(std)
        self._format = _memory_format(memory_format)
        self._ablate = _operator(ablation, images, mean, std, self.device)

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for positions in torch.split(torch.arange(len(self.indices)), self.batch_size):
            if not len(positions):
                return
            store, rows = self._pixels.take(positions)
            x = normalised(store.index_select(0, rows), self._mean, self._std, self._format)
            yield x if self._ablate is None else self._ablate(x), self._pixels.label(positions)


class BatchSettings(Protocol):
    """What a recipe says of batches."""

    @property
    def batch_size(self) -> int:
        """Images."""

    @property
    def augmentation(self) -> Augmentation:
        """Crops and mirroring."""

    @property
    def memory_format(self) -> str:
        """``contiguous`` or ``channels_last``."""

    def augmentation_epoch(self, epoch: int) -> int:
        """The epoch whose augmentation an epoch sees."""


@final
class TrainingBatches:
    """The batches of one epoch: shuffled, augmented, normalised, and then ablated; iterated again, the same ones.

    Order and augmentation derive from ``seed`` and ``epoch`` alone: two networks of one seed see the same batches, on
    any device, and a training resumed at an epoch goes on as if never stopped. A last batch of a single image is left
    out.
    """

    def __init__(
        self,
        images: ImageSet,
        indices: Any,
        mean: Sequence[float],
        std: Sequence[float],
        recipe: BatchSettings,
        seed: int,
        epoch: int,
        device: str | torch.device = "cpu",
        *,
        resident_bytes: int = RESIDENT_BYTES,
        ablation: Ablation | None = None,
    ) -> None:
        self._pixels = _Pixels(images, indices, torch.device(device), resident_bytes)
        self._count = len(self._pixels.indices)
        if self._count < 2:
            raise DataError("too few training images", expected="at least 2", got=str(self._count))
        self._batch_size = recipe.batch_size
        self._mean, self._std = tuple(mean), tuple(std)
        self._format = _memory_format(recipe.memory_format)
        self._order = torch.from_numpy(epoch_order(self._count, seed, epoch))
        augmentation = recipe.augmentation
        self._plain = not augmentation.flip and augmentation.crop_padding == 0
        self._draws = draw(self._count, augmentation, seed, recipe.augmentation_epoch(epoch))
        self._ablate = _operator(ablation, images, mean, std, self._pixels.device)

    def __len__(self) -> int:
        return updates_per_epoch(self._count, self._batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for positions in self.positions:
            yield self.images(positions), self.labels(positions)

    @property
    def count(self) -> int:
        """Training examples there are."""
        return self._count

    @property
    def plain(self) -> bool:
        """Whether images are the same in every epoch."""
        return self._plain

    @property
    def positions(self) -> tuple[Tensor, ...]:
        """Which of the training examples each batch holds."""
        return torch.split(self._order, self._batch_size)[: len(self)]

    def images(self, positions: Tensor) -> Tensor:
        """The images of this epoch at some positions, as an update sees them."""
        store, rows = self._pixels.take(positions)
        if self._plain:
            pixels = store.index_select(0, rows)
        else:
            pixels = augmented(store, rows, _to(self._draws.at(positions), rows.device))
        x = normalised(pixels, self._mean, self._std, self._format)
        return x if self._ablate is None else self._ablate(x)

    def labels(self, positions: Tensor) -> Tensor:
        """Their labels."""
        return self._pixels.label(positions)


def updates_per_epoch(examples: int, batch_size: int) -> int:
    """Batches of one epoch: a last batch of a single image is left out.

    Example:
        >>> updates_per_epoch(65, 32), updates_per_epoch(66, 32)
        (2, 3)
    """
    full, rest = divmod(examples, batch_size)
    return full + (rest > 1)


def epoch_order(examples: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the training examples for one epoch, from the seed of the network."""
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "order", epoch)))
    return np.argsort(generator.random(examples), kind="stable").astype(np.int64)


def _memory_format(name: str) -> torch.memory_format:
    if name not in _FORMATS:
        raise DataError(f"unknown memory format {name!r}", expected="contiguous or channels_last")
    return _FORMATS[name]


def _operator(
    ablation: Ablation | None, images: ImageSet, mean: Sequence[float], std: Sequence[float], device: torch.device
) -> AbstractOperator | None:
    return None if ablation is None else operator_of(ablation, images.image_size, mean, std, device)


def _to(draws: Draws, device: torch.device) -> Draws:
    if device.type == "cpu":
        return draws
    return Draws(draws.down.to(device), draws.right.to(device), draws.flip.to(device), draws.padding)
