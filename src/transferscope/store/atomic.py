"""Writing so that a crash at any moment leaves the old state or the new one, never something between."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transferscope.errors import StoreError

__all__ = [
    "abandoned",
    "alive",
    "disk_errors",
    "disk_free",
    "make_folder",
    "new_temporary",
    "place",
    "remove",
    "replace_file",
    "sync_file",
    "sync_folder",
    "sync_tree",
    "temporaries",
    "translated",
    "vanish",
]

_PREFIX = ".tmp-"

# What the disk can answer to a write, and what a user does about it.
_HINTS = {
    errno.ENOSPC: "free space on this disk, or name a store on another one",
    errno.EDQUOT: "free space within your quota, or name a store elsewhere",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or name a store on another file system",
    errno.EROFS: "mount the disk writable, or name a store elsewhere",
    errno.EACCES: "get the right to write there, or name a store elsewhere",
    errno.EPERM: "get the right to write there, or name a store elsewhere",
    errno.EIO: "check this disk: it reports an input/output error",
}
_NUMBER_IN_TEXT = re.compile(r"\bos error (\d+)\b|\[Errno (\d+)\]")
_SENTENCES = {os.strerror(number).lower(): number for number in _HINTS}
# Libraries whose own words for a failed write carry no error number: torch.save and numpy.save.
_SHORT_WRITE = re.compile(r"PytorchStreamWriter failed|unexpected pos \d+|\d+ requested and \d+ written")

# Temporary folders this process is writing now; the others with its number are of an earlier process.
_writing: set[str] = set()


def disk_free(path: Path) -> int:
    """Bytes that can still be written on the disk of ``path``, which need not exist yet."""
    place_ = path.absolute()
    while not place_.exists() and place_ != place_.parent:
        place_ = place_.parent
    return shutil.disk_usage(place_).free


def _store_error(error: BaseException, number: int | None, path: Path, doing: str) -> StoreError:
    reason = os.strerror(number) if number else str(error)
    try:
        free = f"{disk_free(path):,} bytes free on this disk"
    except OSError as unknown:
        free = f"free space unknown ({unknown})"
    hint = _HINTS.get(number or 0, "make sure the folder can be written")
    return StoreError(
        f"cannot {doing} {path}: {reason}",
        expected="a folder that can be read and written, with enough space",
        got=free,
        hint=f"{hint}; what was finished is kept, nothing half-written was left: run the same command again",
    )


@contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turn every ``OSError`` of the store's own reading and writing into a :class:`StoreError`.

    Args:
        path: what is read or written.
        doing: a verb, for the message.

    Raises:
        StoreError: with the path, the free bytes and what to do.
    """
    try:
        yield
    except OSError as error:
        raise _store_error(error, error.errno, path, doing) from error


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk answers to somebody else's writing below ``path`` into a :class:`StoreError`.

    Only errors of the disk are turned: no space, quota, file size, read-only, no permission, input/output.
    They are recognised also where a library says them in its own words (safetensors, polars, numpy, torch).
    Everything else passes unchanged, such as a missing image elsewhere.

    Raises:
        StoreError: with the path, the free bytes and what to do.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None and not _below(error.filename, path):
            raise
        number = _disk_number(error, path)
        if number is None:
            raise
        raise _store_error(error, number, path, "write") from error


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
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
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


def replace_file(path: Path, content: bytes) -> None:
    """Write ``path`` anew: readers see the old bytes or the new ones.

    Raises:
        StoreError: the disk is full, read-only or broken; the old file is untouched.
    """
    with translated(path, "write"):
        make_folder(path.parent)
        temporary = path.parent / _new_name(path.name)
        _writing.add(temporary.name)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
            _writing.discard(temporary.name)


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
    return f"{_PREFIX}{key}-{_host()}-{os.getpid()}-{secrets.token_hex(6)}"


def _host() -> str:
    """Stands for the machine, and on Linux for the process namespace: elsewhere a number means nothing."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]
