"""Small pictures within a budget of bytes."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["embedded_size", "thumbnails"]

_RUNGS: Final = ((1.0, None), (1.0, 90), (1.0, 75), (0.75, 75), (0.75, 60), (0.5, 60))
"""Share of the side and JPEG quality (None: PNG alone), tried in this order."""


def embedded_size(files: Sequence[bytes]) -> int:
    """Bytes that files take in a page, where 3 bytes are written as 4 letters.

    >>> embedded_size([b"abcd", b"abc"])
    12
    """
    return sum(4 * -(-len(file) // 3) for file in files)


def thumbnails(groups: Sequence[npt.NDArray[np.uint8]], side: int, budget: int) -> list[list[bytes]]:
    """Pictures at most ``side`` pixels wide and high that together fit the budget.

    Lossless while they fit; then JPEG of falling quality and size, each picture as PNG where that is shorter; last,
    pictures are left out from the end of the longest group. The same pixels give the same bytes.

    Args:
        groups: uint8 ``images height width channels`` (1 or 3), of each group; smaller images keep their size.
        side: in pixels.
        budget: bytes in the page, of all groups together (see :func:`embedded_size`).

    Returns:
        The files (PNG or JPEG) of each group, as many as fit.
    """
    made: list[list[bytes]] = []
    for scale, quality in _RUNGS:
        made = [[_picture(pixels, max(8, round(side * scale)), quality) for pixels in group] for group in groups]
        if sum(map(embedded_size, made)) <= budget:
            return made
    while sum(map(embedded_size, made)) > budget:
        # The last of equals, so that the first groups, which matter most, are cut last.
        longest = max(range(len(made)), key=lambda place: (len(made[place]), place))
        made[longest].pop()
    return made


def _picture(pixels: npt.NDArray[np.uint8], side: int, quality: int | None) -> bytes:
    from PIL import Image

    if pixels.shape[2] == 1 or (pixels == pixels[:, :, :1]).all():
        image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0]))
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > side:
        share = side / max(image.size)
        wide, high = (max(1, round(length * share)) for length in image.size)
        image = image.resize((wide, high), Image.Resampling.LANCZOS)
    files = [_saved(image, "PNG", optimize=True)]
    if quality is not None:
        files.append(_saved(image, "JPEG", quality=quality, optimize=True))
    return min(files, key=len)


def _saved(image: object, kind: str, **options: object) -> bytes:
    from PIL import Image

    assert isinstance(image, Image.Image)
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()
