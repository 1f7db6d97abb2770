"""Any picture to an upright 8-bit RGB square."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps

from transferscope.data.decoding import BY_DEFAULT, Decoding
from transferscope.data.memory import available_memory
from transferscope.data.picture_notes import Trait
from transferscope.data.pictures import UnreadableError, loaded, one_line, warned
from transferscope.errors import DataError

__all__ = ["as_image", "decoded_bytes", "from_array", "square", "upright_rgb"]

Notice = Callable[[Trait, float], None]
"""Told what decoding took from a picture, with a number that says how much."""

_ORIENTATION: Final = 0x0112
_WHITE_IS_ZERO: Final = 262
_DRAFT_ABOVE: Final = 178_956_970
_STRIP: Final = 2**22
_BYTES_PER_PIXEL: Final = 12


def _unnoticed(trait: Trait, value: float) -> None:
    pass


def square(value: Any, size: int, decoding: Decoding = BY_DEFAULT, notice: Notice = _unnoticed) -> np.ndarray:
    """The picture as uint8 (size, size, 3), upright, resampled with antialiasing (bicubic).

    Args:
        value: a picture in any mode and size, or an array as in :func:`from_array`.
        size: height and width of the result in pixels.
        decoding: how.
        notice: told what was taken from the picture.

    Returns:
        uint8 ``height width channels``.

    Raises:
        UnreadableError: too many pixels, damaged pixels, or see :func:`upright_rgb`.
        MemoryError: it takes more memory than there is.

    Example:
        >>> square(Image.new("L", (40, 20), 7), 8).shape
        (8, 8, 3)
    """
    image = value if isinstance(value, Image.Image) else from_array(value, decoding, notice)
    _check_pixels(image, decoding)
    if image.format == "JPEG" and image.width * image.height > _DRAFT_ABOVE:
        # A JPEG can be decoded at a half, a quarter or an eighth. Smaller ones are not, or pixels would change.
        image.draft(image.mode, (2 * size, 2 * size))
    seen = _flat(image, decoding, notice)
    width, height = seen.size
    box = (0.0, 0.0, float(width), float(height))
    side = min(width, height)
    if decoding.fit == "crop":
        # Cutting first gives the same pixels as resizing first, and resizes less.
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    if width != height:
        notice(Trait.NOT_SQUARE, 1 - side / max(width, height))
    if (width, height) != (size, size):
        seen = seen.resize((size, size), Image.Resampling.BICUBIC, box=box)
    # Grey is resampled once, not three times.
    return np.asarray(seen if seen.mode == "RGB" else seen.convert("RGB"))


def upright_rgb(image: Image.Image, decoding: Decoding = BY_DEFAULT, notice: Notice = _unnoticed) -> Image.Image:
    """The picture as people see it: turned as its EXIF orientation says, 8-bit RGB.

    Transparent pixels show white. More than 8 bits of grey (modes ``I;16``, ``I`` and ``F``) are scaled from the black
    to the white level of ``decoding``, by default over the full range of the type, so that equal values stay equal
    across pictures; nothing is stretched per picture. CMYK and palettes are converted by Pillow. Of several pages or
    frames the first is taken. A picture whose EXIF is damaged is taken as it lies.

    Args:
        image: in any mode and size; lazily opened pictures are read here.
        decoding: how.
        notice: told what was taken from the picture.

    Returns:
        A picture of mode RGB.

    Raises:
        UnreadableError: values outside the range of their mode, or damaged pixels.

    Example:
        >>> upright_rgb(Image.new("LA", (2, 1), (0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    return _flat(image, decoding, notice).convert("RGB")


def _flat(image: Image.Image, decoding: Decoding, notice: Notice) -> Image.Image:
    """Upright, without transparency, 8 bits a channel: of mode L or RGB."""
    if getattr(image, "is_animated", False):
        notice(Trait.PAGES, 0)
    raw = _raw_mode(image)
    image = _upright(loaded(image), notice)
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image, decoding, notice)
    if ";16" in raw:
        image = _deep_colour(image, decoding, notice)
    try:
        if image.mode == "CMYK":
            notice(Trait.CMYK, 0)
        if image.has_transparency_data:
            return _on_white(image, raw, notice)
        if image.mode in ("L", "RGB"):
            return image
        return image.convert("L" if image.mode == "1" else "RGB")
    except ValueError as error:
        raise UnreadableError(
            f"a picture of mode {image.mode}, which Pillow cannot convert ({one_line(error)})"
        ) from error


def _raw_mode(image: Image.Image) -> str:
    """How a picture that is not decoded yet stores its pixels, in Pillow's words; empty where there is no telling."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _upright(image: Image.Image, notice: Notice) -> Image.Image:
    complaints = warned()
    try:
        if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
            image = ImageOps.exif_transpose(image)
    except Exception as error:
        # Whatever a parser of metadata raises, the pixels are whole.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        complaints.append(one_line(error))
    if complaints:
        complaints.clear()
        notice(Trait.METADATA, 0)
    return image


def _check_pixels(image: Image.Image, decoding: Decoding) -> None:
    pixels = image.width * image.height
    if pixels > decoding.max_pixels:
        raise UnreadableError(
            f"{image.width:,} × {image.height:,} = {pixels:,} pixels are more than target.max_pixels "
            f"({decoding.max_pixels:,}): make it smaller, or --set target.max_pixels={pixels}"
        )
    need = decoded_bytes(image)
    if need > _STRIP * _BYTES_PER_PIXEL and (free := available_memory()) is not None and need > free:
        raise MemoryError(
            f"{image.width:,} × {image.height:,} pixels take about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        )


def decoded_bytes(image: Image.Image) -> int:
    """About how much memory decoding takes at its peak."""
    if image.format == "JPEG" and image.width * image.height > _DRAFT_ABOVE:
        return image.width * image.height * _BYTES_PER_PIXEL // 4
    return image.width * image.height * _BYTES_PER_PIXEL


def _on_white(image: Image.Image, raw: str, notice: Notice) -> Image.Image:
    key = image.info.get("transparency")
    if isinstance(key, tuple) and raw.startswith("RGB;16"):
        image.info["transparency"] = tuple(part >> 8 for part in key)  # of 16 bits, as the file has them
    elif isinstance(key, int) and raw in ("L;2", "L;4", "1"):
        image.info["transparency"] = key * 255 // {"1": 1, "L;2": 3, "L;4": 15}[raw]
    if image.mode == "1":
        image = _grey_of_bits(image)
    shown = Image.new("RGB", image.size)
    rows = max(1, _STRIP // max(1, image.width))
    transparent = False
    for top in range(0, image.height, rows):
        place = (0, top, image.width, min(top + rows, image.height))
        whole = place == (0, 0, *image.size)
        strip = (image if whole else image.crop(place)).convert("RGBA")
        if _extremes(strip, 3)[0] < 255:
            transparent = True
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, (255, 255, 255, 255)), strip)
        if whole:
            shown = strip.convert("RGB")
        else:
            shown.paste(strip.convert("RGB"), place)
    if transparent:
        notice(Trait.TRANSPARENT, 0)
    return shown


def _grey_of_bits(image: Image.Image) -> Image.Image:
    grey = image.convert("L")
    grey.info["transparency"] = image.info["transparency"]
    return grey


def _deep_grey(image: Image.Image, decoding: Decoding, notice: Notice) -> Image.Image:
    values = np.asarray(image)
    if image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(_WHITE_IS_ZERO) == 0:
        values = np.uint16(65535) - values  # Pillow turns 8 bits round, not 16
    seen = _eight_bits(values, decoding, notice)
    key = image.info.get("transparency")
    if isinstance(key, int) and (hidden := np.asarray(image) == key).any():
        seen = np.where(hidden, np.uint8(255), seen)
        notice(Trait.TRANSPARENT, 0)
    return Image.fromarray(seen)


def _deep_colour(image: Image.Image, decoding: Decoding, notice: Notice) -> Image.Image:
    """Colour of 16 bits a channel, of which Pillow has read the upper 8; levels apply to what is left."""
    bands = [number for number, name in enumerate(image.getbands()) if name != "A"]
    notice(Trait.UPPER_BITS, max(_extremes(image, number)[1] for number in bands))
    if decoding.white_level is None and decoding.black_level is None:
        return image
    table = _table(*_levels(decoding, 65535))[np.arange(256) * 257].tolist()
    same = list(range(256))
    return image.point([level for name in image.getbands() for level in (same if name == "A" else table)])


def _extremes(image: Image.Image, band: int) -> tuple[float, float]:
    values: Any = image.getchannel(band).getextrema()
    return float(values[0]), float(values[1])


def _levels(decoding: Decoding, top: float) -> tuple[float, float]:
    white = top if decoding.white_level is None else decoding.white_level
    return decoding.black_level or 0.0, white


@lru_cache(4)
def _table(black: float, white: float) -> np.ndarray:
    return _scaled(np.arange(65536), black, white)


def _scaled(values: np.ndarray, black: float, white: float) -> np.ndarray:
    scaled = (values.astype(np.float64) - black) * (255 / (white - black))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _eight_bits(array: np.ndarray, decoding: Decoding, notice: Notice) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = float(array.min()), float(array.max())
    top = 1 if array.dtype.kind == "f" else 65535
    black, white = _levels(decoding, top)
    # Written so that NaN fails as well.
    if not (low >= (0 if decoding.black_level is None else -np.inf)) or not (
        high <= (top if decoding.white_level is None else np.inf)
    ):
        raise UnreadableError(
            f"pixel values from {low:g} to {high:g} (type {array.dtype}), expected {black:g} to {white:g}: "
            "set target.white_level to what is white, and target.black_level where values lie below 0"
        )
    notice(Trait.DEEP, high)
    if low < black or high > white:
        notice(Trait.CLIPPED, 0)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return np.asarray(_table(black, white)[array])
    seen = np.empty(array.shape, dtype=np.uint8)
    for rows in _blocks(array):
        seen[rows] = _scaled(array[rows], black, white)
    return seen


def _blocks(array: np.ndarray) -> Iterator[slice]:
    rows = max(1, _STRIP // max(1, array[0].size))
    return (slice(start, start + rows) for start in range(0, len(array), rows))


def from_array(array: Any, decoding: Decoding = BY_DEFAULT, notice: Notice = _unnoticed) -> Image.Image:
    """A picture from numbers.

    Args:
        array: uint8, uint16, bool, or float in [0, 1]; (height, width) or (height, width, channels) with 1
            (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels.
        decoding: of values of more than 8 bits.
        notice: told what was taken from the picture.

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
    return Image.fromarray(np.ascontiguousarray(_eight_bits(values, decoding, notice)))


def as_image(value: Any) -> Image.Image:
    """``value`` if it is a PIL image, else see :func:`from_array`."""
    return value if isinstance(value, Image.Image) else from_array(value)
