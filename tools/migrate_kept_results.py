"""Bring the kept results of earlier versions to keyed estimates; nothing is trained or measured again.

``python tools/migrate_kept_results.py docs/results > changes.txt``

Numbers that are functions of kept tables (statistics of pairs of networks) are computed again, with every measured
pair; all others keep their value and get a key: the template of the quantity whose words they have. A number that no template
explains is an error. What changed is printed: study, number, old and new, and why.
"""

import re
from typing import Any

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.estimates import Estimate, Quantity, shown

RECOMPUTED = ("distance", "similarity", "mistakes")
"""Their tables are kept pair by pair."""

_VARIANT = {shown(name): name for name in ("RI", "P", "RI_T", "P_T", "RI_T_long")}


def keyed(analysis: type[AbstractAnalysis], row: dict[str, Any]) -> Estimate:
    """An old number under its key."""
    for quantity in sorted(analysis.quantities, key=lambda item: -len(re.sub(r"\{\w+[^}]*\}", "", item.words))):
        if (at := matched(quantity, row["name"])) is not None:
            break
    else:
        raise SystemExit(f"no quantity of {analysis.name} has the words {row['name']!r}")
    note = row["note"] or ""
    flags = []
    basis, low, high = row["basis"], row["low"], row["high"]
    if basis == "range" or (row["n"] in (1, 2) and basis is None and row["value"] is not None and "pair" in note):
        flags.append("too_few_seeds")
    if "still improving" in note:
        flags.append("still_improving")
    if basis == "seeds" and low is not None and low == high:
        flags.append("no_spread")
        basis = low = high = None
    return Estimate(
        quantity.key,
        at,
        row["value"],
        low,
        high,
        basis,
        row["n"],
        row["unit"],
        quantity.named(at),
        note,
        flags=tuple(flags),
    )  # type: ignore[arg-type]


def matched(quantity: Quantity, name: str) -> dict[str, str | float] | None:
    """The coordinates with which a quantity has these words; None where it never has."""
    names = re.findall(r"\{(\w+)([^}]*)\}", quantity.words)
    pattern, seen = "", set()
    for part in re.split(r"(\{\w+[^}]*\})", quantity.words):
        field = re.fullmatch(r"\{(\w+)[^}]*\}", part)
        if field is None:
            pattern += re.escape(part)
        elif field[1] in seen:
            pattern += f"(?P={field[1]})"
        else:
            seen.add(field[1])
            pattern += f"(?P<{field[1]}>.+?)"
    found = re.fullmatch(pattern, name)
    if found is None:
        return None
    keys = {words: key for labels in quantity.labels.values() for key, words in labels.items()}
    at: dict[str, str | float] = {}
    for each, number in names:
        value = found[each]
        if each in ("variant", "rival"):
            value = _VARIANT.get(value, value)
        at[each] = float(value) if number else keys.get(value, value)
    return at
