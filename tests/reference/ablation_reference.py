"""Ablations of one image, written as they are defined: loops over pixels and frequencies, float64, no torch."""

import cmath
import math

import numpy as np


def shuffled_one(image: np.ndarray, index: np.ndarray, block: int | str) -> np.ndarray:
    """``channels height width``; ``index`` says for every place, row by row, where its value comes from."""
    channels, height, width = image.shape
    result = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            if block == "*":
                for c in range(channels):
                    source = int(index[(c * height + y) * width + x])
                    result[c, y, x] = image[source // (height * width), source // width % height, source % width]
            else:
                source = int(index[y * width + x])
                result[:, y, x] = image[:, source // width, source % width]
    return result


def moved_in_blocks(index: np.ndarray, size: int, block: int) -> bool:
    """Whether whole blocks moved: each pixel of a block comes from the same place of one other block."""
    for top in range(0, size, block):
        for left in range(0, size, block):
            first = int(index[top * size + left])
            if first // size % block or first % size % block:
                return False
            for y in range(block):
                for x in range(block):
                    if index[(top + y) * size + left + x] != first + y * size + x:
                        return False
    return True


def spectrum(image: np.ndarray) -> np.ndarray:
    """The discrete Fourier transform of one channel, by its definition."""
    size = len(image)
    found = np.zeros((size, size), dtype=complex)
    for v in range(size):
        for u in range(size):
            for y in range(size):
                for x in range(size):
                    found[v, u] += image[y, x] * cmath.exp(-2j * math.pi * (v * y + u * x) / size)
    return found


def image_of(found: np.ndarray) -> np.ndarray:
    """The inverse of :func:`spectrum`; complex."""
    size = len(found)
    image = np.zeros((size, size), dtype=complex)
    for y in range(size):
        for x in range(size):
            for v in range(size):
                for u in range(size):
                    image[y, x] += found[v, u] * cmath.exp(2j * math.pi * (v * y + u * x) / size)
    return image / size**2


def frequency(place: int, size: int) -> int:
    """Cycles per image at a place of the transform: 0, 1, … then the negative ones."""
    return place if place < (size + 1) // 2 else place - size


def filtered_one(image: np.ndarray, cutoff: float, low: bool) -> np.ndarray:
    """One channel with the frequencies up to ``cutoff``, or those above it."""
    size = len(image)
    found = spectrum(image)
    for v in range(size):
        for u in range(size):
            inside = math.hypot(frequency(v, size), frequency(u, size)) <= cutoff
            if inside != low:
                found[v, u] = 0
    return image_of(found)


def scrambled_one(image: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """One channel with ``phase`` added at each frequency; complex, so that a test sees whether it is real."""
    found = spectrum(image)
    for v in range(len(image)):
        for u in range(len(image)):
            found[v, u] *= cmath.exp(1j * phase[v, u])
    return image_of(found)


def grey_one(image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """``channels height width``, normalised: back to pixel values, luma by ITU-R BT.601, normalised again."""
    result = np.empty_like(image)
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            red, green, blue = (float(image[c, y, x]) * std[c] + mean[c] for c in range(3))
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            for c in range(3):
                result[c, y, x] = (luma - mean[c]) / std[c]
    return result
