"""What a file is, by its first bytes: for the reason why it is no picture."""

import json
from typing import Final

__all__ = ["file_kind", "is_cut_off", "picture_format"]

_PICTURES: Final = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (8, b"WEBP", "WebP"),
    (0, b"BM", "BMP"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
)
_CONVERT: Final = "convert it to JPEG or PNG"
_OTHERS: Final = (
    (4, b"ftypheic", f"a HEIC picture: {_CONVERT}"),
    (4, b"ftypheix", f"a HEIC picture: {_CONVERT}"),
    (4, b"ftyphevc", f"a HEIC picture: {_CONVERT}"),
    (4, b"ftypheim", f"a HEIC picture: {_CONVERT}"),
    (4, b"ftypheis", f"a HEIC picture: {_CONVERT}"),
    (4, b"ftypmif1", f"a HEIF picture: {_CONVERT}"),
    (4, b"ftypmsf1", f"a HEIF picture: {_CONVERT}"),
    (4, b"ftypavif", f"an AVIF picture that is damaged, or that this Pillow cannot read: {_CONVERT}"),
    (4, b"ftypavis", f"an AVIF picture that is damaged, or that this Pillow cannot read: {_CONVERT}"),
    (4, b"ftypcrx", f"a camera's raw picture (CR3): {_CONVERT}"),
    (4, b"ftyp", "a video (MP4 or QuickTime)"),
    (4, b"moov", "a video (QuickTime)"),
    (8, b"AVI ", "a video (AVI)"),
    (8, b"WAVE", "a sound file (WAV)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (0, b"\0\0\x01\xba", "a video (MPEG)"),
    (0, b"\0\0\x01\xb3", "a video (MPEG)"),
    (0, b"FLV", "a video (Flash)"),
    (0, b"OggS", "a sound or video file (Ogg)"),
    (0, b"ID3", "a sound file (MP3)"),
    (0, b"\0\0\0\x0cJXL ", f"a JPEG XL picture: {_CONVERT}"),
    (0, b"\xff\x0a", f"a JPEG XL picture: {_CONVERT}"),
    (0, b"8BPS", f"a Photoshop document: {_CONVERT}"),
    (0, b"FUJIFILMCCD-RAW", f"a camera's raw picture: {_CONVERT}"),
    (128, b"DICM", f"a DICOM file: {_CONVERT}"),
    (0, b"SIMPLE  =", f"a FITS file: {_CONVERT}"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document, which is never run"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document, which is never run"),
    (0, b"PK\x03\x04", "an archive (zip): unpack it"),
    (0, b"PK\x05\x06", "an empty archive (zip)"),
    (0, b"\x1f\x8b", "an archive (gzip): unpack it"),
    (0, b"BZh", "an archive (bzip2): unpack it"),
    (0, b"\xfd7zXZ\0", "an archive (xz): unpack it"),
    (0, b"(\xb5/\xfd", "an archive (Zstandard): unpack it"),
    (0, b"7z\xbc\xaf'\x1c", "an archive (7-Zip): unpack it"),
    (0, b"Rar!\x1a\x07", "an archive (RAR): unpack it"),
    (257, b"ustar", "an archive (tar): unpack it"),
    (0, b"\x93NUMPY", "a NumPy array: see `kind: arrays`"),
    (0, b"PAR1", "a Parquet table: see `kind: parquet`"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"SQLite format 3\0", "a database (SQLite)"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document or thumbnail store of Windows"),
    (0, b"\0\x05\x16\x07", "a resource file of macOS (AppleDouble)"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program (Windows)"),
    (0, b"version https://git-lfs.github.com/", "a Git LFS pointer, not the picture: fetch it with `git lfs pull`"),
    (0, b"version https://hawser.github.com/", "a Git LFS pointer, not the picture: fetch it with `git lfs pull`"),
    (0, b"\xff\xfe", "a text file (UTF-16)"),
    (0, b"\xfe\xff", "a text file (UTF-16)"),
    (0, b"/annex/objects/", "a git-annex pointer, not the picture: fetch it with `git annex get`"),
)
_ENDS: Final = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "GIF": b";"}
_BEGIN_PAGES: Final = (b"<!doctype html", b"<html", b"<head", b"<body")


def picture_format(head: bytes) -> str | None:
    """The format of a picture that can be read here, by its first bytes; None of anything else."""
    return next((name for start, mark, name in _PICTURES if head[start : start + len(mark)] == mark), None)


def is_cut_off(format_name: str, head: bytes, tail: bytes, size: int) -> bool:
    """Whether a picture's end is missing; False too where its format does not say.

    Args:
        format_name: as in :func:`picture_format`.
        head: its first bytes.
        tail: its last bytes; what cameras append (previews, padding) lies within.
        size: bytes there are.
    """
    if format_name == "WebP":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if format_name == "BMP":
        return int.from_bytes(head[2:6], "little") > size
    return format_name in _ENDS and tail.rfind(_ENDS[format_name]) < 0


def file_kind(head: bytes, size: int) -> str:
    """What a file is that is no picture, and what to do about it.

    Args:
        head: its first bytes, 512 or more where there are so many.
        size: bytes there are.

    Example:
        >>> file_kind(b"", 0), file_kind(b"PK\\x03\\x04", 99)
        ('an empty file', 'an archive (zip): unpack it')
    """
    if size == 0:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a file of zeros: it was never written to its end"
    for start, mark, words in _OTHERS:
        if head[start : start + len(mark)] == mark:
            return words
    return _text_kind(head) or "no picture of a known format"


def _text_kind(head: bytes) -> str | None:
    try:
        # The last character may be cut.
        text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "strict" if len(head) < 512 else "ignore")
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    if sum(not (letter.isprintable() or letter.isspace()) for letter in text) > len(text) // 100:
        return None
    start = text.strip().lower().encode()
    if start.startswith(_BEGIN_PAGES):
        return "a web page (HTML), not the picture: the download failed, or needs a login"
    if start.startswith((b"<svg", b"<?xml", b"<!--")):
        if b"<svg" in start:
            return f"an SVG drawing: {_CONVERT}"
        return "a web page (HTML), not the picture" if b"<html" in start else "a text file (XML)"
    if start[:1] in (b"{", b"["):
        return "a text file (JSON)" if _is_json(text) or len(head) >= 512 else "a text file"
    return f"a text file, which begins with {' '.join(text.split())[:40]!r}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
