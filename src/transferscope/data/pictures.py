"""The one reader of encoded pictures: what may be opened, and whether an error is of the file or of the machine."""

import errno
import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final

from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from transferscope.data.file_kinds import file_kind, is_cut_off, picture_format
from transferscope.data.metadata import without_metadata
from transferscope.data.regular_files import regular_file
from transferscope.data.silence import silent_stderr
from transferscope.errors import DataError

# Pillow knows more formats; the others start programs (PostScript), are stubs, or are no formats of photographs.
_WANTED: Final = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "MPO", "AVIF", "JPEG2000", "TGA", "PCX", "SGI",
                  "QOI", "DDS", "ICO", "PSD")  # fmt: skip
Image.init()
_FORMATS: Final = tuple(name for name in _WANTED if name in Image.OPEN)

_OF_THE_FILE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
)
_SMALL: Final = 2**20
_HEAD: Final = 4096
_TAIL: Final = 65536
_PILLOW: Final = Path(Image.__file__).parent
_THREAD: Final = threading.local()
_PIXELS: Final = threading.Lock()


class UnreadableError(DataError):
    """A picture cannot be read, for a reason that lies in its file."""


def open_picture(file: Path | bytes) -> Image.Image:
    """A picture, opened but not decoded yet.

    Nothing but an ordinary file is opened (a pipe would wait for ever), and none that would start a program. How many
    pixels it has is checked when it is decoded.
    """
    if isinstance(file, bytes):
        return _opened(io.BytesIO(file))
    try:
        try:
            regular_file(file)
        except DataError as error:
            raise UnreadableError(f"{error.got}, no file") from error
        # A small file is read and closed at once: few files are open, however many pictures wait.
        return _opened(file if file.stat().st_size > _SMALL else io.BytesIO(file.read_bytes()))
    except OSError as error:
        if of_system(error):
            raise
        raise UnreadableError(os.strerror(error.errno or 0).lower()) from error


def loaded(image: Image.Image) -> Image.Image:
    """The picture with its pixels decoded; of a PNG whose metadata are damaged, the same without them.

    Raises:
        UnreadableError: its pixels are damaged or missing.
        OSError: the system cannot read it now.
        MemoryError: there is not enough memory now.
    """
    stream: Any = getattr(image, "fp", None)  # gone once it is decoded, or when it never came from a file
    try:
        with silent_stderr() if image.format == "TIFF" else nullcontext():
            image.load()
    except Exception as error:
        if of_system(error) or isinstance(error, DataError):
            raise
        file = getattr(image, "filename", "")  # Pillow has closed what it opened itself
        closed = stream is None or stream.closed
        if closed and not file:
            raise UnreadableError(one_line(error)) from error
        again: Any = Path(os.fsdecode(file)).open("rb") if closed else stream  # noqa: SIM115 - closed below, ours or not
        with again:
            bare = _bare(again, decoded=True)
            if bare is None:
                raise UnreadableError(_why(again, error)) from error
        warned().append("damaged metadata")
        return bare
    return image


def _opened(file: Path | BinaryIO) -> Image.Image:
    try:
        return _identified(file)
    except Exception as error:
        if (isinstance(error, OSError) and error.errno is not None) or of_system(error):
            raise
        with file.open("rb") if isinstance(file, Path) else file as stream:
            # After its pixels a damaged part of a PNG is met only by `loaded`.
            bare = _bare(stream)
            if bare is None:
                raise UnreadableError(_why(stream, error)) from error
        warned().append("damaged metadata")
        return bare


def _identified(file: Path | BinaryIO) -> Image.Image:
    # Pillow's own limit has no setting per call; ours is checked before anything is decoded.
    with _PIXELS:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _bare(stream: Any, *, decoded: bool = False) -> Image.Image | None:
    """The picture without its metadata; None where it has none, or cannot be read without them either."""
    stream.seek(0)
    whole = stream.read()
    data = without_metadata(whole)
    if data is None or data == whole:
        return None
    try:
        image = _identified(io.BytesIO(data))
        if decoded:
            with silent_stderr():
                image.load()
    except Exception as error:
        if of_system(error):
            raise
        return None
    return image


def _why(stream: Any, error: Exception) -> str:
    stream.seek(0)
    head = stream.read(_HEAD)
    size = stream.seek(0, os.SEEK_END)
    name = picture_format(head)
    if name is None:
        return file_kind(head, size)
    stream.seek(max(0, size - _TAIL))
    if is_cut_off(name, head, stream.read(), size):
        return f"a {name} picture that is cut off after {size:,} bytes: copy or download it again"
    said = "" if isinstance(error, UnidentifiedImageError) else f": {one_line(error)}"
    return f"a {name} picture that is damaged, or of a kind that Pillow cannot decode{said}"


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def of_system(error: BaseException) -> bool:
    """Whether an error is trouble of the machine (files open, memory, disk, permissions), not of the picture.

    Decoders raise errors without a number; the system's have one.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _OF_THE_FILE
    return isinstance(error, MemoryError)


def system_error(name: str, error: BaseException) -> DataError:
    """The machine's trouble while ``name`` was read, with what to do about it."""
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM
    if number in (errno.EMFILE, errno.ENFILE):
        hint = "close other programs, or allow more open files (ulimit -n 1024), and run the same command again"
    elif number == errno.ENOMEM:
        hint = (
            "close other programs, or make the picture smaller; with a lower target.max_pixels it counts as "
            "unreadable, and --set target.on_unreadable=skip leaves it out"
        )
    elif number in (errno.EACCES, errno.EPERM):
        hint = "allow it to be read (chmod u+r on the file, u+x on its folders), and run the same command again"
    else:
        hint = "see to the disk or network drive, and run the same command again"
    what = error.strerror or one_line(error) if isinstance(error, OSError) else f"not enough memory: {one_line(error)}"
    return DataError(
        f"the system could not read the image {name}",
        expected="that it can be read now; no image is left out for such a reason, and nothing of it is stored",
        got=what,
        hint=hint,
    )


def warned() -> list[str]:
    """What Pillow complained about in this thread, since it was cleared."""
    found: list[str] | None = getattr(_THREAD, "warned", None)
    if found is None:
        found = _THREAD.warned = []
    return found


@contextmanager
def quiet_pillow(max_pixels: int) -> Iterator[None]:
    """Send Pillow's warnings to :func:`warned` and hold all its readers to the limits of :func:`open_picture`."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, (max_pixels + 1) // 2  # it refuses twice as many
    ghostscript, EpsImagePlugin.gs_binary = EpsImagePlugin.gs_binary, False
    log = logging.getLogger("PIL")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", module=r"PIL\.")
            before = warnings.showwarning

            def show(message: Any, category: Any, filename: str, *rest: Any, **more: Any) -> None:
                if _PILLOW in Path(filename).parents:
                    if not issubclass(category, Image.DecompressionBombWarning):
                        warned().append(str(message))
                else:
                    before(message, category, filename, *rest, **more)

            warnings.showwarning = show
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
        EpsImagePlugin.gs_binary = ghostscript
        log.setLevel(level)
