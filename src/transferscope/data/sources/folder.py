"""Pictures in class folders."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from transferscope.data.sources.base import SPLIT_WORDS, AbstractSource, Listing, existing, files_stamp
from transferscope.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Folder"]


class Folder(AbstractSource):
    """A folder with one folder of pictures per class, optionally under train, validation and test.

    Class folders are searched to any depth; links are followed; hidden files and folders and ``__MACOSX``
    are left out.

    Attributes:
        path: the folder.
        layout: ``classes``: class folders on top; ``splits``: ``train``, ``val`` or ``validation``, ``test``
            on top, class folders below; ``auto``: splits if the top folders are called so and ``train`` is
            one of them.
        extensions: endings of picture files, any case.
        group: regular expression with one group, searched in a file's path below ``path``; what it finds
            (a patient, say) is never torn apart by a split.
    """

    kind: Literal["folder"] = "folder"
    path: str
    layout: Literal["auto", "classes", "splits"] = "auto"
    extensions: tuple[str, ...] = (
        ".jpg",
        ".jpeg",
        ".png",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
    )
    group: str | None = None

    @field_validator("group")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
            if groups != 1:
                raise ValueError(f"the expression needs exactly one (group), it has {groups}")
        return value

    def listing(self) -> Listing:
        """Pictures in the order of their paths.

        Raises:
            DataError: no folder, no class folders, an empty one, a single one, split folders mixed with
                others, or a file without a group.
        """
        import numpy as np

        root = self._root()
        tops = self._tops(root)
        found: list[tuple[str, str, str | None]] = []
        other = 0
        for split, top in tops:
            other += sum(entry.is_file() and not _hidden(entry.name) for entry in top.iterdir())
            for name in _folders(top):
                pictures, rest = self._pictures(top / name)
                other += rest
                if not pictures:
                    raise DataError(
                        f"the class folder {(top / name).relative_to(root).as_posix()!r} holds no pictures",
                        expected="files ending in " + ", ".join(self.extensions),
                        got=f"{rest} other files" if rest else "no files",
                        hint="add pictures, remove the folder, or name their ending in `extensions`",
                    )
                found += [(path.relative_to(root).as_posix(), name, split) for path in pictures]
        classes = tuple(sorted({name for _, name, _ in found}))
        if len(classes) < 2:
            raise DataError(
                f"{self.path} holds {len(classes)} class folders",
                expected="at least two folders of pictures, one per class",
                got=", ".join(classes) or "no folders",
            )
        found.sort()
        names = [name for name, _, _ in found]
        numbers = {name: number for number, name in enumerate(classes)}

        def read(index: int) -> "Image.Image":
            from transferscope.data.pictures import open_picture

            return open_picture(root / names[index])

        return Listing(
            names=names,
            labels=np.array([numbers[label] for _, label, _ in found], dtype=np.int64),
            classes=classes,
            read=read,
            splits=[split for _, _, split in found] if len(tops) > 1 else None,
            groups=None if self.group is None else [self._group_of(name) for name in names],
            notes=(f"{other} files in {self.path} are no pictures of a class and were left out.",) if other else (),
        )

    def stamp(self) -> object:
        """All files' paths, sizes and times."""
        root = self._root()
        return [self.identity(), files_stamp(root, sorted(_walk(root)))]

    def _root(self) -> Path:
        root = existing(self.path, "the image folder")
        if not root.is_dir():
            raise DataError(f"{self.path} is not a folder", expected="a folder of class folders", got="a file")
        return root

    def _tops(self, root: Path) -> list[tuple[str | None, Path]]:
        folders = _folders(root)
        splits = [name for name in folders if name.lower() in SPLIT_WORDS]
        others = [name for name in folders if name not in splits]
        train = any(SPLIT_WORDS[name.lower()] == "train" for name in splits)
        layout = self.layout
        if layout == "auto":
            # "train" alone among other names may be a class: there are data sets of vehicles.
            if train and others and len(splits) > 1:
                raise DataError(
                    f"{self.path} mixes split folders and others",
                    expected="only train, validation and test, or only class folders",
                    got=", ".join(folders[:8]),
                    hint="set `layout` to splits or classes",
                )
            layout = "splits" if train and not others else "classes"
        if layout == "classes":
            return [(None, root)]
        if not train:
            raise DataError(
                f"{self.path} has no train folder",
                expected="folders called train, and optionally validation and test",
                got=", ".join(folders[:8]) or "no folders",
            )
        named = [(SPLIT_WORDS[name.lower()], root / name) for name in splits]
        if len({split for split, _ in named}) < len(named):
            raise DataError(f"{self.path} names a split twice", got=", ".join(splits))
        return [(split, top) for split, top in named]

    def _pictures(self, folder: Path) -> tuple[list[Path], int]:
        endings = tuple(ending.lower() for ending in self.extensions)
        files = list(_walk(folder))
        pictures = [path for path in files if path.name.lower().endswith(endings)]
        return pictures, len(files) - len(pictures)

    def _group_of(self, name: str) -> str:
        match = re.search(self.group or "", name)
        if match is None or match.group(1) is None:
            raise DataError(f"no group in the path {name!r}", expected=f"a path that matches {self.group!r}")
        return match.group(1)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _hidden(entry.name))


def _walk(root: Path) -> list[Path]:
    files: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _hidden(name))
        files += [Path(place) / name for name in names if not _hidden(name)]
    return files
