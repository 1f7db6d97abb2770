"""Writing so that a crash at any moment leaves the old state or the new one, never something between."""

import hashlib
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transferscope.store.system_errors import disk_errors, translated

__all__ = [
    "abandoned",
    "alive",
    "make_folder",
    "new_temporary",
    "place",
    "remove",
    "replace_file",
    "replacing",
    "share",
    "sweep",
    "sync_file",
    "sync_folder",
    "sync_tree",
    "temporaries",
    "vanish",
]

_PREFIX = ".tmp-"

# Temporary folders this process is writing now; the others with its number are of an earlier process.
_writing: set[str] = set()


def sync_folder(folder: Path) -> None:
    """Force the names in ``folder`` to the disk (a no-op where folders cannot be opened)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Force the bytes of ``path`` to the disk."""
    # Windows flushes only what it could write to.
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Force all files below ``folder``, and the folders that name them, to the disk."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(parent) / name)
        sync_folder(Path(parent))


def make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents, each name forced to the disk."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


def new_temporary(parent: Path, key: str) -> Path:
    """A new empty folder in ``parent``, on the same file system as its target, marked as this process's."""
    make_folder(parent)
    name = _new_name(key)
    _writing.add(name)
    folder = parent / name
    folder.mkdir()
    return folder


def place(temporary: Path, target: Path) -> bool:
    """Rename ``temporary`` to ``target``: the one moment at which something appears.

    Returns:
        False if the target was there before; the temporary folder is then untouched.
    """
    try:
        os.rename(temporary, target)
    except OSError:
        if target.exists():
            return False
        raise
    sync_folder(target.parent)
    _writing.discard(temporary.name)
    return True


def remove(path: Path) -> None:
    """Remove a temporary or moved-aside file or folder as far as the disk allows.

    What a broken or read-only disk keeps is invisible to readers, and removed or listed when the store is
    next opened or verified; the error that led here must not be hidden by a second one.
    """
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    _writing.discard(path.name)


def vanish(folder: Path) -> None:
    """Remove ``folder`` so that it is seen whole or not at all; nothing happens if it is not there."""
    aside = folder.parent / _new_name(folder.name)
    _writing.add(aside.name)
    try:
        with translated(folder, "remove"):
            if folder.exists():
                folder.rename(aside)
    finally:
        remove(aside)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write ``path`` anew under another name: readers see the old file or the new one, whole.

    What dead processes left of earlier attempts at this very file goes.

    Yields:
        Where to write; an empty file is there, with the rights that the user's umask gives.

    Raises:
        StoreError: the disk is full, read-only or broken; the old file is untouched.
    """
    with translated(path, "write"):
        make_folder(path.parent)
        sweep(path.parent, path.name)
        temporary = path.parent / _new_name(path.name)
        _writing.add(temporary.name)
        try:
            temporary.touch(exist_ok=False)
            rights = temporary.stat().st_mode
            with disk_errors(path.parent):
                yield temporary
            _allow(temporary, rights)
            sync_file(temporary)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            remove(temporary)


def replace_file(path: Path, content: bytes) -> None:
    """Write ``path`` anew, as in :func:`replacing`.

    Raises:
        StoreError: the disk is full, read-only or broken; the old file is untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def share(folder: Path) -> None:
    """Give all below ``folder`` the rights of new files: safetensors makes files that their owner alone can read."""
    rights = stat.S_IMODE(folder.stat().st_mode)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _allow(path, rights if path.is_dir() else rights & 0o666)


def _allow(path: Path, rights: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != stat.S_IMODE(rights):
        with suppress(PermissionError):  # a file system that keeps no rights gives everyone the same
            path.chmod(stat.S_IMODE(rights))


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what dead processes of this machine left directly in ``folder``, as far as the disk allows.

    Args:
        folder: where.
        name: only of the file or entry of that name; None for all.
    """
    start = _PREFIX if name is None else _start(name)
    with suppress(OSError):
        for leftover in temporaries(folder):
            if leftover.name.startswith(start) and abandoned(leftover):
                remove(leftover)


def temporaries(folder: Path) -> Iterator[Path]:
    """Temporary files and folders directly in ``folder``, of whichever process."""
    try:
        yield from sorted(path for path in folder.iterdir() if path.name.startswith(_PREFIX))
    except (FileNotFoundError, NotADirectoryError):
        return


def abandoned(temporary: Path) -> bool:
    """Whether the process that made ``temporary`` ran on this machine and is dead."""
    words = temporary.name.rsplit("-", 3)
    if len(words) != 4 or words[1] != _host() or not words[2].isdigit():
        return False
    pid = int(words[2])
    # A container gives its first process the same number each time it starts.
    return temporary.name not in _writing if pid == os.getpid() else not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process of this machine has the number ``pid``; where it cannot be told, True."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _new_name(key: str) -> str:
    return f"{_start(key)}{_host()}-{os.getpid()}-{secrets.token_hex(6)}"


def _start(key: str) -> str:
    # Short enough for a file system that takes 255 bytes, whatever the key.
    short = key.encode()[:160].decode(errors="ignore")
    return f"{_PREFIX}{short}-"


def _host() -> str:
    """Stands for the machine, and on Linux for the process namespace: elsewhere a number means nothing."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]
