"""At which levels of a folder its splits and its classes lie: read off what the folders hold, not off names alone."""

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from transferscope.data.sources.base import SPLIT_WORDS, split_of
from transferscope.data.sources.same_names import folded
from transferscope.data.sources.tree import Tree
from transferscope.errors import DataError, nearest

Layout = Literal["auto", "classes", "splits", "class_splits", "parts"]
_CLASSES = "--set target.data.layout=classes if they are the classes"
_MERGED = "--set target.data.layout=parts if the folders below them are the classes, of all of them together"


@dataclass(frozen=True)
class ClassFolder:
    """One folder of pictures of one class.

    Attributes:
        beside: the folder that holds it and the other classes of its split.
    """

    name: str
    folder: Tree
    beside: str = ""
    split: str | None = None


@dataclass
class Levels:
    """What was found."""

    classes: list[ClassFolder] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    containers: list[Tree] = field(default_factory=list)


def find_levels(tree: Tree, layout: Layout, splits: Mapping[str, str]) -> Levels:
    """Find the class folders of a tree, and their splits.

    Folders that hold one folder and nothing else are passed through. ``auto`` takes folders on top for splits if they
    are called so, for classes that hold splits if the folders below all are, and else for classes; where the folders on
    top hold the same folders, or names and content disagree, it asks.

    Args:
        layout: as a setting of :class:`~transferscope.data.sources.folder.Folder`.
        splits: split by the name of a folder, in place of what the name tells.
    """
    found = Levels(containers=[tree])
    while len(tops := tree.with_pictures()) == 1 and tops[0].with_pictures() and len(tree.pictures) < tops[0].total:
        tree = tops[0]
        found.containers.append(tree)
    if tree.name:
        found.notes.append(f"The class folders were looked for in {tree.name}/, the only folder with folders in it.")
    named = {top.label: splits.get(top.label) or (None if splits else split_of(top.label)) for top in tops}
    if layout == "auto":
        layout = "splits" if splits else _guess(tops, named)
    if layout == "splits":
        _splits(found, tops, named, splits)
    elif layout == "class_splits":
        _class_splits(found, tops, splits)
    elif layout == "parts":
        _parts(found, tops)
    else:
        found.classes = [ClassFolder(_name(top), top) for top in tops]
    return found


def _guess(tops: Sequence[Tree], named: Mapping[str, str | None]) -> Layout:
    inner = {top.label: _inner(top) for top in tops}
    telling = [top for top in tops if named[top.label]]
    others = [top for top in tops if not named[top.label]]
    within = [top for top in tops if len({split_of(item.label) for item in inner[top.label]} - {None}) > 1]
    if within:
        if not telling and any(len(_inner(item)) > 1 for top in within for item in inner[top.label]):
            # Whole data sets side by side, each with its splits and classes; or classes whose splits hold patients.
            raise _unclear(
                "some folders hold splits that hold folders themselves: which are the classes?",
                tops,
                (
                    "--set target.data.layout=class_splits if the folders on top are",
                    f"{_leave(*(top for top in tops if top is not within[0]))} and reads {within[0].label} alone",
                ),
            )
        if all(_all_splits(inner[top.label]) for top in tops):
            return "class_splits"
        raise _unclear("some folders hold splits, and others do not or hold more", tops, (_leave(within[0]), _CLASSES))
    if telling and not others and len(telling) > 1:
        if any(inner[top.label] for top in telling):
            return "splits"
        raise _unclear(
            "folders called as splits hold no class folders", tops, ("make a folder for each class in them", _CLASSES)
        )
    if len({named[top.label] for top in telling}) > 1:
        raise _unclear(
            "the folder mixes split folders and others", tops, (f"{_leave(*others)}, or says so of others", _CLASSES)
        )
    if telling and inner[telling[0].label] and not any(inner[top.label] for top in others):
        raise _unclear(
            f"the folder {telling[0].label} is called as a split and holds folders, the others do not",
            tops,
            (_leave(*others), _CLASSES),
        )
    # "train" alone among others may be a class: there are data sets of vehicles.
    _check_repeated(tops, inner)
    return "classes"


def _check_repeated(tops: Sequence[Tree], inner: Mapping[str, Sequence[Tree]]) -> None:
    """Folders that hold the same folders are no classes, nor is one that holds again what lies beside it."""
    names = {label: {folded(item.label) for item in items} for label, items in inner.items()}
    count = Counter(name for each in names.values() for name in each)
    repeated = {name for name, times in count.items() if times > 1}
    alike = [top for top in tops if _mostly(names[top.label], repeated)]
    if len(alike) > 1:
        shown = sorted(item.label for item in inner[alike[0].label] if folded(item.label) in repeated)
        raise _unclear(
            f"the folders {', '.join(top.label for top in alike[:4])} hold folders of the same names "
            f"({', '.join(shown[:4])}): are they splits, or classes?",
            tops,
            (_mapping(alike), _MERGED, _CLASSES),
        )
    beside = {folded(top.label) for top in tops}
    for top in tops:
        if _mostly(names[top.label], beside):
            raise _unclear(
                f"the folder {top.label} holds folders called as those beside it", tops, (_leave(top), _CLASSES)
            )


def _mostly(names: set[str], known: set[str]) -> bool:
    both = len(names & known)
    return both > 1 and 2 * both >= len(names)


def _splits(found: Levels, tops: Sequence[Tree], named: Mapping[str, str | None], asked: Mapping[str, str]) -> None:
    unknown = [name for name in asked if name not in named]
    if unknown:
        raise DataError(f"there is no folder {unknown[0]!r} with pictures", hint=nearest(unknown[0], named))
    chosen = [(split, top) for top in tops if (split := named[top.label]) is not None]
    rest = [top.label for top in tops if named[top.label] is None]
    if rest:
        found.notes.append(f"Left out, called as no split: {', '.join(rest)}.")
    if len({split for split, _ in chosen}) < len(chosen) and not asked:
        raise _unclear(
            "the folder names a split twice", tops, (_mapping([top for _, top in chosen]), _leave(chosen[0][1]))
        )
    train = [top for split, top in chosen if split == "train"]
    if not train:
        raise _unclear("the folder has no train folder", tops, (_mapping(tops), _MERGED))
    found.containers += [top for _, top in chosen]
    classes: dict[str, list[Tree]] = {}
    known: set[str] = set()
    for top in train:
        classes[top.name] = [*_chain(top)][-1] if top.with_pictures() else []
        known |= {folded(item.label) for item in classes[top.name]}
    if not known:
        raise _unclear(f"the split folder {train[0].label} has no class folders", tops, (_MERGED, _CLASSES))
    for split, top in chosen:
        if split == "train":
            found.classes += [ClassFolder(_name(item), item, top.name, split) for item in classes[top.name]]
            continue
        own = _level(top, known)
        new = [item.label for item in own if folded(item.label) not in known]
        if len(new) == len(own):
            found.notes.append(
                f"{top.label}/ has no class folders: its {top.total} pictures were left out, and a {split} split is "
                "cut from train."
            )
            continue
        if new:
            raise DataError(
                f"classes of {top.label} do not occur in {train[0].label}",
                expected="the same class folders in every split",
                got=", ".join(new[:5]),
                hint=f"add training pictures of them; {_leave(*(item for item in own if item.label in new))}",
            )
        found.classes += [ClassFolder(_name(item), item, top.name, split) for item in own]
    if any(top.label.lower() not in SPLIT_WORDS for _, top in chosen):
        found.notes.append("Read as splits: " + ", ".join(f"{top.label}/ as {split}" for split, top in chosen) + ".")


def _class_splits(found: Levels, tops: Sequence[Tree], splits: Mapping[str, str]) -> None:
    told: Counter[str] = Counter()
    for top in tops:
        found.containers.append(top)
        for item in _inner(top) or [top]:
            split = splits.get(item.label) or (None if splits else split_of(item.label))
            if split is None:
                raise _unclear(
                    f"the folder {item.name} is called as no split",
                    tops,
                    (_mapping(_inner(top) or [top]), _leave(item), _CLASSES),
                )
            told[split] += 1
            found.classes.append(ClassFolder(_name(top), item, split, split))
    if tops and "train" not in told:
        raise _unclear("the class folders hold no train folder", tops, (_mapping(_inner(tops[0])), _CLASSES))
    found.notes.append(f"Every class folder holds its splits ({', '.join(told)}), which are used.")


def _parts(found: Levels, tops: Sequence[Tree]) -> None:
    for top in tops:
        found.containers.append(top)
        found.classes += [ClassFolder(_name(item), item, top.name) for item in _inner(top)]
    found.notes.append(f"Taken together: {', '.join(top.label for top in tops)}.")


def _chain(top: Tree) -> Iterator[list[Tree]]:
    """Folders with pictures in a folder, then those in its only one, and so on."""
    while items := top.with_pictures():
        yield items
        if len(items) > 1:
            return
        top = items[0]


def _inner(top: Tree) -> list[Tree]:
    """The folders in a folder whose pictures mostly lie in folders: none where it is a class itself."""
    chain = list(_chain(top))
    return chain[-1] if chain and 2 * sum(item.total for item in chain[0]) > top.total else []


def _level(top: Tree, known: set[str]) -> list[Tree]:
    """The folders in a split folder that are called as classes, at the level where most are."""
    levels = list(_chain(top))
    return max(levels, key=lambda items: sum(folded(item.label) in known for item in items), default=[])


def _all_splits(items: Sequence[Tree]) -> bool:
    return bool(items) and all(split_of(item.label) for item in items)


def _name(tree: Tree) -> str:
    return tree.name.rpartition("/")[2]


def _mapping(tops: Sequence[Tree]) -> str:
    """A setting that says which folder is which split, to be changed by the reader."""
    told = {top.label: split_of(top.label) for top in tops[:4]}
    free = [split for split in ("train", "test", "validation") if split not in told.values()]
    pairs = {label: split or (free.pop(0) if free else "train") for label, split in told.items()}
    return f"{_set('splits', json.dumps(pairs, ensure_ascii=False))} if they are splits"


def _leave(*tops: Tree) -> str:
    return f"{_set('ignore', json.dumps([top.label for top in tops[:4]], ensure_ascii=False))} leaves it out"


def _set(name: str, value: str) -> str:
    return f"--set {shlex.quote(f'target.data.{name}={value}')}"


def _unclear(what: str, tops: Sequence[Tree], ways: Sequence[str]) -> DataError:
    shown = ", ".join(top.label for top in tops[:8]) + (f" and {len(tops) - 8} more" if len(tops) > 8 else "")
    return DataError(
        what,
        expected="train, validation and test folders with class folders in each, or one folder per class",
        got=shown,
        hint="; ".join(ways),
    )
