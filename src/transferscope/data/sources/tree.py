"""What lies in a folder: ordinary folders and regular files; what systems make and special files are only counted."""

import errno
import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from transferscope.errors import DataError, printable

_SYSTEM: Final = frozenset(
    {
        "__macosx",
        "network trash folder",
        "temporary items",
        "thevolumesettingsfolder",
        "icon\r",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "picasa.ini",
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        "found.000",
        "lost+found",
        "lost.dir",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@tmp",
        "@sharebin",
        "#recycle",
        "#snapshot",
        "~snapshot",
        "__pycache__",
    }
)
"""What Windows, macOS, Linux, Synology, QNAP, NetApp and Python leave in folders (lower case)."""
_PSEUDO: Final = ("/proc", "/sys", "/dev")


@dataclass
class Tree:
    """A folder.

    Attributes:
        name: its path below the folder that was read, raw; empty for that folder.
        left_out: of the whole tree, by reason: names of what was not looked at. Only at the top.
        outside: of the whole tree: links that were followed out of it. Only at the top.
    """

    path: str
    name: str = ""
    folders: "dict[str, Tree]" = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    outside: Counter[str] = field(default_factory=Counter)
    total: int = 0

    @property
    def label(self) -> str:
        """The last part of the name, as it can be shown."""
        return printable(self.name.rpartition("/")[2])

    def with_pictures(self) -> "list[Tree]":
        """Its folders that hold pictures, at any depth."""
        return [folder for folder in self.folders.values() if folder.total]

    def all_folders(self) -> "Iterator[Tree]":
        """This folder and all below."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders.values())

    def files(self, pictures: bool = True, others: bool = True) -> Iterator[str]:
        """Raw names, below the folder that was read, of the files at any depth."""
        for folder in self.all_folders():
            start = f"{folder.name}/" if folder.name else ""
            for name in (folder.pictures if pictures else []) + (folder.others if others else []):
                yield start + name

    def notes(self) -> list[str]:
        """What was not looked at, counted, one sentence for each reason; and what was, outside."""
        lines = [f"left out, {reason}: {_counted(names)}." for reason, names in sorted(self.left_out.items())]
        if self.outside:
            lines.append(f"followed, links that leave the folder: {_counted(self.outside)}.")
        return lines


def read_tree(root: Path, endings: Sequence[str] = (), ignore: Sequence[str] = ()) -> Tree:
    """Look at everything below a folder, opening nothing.

    Links to files are followed; so are links to folders outside ``root``, each such folder once. Links to folders
    inside are not, as they are found in their own place, nor are links to a folder that holds ``root``, to devices, or
    to where the system shows its processes.

    Args:
        ignore: patterns as of a shell; a file or folder whose name or path below ``root`` fits one is left out.
    """
    return _Walk(root, tuple(endings), tuple(ignore)).tree()


class _Walk:
    def __init__(self, root: Path, endings: tuple[str, ...], ignore: tuple[str, ...]) -> None:
        self._root, self._endings, self._ignore = root, endings, ignore
        self._real = os.path.realpath(root)
        self._pseudo = {os.stat(place).st_dev for place in _PSEUDO if os.path.isdir(place)}
        self._pseudo -= {os.stat(root).st_dev}
        self._followed: set[str] = set()
        self._left_out: dict[str, Counter[str]] = {}
        self._outside: Counter[str] = Counter()

    def tree(self) -> Tree:
        tree = Tree(str(self._root), left_out=self._left_out, outside=self._outside)
        # A list instead of recursion: folders may lie deeper than calls may.
        waiting, done = [tree], []
        while waiting:
            folder = waiting.pop()
            self._read(folder)
            waiting += folder.folders.values()
            done.append(folder)
        for folder in reversed(done):
            folder.total = len(folder.pictures) + sum(inner.total for inner in folder.folders.values())
        return tree

    def _read(self, tree: Tree) -> None:
        try:
            with os.scandir(tree.path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"the folder {tree.path} cannot be listed",
                got=error.strerror or type(error).__name__,
                hint=f"give yourself the right to read it, or leave it out: --set 'target.data.ignore=[{tree.label}]'",
            ) from error
        for entry in found:
            name = f"{tree.name}/{entry.name}" if tree.name else entry.name
            if self._is_left_out(entry, name):
                continue
            if entry.is_dir():
                tree.folders[entry.name] = Tree(entry.path, name)
            elif entry.name.lower().endswith(self._endings):
                tree.pictures.append(entry.name)
            else:
                tree.others.append(entry.name)

    def _is_left_out(self, entry: "os.DirEntry[str]", name: str) -> bool:
        if self._is_ignored(entry.name) or self._is_ignored(name):
            return self._leave("as `ignore` asks", entry.name)
        if _is_hidden(entry.name):
            return self._leave("hidden or made by a system", entry.name)
        if entry.is_symlink():
            return self._is_bad_link(entry, name)
        if not entry.is_dir() and not entry.is_file():
            return self._leave("no regular files (pipes, devices, sockets)", entry.name)
        return False

    def _is_bad_link(self, entry: "os.DirEntry[str]", name: str) -> bool:
        try:
            status = os.stat(entry.path)
        except OSError as error:
            # What a link should lead to may be missing: a picture that cannot be read, which decoding names.
            return error.errno != errno.ENOENT and self._leave("links that lead nowhere", name)
        if status.st_dev in self._pseudo:
            return self._leave("links to what the system shows of itself", name)
        if stat.S_ISREG(status.st_mode):
            return self._follow(os.path.realpath(entry.path), name)
        if not stat.S_ISDIR(status.st_mode):
            return self._leave("no regular files (pipes, devices, sockets)", name)
        target = os.path.realpath(entry.path)
        if _within(self._real, target):
            return self._leave("links back to a folder that holds them", name)
        if _within(target, self._real):
            parts = os.path.relpath(target, self._real).split(os.sep)
            if not any(self._is_ignored(part) or _is_hidden(part) for part in parts):
                return self._leave("links to folders that are read in their own place", name)
        if any(_within(target, other) for other in self._followed):
            return self._leave("links to folders that were read already", name)
        self._followed.add(target)
        return self._follow(target, name)

    def _follow(self, target: str, name: str) -> bool:
        if not _within(target, self._real):
            self._outside[printable(name)] += 1
        return False

    def _is_ignored(self, name: str) -> bool:
        shown = printable(name)
        # A name may hold what a pattern means otherwise, brackets say.
        return any(shown == pattern or fnmatch.fnmatchcase(shown, pattern) for pattern in self._ignore)

    def _leave(self, reason: str, name: str) -> bool:
        self._left_out.setdefault(reason, Counter())[printable(name)] += 1
        return True


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _counted(names: Counter[str]) -> str:
    shown = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in names.most_common(4))
    rest = sum(names.values()) - sum(count for _, count in names.most_common(4))
    return shown + (f" and {rest} more" if rest else "")
