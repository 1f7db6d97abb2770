"""Pictures that are nearly equal (saved again, resized, taken twice): counted, and no split changes by them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from transferscope.data.picture_notes import named
from transferscope.errors import counted

__all__ = ["near_duplicate_notes", "near_pairs", "thumbnail"]

_SIDE: Final = 8
_FLAT: Final = 16.0
"""Norm of a thumbnail's contrast below which all pictures look alike."""
_ALIKE: Final = 0.995
_SAME: Final = 0.99
_CELLS: Final = 2**22
"""Correlations in memory at once, so that memory does not grow with the number of images."""
_MOST_IMAGES: Final = 100_000
_MOST_PAIRS: Final = 10_000


def thumbnail(pixels: np.ndarray) -> bytes:
    """Brightness of a decoded picture on a grid of 8 × 8.

    Args:
        pixels: uint8 ``height width channels``.
    """
    return Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("L").tobytes()


def near_pairs(thumbnails: Sequence[bytes], pixels: np.ndarray, twins: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of pictures that correlate above 0.99, found among those whose thumbnails do above 0.995.

    Thumbnails are compared as points on a sphere, sorted along their first principal axis: only what lies near on it
    can be near. Equal pictures are counted once, flat ones (a blank page) not at all, and of more than 100,000 images
    none.

    Args:
        thumbnails: as of :func:`thumbnail`.
        pixels: uint8 ``examples height width channels``.
        twins: for each picture the first that is equal to it.
    """
    if len(thumbnails) > _MOST_IMAGES or not thumbnails:
        return []
    points = np.frombuffer(b"".join(thumbnails), dtype=np.uint8).reshape(len(thumbnails), -1).astype(np.float32)
    points -= points.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(points, axis=1)
    numbers = np.flatnonzero((lengths > _FLAT) & (twins == np.arange(len(twins))))
    points = points[numbers] / lengths[numbers, None]
    axis = np.linalg.eigh(points.T @ points)[1][:, -1]
    order = np.argsort(points @ axis, kind="stable")
    points, numbers = points[order], numbers[order]
    place = points @ axis
    reach = np.sqrt(2 - 2 * _ALIKE)
    pairs: list[tuple[int, int]] = []
    step = max(16, _CELLS // max(1, len(points)))
    for start in range(0, len(points), step):
        block = points[start : start + step]
        stop = int(np.searchsorted(place, place[start + len(block) - 1] + reach, side="right"))
        one, other = np.nonzero(np.triu(block @ points[start:stop].T > _ALIKE, 1))
        found = np.sort(np.stack([numbers[start + one], numbers[start + other]], axis=1), axis=1)
        pairs += [(int(a), int(b)) for a, b in found[: _MOST_PAIRS + 1]]
        if len(pairs) > _MOST_PAIRS:
            break
    return sorted(pair for pair in pairs[:_MOST_PAIRS] if _correlation(pixels[pair[0]], pixels[pair[1]]) > _SAME)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    first, second = (np.asarray(pixels, dtype=np.float32).ravel() for pixels in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


def near_duplicate_notes(
    names: Sequence[str], splits: Sequence[str | None] | None, pairs: Sequence[tuple[int, int]]
) -> list[str]:
    """How many pairs are nearly equal, and how many of them lie in different given splits.

    Args:
        names: of the examples.
        splits: the source's own, per example.
        pairs: as of :func:`near_pairs`.
    """
    if not pairs:
        return []
    torn = 0 if splits is None else sum((splits[a] or "train") != (splits[b] or "train") for a, b in pairs)
    across = f", {torn:,} of them in different splits of the source" if torn else ""
    shown = named([f"{names[a]} ≈ {names[b]}" for a, b in pairs])
    return [
        f"nearly the same picture (correlation above {_SAME}): {counted(len(pairs), 'pair')}{across} ({shown}); "
        "no split keeps them together: where they show one thing, name groups in target.data"
    ]
