"""Which pairs of networks are compared, and which of them are independent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from transferscope.analyses.contract import Member

if TYPE_CHECKING:
    from transferscope.measures.intervals import Bounds, Interval

__all__ = ["interval_of", "pairs_interval", "pairs_of", "share_seeds", "with_variation"]


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


def with_variation(rows: pl.DataFrame, module: str = "module") -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows of modules that have a ``cka`` in every pair, so that all means are of the same; a note on the others.

    Args:
        rows: with ``cka``.
        module: column of the module.
    """
    kept = rows.filter(pl.col("cka").is_not_null().all().over(module))
    lost = rows.filter(~pl.col(module).is_in(kept[module].implode()))[module].unique(maintain_order=True).to_list()
    return kept, (f"left out, without variation in some network: {', '.join(lost)}",) if lost else ()


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


def share_seeds(rows: pl.DataFrame) -> bool:
    """Whether two of these pairs (``seed_a``, ``seed_b``) have a seed in common."""
    seeds = [seed for pair in rows.select("seed_a", "seed_b").iter_rows() for seed in set(pair)]
    return len(seeds) > len(set(seeds))


def interval_of(rows: pl.DataFrame, column: str = "barrier", bounds: "Bounds | None" = None) -> "Interval":
    """The interval of a column over pairs, where the unit is the seed: one row for each pair of one kind, none null.

    Pairs that share no network count as they are; of pairs that do one seed after the other is left out.
    """
    from transferscope.measures.intervals import seed_pairs_interval

    if not share_seeds(rows):
        return pairs_interval(rows[column].to_list(), bounds)
    values = {(a, b): value for a, b, value in rows.select("seed_a", "seed_b", column).iter_rows()}
    found = seed_pairs_interval(values, bounds=bounds)
    return replace(found, note=found.note or f"n counts seeds, of {rows.height} pairs, leaving one seed out")
