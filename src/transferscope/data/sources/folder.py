"""Pictures in class folders."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field, field_validator

from transferscope.data.sources.base import (
    SPLIT_WORDS,
    AbstractSource,
    Listing,
    existing,
    files_stamp,
)
from transferscope.data.sources.levels import Layout, Levels, find_levels
from transferscope.data.sources.same_names import joined
from transferscope.data.sources.tree import Tree, read_tree
from transferscope.errors import DataError, counted, printable

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Folder"]

_OTHER_PICTURES: Final = (
    *("", ".avif", ".heic", ".heif", ".jfif", ".jpe", ".jp2", ".jxl", ".ico", ".tga", ".psd", ".svg", ".exr", ".hdr"),
    *(".dcm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Endings of files that may well be pictures, although they are not read by default."""


class Folder(AbstractSource):
    """A folder with one folder of pictures per class, optionally under train, validation and test.

    Class folders are searched to any depth. Links are followed out of the folder, not within it. Hidden files and
    folders, what systems leave (``__MACOSX``, ``@eaDir``, ``lost+found``), pipes and devices are left out. What was
    left out and what was decided stands in the listing's notes.

    Attributes:
        path: the folder.
        layout: ``classes``: class folders on top; ``splits``: folders of splits on top (``train``, ``seg_test``),
            class folders below; ``class_splits``: class folders on top, their splits below; ``parts``: the folders on
            top mean nothing, class folders below; ``auto``: what names and content agree on, else an error.
        splits: split (train, validation or test) by the name of a folder, in place of what its name tells; folders
            that are not named are left out.
        ignore: names of files or folders to leave out, or patterns as of a shell (``"*_mask.png"``).
        extensions: endings of picture files, any case.
        group: regular expression with one group, searched in a file's path below ``path``; what it finds
            (a patient, say) is never torn apart by a split.
    """

    kind: Literal["folder"] = "folder"
    path: str
    layout: Layout = "auto"
    splits: dict[str, Literal["train", "validation", "test"]] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
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

    @field_validator("splits", mode="before")
    @classmethod
    def _usual_words(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: SPLIT_WORDS.get(split, split) for name, split in value.items()}

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

    def identity(self) -> Any:
        """As in :class:`Frozen`; settings that came later are part of it only where they ask for something."""
        identity = dict(super().identity())
        return {name: value for name, value in identity.items() if value or name not in ("splits", "ignore")}

    def listing(self) -> Listing:
        """Pictures in the order of their paths.

        Raises:
            DataError: no folder, fewer than two class folders, one of other pictures, a structure that cannot be
                told, or a file without a group.
        """
        import numpy as np

        root, tree = self._tree()
        levels = find_levels(tree, self.layout, self.splits)
        notes = [*levels.notes, *self._left_out(tree, levels), *tree.notes()]
        # Training names first: where two names mean one class, it is called as they say.
        ordered = sorted(levels.classes, key=lambda item: item.split != "train")
        chosen, alike = joined((item.name, item.beside) for item in ordered)
        found = sorted(
            (file, chosen[item.name], item.split) for item in levels.classes for file in item.folder.files(others=False)
        )
        classes = tuple(sorted({name for _, name, _ in found}))
        if len(classes) < 2:
            raise self._too_few(classes, tree, notes)
        files = [file for file, _, _ in found]
        names = [printable(file) for file in files]
        numbers = {name: number for number, name in enumerate(classes)}

        def read(index: int) -> "Image.Image":
            from transferscope.data.pictures import open_picture

            return open_picture(root / files[index])

        splits = [split for _, _, split in found]
        return Listing(
            names=names,
            labels=np.array([numbers[label] for _, label, _ in found], dtype=np.int64),
            classes=classes,
            read=read,
            splits=splits if len(set(splits)) > 1 else None,
            groups=None if self.group is None else [self._group_of(name) for name in names],
            notes=(*notes, *alike),
        )

    def stamp(self) -> object:
        """All files' paths, sizes and times."""
        root, tree = self._tree()
        return [self.identity(), files_stamp(root, sorted(root / file for file in tree.files()))]

    def _tree(self) -> tuple[Path, Tree]:
        root = existing(self.path, "the image folder")
        if not root.is_dir():
            raise DataError(f"{self.path} is not a folder", expected="a folder of class folders", got="a file")
        return root, read_tree(root, [ending.lower() for ending in self.extensions], self.ignore)

    def _left_out(self, tree: Tree, levels: Levels) -> list[str]:
        """What was left out and why, one sentence each.

        Raises:
            DataError: a folder beside the class folders has pictures of another kind alone.
        """
        notes: list[str] = []
        taken = {id(item.folder) for item in levels.classes}
        others = Counter(_ending(file) for file in tree.files(pictures=False))
        if others:
            shown = ", ".join(f"{ending or 'no ending'} {count}" for ending, count in others.most_common(4))
            notes.append(
                f"{counted(sum(others.values()), 'file')} left out, by the ending no picture of a class ({shown})."
            )
        stray = [name for folder in levels.containers if id(folder) not in taken for name in folder.pictures]
        if stray and levels.classes:
            shown = ", ".join(printable(name) for name in stray[:3])
            notes.append(f"{counted(len(stray), 'picture')} left out, in no class folder ({shown}).")
        beside = {item.folder.name.rpartition("/")[0] for item in levels.classes}
        bare = [
            (inner, folder.name in beside)
            for folder in levels.containers
            for inner in folder.folders.values()
            if not inner.total
        ]
        for inner, is_class in bare:
            endings = Counter(_ending(file) for file in inner.files())
            if is_class and any(ending in _OTHER_PICTURES for ending in endings):
                raise DataError(
                    f"the class folder {printable(inner.name)!r} holds no pictures",
                    expected="files ending in " + ", ".join(self.extensions),
                    got=", ".join(f"{count} {ending or 'without an ending'}" for ending, count in endings.items()),
                    hint="convert them, name their ending in `extensions` (--set "
                    f"""'target.data.extensions=[.png, "{next(iter(endings))}"]'), or leave it out with `ignore`""",
                )
        if bare:
            notes.append(f"Folders without pictures were left out: {', '.join(inner.label for inner, _ in bare[:5])}.")
        deep = [item.folder.label for item in levels.classes if item.folder.with_pictures()]
        if deep:
            notes.append(
                f"{counted(len(deep), 'class folder')} with further folders, whose pictures are of the class as well "
                f"({', '.join(deep[:4])})."
            )
        return notes

    def _too_few(self, classes: Sequence[str], tree: Tree, notes: Sequence[str]) -> DataError:
        direct = f"{counted(len(tree.pictures), 'picture')} outside class folders" if tree.pictures else ""
        return DataError(
            f"{self.path} holds {counted(len(classes), 'class folder')}",
            expected="at least two folders of pictures, one per class",
            got="; ".join(part for part in (", ".join(classes) or "no folders with pictures", direct, *notes) if part),
            hint="make a folder for each class and move its pictures there; endings of pictures are set by "
            "target.data.extensions",
        )

    def _group_of(self, name: str) -> str:
        match = re.search(self.group or "", name)
        if match is None or match.group(1) is None:
            raise DataError(f"no group in the path {name!r}", expected=f"a path that matches {self.group!r}")
        return match.group(1)


def _ending(file: str) -> str:
    return printable(Path(file).suffix.lower())
