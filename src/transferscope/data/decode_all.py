"""All pictures of a listing as squares, in order."""

import hashlib
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from transferscope.data.decode import decoded_bytes, square
from transferscope.data.decoding import BY_DEFAULT, Decoding
from transferscope.data.near_duplicates import thumbnail
from transferscope.data.picture_notes import Trait
from transferscope.data.pictures import UnreadableError, of_system, one_line, quiet_pillow, system_error, warned
from transferscope.data.sources.base import Listing
from transferscope.errors import DataError

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
"""What a source that opens pictures itself raises of a damaged one. Others are errors of its code, and stop."""

_THREADS: Final = 2
_WINDOW: Final = 16
"""Pictures that are opened ahead of those decoded: at most so many large files are open at once."""
_LARGE: Final = 256 * 2**20


@dataclass(frozen=True)
class Decoded:
    """One picture of a listing.

    Attributes:
        pixels: uint8 ``height width channels``; None where it cannot be read.
    """

    pixels: np.ndarray | None
    why: str = ""
    digest: bytes = b""
    thumbnail: bytes = b""
    traits: tuple[tuple[Trait, float], ...] = ()


def decoded(listing: Listing, size: int, decoding: Decoding) -> Iterator[Decoded]:
    """All examples in order. Reading is serial (a source need not be thread-safe), decoding is not."""
    large = threading.Lock()

    def decode(number: int, value: Any, complaints: list[str]) -> Decoded:
        if isinstance(value, UnreadableError):
            return Decoded(None, value.what)
        traits: list[tuple[Trait, float]] = []
        warned()[:] = complaints  # what was met when it was opened, in another thread
        alone = large if isinstance(value, Image.Image) and decoded_bytes(value) > _LARGE else nullcontext()
        try:
            with alone, value if isinstance(value, Image.Image) else nullcontext():
                pixels = square(value, size, decoding, lambda trait, much: traits.append((trait, much)))
        except (*UNREADABLE, MemoryError) as error:
            return Decoded(None, _reason(listing.names[number], error))
        digest = hashlib.blake2b(pixels.data, digest_size=16).digest()
        return Decoded(pixels, "", digest, thumbnail(pixels), tuple(traits))

    with quiet_pillow(decoding.max_pixels), ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[Decoded]] = deque()
        try:
            for number in range(len(listing.names)):
                warned().clear()
                value = _read(listing, number)
                waiting.append(pool.submit(decode, number, value, list(warned())))
                if len(waiting) >= _WINDOW:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def peek(listing: Listing, numbers: Iterable[int]) -> tuple[list[tuple[int, int]], list[str]]:
    """Height and width of some pictures, as they lie; and of those that cannot be opened the names and reasons."""
    sizes, unreadable = [], []
    with quiet_pillow(BY_DEFAULT.max_pixels):
        for number in numbers:
            value = _read(listing, number)
            if isinstance(value, UnreadableError):
                unreadable.append(f"{listing.names[number]} ({value.what})")
            elif isinstance(value, Image.Image):
                sizes.append((value.height, value.width))
                value.close()
            else:
                height, width, *_ = np.shape(value)
                sizes.append((height, width))
    return sizes, unreadable


def _read(listing: Listing, number: int) -> Any:
    """What a source reads of an example, or the :class:`UnreadableError` that says why it cannot."""
    try:
        return listing.read(number)
    except (*UNREADABLE, MemoryError) as error:
        return UnreadableError(_reason(listing.names[number], error))


def _reason(name: str, error: Exception) -> str:
    if of_system(error):
        # Not "from error": an error of the store is what has a system error as its cause.
        raise system_error(name, error) from None
    if isinstance(error, UnreadableError):
        return error.what
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than target.max_pixels allows: make it smaller, or raise that limit"
    return one_line(error) if isinstance(error, DataError) else f"{type(error).__name__}: {one_line(error)}"
