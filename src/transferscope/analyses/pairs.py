"""Which pairs of networks are compared, and which of them are independent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transferscope.analyses.contract import Member

if TYPE_CHECKING:
    from transferscope.measures.intervals import Bounds, Interval

__all__ = ["SPEAKS", "disjoint", "pairs_interval", "pairs_of"]

SPEAKS = (
    "with a 95 % interval over seeds where there are 3 independent pairs or more, else a description of these networks"
)
"""What a verdict that lists means over pairs rests on."""


def pairs_of(members: Iterable[Member]) -> Iterator[tuple[Member, Member]]:
    """The pairs that are compared: all within a variant, and P-T with RI-T of the same seed."""
    by_variant: dict[str, list[Member]] = {}
    for member in members:
        by_variant.setdefault(member.variant, []).append(member)
    for variant in ("P_T", "RI_T"):
        found = by_variant.get(variant, [])
        for index, first in enumerate(found):
            for second in found[index + 1 :]:
                yield first, second
    others = {member.seed: member for member in by_variant.get("RI_T", [])}
    for member in by_variant.get("P_T", []):
        if member.seed in others:
            yield member, others[member.seed]


def disjoint(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of pairs that share no network with an earlier one: independent, so that n counts them."""
    used: set[str] = set()
    kept = []
    for row in rows:
        if row["a"] not in used and row["b"] not in used:
            used |= {row["a"], row["b"]}
            kept.append(row)
    return kept


def pairs_interval(values: Sequence[float], bounds: "Bounds | None" = None) -> "Interval":
    """Student's interval of the mean of a statistic over independent pairs, as over seeds; it says what it counts.

    Args:
        values: one for each pair; no two pairs share a trained network.
        bounds: of the statistic; None where it has none.
    """
    from transferscope.measures.intervals import seeds_interval

    notes = {1: "one pair: no interval", 2: "two pairs: their range, not an interval"}
    note = notes.get(len(values), "n counts pairs that share no trained network")
    return replace(seeds_interval(values, bounds=bounds), note=note)
