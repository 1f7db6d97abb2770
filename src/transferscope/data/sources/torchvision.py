"""Data sets that torchvision knows by name."""

import os
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from pydantic import Field

from transferscope.data.sources.base import SPLIT_WORDS, AbstractSource, Listing, files_stamp
from transferscope.data.sources.guarded import reading
from transferscope.errors import DataError, nearest

_UNPICKLING = ("LSUN", "LSUNClass")
"""Data sets of torchvision that unpickle files whose hash they do not check."""


_ONE_PART = (
    "read one part alone (--set 'target.data.options={train: true}' or '{split: train}', as the data set has it), "
    "or write the pictures into class folders and use kind: folder"
)


class Torchvision(AbstractSource):
    """A data set of ``torchvision.datasets``.

    Data sets with a ``train`` or a ``split`` option are read with all splits they have, unless ``options`` names one.
    Labels are taken from the data set's list of them; where it has none, every picture is decoded once more to learn
    its label.

    Attributes:
        name: as in torchvision, ``CIFAR10`` say.
        root: folder of the data.
        options: further arguments of the data set (JSON values).
        download: fetch the data where they are missing.
    """

    kind: Literal["torchvision"] = "torchvision"
    name: str
    root: str = "data"
    options: dict[str, Any] = Field(default_factory=dict)
    download: bool = False

    def listing(self) -> Listing:
        """Examples of all splits in turn, named ``split/number``. Classes without examples are left out."""
        from transferscope.data.sources.class_names import TableLabels
        from transferscope.data.sources.labels import joined

        parts = self._parts()
        tables = []
        for split, data in parts:
            where = f"{self.name}, {split or 'all examples'}"
            with reading(where, "gives no labels that can be read", "labels, one for each example"):
                labels = _labels(data)
            tables.append(TableLabels.of_array(where, labels, _names(data, labels)))
        joint = joined(tables, remedy=_ONE_PART)
        splits = [split for split, data in parts for _ in range(len(data))]
        return Listing(
            names=[f"{split or 'all'}/{number}" for split, data in parts for number in range(len(data))],
            labels=joint.labels,
            classes=joint.classes,
            read=_Reader([data for _, data in parts]),
            splits=splits if any(splits) else None,
            multi_label=joint.multi_label,
            notes=joint.notes,
        )

    def stamp(self) -> object:
        """The settings, torchvision's version, and all files below ``root``."""
        import torchvision

        root = Path(os.path.expanduser(self.root))
        files = sorted(Path(place) / name for place, _, names in os.walk(root) for name in names)
        return [self.identity(), str(torchvision.__version__), files_stamp(root, files)]

    def _parts(self) -> list[tuple[str | None, Any]]:
        import inspect

        from torchvision import datasets

        if self.name not in datasets.__all__:
            raise DataError(
                f"torchvision has no data set called {self.name!r}", hint=nearest(self.name, datasets.__all__)
            )
        if self.name in _UNPICKLING:
            raise DataError(
                f"torchvision's {self.name} unpickles a file beside the data, which can run any code",
                expected="data that are read without running anything",
                hint="write the pictures into class folders, and use kind: folder",
            )
        make = getattr(datasets, self.name)
        accepted = inspect.signature(make).parameters
        given = dict(self.options)
        if "root" in accepted:
            given["root"] = os.path.expanduser(self.root)
        if "download" in accepted:
            given["download"] = self.download
        if "train" in accepted and "train" not in self.options:
            return [(name, self._make(make, {**given, "train": name == "train"})) for name in ("train", "test")]
        if "split" not in accepted or "split" in self.options:
            return [(None, self._make(make, given))]
        parts = [(SPLIT_WORDS[word], self._make(make, {**given, "split": word})) for word in _split_words(make, given)]
        return [(split, data) for split, data in parts]

    def _make(self, make: Any, given: dict[str, Any]) -> Any:
        try:
            return make(**given)
        except (RuntimeError, OSError, ValueError, TypeError) as error:
            raise DataError(
                f"torchvision could not open {self.name}",
                got=f"{type(error).__name__}: {' '.join(str(error).split())}",
                hint="set `download: true`, or point `root` to the data; `options` are passed on as they are",
            ) from error


def _split_words(make: Any, given: dict[str, Any]) -> list[str]:
    """The splits a data set accepts, of those words for them that are usual."""
    from torchvision.datasets.utils import verify_str_arg

    words = []
    for word in ("train", "val", "valid", "validation", "test"):
        try:
            make(**{**given, "split": word, **({"download": False} if "download" in given else {})})
        except ValueError as error:
            # torchvision's check of arguments says so; anything else is met again, and reported, by `_make`.
            if _raised_in(error) is verify_str_arg.__code__:
                continue
        except (RuntimeError, OSError):
            pass
        words.append(word)
    if not words:
        raise DataError(f"the splits of {make.__name__} are not known", hint="name one in `options`: {split: ...}")
    return words


def _raised_in(error: BaseException) -> CodeType | None:
    """The function that raised an error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else trace.tb_frame.f_code


class _Reader:
    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def __call__(self, index: int) -> Any:
        number = 0
        while index >= len(self._parts[number]):
            index -= len(self._parts[number])
            number += 1
        return self._parts[number][index][0]


def _labels(data: Any) -> Any:
    import numpy as np

    for attribute in ("targets", "labels", "_labels", "attr", "y"):
        values = getattr(data, attribute, None)
        if values is not None and len(values) == len(data):
            return np.asarray(values)
    return np.stack([np.asarray(data[number][1]) for number in range(len(data))])


def _names(data: Any, labels: Any) -> tuple[str, ...] | None:
    count = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=0)) + 1 if labels.dtype.kind in "iu" else 0
    for attribute in ("classes", "attr_names"):
        names = [str(name) for name in getattr(data, attribute, None) or () if str(name)]
        if len(names) >= max(1, count) and len(set(names)) == len(names):
            return tuple(names)
    return None
