"""Which pairs of networks of a study a path is walked between, and what they share."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import polars as pl

from transferscope.analyses.contract import Member
from transferscope.analyses.pairs import pairs_interval
from transferscope.frozen import derive_seed
from transferscope.specs import Checkpoint

if TYPE_CHECKING:
    from transferscope.analyses.evidence import Evidence
    from transferscope.analyses.variants import BoundStudy
    from transferscope.measures.intervals import Interval

__all__ = ["LABELS", "NEGATIVE", "POSITIVE", "PairKind", "again", "interval_of", "members_of", "share_seeds"]

PairKind = Literal[
    "P_T/P_T",
    "RI_T/RI_T",
    "P_T/P_T same head",
    "RI_T/RI_T same init",
    "P_T/RI_T",
    "P_T best/last",
    "RI_T best/last",
]

LABELS: dict[str, str] = {
    "P_T/P_T": "P-T/P-T",
    "RI_T/RI_T": "RI-T/RI-T",
    "P_T/P_T same head": "P-T/P-T, same head",
    "RI_T/RI_T same init": "RI-T/RI-T, same init",
    "P_T/RI_T": "P-T/RI-T",
    "P_T best/last": "P-T/P-T, best and last epoch",
    "RI_T best/last": "RI-T/RI-T, best and last epoch",
}
"""Kinds of pairs as readers see them."""

POSITIVE = "RI-T/RI-T, trained on"
"""The pair that must be connected: a finished run, and the same run trained on for one more epoch at a small rate."""
NEGATIVE = LABELS["RI_T/RI_T"]
"""The pair that must not be: two networks from different random starts."""


def again(study: "BoundStudy", variant: str, seed: int, evidence: "Evidence") -> Member:
    """A second run from the start of a seed's network, head included; its data order and augmentation differ."""
    spec = study.member(variant, seed, evidence).spec
    start = Checkpoint(of=spec.untrained(), epoch=0, new_head=False)
    other = derive_seed(seed, "a second run from the same start") % 2**31
    return Member(variant=f"{variant}_again", seed=seed, spec=spec.model_copy(update={"start": start, "seed": other}))


def members_of(
    kind: str, study: "BoundStudy", evidence: "Evidence", seeds: tuple[int, ...], *, disjoint: bool
) -> Iterator[tuple[Member, Member]]:
    """The pairs of one kind. For ``best/last`` both are one network, of which two epochs are taken.

    Args:
        kind: as of ``PairKind``.
        study: names the networks.
        evidence: gives the chosen rates.
        seeds: of the networks.
        disjoint: within a variant take seeds (0, 1), (2, 3), ... instead of all pairs.
    """
    variant = kind.split("/")[0].split(" ")[0]
    if kind in ("P_T/P_T", "RI_T/RI_T"):
        chosen = zip(seeds[::2], seeds[1::2], strict=False) if disjoint else combinations(seeds, 2)
        for one, two in chosen:
            yield study.member(variant, one, evidence), study.member(variant, two, evidence)
        return
    for seed in seeds:
        first = study.member(variant, seed, evidence)
        if kind == "P_T/RI_T":
            yield first, study.member("RI_T", seed, evidence)
        elif kind.endswith("best/last"):
            yield first, first
        else:
            yield first, again(study, variant, seed, evidence)


def share_seeds(rows: pl.DataFrame) -> bool:
    """Whether two of these pairs (``seed_a``, ``seed_b``) have a seed in common."""
    seeds = [seed for pair in rows.select("seed_a", "seed_b").iter_rows() for seed in set(pair)]
    return len(seeds) > len(set(seeds))


def interval_of(rows: pl.DataFrame, column: str = "barrier") -> "Interval":
    """The interval of a column over pairs, where the unit is the seed: one row for each pair of one kind, none null.

    Pairs that share no network count as they are; of pairs that do one seed after the other is left out.
    """
    from transferscope.measures.intervals import seed_pairs_interval

    if not share_seeds(rows):
        return pairs_interval(rows[column].to_list())
    found = seed_pairs_interval({(a, b): value for a, b, value in rows.select("seed_a", "seed_b", column).iter_rows()})
    return replace(found, note=found.note or f"n counts seeds, of {rows.height} pairs, leaving one seed out")
