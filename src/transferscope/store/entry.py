"""One write-once folder of the store."""

import datetime
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, final

from transferscope.errors import CorruptEntryError, StoreError, nearest
from transferscope.store.atomic import new_temporary, place, remove, share, sync_file, sync_folder, sync_tree, vanish
from transferscope.store.integrity import (
    MANIFEST,
    PROVENANCE,
    SCHEMA,
    check_file,
    describe_files,
    manifest_bytes,
    read_manifest,
    read_provenance,
)
from transferscope.store.system_errors import disk_errors, translated

__all__ = ["Entry"]

_OWN_FIELDS = frozenset({"schema", "kind", "key", "files", "digest"})


@final
@dataclass(frozen=True)
class Entry:
    """A folder that is either whole or not there, and never changes.

    It holds any files, a ``manifest.json`` that lists them with size and SHA-256, and a ``provenance.json``
    with what differs from run to run (time, versions, seconds). Only the first two are compared and hashed:
    the same work gives the same bytes.

    Attributes:
        folder: where it lies, or will lie.
        kind: ``networks``, ``artefacts``, ``units``, ``images`` or ``probes``.
        key: what was asked for, as a hash.
        working: where resumable partial work lies meanwhile; removed once the entry is whole.
    """

    folder: Path
    kind: str
    key: str
    working: Path

    def there(self) -> bool:
        """Whether something lies in the entry's place, whole or damaged.

        Raises:
            StoreError: the store cannot be read.
        """
        with translated(self.folder, "read"):
            try:
                os.lstat(self.folder)
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def exists(self) -> bool:
        """Whether the entry is there, with a whole manifest; its files are checked when they are read.

        Raises:
            StoreError: the store cannot be read.
            CorruptEntryError: it is there, and its manifest is missing or damaged.
        """
        if not self.there():
            return False
        with self._named():
            read_manifest(self.folder)
        return True

    def manifest(self) -> dict[str, Any]:
        """``schema``, ``kind``, ``key``, ``files`` and what the writer added.

        Raises:
            StoreError: there is no such entry, or it cannot be read.
            CorruptEntryError: the manifest is missing or damaged.
        """
        if not self.exists():
            raise StoreError(
                f"the store holds no {self.kind} {self.key}",
                got=f"no folder {self.folder}",
                hint="make it first: ask Entry.exists() before reading",
            )
        with self._named():
            return read_manifest(self.folder)

    def provenance(self) -> dict[str, Any]:
        """When and with which versions the entry was made, its seconds, and what the writer added.

        Returns:
            Nothing where the file is lost or damaged: no result rests on it.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            return read_provenance(self.folder)
        except CorruptEntryError:
            return {}

    def names(self) -> list[str]:
        """Names of the files, sorted, in POSIX form.

        Raises:
            StoreError: as in :meth:`manifest`.
        """
        return sorted(self.manifest()["files"])

    def path(self, name: str) -> Path:
        """Where the file ``name`` lies, its bytes checked against the manifest (once per process).

        Raises:
            StoreError: the entry or the file is not there, or cannot be read.
            CorruptEntryError: the file is not what was written.
        """
        files = self.manifest()["files"]
        if name not in files:
            raise StoreError(f"{self.kind} {self.key} holds no file {name!r}", hint=nearest(name, files))
        path = self.folder / name
        with self._named():
            check_file(path, files[name]["sha256"], files[name]["bytes"])
        return path

    def read_bytes(self, name: str) -> bytes:
        """The bytes of the file ``name``, checked.

        Raises:
            StoreError: as in :meth:`path`.
            CorruptEntryError: as in :meth:`path`.
        """
        path = self.path(name)
        with translated(path, "read"):
            raw = path.read_bytes()
        self.path(name)  # and nobody wrote to it meanwhile
        return raw

    @contextmanager
    def _named(self) -> Iterator[None]:
        """A damaged entry says which it is, so that it can be set aside."""
        try:
            yield
        except CorruptEntryError as error:
            error.entry = (self.kind, self.key)
            raise

    @contextmanager
    def write(
        self, extra: Mapping[str, Any] | None = None, provenance: Mapping[str, Any] | None = None
    ) -> Iterator[Path]:
        """Fill an empty folder; when the block ends the whole entry appears at once, or nothing does.

        The folder lies beside the target, so that it gets there by one rename, after all bytes were forced to
        the disk. If another process wrote the same entry meanwhile and its files are equal, ours is dropped.
        If they differ, the result hangs on something its key does not name: the first one stays and an error
        says so.

        Args:
            extra: JSON values for the manifest: facts that follow from what was asked for. Read when the
                block ends, so a dictionary may be filled inside it.
            provenance: JSON values for ``provenance.json``: facts that differ from run to run; read when the block
                ends, too.

        Yields:
            The folder to write files and subfolders into.

        Raises:
            StoreError: the disk is full, read-only or broken; the folder holds a link; a name is the store's
                own; another process wrote other bytes.
        """
        extra = {} if extra is None else extra
        started = time.monotonic()
        with translated(self.folder, "write"):
            temporary = new_temporary(self.folder.parent, self.key)
        try:
            with disk_errors(temporary):
                yield temporary
            with translated(self.folder, "write"):
                share(temporary)
                ours = self._seal(temporary, extra)
                facts = _facts(time.monotonic() - started, provenance)
                (temporary / PROVENANCE).write_bytes(facts)
                sync_tree(temporary)
                # The manifest comes last: whoever sees one sees everything it lists.
                (temporary / MANIFEST).write_bytes(manifest_bytes(ours))
                sync_file(temporary / MANIFEST)
                sync_folder(temporary)
                placed = place(temporary, self.folder)
            if not placed:
                self._same_as(ours)
        finally:
            remove(temporary)
        vanish(self.working)

    def _seal(self, temporary: Path, extra: Mapping[str, Any]) -> dict[str, Any]:
        taken = sorted(_OWN_FIELDS & set(extra))
        if taken:
            raise StoreError(f"the manifest field {taken[0]!r} is the store's own", hint="choose another name")
        files = describe_files(temporary)
        return {"schema": SCHEMA, "kind": self.kind, "key": self.key, "files": files, **extra}

    def _same_as(self, ours: dict[str, Any]) -> None:
        theirs = self.manifest()["files"]
        names = sorted({*theirs, *ours["files"]})
        other = [name for name in names if theirs.get(name) != ours["files"].get(name)]
        if other:
            raise StoreError(
                f"another process wrote {self.kind} {self.key} meanwhile, with other bytes in {other[0]!r}",
                expected="equal bytes from equal settings",
                got=f"{len(other)} of {len(names)} files differ from those in {self.folder}",
                hint="run again: the first result is kept and read; use one device and one number of threads",
            )


def _facts(seconds: float, given: Mapping[str, Any] | None) -> bytes:
    own = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "versions": {name: _version(name) for name in ("transferscope", "torch", "timm", "numpy")},
    }
    text = json.dumps({**own, **(given or {})}, sort_keys=True, indent=1, allow_nan=False)
    return (text + "\n").encode()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
