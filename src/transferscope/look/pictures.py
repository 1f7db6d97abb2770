"""The pictures of a look: copies, doubted labels and confused classes, as galleries."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from PIL import Image

from transferscope.analyses.gallery import Gallery, GalleryGroup, GalleryImage, gallery_files
from transferscope.data.images import ImageSet
from transferscope.look.result import Confusion, DuplicateSet, Suspect

__all__ = ["look_files"]

Picture = Callable[..., GalleryImage]

_SIDE: Final = 96
_SETS: Final = 6
_OF_SET: Final = 4
_SUSPECTS: Final = 36


def look_files(
    images: ImageSet,
    duplicates: Sequence[DuplicateSet],
    suspects: Sequence[Suspect],
    confusions: Sequence[Confusion],
) -> dict[str, bytes]:
    """Galleries named ``duplicates``, ``suspects`` and ``confusions``, and their pictures.

    Args:
        images: decoded.
        duplicates: sets of copies, the first of which are shown.
        suspects: doubted labels, the first of which are shown.
        confusions: pairs of classes.
    """
    shown: dict[int, str] = {}

    def picture(number: int, *lines: str) -> GalleryImage:
        file = shown.setdefault(number, f"{number}.jpg")
        return GalleryImage(file=file, alt=f"{images.names[number]}: {', '.join(lines[:1])}", lines=lines)

    groups = {
        "duplicates": ("The same picture more than once", tuple(_copies(duplicates, picture))),
        "suspects": ("Labels in doubt", tuple(_doubted(suspects, picture))),
        "confusions": ("Confused classes", tuple(_pairs(confusions, picture))),
    }
    files: dict[str, bytes] = {}
    for name, (title, parts) in groups.items():
        if parts:
            files |= gallery_files(name, Gallery(title=title, groups=parts), {})
    return files | {file: _thumbnail(images.pixels(number)) for number, file in shown.items()}


def _copies(duplicates: Sequence[DuplicateSet], picture: Picture) -> Iterator[GalleryGroup]:
    for number, item in enumerate(duplicates[:_SETS], start=1):
        places = item.splits or ("",) * len(item.images)
        yield GalleryGroup(
            title=f"{number}",
            note=f"{len(item.images)} files",
            images=tuple(
                picture(k, label, *((where,) if where else ()), name)
                for k, label, where, name in list(zip(item.images, item.labels, places, item.names, strict=True))[
                    :_OF_SET
                ]
            ),
        )


def _doubted(suspects: Sequence[Suspect], picture: Picture) -> Iterator[GalleryGroup]:
    if suspects:
        yield GalleryGroup(
            title="Most doubted first",
            images=tuple(
                picture(item.image, f"{item.label} → {item.suggested}?", item.name) for item in suspects[:_SUSPECTS]
            ),
        )


def _pairs(confusions: Sequence[Confusion], picture: Picture) -> Iterator[GalleryGroup]:
    for item in confusions:
        yield GalleryGroup(
            title=f"{item.label} and {item.rival}",
            note=f"{item.count} images",
            images=tuple(
                picture(k, note, name) for k, note, name in zip(item.images, item.notes, item.names, strict=True)
            ),
        )


def _thumbnail(pixels: np.ndarray) -> bytes:
    small = Image.fromarray(pixels)
    small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    # JPEG: hundreds of PNG photographs would not fit a page.
    small.save(file, format="JPEG", quality=82)
    return file.getvalue()
