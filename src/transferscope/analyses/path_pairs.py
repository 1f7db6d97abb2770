"""Which pairs of networks of a study a path is walked between, and what they share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from transferscope.analyses.contract import Member
from transferscope.frozen import derive_seed
from transferscope.specs import Checkpoint

if TYPE_CHECKING:
    from transferscope.analyses.evidence import Evidence
    from transferscope.analyses.variants import BoundStudy

__all__ = ["LABELS", "NEGATIVE", "POSITIVE", "PairKind", "again", "members_of"]

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
    kind: str, study: "BoundStudy", evidence: "Evidence", seeds: tuple[int, ...]
) -> Iterator[tuple[Member, Member]]:
    """The pairs of one kind, those of the first seeds first: (0, 1), (0, 2), (1, 2), (0, 3), ...

    For ``best/last`` both are one network, of which two epochs are taken.

    Args:
        kind: as of ``PairKind``.
        study: names the networks.
        evidence: gives the chosen rates.
        seeds: of the networks.
    """
    variant = kind.split("/")[0].split(" ")[0]
    if kind in ("P_T/P_T", "RI_T/RI_T"):
        for place, two in enumerate(seeds):
            for one in seeds[:place]:
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
