"""Standard error, silent while a C library decodes that prints what it meets."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LOCK: Final = threading.Lock()
_SAVED: Final[list[int]] = []
_INSIDE: Final[list[int]] = []


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Within it nothing is written to file descriptor 2; threads may be within it at once.

    libtiff prints messages without a file's name there; what was wrong comes as an exception too.
    """
    with _LOCK:
        if not _INSIDE:
            _mute()
        _INSIDE.append(1)
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE.pop()
            if not _INSIDE and _SAVED:
                os.dup2(_SAVED[0], 2)
                os.close(_SAVED.pop())


def _mute() -> None:
    if sys.stderr is not None and not sys.stderr.closed:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:
        return  # closed: nothing can be printed there
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:
        os.close(saved)
        raise
    os.dup2(nowhere, 2)
    os.close(nowhere)
    _SAVED.append(saved)
