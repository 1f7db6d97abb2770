"""Which pairs of networks of a study a path is walked between, and what they share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from transferscope.analyses.tuned import tuned_member
from transferscope.context.study_network import StudyNetwork
from transferscope.frozen import derive_seed
from transferscope.keys import TRAINED_ON
from transferscope.specs.network import Checkpoint

if TYPE_CHECKING:
    from transferscope.analyses.evidence import Evidence
    from transferscope.context.resolved_study import ResolvedStudy

__all__ = ["KINDS", "NEGATIVE", "POSITIVE", "Kind", "PairKind", "again", "members_of"]

PairKind = Literal[
    "P_T/P_T",
    "RI_T/RI_T",
    "P_T/P_T same head",
    "RI_T/RI_T same init",
    "P_T/RI_T",
    "P_T best/last",
    "RI_T best/last",
]


@dataclass(frozen=True)
class Kind:
    """What the two networks of a pair are.

    Attributes:
        label: as readers see it, and as it stands in the column ``pair``.
        variant: of the first network.
        second: the other one: ``seed``, the same variant of another seed; ``variant``, RI-T of the same seed;
            ``again``, a second run from the same start; ``epoch``, the same network at another epoch.
    """

    label: str
    variant: str
    second: Literal["seed", "variant", "again", "epoch"]


KINDS: dict[str, Kind] = {
    "P_T/P_T": Kind("P-T/P-T", "P_T", "seed"),
    "RI_T/RI_T": Kind("RI-T/RI-T", "RI_T", "seed"),
    "P_T/P_T same head": Kind("P-T/P-T, same head", "P_T", "again"),
    "RI_T/RI_T same init": Kind("RI-T/RI-T, same init", "RI_T", "again"),
    "P_T/RI_T": Kind("P-T/RI-T", "P_T", "variant"),
    "P_T best/last": Kind("P-T/P-T, best and last epoch", "P_T", "epoch"),
    "RI_T best/last": Kind("RI-T/RI-T, best and last epoch", "RI_T", "epoch"),
}
"""All kinds of pairs, by the names that the setting has for them."""

POSITIVE = TRAINED_ON
"""The pair that must be connected: a finished run, and the same run trained on for one more epoch at a small rate."""
NEGATIVE = KINDS["RI_T/RI_T"].label
"""The pair that must not be: two networks from different random starts."""


def again(study: "ResolvedStudy", variant: str, seed: int, evidence: "Evidence") -> StudyNetwork:
    """A second run from the start of a seed's network, head included; its data order and augmentation differ."""
    spec = tuned_member(study, variant, seed, evidence).spec
    start = Checkpoint(of=spec.untrained(), epoch=0, new_head=False)
    other = derive_seed(seed, "a second run from the same start") % 2**31
    return StudyNetwork(
        variant=f"{variant}_again", seed=seed, spec=spec.model_copy(update={"start": start, "seed": other})
    )


def members_of(
    kind: str, study: "ResolvedStudy", evidence: "Evidence", seeds: tuple[int, ...]
) -> Iterator[tuple[StudyNetwork, StudyNetwork]]:
    """The pairs of one kind, those of the first seeds first: (0, 1), (0, 2), (1, 2), (0, 3), ...

    For ``best/last`` both are one network, of which two epochs are taken.

    Args:
        kind: as in ``PairKind``.
        study: names the networks.
        evidence: gives the chosen rates.
        seeds: of the networks.
    """
    pairs = KINDS[kind]
    if pairs.second == "seed":
        for place, two in enumerate(seeds):
            for one in seeds[:place]:
                yield (
                    tuned_member(study, pairs.variant, one, evidence),
                    tuned_member(study, pairs.variant, two, evidence),
                )
        return
    for seed in seeds:
        first = tuned_member(study, pairs.variant, seed, evidence)
        match pairs.second:
            case "variant":
                yield first, tuned_member(study, "RI_T", seed, evidence)
            case "epoch":
                yield first, first
            case "again":
                yield first, again(study, pairs.variant, seed, evidence)
