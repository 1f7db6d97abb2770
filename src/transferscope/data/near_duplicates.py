"""Pictures that are nearly equal (saved again, resized, taken twice): counted, and no split changes by them."""

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from transferscope.data.picture_notes import named
from transferscope.errors import counted

_SIDE: Final = 8
_FLAT: Final = 16.0
"""Norm of a thumbnail's contrast below which all pictures look alike."""
_ALIKE: Final = 0.995
_SAME: Final = 0.99
_CELLS: Final = 2**22
"""Correlations in memory at once, so that memory does not grow with the number of images."""
_AXES: Final = 3
_MOST_COMPARISONS: Final = 10**11
"""Of thumbnails: some minutes on one core."""
_MOST_PAIRS: Final = 10_000


def thumbnail(pixels: np.ndarray) -> bytes:
    """Brightness of a decoded picture on a grid of 8 × 8.

    Args:
        pixels: uint8 ``height width channels``.
    """
    return Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("L").tobytes()


def near_pairs(thumbnails: Sequence[bytes], pixels: np.ndarray, twins: np.ndarray) -> list[tuple[int, int]] | None:
    """Pairs of pictures that correlate above 0.99, found among those whose thumbnails do above 0.995.

    Thumbnails are compared as points on a sphere, sorted into cubes along their three principal axes: only what lies in
    one cube, or in two that touch, can be near. Equal pictures are counted once, flat ones (a blank page) not at all.

    Args:
        pixels: uint8 ``examples height width channels``.
        twins: for each picture the first that is equal to it.

    Returns:
        At most 10,000; None where so many pictures lie so near that comparing them would take long.
    """
    if not thumbnails:
        return []
    points = np.frombuffer(b"".join(thumbnails), dtype=np.uint8).reshape(len(thumbnails), -1).astype(np.float32)
    points -= points.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(points, axis=1)
    numbers = np.flatnonzero((lengths > _FLAT) & (twins == np.arange(len(twins))))
    points = points[numbers] / lengths[numbers, None]
    couples, order = _touching(points)
    if sum(len(one) * len(other) for one, other in couples) > _MOST_COMPARISONS:
        return None
    points, numbers = points[order], numbers[order]
    pairs: list[tuple[int, int]] = []
    for first, second in couples:
        step = max(16, _CELLS // len(second))
        for start in range(first.start, first.stop, step):
            rows = slice(start, min(start + step, first.stop))
            near = points[rows] @ points[second.start : second.stop].T > _ALIKE
            if first == second:
                near = np.triu(near, 1 + start - first.start)
            one, other = np.nonzero(near)
            found = np.sort(np.stack([numbers[start + one], numbers[second.start + other]], axis=1), axis=1)
            pairs += [(int(a), int(b)) for a, b in found[: _MOST_PAIRS + 1]]
        if len(pairs) > _MOST_PAIRS:
            break
    return sorted(pair for pair in pairs[:_MOST_PAIRS] if _correlation(pixels[pair[0]], pixels[pair[1]]) > _SAME)


def _touching(points: np.ndarray) -> tuple[list[tuple[range, range]], np.ndarray]:
    """Cubes of points that touch, each couple once and each cube with itself: ranges of the order that is given too."""
    centred = points - points.mean(axis=0) if len(points) else points
    axes = np.linalg.eigh(centred.T @ centred)[1][:, -_AXES:]
    cells = np.floor(centred @ axes / np.sqrt(2 - 2 * _ALIKE)).astype(np.int64)
    order = np.lexsort(cells.T)
    kinds, starts, counts = np.unique(cells[order][:, ::-1], axis=0, return_index=True, return_counts=True)
    spans = {
        tuple(cell): range(start, start + count)
        for cell, start, count in zip(kinds.tolist(), starts.tolist(), counts.tolist(), strict=True)
    }
    ahead = [step for step in itertools.product((-1, 0, 1), repeat=_AXES) if step >= (0,) * _AXES]
    return [
        (span, spans[there])
        for cell, span in spans.items()
        for step in ahead
        if (there := tuple(place + move for place, move in zip(cell, step, strict=True))) in spans
    ], order


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    first, second = (np.asarray(pixels, dtype=np.float32).ravel() for pixels in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


def near_duplicate_notes(
    names: Sequence[str], splits: Sequence[str | None] | None, pairs: Sequence[tuple[int, int]] | None
) -> list[str]:
    """How many pairs are nearly equal, and how many of them lie in different given splits."""
    if pairs is None:
        return [f"nearly equal pictures were not looked for: {len(names):,} pictures are too many that look so alike"]
    if not pairs:
        return []
    at_least = "at least " if len(pairs) == _MOST_PAIRS else ""
    torn = 0 if splits is None else sum((splits[a] or "train") != (splits[b] or "train") for a, b in pairs)
    across = f", {torn:,} of them in different splits of the source" if torn else ""
    shown = named([f"{names[a]} ≈ {names[b]}" for a, b in pairs])
    return [
        f"nearly the same picture (correlation above {_SAME}): {at_least}{counted(len(pairs), 'pair')}{across} "
        f"({shown}); no split keeps them together: where they show one thing, name groups in target.data"
    ]
