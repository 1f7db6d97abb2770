"""Deterministic, stratified, group-wise splits and nested subsets."""

import json
import shlex
from typing import Final

import numpy as np

from transferscope.data.images import ImageSet
from transferscope.data.spec import DataSpec, Split, SplitSettings
from transferscope.errors import DataError
from transferscope.frozen import derive_seed

_SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")


def make_splits(images: ImageSet, settings: SplitSettings) -> dict[Split, np.ndarray]:
    """Which examples train, choose and test.

    Splits the source names are kept; what it names no split for is divided together with its training examples. Test
    examples are cut first, validation examples from the rest. With one label per example and no groups each class's
    count in a split is within one of its share; otherwise examples (or whole groups) are placed greedily, largest and
    rarest first, so as to keep the shares of every label. Depends on labels, groups and ``settings`` only, not on the
    platform.

    Returns:
        Sorted int64 indices per split: disjoint, together all examples.
    """
    count = len(images)
    given = images.given_splits or (None,) * count
    where = np.array([_SPLITS.index(split) if split is not None else -1 for split in given], dtype=np.int64)
    pool = np.flatnonzero((where == -1) | (where == 0))
    missing = [number for number in (1, 2) if not (where == number).any()]
    if missing and len(pool):
        shares = {2: settings.test, 1: (1 - settings.test * (2 in missing)) * settings.validation}
        wanted = np.array([1 - sum(shares[k] for k in missing), *(shares[k] for k in missing)])
        names = np.array([0, *missing])
        generator = np.random.Generator(np.random.PCG64(derive_seed(settings.seed, "splits")))
        if images.groups is None and not images.multi_label:
            drawn = _by_quota(images.labels[pool], wanted, len(images.classes), generator)
        else:
            drawn = _by_units(images, pool, wanted, generator)
        where[pool] = names[drawn]
    else:
        where[pool] = 0
    result: dict[Split, np.ndarray] = {
        split: np.flatnonzero(where == number).astype(np.int64) for number, split in enumerate(_SPLITS)
    }
    _check(images, result)
    return result


def _by_quota(labels: np.ndarray, wanted: np.ndarray, classes: int, generator: np.random.Generator) -> np.ndarray:
    """A split per example: exact shares per class, by largest remainder."""
    parts = len(wanted)
    drawn = np.zeros(len(labels), dtype=np.int64)
    overall = np.zeros(parts)  # what splits are owed so far, so that totals stay close as well
    for number in range(classes):
        members = np.flatnonzero(labels == number)
        ideal = np.round(wanted * len(members), 9)
        counts = np.floor(ideal).astype(np.int64)
        owed = overall + ideal - counts
        # Only a split with a remainder may take one more: each count stays within one of its share.
        order = sorted(range(parts), key=lambda k: (ideal[k] == counts[k], -owed[k], k))
        for k in order[: len(members) - int(counts.sum())]:
            counts[k] += 1
        if len(members) >= parts:
            for k in range(parts):
                if counts[k] == 0:
                    counts[int(np.argmax(counts))] -= 1
                    counts[k] = 1
        overall += ideal - counts
        shuffled = members[_order(len(members), generator)]
        drawn[shuffled] = np.repeat(np.arange(parts), counts)
    return drawn


def _by_units(images: ImageSet, pool: np.ndarray, wanted: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A split per example of ``pool``; the examples of a group are placed together."""
    if images.groups is None:
        unit = np.arange(len(pool))
    else:
        groups = np.array([images.groups[int(index)] for index in pool])
        unit = np.unique(groups, return_inverse=True)[1].reshape(-1)
    labels = images.labels[pool]
    # Size as one more column: splits keep their share of examples as well as of labels.
    facts = np.zeros((int(unit.max()) + 1, len(images.classes) + 1))
    np.add.at(facts[:, -1], unit, 1)
    if images.multi_label:
        np.add.at(facts[:, :-1], unit, labels)
    else:
        np.add.at(facts, (unit, labels), 1)
    return _placed(facts, wanted, generator)[unit]


def _placed(facts: np.ndarray, wanted: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A split per unit (rows of ``facts``: examples per label, and all)."""
    totals = facts.sum(axis=0)
    target = np.outer(wanted, np.maximum(totals, 1e-9))
    counts = np.zeros_like(target)
    units = len(facts)
    order = _order(units, generator)
    frequency = np.where(facts[:, :-1] > 0, totals[:-1], np.inf).min(axis=1, initial=np.inf)
    # Largest units first, among equals those with the rarest label, among equals at random.
    order = order[np.lexsort((frequency[order], -facts[order, -1]))]
    placed = np.zeros(units, dtype=np.int64)
    for one in order:
        # Growth of Pearson's statistic Σ (count − target)² / target if the unit went to each split.
        growth = ((2 * (counts - target) + facts[one]) * facts[one] / target).sum(axis=1)
        placed[one] = int(np.argmin(np.round(growth, 9)))
        counts[placed[one]] += facts[one]
    _repair(facts, counts, target, placed)
    return placed


def _repair(facts: np.ndarray, counts: np.ndarray, target: np.ndarray, placed: np.ndarray) -> None:
    """Moves units so that every label is in every split, where that is possible."""
    for label in np.argsort(facts[:, :-1].sum(axis=0), kind="stable"):
        for part in range(len(target)):
            if counts[part, label] > 0:
                continue
            best, best_growth = -1, np.inf
            for one in np.flatnonzero((facts[:, label] > 0) & (placed != part)):
                left = counts[placed[one]] - facts[one]
                if (left[facts[one] > 0] <= 0).any():
                    continue  # it would be missed where it is
                source = placed[one]
                growth = ((2 * (counts[part] - target[part]) + facts[one]) * facts[one] / target[part]).sum()
                growth -= ((2 * (counts[source] - target[source]) - facts[one]) * facts[one] / target[source]).sum()
                if growth < best_growth:
                    best, best_growth = int(one), float(growth)
            if best >= 0:
                counts[placed[best]] -= facts[best]
                counts[part] += facts[best]
                placed[best] = part


def _order(count: int, generator: np.random.Generator) -> np.ndarray:
    # By sorting random numbers: the stream of `random` is the most stable promise NumPy makes.
    return np.argsort(generator.random(count), kind="stable")


def _check(images: ImageSet, splits: dict[Split, np.ndarray]) -> None:
    for split, indices in splits.items():
        labels = images.labels[indices]
        if images.multi_label:
            counts = labels.sum(axis=0, dtype=np.int64)
        else:
            counts = np.bincount(labels, minlength=len(images.classes))
        for number, name in enumerate(images.classes):
            if counts[number] == 0:
                raise _too_few(images, name, number, split, "no")
            if images.multi_label and counts[number] == len(indices):
                raise _too_few(images, name, number, split, "only")


def _too_few(images: ImageSet, name: str, number: int, split: Split, what: str) -> DataError:
    having = images.labels[:, number] > 0 if images.multi_label else images.labels == number
    got = f"{int(having.sum())} of {len(images)} examples are {name!r}"
    if images.groups is not None:
        groups = {group for group, has in zip(images.groups, having, strict=True) if has}
        got += f", in {len(groups)} groups"
    if images.given_splits is not None:
        got += "; the source gives splits itself"
    return DataError(
        f"the {split} split has {what} examples of class {name!r}",
        expected="every class in train, validation and test"
        + (", and for each label examples without it" if images.multi_label else "")
        + ": at least 3 examples (or groups) of each",
        got=got,
        hint="add examples, change the shares (--set target.splits.test=0.4), or leave the class out "
        f"(of a folder: --set {shlex.quote(f'target.data.ignore=[{json.dumps(name, ensure_ascii=False)}]')})"
        + ("; equal pictures are one group: --set target.duplicates=ignore divides them" if images.groups else ""),
    )


def nested_subset(labels: np.ndarray, indices: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A stratified part of ``indices``; a smaller fraction's part lies within a larger one's.

    With one label per example each class gets its count times ``fraction``, rounded half up, at least one. With
    several, examples are taken evenly from all combinations of labels, and one example of each label always.

    Args:
        labels: of all examples: (examples,), or (examples, labels) of 0 and 1.

    Example:
        >>> labels = np.repeat([0, 1], [60, 40])
        >>> part = nested_subset(labels, np.arange(100), 0.1, seed=0)
        >>> np.bincount(labels[part]).tolist()
        [6, 4]
    """
    if not 0 < fraction <= 1:
        raise DataError(
            "the fraction of the training examples is out of range", expected="in (0, 1]", got=str(fraction)
        )
    chosen = np.sort(np.asarray(indices, dtype=np.int64))
    if fraction == 1 or not len(chosen):
        return chosen
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "subset")))
    own = np.asarray(labels)[chosen]
    shuffled = _order(len(chosen), generator)
    if own.ndim == 1:
        keep = np.zeros(len(chosen), dtype=bool)
        for number in np.unique(own):
            members = shuffled[own[shuffled] == number]
            keep[members[: max(1, int(np.floor(len(members) * fraction + 0.5)))]] = True
        return np.asarray(chosen[keep])
    return np.asarray(chosen[_systematic(own, shuffled, fraction, generator)])


def training_part(images: ImageSet, indices: np.ndarray, data: DataSpec) -> np.ndarray:
    """The training examples that a data set asks for: its fraction, so many of each class, each so often.

    Raises:
        DataError: ``class_sizes`` does not fit the classes, or asks for more than there are.
    """
    chosen = indices
    if data.fraction < 1:
        chosen = nested_subset(images.labels, chosen, data.fraction, data.subset_seed)
    if data.class_sizes is not None:
        chosen = _of_each_class(images, chosen, data.class_sizes, data.subset_seed)
    # Each so often, one copy of all after the other: in the order of a single one where it is one.
    return np.tile(chosen, data.repeats)


def _of_each_class(images: ImageSet, indices: np.ndarray, sizes: tuple[int, ...], seed: int) -> np.ndarray:
    if images.multi_label or len(sizes) != len(images.classes):
        raise DataError(
            "class_sizes does not fit the labels",
            expected=f"one label per image, and a number for each of {len(images.classes)} classes",
            got=f"{len(sizes)} numbers" + (", and several labels per image" if images.multi_label else ""),
        )
    generator = np.random.Generator(np.random.PCG64(derive_seed(seed, "class_sizes")))
    shuffled = indices[_order(len(indices), generator)]
    own = np.asarray(images.labels)[shuffled]
    parts = []
    for number, (name, size) in enumerate(zip(images.classes, sizes, strict=True)):
        members = shuffled[own == number]
        if len(members) < size:
            raise DataError(
                f"there are too few training images of class {name!r}",
                expected=f"at least {size}, as class_sizes asks for",
                got=str(len(members)),
            )
        parts.append(members[:size])
    return np.sort(np.concatenate(parts))


def _systematic(rows: np.ndarray, shuffled: np.ndarray, fraction: float, generator: np.random.Generator) -> np.ndarray:
    strata = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    position = np.empty(len(rows))
    for number in range(int(strata.max()) + 1):
        members = shuffled[strata[shuffled] == number]
        # Evenly spaced in (0, 1) from a random start: any prefix has its share of the stratum within one.
        position[members] = (np.arange(len(members)) + generator.random()) / len(members)
    order = np.argsort(position, kind="stable")
    keep = np.zeros(len(rows), dtype=bool)
    keep[order[: max(1, int(np.floor(len(rows) * fraction + 0.5)))]] = True
    for label in range(rows.shape[1]):
        having = order[rows[order, label] > 0]
        keep[having[:1]] = True
    return keep
