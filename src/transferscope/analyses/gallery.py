"""Pictures an analysis shows in the report: files beside its table, and one that says how to lay them out.

``<name>.gallery.json`` lists groups of image files of the same unit or of another. Galleries of equal title are shown
as one, their groups in the order of the file names, so that units can each give a part.
"""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from transferscope.frozen import Frozen

__all__ = ["SUFFIX", "Gallery", "GalleryGroup", "GalleryImage", "gallery_files"]

SUFFIX: Final = ".gallery.json"
"""What the name of a gallery's file ends with."""


class GalleryImage(Frozen):
    """One picture.

    Attributes:
        file: a PNG or JPEG file among the files of the analysis.
        alt: the picture in words, for those who cannot see it.
        lines: of the caption below it, the most important first.
    """

    file: str
    alt: str = Field(min_length=1)
    lines: tuple[str, ...] = ()


class GalleryGroup(Frozen):
    """Pictures that belong together.

    Attributes:
        title: a few words.
        note: how many there are and how they were chosen.
        layout: ``grid``: thumbnails side by side; ``strip``: each as wide as it is, one below the other.
        images: in the order shown; none says that there is none.
    """

    title: str
    note: str = ""
    layout: Literal["grid", "strip"] = "grid"
    images: tuple[GalleryImage, ...] = ()


class Gallery(Frozen):
    """Groups of pictures.

    Attributes:
        title: a few words; galleries of equal title are joined.
        caption: what is shown and by what rule it was chosen.
        groups: in order.
    """

    title: str
    caption: str = ""
    groups: tuple[GalleryGroup, ...]


def gallery_files(name: str, gallery: Gallery, pictures: Mapping[str, bytes]) -> dict[str, bytes]:
    """What a unit returns as files: the pictures and the gallery that shows them.

    Args:
        name: unique among the units of the analysis.
        gallery: shows the pictures.
        pictures: PNG or JPEG, by file name.
    """
    text = gallery.model_dump_json(indent=1)
    return {f"{name}{SUFFIX}": text.encode(), **pictures}
