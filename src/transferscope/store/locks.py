"""One writer at a time, and the name of the one who is."""

import datetime
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from transferscope.errors import StoreBusyError, StoreError
from transferscope.store.atomic import alive, make_folder, replace_file
from transferscope.store.system_errors import translated

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


@contextmanager
def hold(
    folder: Path,
    name: str,
    *,
    wait: float | None = None,
    what: str | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold the lock ``name`` while the block runs; the system frees it however the process dies.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``.
    """
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot name a lock", expected="letters, digits, '.', '_' and '-', at most 151 of them"
        )
    path, side = folder / f"{name}.lock", folder / f"{name}.holder.json"
    what = name if what is None else what
    with translated(path, "lock"):
        make_folder(folder)
        # What the user's umask allows: others who share the store lock as well. The owner always may.
        lock = filelock.FileLock(path, mode=folder.stat().st_mode & 0o666 | 0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if on_wait is not None and wait != 0:
                on_wait(f"waiting: {_busy(side, what)}")
            _acquire_later(lock, side, what, wait)
    try:
        replace_file(side, _holder())
        yield
    finally:
        # A holder's file that a broken disk keeps only decorates a message: it must not hide the first error.
        with suppress(OSError):
            side.unlink()
        lock.release()


def _acquire_later(lock: filelock.BaseFileLock, side: Path, what: str, wait: float | None) -> None:
    if wait != 0:
        try:
            lock.acquire(timeout=-1 if wait is None else wait)
            return
        except filelock.Timeout:
            pass  # said below, with the holder's name
    raise StoreBusyError(
        _busy(side, what),
        got=None if wait in (0, None) else f"still so after {wait:g} seconds",
        hint="wait for it to end, or stop it; what it finishes is shared",
    )


def _holder() -> bytes:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()


def _busy(side: Path, what: str) -> str:
    holder = _read_holder(side)
    if holder is None:
        return f"{what} is already running as another process"
    where = "" if holder["host"] == socket.gethostname() else f" on {holder['host']}"
    return f"{what} is already running as process {holder['pid']}{where} since {holder['since']}"


def _read_holder(side: Path) -> dict[str, Any] | None:
    """Who holds the lock; None if it has not said so yet, or the file is of an earlier, dead holder."""
    try:
        holder = json.loads(side.read_bytes())
        here = holder["host"] == socket.gethostname()
        return None if here and not alive(int(holder["pid"])) else dict(holder)
    except (OSError, ValueError, KeyError, TypeError):
        # The file only decorates a message: the lock itself is the truth.
        return None
