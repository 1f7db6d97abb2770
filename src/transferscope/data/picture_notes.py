"""What decoding took from pictures, counted, in sentences."""

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import final

from transferscope.data.decoding import Decoding

_SHOWN = 3


class Trait(Enum):
    """What a reader must know of a picture; each is told with a number.

    Attributes:
        NOT_SQUARE: share of its longer side that lies outside the central square.
        DEEP: more than 8 bits of grey; the highest value.
        UPPER_BITS: 16 bits of colour, of which 8 are read; the highest of those.
    """

    NOT_SQUARE = auto()
    PAGES = auto()
    METADATA = auto()
    DEEP = auto()
    UPPER_BITS = auto()
    CLIPPED = auto()
    TRANSPARENT = auto()
    CMYK = auto()


def named(names: Sequence[str]) -> str:
    """The first names of a list, with dots where there are more.

    >>> named(["a", "b", "c", "d"])
    'a, b, c, …'
    """
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


@final
class PictureNotes:
    """Counts traits over all pictures of a source."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._names: dict[Trait, list[str]] = {trait: [] for trait in Trait}
        self._values: dict[Trait, list[float]] = {trait: [] for trait in Trait}

    def add(self, name: str, traits: Sequence[tuple[Trait, float]]) -> None:
        """Count one picture."""
        for trait, value in dict(traits).items():
            self._names[trait].append(name)
            self._values[trait].append(value)

    def lines(self, total: int) -> list[str]:
        """One sentence for each trait that any picture has."""
        return [
            self._sentence(trait, f"{len(names):,} of {total:,} images ({named(names)})", self._values[trait])
            for trait, names in self._names.items()
            if names
        ]

    def _sentence(self, trait: Trait, images: str, values: list[float]) -> str:
        middle, highest = sorted(values)[len(values) // 2], max(values)
        match trait:
            case Trait.NOT_SQUARE if self._decoding.fit == "crop":
                return (
                    f"not square: {images}; what lies outside the central square is cut off, {middle:.0%} of the area "
                    f"(median; at most {highest:.0%}); --set target.fit=squash keeps all of it, in another shape"
                )
            case Trait.NOT_SQUARE:
                return f"not square: {images}; their longer side is squashed, by {highest:.0%} at most"
            case Trait.PAGES:
                return f"more than one page or frame: {images}; the first is taken"
            case Trait.METADATA:
                return f"damaged metadata (EXIF and the like): {images}; they are taken as they lie, without it"
            case Trait.DEEP:
                return f"more than 8 bits of grey: {images}; {self._deep(highest)}"
            case Trait.UPPER_BITS:
                left = "" if highest >= 128 else f", at most {highest + 1:.0f} of 256 levels of a channel are left"
                brighter = self._brighter(highest * 257, "brightens them")
                return f"16 bits a channel in colour: {images}; the upper 8 are read{left}{brighter}"
            case Trait.CLIPPED:
                return f"values beyond target.black_level or target.white_level: {images}; shown black or white"
            case Trait.TRANSPARENT:
                return f"transparent pixels: {images}; they show white"
            case Trait.CMYK:
                return f"CMYK: {images}; converted to RGB without their colour profile"

    def _deep(self, highest: float) -> str:
        black, white = self._decoding.black_level or 0.0, self._decoding.white_level
        top = white if white is not None else 1.0 if highest <= 1 else 65535.0
        levels = min(256, round((highest - black) / (top - black) * 255) + 1)
        left = "" if levels == 256 else f", at most {max(1, levels)} of 256 levels are left"
        apart = self._brighter(highest, "keeps the levels apart") if top > 1 else ""
        return f"values from {black:g} to {top:g} become 0 to 255, the highest is {highest:g}{left}{apart}"

    def _brighter(self, highest: float, what: str) -> str:
        if self._decoding.white_level is not None or highest >= 32768:
            return ""
        level = 2 ** max(1, math.ceil(math.log2(highest + 1))) - 1
        return f"; where {level} is white, --set target.white_level={level} {what}"
