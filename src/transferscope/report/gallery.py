"""Pictures that analyses give beside their tables, ready for the page.

An analysis shows pictures by returning, among its files, PNG or JPEG files and one or more ``<name>.gallery.json``
(:class:`transferscope.analyses.gallery.Gallery`: title, caption, groups of images with words for those who cannot see
them; ``layout: strip`` for one wide picture below the other). Galleries of equal title become one block, so that each
unit can give its part. The pictures are carried in the page as ``data:`` addresses, the only ones its content policy
allows, up to :data:`PICTURES_BUDGET` for each analysis; what goes beyond lies beside the report alone, and the page
says so. All words are escaped by the template.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from transferscope.analyses.gallery import SUFFIX, Gallery, GalleryGroup, GalleryImage
from transferscope.errors import AnalysisError

PICTURES_BUDGET: Final = 1_500_000
"""Bytes of pictures of one analysis that are carried inside the page."""

FIRST: Final = 12
"""Thumbnails of a group that are seen at once; the others are folded."""

_KINDS: Final = {"PNG": "image/png", "JPEG": "image/jpeg"}
_COARSE: Final = 64


@dataclass(frozen=True)
class ShownPicture:
    """A picture ready for the page."""

    address: str
    width: int
    height: int
    coarse: bool
    alt: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class PictureGroup:
    """Pictures that belong together."""

    title: str
    note: str
    layout: str
    first: tuple[ShownPicture, ...]
    more: tuple[ShownPicture, ...]
    left: int


@dataclass(frozen=True)
class Pictures:
    """One block of the page."""

    title: str
    caption: str
    groups: tuple[PictureGroup, ...]


def galleries(analysis: str, files: Mapping[str, bytes], budget: int = PICTURES_BUDGET) -> tuple[Pictures, ...]:
    """The galleries among the files of an analysis, in the order of their names."""
    blocks: dict[str, tuple[str, list[PictureGroup]]] = {}
    for name in sorted(name for name in files if name.endswith(SUFFIX)):
        gallery = _read(analysis, name, files[name])
        _, groups = blocks.setdefault(gallery.title, (gallery.caption, []))
        for group in gallery.groups:
            shown, budget = _shown(analysis, group, files, budget)
            groups.append(shown)
    return tuple(Pictures(title, caption, tuple(groups)) for title, (caption, groups) in blocks.items())


def _read(analysis: str, name: str, text: bytes) -> Gallery:
    try:
        return Gallery.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise AnalysisError(
            f"{analysis!r} gives a gallery that cannot be read: {name}",
            expected="title, caption and groups of images, as of transferscope.analyses.gallery",
            got=f"{place}: {problem['msg']}" if place else problem["msg"],
        ) from error


def _shown(analysis: str, group: GalleryGroup, files: Mapping[str, bytes], budget: int) -> tuple[PictureGroup, int]:
    pictures: list[ShownPicture] = []
    for place, image in enumerate(group.images):
        if image.file not in files:
            raise AnalysisError(
                f"a gallery of {analysis!r} names a file that is not there",
                expected="a file of the same analysis",
                got=image.file,
            )
        picture = _picture(analysis, image, files[image.file], group.layout == "strip")
        if len(picture.address) > budget:
            left = len(group.images) - place
            break
        budget -= len(picture.address)
        pictures.append(picture)
    else:
        left = 0
    cut = FIRST if group.layout == "grid" else len(pictures)
    return (
        PictureGroup(group.title, group.note, group.layout, tuple(pictures[:cut]), tuple(pictures[cut:]), left),
        budget,
    )


def _picture(analysis: str, image: GalleryImage, data: bytes, strip: bool) -> ShownPicture:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            kind, (width, height) = str(opened.format), opened.size
    except UnidentifiedImageError:
        kind, width, height = "no picture", 0, 0
    if kind not in _KINDS:
        raise AnalysisError(
            f"a gallery of {analysis!r} shows a file that browsers may not show: {image.file}",
            expected="PNG or JPEG",
            got=kind,
        )
    address = f"data:{_KINDS[kind]};base64,{base64.b64encode(data).decode()}"
    coarse = height < _COARSE
    scale = 2 if coarse and strip else 1
    return ShownPicture(address, scale * width, scale * height, coarse, image.alt, image.lines)
