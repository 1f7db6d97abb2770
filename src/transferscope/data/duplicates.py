"""Equal pictures: kept in one group, and counted."""

from collections.abc import Sequence

import numpy as np

from transferscope.data.picture_notes import named
from transferscope.errors import counted

__all__ = ["duplicate_notes", "grouped_duplicates", "twin_numbers"]


def twin_numbers(digests: Sequence[bytes]) -> np.ndarray:
    """For each picture the number of the first that is equal to it.

    Args:
        digests: hashes of the decoded pixels.
    """
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(digest, number) for number, digest in enumerate(digests)], dtype=np.int64)


def grouped_duplicates(groups: Sequence[str] | None, names: Sequence[str], twins: np.ndarray) -> list[str] | None:
    """Groups that hold all copies of each of their pictures.

    Groups that share a picture become one. Without groups of the source every picture is a group, and its copies join
    it. Where no picture occurs twice the groups stay as they are.

    Args:
        groups: of the source, per example.
        names: of the examples, unique.
        twins: as in :func:`twin_numbers`.
    """
    own = list(names) if groups is None else list(groups)
    if (twins == np.arange(len(twins))).all():
        return None if groups is None else own
    joined: dict[str, str] = {}

    def root(group: str) -> str:
        while group in joined:
            group = joined[group]
        return group

    for number, first in enumerate(twins.tolist()):
        one, other = root(own[number]), root(own[first])
        if one != other:
            joined[one] = other
    return [root(group) for group in own]


def duplicate_notes(
    names: Sequence[str],
    labels: np.ndarray,
    splits: Sequence[str | None] | None,
    twins: np.ndarray,
    *,
    grouped: bool,
) -> list[str]:
    """How many pictures occur more than once; how many of them in several given splits, and under several labels.

    Args:
        names: of the examples.
        labels: of the examples.
        splits: the source's own, per example.
        twins: as in :func:`twin_numbers`.
        grouped: whether a split keeps equal pictures together.
    """
    sets: dict[int, list[int]] = {}
    for number in np.flatnonzero(np.bincount(twins, minlength=len(twins))[twins] > 1).tolist():
        sets.setdefault(int(twins[number]), []).append(number)
    if not sets:
        return []
    copies = list(sets.values())
    example = " = ".join(names[number] for number in copies[0][:3])
    kept = "a split keeps equal ones together" if grouped else "they are divided like others (target.duplicates=ignore)"
    lines = [
        f"the same picture more than once (equal as decoded): {counted(len(copies), 'picture')} in "
        f"{sum(map(len, copies)):,} files, such as {example}; {kept}"
    ]
    if splits is not None:
        # What has no split is divided together with the training examples.
        torn = [one for one in copies if len({splits[k] or "train" for k in one}) > 1]
        if torn:
            lines.append(
                f"the same picture in several of the splits that the source gives: {counted(len(torn), 'picture')} "
                f"({named([names[one[0]] for one in torn])}); what is tested was trained on"
            )
    rows = labels.reshape(len(labels), -1)
    differing = [one for one in copies if (rows[one] != rows[one[0]]).any()]
    if differing:
        lines.append(
            f"the same picture under different labels: {counted(len(differing), 'picture')} "
            f"({named([' = '.join(names[k] for k in one[:3]) for one in differing])}); one label of each is wrong"
        )
    return lines
