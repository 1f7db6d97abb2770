"""Encoded pictures, byte by byte: whole, deep, with damaged metadata, and files that are none."""

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.making import picture
from transferscope.data.images import ImageSet
from transferscope.data.sources import Folder
from transferscope.data.store import open_images

SIZE = (24, 24)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    depth: int, colour: int, rows: bytes, extra: tuple[tuple[bytes, bytes], ...] = (), size: tuple[int, int] = SIZE
) -> bytes:
    """A PNG of equal rows, or with no pixels at all where ``rows`` is empty."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    pixels = zlib.compress((b"\0" + rows) * size[1] if rows else b"")
    body = b"".join(chunk(kind, data) for kind, data in extra)
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff(array: np.ndarray, photometric: int = 1, sample_format: int = 1) -> bytes:
    """An uncompressed grey TIFF."""
    data, bits = array.tobytes(), array.dtype.itemsize * 8
    height, width = array.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, sample_format)]
    body = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + body + bytes(4)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def with_segment(data: bytes) -> bytes:
    whole = encoded(picture(3, SIZE), "JPEG")
    return whole[:2] + data + whole[2:]


def damaged_metadata() -> dict[str, bytes]:
    """Whole pixels, damaged metadata."""
    grey = bytes(range(24))
    exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", 3) + struct.pack(">HHIHH", 274, 3, 1, 6, 0)
    exif += struct.pack(">HHIHH", 282, 3, 2, 1, 2) + struct.pack(">HHI4s", 296, 2, 4, b"abc\0") + bytes(4)
    good = encoded(picture(4, SIZE), "TIFF", tiffinfo={270: "words"})
    place = struct.unpack_from("<I", good, 4)[0] + 2
    count = struct.unpack_from("<H", good, place - 2)[0]
    where = next(k for k in range(place, place + 12 * count, 12) if struct.unpack_from("<H", good, k)[0] == 270)
    bad_checksum = bytearray(png(8, 0, grey, ((b"tEXt", b"a\0b"),)))
    bad_checksum[bad_checksum.index(b"tEXt") + 4] ^= 1
    return {
        "exif_too_short.png": png(8, 0, grey, ((b"eXIf", bytes([0, 8, 0, 2, 1, 0x12, 0, 3])),)),
        "exif_types.jpg": encoded(picture(3, SIZE), "JPEG", exif=b"Exif\0\0" + exif),
        "text_bomb.png": png(8, 0, grey, ((b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000))),)),
        "resolution.png": png(8, 0, grey, ((b"pHYs", b"\0"),)),
        "gamma.png": png(8, 0, grey, ((b"gAMA", b"\0"),)),
        "profile.png": png(8, 0, grey, ((b"iCCP", b"abc"),)),
        "checksum.png": bytes(bad_checksum),
        "animation.png": png(8, 0, grey, ((b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", b"\0\1"))),
        "profile.jpg": with_segment(segment(0xE2, b"ICC_PROFILE\0")),
        "jfif.jpg": with_segment(segment(0xE0, b"JFIF\0\1")),
        "several.jpg": with_segment(segment(0xE2, b"MPF\0abcd")),
        "exif.webp": encoded(picture(3, SIZE), "WEBP", exif=b"Exif\0\0junkjunk", lossless=True),
        "offset.tif": good[: where + 8] + struct.pack("<I", 10**9) + good[where + 12 :],
        "resolution.tif": good[:where] + struct.pack("<HHI", 282, 3, 2) + good[where + 8 :],
    }


def no_pictures() -> dict[str, tuple[bytes, str]]:
    """Files that are no pictures, each with what must be said of it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", "b")
    box = bytes(8) + bytes(100)
    jpeg, whole = encoded(picture(3, (64, 64)), "JPEG"), encoded(picture(3, (64, 64)))
    return {
        "empty": (b"", "an empty file"),
        "zeros": (bytes(999), "a file of zeros"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        "annex": (b"/annex/objects/SHA256E-s1--x.jpg\n", "git annex get"),
        "html": (b"<!DOCTYPE html>\n<html>", "a web page"),
        "html_late": (b"\n \n<HTML><body>", "a web page"),
        "html_as_xml": (b'<?xml version="1.0"?>\n<!DOCTYPE html><html>', "a web page"),
        "svg": (b'<?xml version="1.0"?>\n<svg>', "an SVG drawing"),
        "heic": (struct.pack(">I", 24) + b"ftypheic" + box, "HEIC"),
        "heif": (struct.pack(">I", 24) + b"ftypmif1" + box, "HEIF"),
        "avif": (struct.pack(">I", 24) + b"ftypavif" + box, "AVIF"),
        "mp4": (struct.pack(">I", 24) + b"ftypisom" + box, "a video"),
        "mov": (struct.pack(">I", 24) + b"ftypqt  " + box, "a video"),
        "avi": (b"RIFF\1\1\1\1AVI " + box, "a video"),
        "mkv": (b"\x1aE\xdf\xa3" + box, "a video"),
        "text": (b"404: Not Found\n", "begins with '404: Not Found'"),
        "latin": ("straße, größe".encode("latin-1"), "a text file"),
        "utf16": ("hello".encode("utf-16"), "a text file"),
        "json": (b'{"error": "not found"}', "JSON"),
        "long_json": (b'[{"a": 1}, ' * 900, "JSON"),
        "zip": (archive.getvalue(), "an archive (zip)"),
        "gzip": (gzip.compress(b"abc"), "an archive (gzip)"),
        "pdf": (b"%PDF-1.7\n", "a PDF document"),
        "dicom": (bytes(128) + b"DICM" + box, "DICOM"),
        "numpy": (b"\x93NUMPY\1\0", "NumPy"),
        "parquet": (b"PAR1" + box, "Parquet"),
        "psd": (b"8BPS\0\1", "Photoshop"),
        "jxl": (b"\xff\x0a" + box, "JPEG XL"),
        "noise": (np.random.default_rng(3).bytes(999), "no picture of a known format"),
        "half_jpeg": (jpeg[: len(jpeg) // 2], "a JPEG picture that is cut off"),
        "head_of_jpeg": (jpeg[:40], "a JPEG picture that is cut off"),
        "half_png": (whole[: len(whole) // 2], "a PNG picture that is cut off"),
        "head_of_png": (whole[:20], "a PNG picture that is cut off"),
        "half_gif": (encoded(picture(3).convert("P"), "GIF")[:200], "a GIF picture that is cut off"),
        "half_webp": (encoded(picture(3), "WEBP", lossless=True)[:300], "a WebP picture that is cut off"),
        "half_bmp": (encoded(picture(3), "BMP")[:200], "a BMP picture that is cut off"),
        "half_tiff": (encoded(picture(3), "TIFF")[:300], "a TIFF picture that is damaged"),
        "garbled_png": (whole[:300] + b"garbage" * 20 + whole[440:], "a PNG picture that is damaged"),
    }


def folder_with(root: Path, files: dict[str, bytes]) -> Path:
    """Two classes of three good pictures each, and ``files`` in the first."""
    for number, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for k in range(3):
            picture(100 * number + k + 10, SIZE).save(root / name / f"good{k}.png")
    for name, data in files.items():
        (root / "a" / name).write_bytes(data)
    return root


def opened(root: Path, size: int = 24, **more: object) -> ImageSet:
    """The pictures of a folder, unreadable ones skipped; decoded beside it."""
    return open_images(Folder(path=str(root)), size, root.parent / "store", on_unreadable="skip", **more)


def of(images: ImageSet, name: str) -> np.ndarray:
    return images.pixels(images.names.index(name))
