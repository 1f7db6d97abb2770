"""P-T trained on block-shuffled images, beside the plain one, for analyses of modules (R4.5). No torch here."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from transferscope.analyses.modules import OnModules
from transferscope.analyses.tuned import AbstractTuned, OnSeeds, chosen_rate
from transferscope.context.study_network import StudyNetwork
from transferscope.data.ablation_settings import BlockShuffle, check_study, seeded
from transferscope.data.spec import Augmentation
from transferscope.frozen import Once
from transferscope.specs.network import NetworkSpec

if TYPE_CHECKING:
    from transferscope.analyses.evidence import Evidence
    from transferscope.context.resolved_study import ResolvedStudy
    from transferscope.study.settings import Study

__all__ = ["AbstractShuffled", "blocks_misfit", "shuffled_members", "shuffled_notes", "shuffled_variants"]

_BARE = Augmentation(flip=False, crop_padding=0)


class AbstractShuffled(AbstractTuned, OnModules, OnSeeds):
    """An analysis of the modules of trained networks, and of P-T trained on shuffled blocks of images.

    Attributes:
        variants: whose networks.
        blocks: sides of blocks in pixels: P-T trained on images shuffled so, beside the plain one, and on whole images
            without augmentation; every one is evaluated on images like those it was trained on.
        granularity: of the modules: ``stage``, ``block`` or ``layer``; the head is one of them.
        memory: MiB that may be kept of what lies before a module.
    """

    variants: Annotated[tuple[Literal["P_T", "RI_T"], ...], Once] = Field(default=("P_T", "RI_T"), min_length=1)
    blocks: Annotated[tuple[int, ...], Once] = ()
    memory: int = Field(default=1024, ge=0)
    # What is kept in memory changes nothing of what comes out.
    not_identity: ClassVar[frozenset[str]] = frozenset({"memory"})

    @model_validator(mode="after")
    def _beside_plain(self) -> Self:
        if self.blocks and "P_T" not in self.variants:
            raise ValueError("blocks: P-T on shuffled images is compared with P-T, which variants leaves out")
        return self

    def check_study(self, study: "Study") -> str | None:
        """Blocks that do not divide the image."""
        return blocks_misfit(self.blocks, study.target.image_size)

    def shuffled(self, study: "ResolvedStudy", evidence: "Evidence") -> list[StudyNetwork]:
        """The networks: all variants, then P-T of each block."""
        blocks = shuffled_members(study, evidence, self.blocks, self.seeds(study))
        return [*self.members(study, evidence, self.variants), *blocks]


def blocks_misfit(blocks: Iterable[int], image_size: int) -> str | None:
    """Why images of this size cannot be cut in these blocks; None if they can.

    >>> blocks_misfit([8, 16], 64) is None
    True
    """
    for block in blocks:
        if (reason := check_study(BlockShuffle(block=block), image_size)) is not None:
            return f"blocks: {reason}"
    return None


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
