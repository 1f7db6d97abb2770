"""What a tracker is told of a study, and what it must do with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from transferscope.analyses.estimates import Estimate
from transferscope.frozen import content_key

__all__ = ["Scalar", "StudyRun", "Tracker", "Training", "curves", "named_estimates", "numbers"]

Scalar = str | int | float | bool
"""What a parameter can be."""


@dataclass(frozen=True)
class StudyRun:
    """One study: the parent of its trainings.

    Attributes:
        key: of the study with its data and weights, wherever it is computed: two runs of one key are one.
        name: of the study.
        parameters: what it rests on.
        tags: by name.
    """

    key: str
    name: str
    parameters: Mapping[str, Scalar]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Training:
    """A finished training, trained by this run or before it.

    Attributes:
        key: of the network.
        label: as shown: ``P-T[0] at 0.01``.
        parameters: its recipe, start, data and seed.
        tags: by name: variant, seed, network, study.
        history: one row per epoch, as :class:`transferscope.training.history.EpochRow`.
        final: numbers of the network that is kept, and of the whole training.
        ended: when each epoch was finished, in seconds since 1970, by epoch.
        began: when the training began, in the same seconds.
    """

    key: str
    label: str
    parameters: Mapping[str, Scalar]
    tags: Mapping[str, str]
    history: pl.DataFrame
    final: Mapping[str, float]
    ended: Mapping[int, float]
    began: float


class Tracker(Protocol):
    """Takes what is finished; asked twice for the same, it holds it once.

    Whatever it raises is noted, costs no training, and is made good by the next run: so a method leaves behind
    either all or something that it tells apart from all.
    """

    @property
    def place(self) -> str:
        """Where it writes, for readers."""

    def begin(self, study: StudyRun) -> None:
        """Open the study, or the one of the same key that is there."""

    def log_training(self, training: Training) -> None:
        """Write a training as a child of the study, unless it is there."""

    def log_estimates(self, estimates: Mapping[str, Estimate]) -> None:
        """Write every estimate, with its limits, in place of those of an earlier run.

        Args:
            estimates: by names of :func:`named_estimates`.
        """

    def log_artifact(self, path: Path) -> None:
        """Write a file, in place of one of the same name."""

    def end(self, *, finished: bool) -> None:
        """Close the study; ``finished`` where nothing is left to do."""


def curves(history: pl.DataFrame) -> Iterator[tuple[int, dict[str, float]]]:
    """Epochs, each with its defined numbers by column."""
    for row in history.drop("diverged").iter_rows(named=True):
        epoch = row.pop("epoch")
        yield epoch, {name: float(value) for name, value in row.items() if value is not None}


def named_estimates(analyses: Sequence[tuple[str, Sequence[Estimate]]]) -> dict[str, Estimate]:
    """Every estimate of a study under a name of letters, digits, ``_``, ``-``, ``.`` and ``/``.

    The name is that of the analysis (numbered where it is there twice), the quantity and the coordinates; where two
    would be one, or it is long, a hash of all these follows.

    >>> distance = Estimate("distance", {"pair": "P-T/P-T"}, 0.5)
    >>> list(named_estimates([("distance", [distance]), ("distance", [distance])]))
    ['distance/distance/pair.P-T_P-T', 'distance-2/distance/pair.P-T_P-T']
    """
    seen: dict[str, int] = {}
    items: list[tuple[str, str, Estimate]] = []
    for analysis, estimates in analyses:
        count = seen[analysis] = seen.get(analysis, 0) + 1
        slug = analysis if count == 1 else f"{analysis}-{count}"
        for item in estimates:
            parts = [slug, item.quantity, *(f"{name}.{value}" for name, value in item.at.items())]
            items.append(("/".join(map(_plain, parts)), content_key(parts)[:8], item))
    short = [name for name, _, _ in items]
    return {
        f"{name[:_LONGEST]}-{key}" if len(name) > _LONGEST or short.count(name) > 1 else name: item
        for name, key, item in items
    }


_LONGEST = 200


def _plain(text: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-.") else "_" for letter in text)


def numbers(name: str, item: Estimate) -> dict[str, float]:
    """Value, limits and n of an estimate, those that it has.

    >>> numbers("outcome/gap", Estimate("gap", {}, 0.5, 0.25, 0.75, "seeds", 3))
    {'outcome/gap/value': 0.5, 'outcome/gap/low': 0.25, 'outcome/gap/high': 0.75, 'outcome/gap/n': 3.0}
    """
    fields = ("value", "low", "high", "n", "simultaneous_low", "simultaneous_high", "n_comparisons")
    return {f"{name}/{field}": float(value) for field in fields if (value := getattr(item, field)) is not None}
