"""Settings of how pictures become squares of 8-bit RGB. No decoding library here."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from transferscope.frozen import Frozen

__all__ = ["BY_DEFAULT", "MAX_IMAGE_SIZE", "MIN_IMAGE_SIZE", "Decoding", "Fit", "ImageSize"]

MIN_IMAGE_SIZE: Final = 8
MAX_IMAGE_SIZE: Final = 8192
"""A square of this side takes 200 MB; networks for images read far smaller ones."""

ImageSize = Annotated[int, Field(ge=MIN_IMAGE_SIZE, le=MAX_IMAGE_SIZE)]

Fit = Literal["crop", "squash"]
"""``crop``: short side to the size, centre cut out. ``squash``: both sides to the size, shape not kept."""


class Decoding(Frozen):
    """How pictures become squares of 8-bit RGB.

    Attributes:
        fit: how an image that is not square becomes square: cut at the centre, or squashed.
        white_level: pixel value that is shown white, of pictures with more than 8 bits a channel (4095 for 12 bits
            stored in 16); values above it are white too. None takes the highest value of the type (65535; 1 for
            floating-point numbers), and a picture beyond it is unreadable.
        black_level: pixel value that is shown black, of the same pictures; None takes 0, and a picture below it is
            unreadable.
        max_pixels: a picture of more pixels is unreadable: a small file can ask for all memory.
        duplicates: ``group``: a split never tears equal pictures apart, as it never tears a group apart; ``ignore``:
            they are divided like any others.
    """

    fit: Fit = "crop"
    white_level: float | None = None
    black_level: float | None = None
    max_pixels: int = Field(default=178_956_970, ge=1)
    duplicates: Literal["group", "ignore"] = "group"
    decoding_fields: ClassVar[tuple[str, ...]] = ("white_level", "black_level", "max_pixels", "duplicates")

    @model_validator(mode="after")
    def _levels_differ(self) -> "Decoding":
        if self.white_level is not None and self.white_level <= (self.black_level or 0):
            raise ValueError(f"white_level must be above black_level ({self.black_level or 0:g})")
        return self

    def changed(self) -> dict[str, Any]:
        """What decodes otherwise than by default, ``fit`` aside."""
        values = {name: getattr(self, name) for name in self.decoding_fields}
        return {name: value for name, value in values.items() if value != Decoding.model_fields[name].default}

    def identity(self) -> Any:
        """As in :class:`Frozen`; without the settings that are at their default, which came later than keys."""
        kept = self.changed()
        return {
            name: value
            for name, value in dict(super().identity()).items()
            if name not in self.decoding_fields or name in kept
        }


BY_DEFAULT: Final = Decoding()
