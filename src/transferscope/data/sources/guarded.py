"""Reading files that may be anything: every error of a foreign reader names the file."""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transferscope.errors import DataError, TransferscopeError

_OF_THE_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}


@contextmanager
def reading(file: Path | str, what: str, expected: str, hint: str | None = None) -> Iterator[None]:
    """Read ``file`` within the context; what a reader raises becomes a :class:`DataError`.

    Readers of foreign files raise whatever their parsers meet (``KeyError``, ``zlib.error``, a panic of compiled code,
    which is not even an ``Exception``): a list of types would be of those met so far. Errors of the system (no memory,
    too many open files) are no damage of the file and pass as they are.
    """
    try:
        place = Path(file)
        if place.exists() and not stat.S_ISREG(place.stat().st_mode):
            raise DataError(f"{file} {what}", expected=expected, got="a folder, pipe or device", hint=hint)
        yield
    except (TransferscopeError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        if isinstance(error, OSError):
            _ask_the_system(place, error)
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{file} {what}", expected=expected, got=text[:200], hint=hint) from error


def _ask_the_system(file: Path, error: OSError) -> None:
    """Raise what the system says of the file now, where that is no fault of the file.

    Compiled readers give no error number: the file is opened once more for it.
    """
    if error.errno is None and file.is_file():
        with file.open("rb"):
            return
    if error.errno is not None and error.errno not in _OF_THE_FILE:
        raise error
