"""Augmentation and normalisation, one image at a time, as literally as can be."""

import numpy as np

__all__ = ["augment_one", "normalise_one"]


def augment_one(image: np.ndarray, down: int, right: int, flip: bool, padding: int) -> np.ndarray:
    """uint8 ``height width channels``: reflect, cut, mirror."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    cut = padded[down : down + height, right : right + width]
    return cut[:, ::-1] if flip else cut


def normalise_one(image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """float64 ``channels height width``."""
    values = (image.astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    return values.transpose(2, 0, 1)
