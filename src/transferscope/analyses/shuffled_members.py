"""P-T trained on block-shuffled images, beside the plain one, for analyses of modules (R4.5). No torch here."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from transferscope.analyses.tuned import chosen_rate, tuned_member
from transferscope.context.study_network import StudyNetwork
from transferscope.data.ablation_settings import BlockShuffle, check_study, seeded
from transferscope.data.spec import Augmentation
from transferscope.specs.network import NetworkSpec

if TYPE_CHECKING:
    from transferscope.analyses.evidence import Evidence
    from transferscope.context.resolved_study import ResolvedStudy

__all__ = ["blocks_misfit", "check_variants", "members_of", "shuffled_members", "shuffled_notes", "shuffled_variants"]

_BARE = Augmentation(flip=False, crop_padding=0)


def blocks_misfit(blocks: Iterable[int], image_size: int) -> str | None:
    """Why images of this size cannot be cut in these blocks; None if they can.

    >>> blocks_misfit([8, 16], 64) is None
    True
    """
    for block in blocks:
        if (reason := check_study(BlockShuffle(block=block), image_size)) is not None:
            return f"blocks: {reason}"
    return None


def check_variants(blocks: Sequence[int], variants: Sequence[str]) -> None:
    """Blocks need plain P-T among the variants.

    Raises:
        ValueError: it is not.
    """
    if blocks and "P_T" not in variants:
        raise ValueError("blocks: P-T on shuffled images is compared with P-T, which variants leaves out")


def shuffled_variants(study: "ResolvedStudy", blocks: Sequence[int]) -> dict[int, str]:
    """The variant of each side of a block, largest first: 8 is ``P_T_block_8``.

    Shuffled images are not augmented (a mirrored or shifted image is not what shuffling makes of it), so P-T on whole
    images without augmentation stands between: a block of the image size. It is left out where P-T is the same network.

    Args:
        study: whose.
        blocks: sides of the blocks in pixels; none gives none.
    """
    size = study.data.image_size
    bare = study.recipe(learning_rate=1.0).augmentation == _BARE
    sides = sorted({size, *blocks} if blocks else (), reverse=True)
    return {side: f"P_T_block_{side}" for side in sides if side != size or not bare}


def shuffled_members(
    study: "ResolvedStudy", evidence: "Evidence", blocks: Sequence[int], seeds: Sequence[int]
) -> Iterator[StudyNetwork]:
    """P-T of each block and seed at P-T's rate; each seed has an order of its own. As in ``block_shuffle``.

    Args:
        study: whose.
        evidence: with the rate that was chosen.
        blocks: as in :func:`shuffled_variants`.
        seeds: of the networks.
    """
    for side, variant in shuffled_variants(study, blocks).items():
        for seed in seeds:
            plain = study.trained("P_T", seed, chosen_rate("P_T", evidence))
            assert plain.recipe is not None
            spec: NetworkSpec = plain.model_copy(
                update={
                    "data": study.data.ablated(seeded(BlockShuffle(block=side), seed)),
                    "recipe": plain.recipe.model_copy(update={"augmentation": _BARE}),
                }
            )
            yield StudyNetwork(variant=variant, seed=seed, spec=spec)


def members_of(
    study: "ResolvedStudy",
    evidence: "Evidence",
    variants: Iterable[str],
    blocks: Sequence[int],
    max_seeds: int | None,
) -> list[StudyNetwork]:
    """The networks of an analysis of modules: all variants, then P-T of each block.

    Args:
        study: whose.
        evidence: with the rates that were chosen.
        variants: as in ``study.member``.
        blocks: as in :func:`shuffled_variants`.
        max_seeds: at most so many report seeds of each; None for all.
    """
    seeds = study.seeds[:max_seeds]
    plain = [tuned_member(study, variant, seed, evidence) for variant in variants for seed in seeds]
    return [*plain, *shuffled_members(study, evidence, blocks, seeds)]


def shuffled_notes(table: pl.DataFrame) -> tuple[str, ...]:
    """What a reader of rows of shuffled variants must know; nothing where there are none.

    Args:
        table: with a column ``variant``.
    """
    if not table["variant"].str.contains("_block_").any():
        return ()
    return (
        "P-T on shuffled blocks was trained and is evaluated on shuffled images, without augmentation; a block of "
        "the image size is whole images without augmentation",
    )
