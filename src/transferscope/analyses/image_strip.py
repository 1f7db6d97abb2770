"""A row of example images as a small PNG file."""

import io
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["STRIP_BYTES", "picture_strip", "restored_pixels"]

STRIP_BYTES: Final = 40_000
"""A strip takes at most so much."""

_SIDE: Final = 96
_GAP: Final = 4
_LEAST: Final = 8


def restored_pixels(images: Tensor, mean: Iterable[float], std: Iterable[float]) -> npt.NDArray[np.uint8]:
    """Pixels of normalised images, cut to what can be shown.

    Args:
        images: float ``samples 3 height width``.
        mean: that was subtracted, per channel, of values in [0, 1].
        std: that was divided by.

    Returns:
        uint8 ``samples height width 3``.
    """
    centre, spread = (images.new_tensor(list(values))[:, None, None] for values in (mean, std))
    pixels = ((images * spread + centre) * 255).round().clamp(0, 255)
    found: npt.NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
    return found


def picture_strip(pixels: npt.NDArray[np.uint8], budget: int = STRIP_BYTES) -> bytes:
    """Images side by side on white, as a PNG of at most ``budget`` bytes.

    Larger images are thinned by taking every k-th pixel: an average would turn shuffled pixels into grey. Where that
    is not small enough colours are reduced to 64, then more pixels are left out.

    Args:
        pixels: uint8 ``images height width 3``, at least one image.
        budget: in bytes.

    Returns:
        The file.
    """
    from PIL import Image

    step = -(-pixels.shape[1] // _SIDE)
    while True:
        small = pixels[:, ::step, ::step]
        count, height, width, _ = small.shape
        canvas = np.full((height, count * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
        for place, image in enumerate(small):
            canvas[:, place * (width + _GAP) : place * (width + _GAP) + width] = image
        whole = Image.fromarray(canvas)
        for picture in (whole, whole.quantize(64)):
            file = io.BytesIO()
            picture.save(file, format="PNG", optimize=True)
            if file.tell() <= budget or height <= _LEAST:
                return file.getvalue()
        step += 1
