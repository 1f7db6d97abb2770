"""The store: one folder per network, artefact and measured unit, named by what was asked for."""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from transferscope.errors import StoreError, nearest
from transferscope.store.atomic import make_folder, replace_file, sweep, sync_folder, vanish
from transferscope.store.entry import Entry
from transferscope.store.locks import hold
from transferscope.store.system_errors import disk_free, translated

__all__ = ["Store"]

_KEY = re.compile(r"[0-9a-z][0-9a-z._-]{3,127}")
_MARK = "store.json"
_SCHEMA = 1


@final
@dataclass(frozen=True)
class Store:
    """Write-once folders below ``root``; safe with many processes at once, and to kill at any moment.

    ::

        root/store.json                      what this folder is
        root/<kind>/<key[:2]>/<key>/         an entry: networks, artefacts, units, images, probes
        root/studies/<key[:2]>/<key>/        tables and reports of a study; these may be replaced
        root/working/<kind>/<key>/           partial work of an unfinished entry
        root/locks/                          locks, and who holds them
        root/discarded/                      entries moved aside

    Opening a store that can be written makes the folder and removes what dead writers of this machine left. A
    store that cannot be written can still be read.

    Attributes:
        root: the folder.

    Raises:
        StoreError: the folder cannot be made or read, is not a folder, or is of a newer version.

    Example:
        >>> import tempfile
        >>> store = Store(Path(tempfile.mkdtemp()))
        >>> entry = store.entry("units", "0123abcd")
        >>> with entry.write({"analysis": "path"}) as folder:
        ...     _ = (folder / "table.csv").write_text("alpha,loss")
        >>> entry.names(), entry.read_bytes("table.csv"), store.status()["units"]
        (['table.csv'], b'alpha,loss', 1)
    """

    root: Path
    write_once: ClassVar[tuple[str, ...]] = ("networks", "artefacts", "units", "images", "probes")

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(os.path.abspath(self.root)))
        mark = self.root / _MARK
        with translated(self.root, "open the store"):
            known = mark.exists()
            if self.root.exists() and not self.root.is_dir():
                raise StoreError(f"the store {self.root} is not a folder", hint="name another place")
            if not known:
                make_folder(self.root)
        if known:
            self._check_mark(mark)
        else:
            replace_file(mark, json.dumps({"what": "transferscope store", "schema": _SCHEMA}).encode() + b"\n")
        self._clean()

    @staticmethod
    def found(root: Path) -> bool:
        """Whether there is a store at ``root``; opening one makes it.

        Raises:
            StoreError: it cannot be read.
        """
        with translated(root, "read"):
            return (root / _MARK).exists()

    @property
    def writable(self) -> bool:
        """Whether this user may write to the store."""
        return os.access(self.root, os.W_OK)

    def require(self) -> None:
        """Make sure that the store is still where it was opened.

        Raises:
            StoreError: it is gone, or cannot be read.
        """
        if not self.found(self.root):
            raise StoreError(
                f"the store was there and is gone: {self.root}",
                expected="a store that stays in its place while it is used",
                got="no such folder any more" if not self.root.exists() else f"a folder without {_MARK}",
                hint="put it back, or say with --store where it lies now, and run the same command again",
            )

    def entry(self, kind: str, key: str) -> Entry:
        """The entry of that kind and key, there or not.

        Args:
            kind: one of ``write_once``.
            key: 4 to 128 lower-case letters, digits, ``.``, ``_`` and ``-``: usually 32 hexadecimal digits.

        Raises:
            StoreError: unknown kind, unusable key.
        """
        self._check(kind, key, self.write_once)
        self.require()
        folder = self.root / kind / key[:2] / key
        return Entry(folder, kind, key, working=self.root / "working" / kind / key)

    def study(self, key: str) -> Path:
        """The folder of a study, made if needed; its files may be replaced (``atomic.replace_file``).

        Raises:
            StoreError: unusable key, or the store cannot be written.
        """
        self._check("studies", key, ("studies",))
        return self._made(self.root / "studies" / key[:2] / key)

    def working(self, kind: str, key: str) -> Path:
        """A folder for resumable partial work, kept between runs; gone once the entry is written.

        It is not write-once and nothing in it is checked: hold the entry's lock while using it.

        Raises:
            StoreError: as in :meth:`entry`, or the store cannot be written.
        """
        return self._made(self.entry(kind, key).working)

    def finish(self, kind: str, key: str) -> None:
        """Remove the partial work of an entry, if there is any (``Entry.write`` does so itself).

        Raises:
            StoreError: as in :meth:`entry`, or the store cannot be written.
        """
        vanish(self.entry(kind, key).working)

    def discard(self, kind: str, key: str) -> Path:
        """Move an entry aside, damaged or not, so that it is made anew.

        Returns:
            Where it lies now.

        Raises:
            StoreError: it is not there, or cannot be moved.
        """
        folder = self.entry(kind, key).folder
        target = self.root / "discarded" / f"{kind}-{key}-{secrets.token_hex(4)}"
        with translated(folder, "discard"):
            make_folder(target.parent)
            folder.rename(target)
            sync_folder(folder.parent)
            sync_folder(target.parent)
        return target

    def lock(
        self,
        name: str,
        wait: float | None = None,
        *,
        what: str | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[None]:
        """Hold a lock while a block runs: networks wait for it, a study fails at once.

        A store that cannot be written needs none: reading is always safe.

        Args:
            name: such as ``networks-<key>``.
            wait: seconds; None waits until the lock is free, 0 fails at once.
            what: words for the message, such as ``the same study``.
            on_wait: told once, in words, who holds the lock, before waiting.

        Raises:
            StoreBusyError: who holds it.
            StoreError: the name is not usable, or the store cannot be written.
        """
        self.require()
        if not self.writable:
            return nullcontext()  # nobody writes here, and reading needs no lock
        return hold(self.root / "locks", name, wait=wait, what=what, on_wait=on_wait)

    def keys(self, kind: str) -> Iterator[str]:
        """Keys of all entries (or studies) of a kind, sorted.

        Raises:
            StoreError: unknown kind, or the store cannot be read.
        """
        self._check(kind, "none", (*self.write_once, "studies"))
        with translated(self.root / kind, "read"):
            found = sorted(
                path.name
                for path in (self.root / kind).glob("??/*")
                if _KEY.fullmatch(path.name) and path.parent.name == path.name[:2] and path.is_dir()
            )
        yield from found

    def status(self) -> dict[str, int]:
        """How many entries of each kind there are, and how many studies."""
        return {kind: sum(1 for _ in self.keys(kind)) for kind in (*self.write_once, "studies")}

    def size(self) -> int:
        """Bytes of all files below the root; files that vanish meanwhile count as nothing."""
        total = 0
        with translated(self.root, "read"):
            for folder, _, names in os.walk(self.root):
                for name in names:
                    try:
                        total += os.lstat(os.path.join(folder, name)).st_size
                    except FileNotFoundError:
                        continue  # another process finished a write between the listing and this line
        return total

    def disk_free(self) -> int:
        """Bytes that can still be written on the disk of the store."""
        with translated(self.root, "read"):
            return disk_free(self.root)

    def _made(self, folder: Path) -> Path:
        self.require()
        with translated(folder, "make"):
            make_folder(folder)
        return folder

    @staticmethod
    def _check(kind: str, key: str, kinds: tuple[str, ...]) -> None:
        if kind not in kinds:
            raise StoreError(
                f"{kind!r} is not a kind of entry here", expected=", ".join(kinds), hint=nearest(kind, kinds)
            )
        if not _KEY.fullmatch(key):
            raise StoreError(
                f"{key!r} cannot be a key",
                expected="4 to 128 lower-case letters, digits, '.', '_' and '-', first a letter or digit",
            )

    def _check_mark(self, mark: Path) -> None:
        with translated(mark, "read"):
            raw = mark.read_bytes()
        try:
            schema = json.loads(raw)["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{mark} is damaged",
                expected=f'{{"schema": {_SCHEMA}}}',
                got=repr(raw[:80]),
                hint="if this folder is a store of transferscope, delete this file; else name another folder",
            ) from error
        if schema != _SCHEMA:
            raise StoreError(
                f"the store {self.root} was made by another version of transferscope",
                expected=f"schema {_SCHEMA}",
                got=f"schema {schema}",
                hint="upgrade transferscope, or name another store",
            )

    def _clean(self) -> None:
        """Remove what dead writers of this machine left; other machines' folders are theirs to judge."""
        below = ("locks", "images/locks", "studies/??/*", "working/*", "reports/**")
        with suppress(OSError):  # of use to others alone: what cannot be removed hinders nobody
            for pattern in (*below, *(f"{kind}/??" for kind in self.write_once)):
                for place in self.root.glob(pattern):
                    sweep(place)
            sweep(self.root)
