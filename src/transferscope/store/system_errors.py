"""What the system answers to reading and writing, turned into errors of ours: one place for all parts."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transferscope.errors import StoreError

# What the system can answer, and what a user does about it.
_HINTS = {
    errno.ENOSPC: "free space on this disk, or name a place on another one {options}",
    errno.EDQUOT: "free space within your quota, or name another place {options}",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or name a place on another file system {options}",
    errno.EROFS: "mount the disk writable, or name another place {options}",
    errno.EACCES: "get the right to read and write there, or name another place {options}",
    errno.EPERM: "get the right to read and write there, or name another place {options}",
    errno.EIO: "check this disk: it reports an input/output error",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs: this machine has too many files open",
    errno.ENOMEM: "free memory: fewer workers (--set compute.workers=1), or end other programs",
}
_OTHER = "make sure it can be read and written, or name another place {options}"
_OPTIONS = "(--store for a store, --output for a report or a study, TMPDIR for what is temporary)"
_KEPT = "what was finished is kept, nothing half-written was left: run the same command again"
_NUMBER_IN_TEXT = re.compile(r"\bos error (\d+)\b|\[Errno (\d+)\]")
_SENTENCES = {os.strerror(number).lower(): number for number in _HINTS}
# Libraries whose own words for a failed write carry no error number: torch.save and numpy.save.
_SHORT_WRITE = re.compile(r"PytorchStreamWriter failed|unexpected pos \d+|\d+ requested and \d+ written")


def disk_free(path: Path) -> int:
    """Bytes that can still be written on the disk of ``path``, which need not exist yet."""
    place = path.absolute()
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def system_error(error: BaseException, path: Path | None = None, doing: str = "use") -> StoreError:
    """The error of ours for what the system answered.

    Args:
        path: what was read or written; the file that the error names where None.

    Returns:
        An error that names the file, the free space, what is kept and what to do.
    """
    number = error.errno if isinstance(error, OSError) else None
    return _error(error, number, path, doing)


def _error(error: BaseException, number: int | None, path: Path | None, doing: str) -> StoreError:
    if path is None:
        named = getattr(error, "filename", None)
        path = Path(os.fsdecode(named)) if isinstance(named, (str, bytes, os.PathLike)) else None
    reason = os.strerror(number) if number else str(error) or type(error).__name__
    what = f"the system refused: {reason}" if path is None else f"cannot {doing} {path}: {reason}"
    try:
        free = f"{disk_free(path or Path.cwd()):,} bytes free on this disk"
    except OSError as unknown:
        free = f"free space unknown ({unknown})"
    return StoreError(
        what,
        expected="files and folders that can be read and written, with enough space",
        got=free,
        hint=f"{_HINTS.get(number or 0, _OTHER).format(options=_OPTIONS)}; {_KEPT}",
    )


@contextmanager
def translated(path: Path | None, doing: str) -> Iterator[None]:
    """Turn every ``OSError`` of our own reading and writing into a :class:`StoreError`."""
    try:
        yield
    except OSError as error:
        raise system_error(error, path, doing) from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk answers to somebody else's writing below ``path`` into a :class:`StoreError`.

    Only errors of the disk are turned: no space, quota, file size, read-only, no permission, input/output. They are
    recognised also where a library says them in its own words (safetensors, polars, numpy, torch). Everything else
    passes unchanged, such as a missing image elsewhere.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None and not _below(error.filename, path):
            raise
        number = _disk_number(error, path)
        if number is None:
            raise
        raise _error(error, number, path, "write") from error


def _below(name: object, path: Path) -> bool:
    return isinstance(name, (str, os.PathLike)) and Path(name).absolute().is_relative_to(path.absolute())


def _disk_number(error: Exception, path: Path) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _HINTS else None
    text = str(error)
    for match in _NUMBER_IN_TEXT.finditer(text):
        number = int(match[1] or match[2])
        if number in _HINTS:
            return number
    for sentence, number in _SENTENCES.items():
        # "permission denied" alone may speak of anything; running out of space speaks of the disk.
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG) and sentence in text.lower():
            return number
    if _SHORT_WRITE.search(text):
        return errno.ENOSPC if disk_free(path) < 1 << 20 else errno.EIO
    return None
