"""Which pairs of networks are compared, and which of them are independent."""

from collections.abc import Iterable, Iterator

import polars as pl

from transferscope.context.study_network import StudyNetwork

__all__ = ["pairs_of", "with_variation"]


def pairs_of(members: Iterable[StudyNetwork]) -> Iterator[tuple[StudyNetwork, StudyNetwork]]:
    """The pairs that are compared: all within a variant, and P-T with RI-T of the same seed."""
    by_variant: dict[str, list[StudyNetwork]] = {}
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
