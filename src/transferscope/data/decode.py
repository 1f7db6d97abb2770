"""Any picture to an upright 8-bit RGB square."""

import struct
import zlib
from typing import Any, Final, Literal

import numpy as np
from PIL import Image, ImageOps

from transferscope.errors import DataError

__all__ = ["UNREADABLE", "Fit", "as_image", "from_array", "reason", "square", "upright_rgb"]

Fit = Literal["crop", "squash"]
"""``crop``: short side to the size, centre cut out. ``squash``: both sides to the size, shape not kept."""

UNREADABLE: Final = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    DataError,
)
"""What reading a damaged picture raises. Pillow's decoders let all of these through."""


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture as people see it: turned as its EXIF orientation says, 8-bit RGB.

    Transparent pixels show white. 16-bit grey (modes ``I;16`` and ``I``) is scaled by 255 / 65535 over the
    full range of the type, so that equal values stay equal across pictures; it is neither clipped nor
    stretched per picture. Float pictures (mode ``F``) must lie in [0, 1]. CMYK and palettes are converted by
    Pillow. Of an animation the first frame is taken.

    Args:
        image: in any mode and size; lazily opened pictures are read here.

    Returns:
        A new picture of mode RGB.

    Raises:
        DataError: values outside the range of their mode.

    Example:
        >>> upright_rgb(Image.new("LA", (2, 1), (0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = array.min(), array.max()
    top = 1 if array.dtype.kind == "f" else 65535
    # Written so that NaN fails as well.
    if not (low >= 0 and high <= top):
        raise DataError(
            f"pixel values of type {array.dtype} are out of range",
            expected=f"0 to {top}",
            got=f"{low} to {high}",
        )
    scaled = array.astype(np.float64) * (255 / top)
    return np.rint(scaled).astype(np.uint8)


def from_array(array: Any) -> Image.Image:
    """A picture from numbers.

    Args:
        array: uint8, uint16, bool, or float in [0, 1]; (height, width) or (height, width, channels) with 1
            (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels.

    Returns:
        A picture of 8 bits a channel.

    Raises:
        DataError: another shape or range.
    """
    values = np.asarray(array)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] in (2, 3, 4)):
        raise DataError(
            "an array is not a picture",
            expected="shape (height, width) or (height, width, channels) with 1 to 4 channels",
            got=f"shape {values.shape}",
            hint="channels come last: array.transpose(1, 2, 0) brings them there",
        )
    if values.size == 0 or not (values.dtype in (np.uint8, np.uint16, np.bool_) or values.dtype.kind == "f"):
        raise DataError(
            "an array is not a picture",
            expected="uint8, uint16, bool, or float in [0, 1]",
            got=f"{values.dtype} of shape {values.shape}",
        )
    return Image.fromarray(np.ascontiguousarray(_eight_bits(values)))


def as_image(value: Any) -> Image.Image:
    """``value`` if it is a PIL image, else see :func:`from_array`."""
    return value if isinstance(value, Image.Image) else from_array(value)


def square(image: Image.Image, size: int, fit: Fit = "crop") -> np.ndarray:
    """The picture as uint8 (size, size, 3), upright, resampled with antialiasing (bicubic).

    Args:
        image: in any mode and size.
        size: height and width of the result in pixels.
        fit: how a picture that is not square becomes square.

    Returns:
        uint8 ``height width channels``.

    Raises:
        DataError: see :func:`upright_rgb`.

    Example:
        >>> square(Image.new("L", (40, 20), 7), 8).shape
        (8, 8, 3)
    """
    seen = upright_rgb(image)
    width, height = seen.size
    box = (0.0, 0.0, float(width), float(height))
    if fit == "crop":
        # Cutting first gives the same pixels as resizing first, and resizes less.
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    if (width, height) != (size, size):
        seen = seen.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(seen)


def reason(error: BaseException) -> str:
    """Why a picture could not be read, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
