"""Names of classes that look equal: one class written in two ways, or two."""

import unicodedata
from collections.abc import Hashable, Iterable
from typing import TypeVar

_NO_LABEL = {"nan", "none", "null", "n/a", "<na>", "nat"}
"""What programs write where a table has no value."""

_Place = TypeVar("_Place", bound=Hashable)


def folded(name: str) -> str:
    """What stays of a name when case, spaces around it and ways to write an accent do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


def doubtful(names: Iterable[str]) -> list[str]:
    """Notes on classes of a table that may be one class, or none.

    Example:
        >>> doubtful(["cat", "Cat", "dog", "nan"])[1]
        "The class 'nan' may stand for rows without a label: leave them out of the data if it does."
    """
    names, alike, notes = list(names), dict[str, list[str]](), list[str]()
    for name in names:
        alike.setdefault(folded(name), []).append(name)
    for spellings in alike.values():
        if len(spellings) > 1:
            shown = " and ".join(map(repr, spellings))
            notes.append(f"The classes {shown} differ in case, spaces or accents alone, and were kept apart.")
    for name in names:
        if folded(name) in _NO_LABEL:
            said = "may stand for rows without a label: leave them out of the data if it does"
            notes.append(f"The class {name!r} {said}.")
    return notes


def joined(names: Iterable[tuple[str, _Place]]) -> tuple[dict[str, str], list[str]]:
    """Which names of classes mean one class.

    Ways to write the same letters (an accent as one character or two) always do. Names that differ in case or spaces do
    if no place holds both, as two splits of one data set; side by side they are two classes.

    Returns:
        The name of the class by each name, and a note on every two that look equal.

    Example:
        >>> joined([("Cat", "train"), ("dog", "train"), ("cat", "test")])[0]
        {'Cat': 'Cat', 'cat': 'Cat', 'dog': 'dog'}
    """
    places: dict[str, set[_Place]] = {}
    for name, place in names:
        places.setdefault(name, set()).add(place)
    alike: dict[str, dict[str, list[str]]] = {}
    for name in places:
        alike.setdefault(folded(name), {}).setdefault(unicodedata.normalize("NFC", name), []).append(name)
    chosen: dict[str, str] = {}
    notes: list[str] = []
    for spellings in alike.values():
        for composed, ways in spellings.items():
            # A name alone stays as it is written.
            chosen.update(dict.fromkeys(ways, composed if len(ways) > 1 else ways[0]))
            if len(ways) > 1:
                notes.append(f"The class {composed!r} is written in {len(ways)} ways (Unicode NFC, NFD), taken as one.")
        if len(spellings) == 1:
            continue
        shown = " and ".join(repr(name) for name in spellings)
        held = [place for ways in spellings.values() for place in set().union(*(places[way] for way in ways))]
        if len(set(held)) < len(held):
            notes.append(f"The classes {shown} differ in case or spaces alone, and were kept apart.")
            continue
        first = next(iter(chosen[way] for ways in spellings.values() for way in ways))
        chosen.update(dict.fromkeys((way for ways in spellings.values() for way in ways), first))
        notes.append(f"The names {shown} differ in case or spaces alone, in different splits: taken as one class.")
    return chosen, notes
