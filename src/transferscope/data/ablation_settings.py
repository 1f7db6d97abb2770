"""Which part of an image is taken away before a network sees it. No torch here."""

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from transferscope.frozen import Frozen

__all__ = [
    "Ablation",
    "BlockShuffle",
    "Grayscale",
    "HighPass",
    "LowPass",
    "PhaseScramble",
    "check_study",
    "divisors",
    "is_identity",
    "seeded",
    "words",
]


class BlockShuffle(Frozen):
    """A square image is cut in blocks that are put in another order, the same for every image, train and test.

    Attributes:
        block: side of a block in pixels; it divides the image size. 1 permutes pixels with their channels together,
            the image size is the identity, ``*`` permutes all values, across channels too.
        seed: of the order.
    """

    kind: Literal["block_shuffle"] = "block_shuffle"
    block: Annotated[int, Field(ge=1)] | Literal["*"]
    seed: int = 0


class PhaseScramble(Frozen):
    """The amplitude spectrum is kept, one fixed random phase is added, the same for every image and channel.

    Attributes:
        seed: of the phase field.
    """

    kind: Literal["phase_scramble"] = "phase_scramble"
    seed: int = 0


class LowPass(Frozen):
    """Only frequencies up to a radius are kept.

    Attributes:
        cutoff: the radius, in cycles per image, itself kept.
    """

    kind: Literal["low_pass"] = "low_pass"
    cutoff: float = Field(gt=0)


class HighPass(Frozen):
    """Only frequencies above a radius are kept; the mean colour goes too.

    Attributes:
        cutoff: the radius, in cycles per image, itself removed.
    """

    kind: Literal["high_pass"] = "high_pass"
    cutoff: float = Field(gt=0)


class Grayscale(Frozen):
    """Every channel shows the luma of the pixel (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B)."""

    kind: Literal["grayscale"] = "grayscale"


Ablation: TypeAlias = Annotated[
    BlockShuffle | PhaseScramble | LowPass | HighPass | Grayscale, Field(discriminator="kind")
]
"""One ablation, told apart by its ``kind``."""


def divisors(size: int) -> tuple[int, ...]:
    """The sides a block of an image of ``size`` pixels may have, smallest first.

    >>> divisors(12)
    (1, 2, 3, 4, 6, 12)
    """
    return tuple(block for block in range(1, size + 1) if size % block == 0)


def is_identity(ablation: Ablation, image_size: int) -> bool:
    """Whether images of this size come out as they went in, whatever the seed.

    >>> is_identity(BlockShuffle(block=64), 64), is_identity(BlockShuffle(block="*"), 64)
    (True, False)
    """
    return isinstance(ablation, BlockShuffle) and ablation.block == image_size


def seeded(ablation: Ablation, seed: int) -> Ablation:
    """The ablation with another seed; as it is where nothing in it is random.

    >>> seeded(PhaseScramble(), 3)
    PhaseScramble(kind='phase_scramble', seed=3)
    """
    if isinstance(ablation, BlockShuffle | PhaseScramble):
        return ablation.model_copy(update={"seed": seed})
    return ablation


def words(ablation: Ablation | None, image_size: int) -> str:
    """The ablation as readers know it.

    >>> [words(BlockShuffle(block=block), 64) for block in (64, 8, 1, "*")]
    ['whole images', 'blocks of 8', 'single pixels', 'all values']
    >>> words(LowPass(cutoff=4), 64), words(None, 64)
    ('low-pass 4', 'whole images')
    """
    match ablation:
        case None:
            return "whole images"
        case BlockShuffle() if is_identity(ablation, image_size):
            return "whole images"
        case BlockShuffle(block="*"):
            return "all values"
        case BlockShuffle(block=block):
            return "single pixels" if block == 1 else f"blocks of {block}"
        case LowPass(cutoff=cutoff):
            return f"low-pass {cutoff:g}"
        case HighPass(cutoff=cutoff):
            return f"high-pass {cutoff:g}"
        case _:
            return ablation.kind.replace("_", " ")


def check_study(ablation: Ablation, image_size: int) -> str | None:
    """Why images of this size cannot have the ablation, and which they can have; None if they can.

    >>> check_study(BlockShuffle(block=5), 12)
    "a block of 5 pixels does not divide the image size 12: give one of 1, 2, 3, 4, 6, 12, or '*'"
    >>> check_study(BlockShuffle(block=4), 12) is None
    True
    """
    match ablation:
        case BlockShuffle(block=int() as block) if image_size % block:
            fits = ", ".join(str(side) for side in divisors(image_size))
            return f"a block of {block} pixels does not divide the image size {image_size}: give one of {fits}, or '*'"
        case LowPass(cutoff=cutoff) | HighPass(cutoff=cutoff) if cutoff >= (highest := _highest(image_size)):
            return (
                f"a cutoff of {cutoff:g} cycles per image leaves all or nothing of an image of {image_size} pixels: "
                f"give one below {highest:.4g}, its highest frequency"
            )
        case _:
            return None


def _highest(image_size: int) -> float:
    return math.hypot(image_size // 2, image_size // 2)
