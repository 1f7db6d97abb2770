"""Encoded pictures without what only describes them: EXIF, text, colour profiles."""

import struct
from typing import Final

_PNG_MARK: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# Size, depth, compression, colours, strips and tiles, predictor, palette, extra channels, JPEG tables, YCbCr.
_TIFF_KEPT: Final = frozenset({256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 332,
                               338, 339, 347, 529, 530, 531, 532})  # fmt: skip
_WEBP_DROPPED: Final = (b"EXIF", b"XMP ", b"ICCP")


def without_metadata(data: bytes) -> bytes | None:
    """The picture's own parts of a PNG, JPEG, WebP or TIFF; None of other files, or where they cannot be told apart.

    Pixels, palette and transparent colour are all kept, as they are: damage there is still found.
    """
    if data.startswith(_PNG_MARK):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(data)
    return None


def _png(data: bytes) -> bytes:
    parts, place = [_PNG_MARK], len(_PNG_MARK)
    while place + 12 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        if data[place + 4 : place + 8] in _PNG_KEPT:
            parts.append(data[place : place + 12 + length])
        place += 12 + length
    return b"".join(parts)


def _jpeg(data: bytes) -> bytes | None:
    parts, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xDA:  # entropy-coded data follow
            return b"".join([*parts, data[place:]])
        length = 2 + int(struct.unpack_from(">H", data, place + 2)[0])
        # Of application segments only Adobe's says what the channels mean; 0xFE is a comment.
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE) or marker == 0xEE:
            parts.append(data[place : place + length])
        place += length
    return None


def _webp(data: bytes) -> bytes:
    parts, place = [], 12
    while place + 8 <= len(data):
        length = struct.unpack_from("<I", data, place + 4)[0]
        length += length % 2
        if data[place : place + 4] not in _WEBP_DROPPED:
            parts.append(data[place : place + 8 + length])
        place += 8 + length
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(data: bytes) -> bytes | None:
    """The first page; its tags are moved together where they stand, so that what they point to stays in place."""
    order = "<" if data.startswith(b"II") else ">"
    if len(data) < 8 or (start := int(struct.unpack_from(order + "I", data, 4)[0])) + 2 > len(data):
        return None
    end = start + 2 + 12 * int(struct.unpack_from(order + "H", data, start)[0])
    tags = [data[place : place + 12] for place in range(start + 2, min(end, len(data) - 11), 12)]
    kept = [tag for tag in tags if struct.unpack_from(order + "H", tag)[0] in _TIFF_KEPT]
    body = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + body + data[start + len(body) :]
