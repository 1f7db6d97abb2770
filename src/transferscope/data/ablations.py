"""Ablations of images as tensor operations on whole batches.

They act on normalised images, train and test alike. What is random in them comes from the seed of the ablation
through NumPy's PCG64, on the CPU: the same on every device, in every process, for every batch size.
"""

import abc
from collections.abc import Sequence
from typing import Final, assert_never, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.data.ablation_settings import (
    Ablation,
    BlockShuffle,
    Grayscale,
    HighPass,
    LowPass,
    PhaseScramble,
    check_study,
)
from transferscope.errors import DataError
from transferscope.frozen import derive_seed

__all__ = [
    "LUMA",
    "AbstractOperator",
    "ablate",
    "operator_of",
    "passed",
    "phase_field",
    "shuffle_index",
    "unshuffle",
]

LUMA: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma (ITU-R BT.601)."""

_CHANNELS: Final = 3


def shuffle_index(shuffle: BlockShuffle, image_size: int) -> npt.NDArray[np.int64]:
    """Where each place of a shuffled image comes from.

    The order of the blocks is drawn uniformly from all orders but the one that changes nothing.

    Args:
        shuffle: block and seed.
        image_size: height and width in pixels.

    Returns:
        int64 ``places``: a permutation of the pixels, row by row; of all values, channel by channel, for ``*``.

    Raises:
        DataError: the block does not divide the image size.

    >>> shuffle_index(BlockShuffle(block=2, seed=1), 4).reshape(4, 4)
    array([[ 2,  3, 10, 11],
           [ 6,  7, 14, 15],
           [ 8,  9,  0,  1],
           [12, 13,  4,  5]])
    """
    _check(shuffle, image_size)
    generator = np.random.Generator(np.random.PCG64(derive_seed(shuffle.seed, "block_shuffle", shuffle.block)))
    if shuffle.block == "*":
        return _order(generator, _CHANNELS * image_size**2)
    side, block = image_size // shuffle.block, shuffle.block
    pixels = np.arange(image_size**2, dtype=np.int64).reshape(side, block, side, block)
    blocks = pixels.transpose(0, 2, 1, 3).reshape(side * side, block, block)
    moved = blocks[_order(generator, side * side)].reshape(side, side, block, block)
    return moved.transpose(0, 2, 1, 3).reshape(-1)


def _order(generator: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    unmoved = np.arange(count)
    while True:
        order = np.argsort(generator.random(count), kind="stable").astype(np.int64)
        # Four blocks would stay where they are for one seed in 24, and an ablation would ablate nothing.
        if count == 1 or not np.array_equal(order, unmoved):
            return order


def phase_field(scramble: PhaseScramble, image_size: int) -> npt.NDArray[np.float64]:
    """The phase that is added at each frequency: φ(f) = 2π (u(f) − u(−f)) with u uniform in [0, 1).

    So φ(−f) = −φ(f), which keeps images real; where f = −f (the mean, and the highest frequencies of an even size)
    it is 0; everywhere else it is uniform modulo 2π.

    Args:
        scramble: gives the seed.
        image_size: height and width in pixels.

    Returns:
        Radians, ``frequencies frequencies`` in the order of the discrete Fourier transform.
    """
    generator = np.random.Generator(np.random.PCG64(derive_seed(scramble.seed, "phase_scramble")))
    drawn = generator.random((image_size, image_size))
    opposite = -np.arange(image_size) % image_size
    field: npt.NDArray[np.float64] = 2 * np.pi * (drawn - drawn[np.ix_(opposite, opposite)])
    return field


def passed(ablation: LowPass | HighPass, image_size: int) -> npt.NDArray[np.bool_]:
    """Which frequencies are kept: √(f_y² + f_x²) ≤ cutoff in cycles per image, or > cutoff. The edge is sharp.

    Args:
        ablation: low-pass or high-pass.
        image_size: height and width in pixels.

    Returns:
        bool ``frequencies frequencies`` in the order of the discrete Fourier transform.
    """
    cycles = np.fft.fftfreq(image_size, 1 / image_size)
    low = cycles[:, None] ** 2 + cycles[None, :] ** 2 <= ablation.cutoff**2
    return low if isinstance(ablation, LowPass) else ~low


class AbstractOperator(abc.ABC):
    """An ablation made ready for images of one size on one device."""

    @abc.abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """The ablated images.

        Args:
            images: normalised, float32 ``samples 3 height width``.

        Returns:
            A new tensor of the same shape and memory format.
        """


@final
class _Shuffle(AbstractOperator):
    """One gather: of pixels with their channels, or of all values."""

    def __init__(self, index: npt.NDArray[np.int64], across_channels: bool, device: torch.device) -> None:
        self._across = across_channels
        self._index = torch.from_numpy(index).to(device)
        if across_channels:
            # Values that lie in memory pixel by pixel are the same values at other places.
            places = np.arange(len(index)).reshape(_CHANNELS, -1).T.reshape(-1)
            self._index_last = torch.from_numpy(np.argsort(places)[index][places]).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        samples, channels, height, width = images.shape
        last = _channels_last(images)
        if self._across:
            values = images.permute(0, 2, 3, 1).reshape(samples, -1) if last else images.reshape(samples, -1)
            index = self._index_last if last else self._index
            moved = torch.gather(values, 1, index.expand(samples, -1))
            if last:
                return moved.view(samples, height, width, channels).permute(0, 3, 1, 2)
            return moved.view(images.shape)
        if last:
            pixels = images.permute(0, 2, 3, 1).reshape(samples, -1, channels)
            return pixels.index_select(1, self._index).view(samples, height, width, channels).permute(0, 3, 1, 2)
        # Ten times as fast as index_select along the last axis.
        planes = images.reshape(samples, channels, -1)
        return torch.gather(planes, 2, self._index.expand(samples, channels, -1)).view(images.shape)


@final
class _Spectral(AbstractOperator):
    """A factor for each frequency, the same for all images and channels."""

    def __init__(self, factors: npt.NDArray[np.float64] | npt.NDArray[np.complex128], device: torch.device) -> None:
        # Images are real: half of the frequencies say it all.
        half = np.ascontiguousarray(factors[:, : factors.shape[1] // 2 + 1])
        kind = torch.complex64 if np.iscomplexobj(half) else torch.float32
        self._factors = torch.from_numpy(half).to(kind).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(images.contiguous()).mul_(self._factors)
        changed: Tensor = torch.fft.irfft2(spectrum, s=images.shape[2:])
        return changed.contiguous(memory_format=torch.channels_last) if _channels_last(images) else changed


@final
class _Grayscale(AbstractOperator):
    """Luma of the pixel values before normalisation, normalised again as each channel is."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        centre, spread, luma = (torch.tensor(list(each), dtype=torch.float64) for each in (mean, std, LUMA))
        grey = (luma * centre).sum()
        self._weights = (luma * spread).float().to(device)[:, None, None]
        self._scale = (1 / spread).float().to(device)[:, None, None]
        self._shift = ((grey - centre) / spread).float().to(device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        luma = (images * self._weights).sum(dim=1, keepdim=True)
        return torch.empty_like(images).copy_(luma).mul_(self._scale).add_(self._shift)


def operator_of(
    ablation: Ablation,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    device: str | torch.device = "cpu",
) -> AbstractOperator:
    """The ablation, ready for batches: everything that does not depend on the images is computed here, once.

    Args:
        ablation: what to do.
        image_size: height and width in pixels.
        mean: that was subtracted, per channel; read by ``grayscale`` alone.
        std: that was divided by, per channel.
        device: of the images.

    Returns:
        A function of normalised images, ``samples 3 height width``.

    Raises:
        DataError: images of this size cannot have the ablation.
    """
    _check(ablation, image_size)
    where = torch.device(device)
    match ablation:
        case BlockShuffle():
            return _Shuffle(shuffle_index(ablation, image_size), ablation.block == "*", where)
        case PhaseScramble():
            return _Spectral(np.exp(1j * phase_field(ablation, image_size)), where)
        case LowPass() | HighPass():
            return _Spectral(passed(ablation, image_size).astype(np.float64), where)
        case Grayscale():
            return _Grayscale(mean, std, where)
        case _:
            assert_never(ablation)


def ablate(images: Tensor, ablation: Ablation, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalised images with an ablation.

    Invariances: a shuffle keeps the multiset of pixel vectors (of values, for ``*``); phase scramble keeps the
    amplitude spectrum of every channel and its mean; low-pass and high-pass of one cutoff add up to the image.

    Args:
        images: float32 ``samples 3 height width``, square.
        ablation: what to do.
        mean: that was subtracted, per channel.
        std: that was divided by, per channel.

    Returns:
        As ``images``, in the same memory format.

    Raises:
        DataError: the images are not square with three channels, or their size cannot have the ablation.

    Example:
        >>> images = torch.arange(12.0).view(1, 3, 2, 2)
        >>> ablate(images, BlockShuffle(block=2), (0, 0, 0), (1, 1, 1)).equal(images)
        True
    """
    return operator_of(ablation, _side(images), mean, std, images.device)(images)


def unshuffle(images: Tensor, shuffle: BlockShuffle) -> Tensor:
    """The images before they were shuffled, to the bit.

    Args:
        images: shuffled, ``samples 3 height width``.
        shuffle: what was done to them.

    Returns:
        As ``images``, in the same memory format.

    Raises:
        DataError: the images are not square with three channels, or the block does not divide their size.
    """
    index = shuffle_index(shuffle, _side(images))
    return _Shuffle(np.argsort(index, kind="stable"), shuffle.block == "*", images.device)(images)


def _side(images: Tensor) -> int:
    if images.ndim != 4 or images.shape[1] != _CHANNELS or images.shape[2] != images.shape[3]:
        raise DataError(
            "an ablation needs square images of three channels",
            expected="samples 3 height width, height = width",
            got=f"shape {tuple(images.shape)}",
        )
    return int(images.shape[2])


def _check(ablation: Ablation, image_size: int) -> None:
    reason = check_study(ablation, image_size)
    if reason is not None:
        raise DataError(f"the ablation {ablation.kind!r} does not fit the images: {reason}")


def _channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
