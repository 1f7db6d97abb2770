"""Hashes: written into every manifest, checked on reading."""

import hashlib
import json
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferscope.errors import CorruptEntryError, StoreError
from transferscope.store.system_errors import translated

if TYPE_CHECKING:
    pass

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
SCHEMA = 1

# Files whose bytes this process has already hashed: path -> (stamp, sha256).
_checked: dict[Path, tuple[list[int], str]] = {}
_guard = threading.Lock()


@dataclass(frozen=True)
class Problem:
    """Something in a store that is not as it should be."""

    kind: str
    key: str
    path: Path
    what: str
    harmful: bool = True


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The ``files`` of a manifest: name, sha256 and bytes of each file below ``folder``."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(
                f"an entry may hold plain files only, but {name!r} is none", expected="a plain file", got=str(path)
            )
        if name in (MANIFEST, PROVENANCE):
            raise StoreError(f"the name {name!r} is the store's own", hint="pass these facts to Entry.write() instead")
        if path.is_file():
            files[name] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
    return files


def manifest_bytes(content: dict[str, Any]) -> bytes:
    """A manifest as canonical JSON that carries the hash of its own content."""
    digest = hashlib.sha256(_canonical(content)).hexdigest()
    text = json.dumps({**content, "digest": digest}, sort_keys=True, indent=1, allow_nan=False)
    return (text + "\n").encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in ``folder``, its own hash checked."""
    path = folder / MANIFEST
    raw = _content(path)
    try:
        manifest = json.loads(raw)
        digest = manifest.pop("digest")
        whole = digest == hashlib.sha256(_canonical(manifest)).hexdigest()
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _corrupt(path, "is not a manifest") from error
    if not whole:
        raise _corrupt(path, "is not what was written")
    if manifest["schema"] != SCHEMA:
        raise StoreError(
            f"{path} was written by another version of transferscope",
            expected=f"schema {SCHEMA}",
            got=f"schema {manifest['schema']}",
            hint="upgrade transferscope, or name another store",
        )
    return dict(manifest)


def read_provenance(folder: Path) -> dict[str, Any]:
    """What differs from run to run, of the entry in ``folder``; it is compared with nothing."""
    path = folder / PROVENANCE
    try:
        found = json.loads(_content(path))
    except ValueError as error:
        raise _corrupt(path, "is not JSON", got=str(error)) from error
    if not isinstance(found, dict):
        raise _corrupt(path, "holds no facts", "a JSON object", type(found).__name__)
    return found


def check_file(path: Path, sha256: str, size: int) -> None:
    """Compare a file with its manifest; its bytes are hashed once per process, until the file changes."""
    with translated(path, "read"):
        try:
            state = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise _corrupt(path, "is missing") from None
        if not stat.S_ISREG(state.st_mode) or state.st_size != size:
            raise _corrupt(path, "is not what was written", f"{size} bytes", f"{state.st_size} bytes")
        known = (_stamp(state), sha256)
        with _guard:
            if _checked.get(path) == known:
                return
        found = _sha256(path)
    if found != sha256:
        raise _corrupt(path, "is not what was written", f"sha256 {sha256}", f"sha256 {found}")
    with _guard:
        _checked[path] = known


def stamp(path: Path) -> list[int]:
    """What changes when a file is written to: its size, times and inode."""
    with translated(path, "read"):
        return _stamp(path.stat())


def trust(path: Path, sha256: str, stamped: list[int]) -> None:
    """Hash a file no more, as long as it has the stamp it had when it was written.

    Args:
        path: the file.
        sha256: of its bytes then.
        stamped: its :func:`stamp` then.
    """
    with _guard:
        _checked.setdefault(path, (stamped, sha256))


def _stamp(state: os.stat_result) -> list[int]:
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def forget_checks() -> None:
    """Hash every file again at its next reading."""
    with _guard:
        _checked.clear()


def _content(path: Path) -> bytes:
    with translated(path, "read"):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise _corrupt(path, "is missing") from None


def _corrupt(path: Path, what: str, expected: str | None = None, got: str | None = None) -> CorruptEntryError:
    return CorruptEntryError(
        f"the stored file {path} {what}",
        expected=expected,
        got=got,
        hint="`transferscope run` sets it aside and makes it anew, `transferscope verify` finds more; check the disk",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
