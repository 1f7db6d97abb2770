"""A first look: the data, how they are prepared, and what pre-training is worth before any training."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.analyses.estimates import Estimate
from transferscope.data.decoding import BY_DEFAULT
from transferscope.data.sources.base import Listing
from transferscope.errors import DataError
from transferscope.look.data import Examined, examine, first_numbers, read_images, sample
from transferscope.look.quantities import count_of
from transferscope.look.result import Look
from transferscope.look.settings import Clock, LookSettings, OnNumbers, OnStep
from transferscope.study.template import Found, find_data, study_name

if TYPE_CHECKING:
    import numpy as np

    from transferscope.data.images import ImageSet

__all__ = ["look", "look_at_data", "look_at_images"]


def look(
    place: Path, settings: LookSettings, on_numbers: OnNumbers | None = None, on_step: OnStep | None = None
) -> Look:
    """Look at labelled images and at networks that could be fine-tuned on them.

    Each file is read once (300 of them again for sizes and shapes that the networks declare). Nothing is trained but
    linear probes, nothing is fetched, nothing stays on the disk.

    Args:
        place: class folders, Parquet or NumPy files.
        settings: what to look at.
        on_numbers: told what is known before pictures are opened, and again once the files are read.
        on_step: told what is being done, as ``on_step(name, done, total)``.

    Raises:
        DataError: the images cannot be used.
        ArchitectureError: a network is unknown.
        WeightsError: weights cannot be used.
    """
    clock = Clock()
    tell, step = on_numbers or _nothing, on_step or _nothing
    with clock.phase("listing"):
        found = _found(place, settings)
        listing = sample(found.listing, settings.images)
        start = _listed(found, listing, place)
    tell(start)
    size = settings.image_size or found.image_size
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        with clock.phase("reading"):
            images, numbers = read_images(
                listing, size, Path(folder), BY_DEFAULT, lambda done, total: step("reading", done, total)
            )
        with clock.phase("copies"):
            examined = examine(images)
        read = _with_data(start, images, numbers, examined)
        tell(read)
        # Late: everything up to here answers without torch.
        from transferscope.look.networks import with_networks

        return with_networks(read, found, listing, images, examined, settings, clock, step)


def look_at_data(found: Found, place: Path, limit: int) -> Look:
    """The short form without networks: counts and copies, of a part of the images where there are many.

    Args:
        found: the data.
        place: where they lie.
        limit: so many images are read at most, of every class.

    Raises:
        DataError: the images cannot be used.
    """
    listing = sample(found.listing, limit)
    start = _listed(found, listing, place)
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        images, numbers = read_images(listing, found.image_size, Path(folder), BY_DEFAULT)
        return _with_data(start, images, numbers, examine(images))


def look_at_images(
    images: "ImageSet", inside: "np.ndarray", name: str, settings: LookSettings, on_step: OnStep
) -> Look:
    """The short form, of images that are decoded already: counts, copies, and networks against random features.

    Args:
        images: decoded.
        inside: numbers of those that may be probed.
        name: of them.
        settings: models, how many images are probed, and the device; what says how files are read is passed over.
        on_step: as in :func:`look`.

    Raises:
        ArchitectureError: a network is unknown.
        WeightsError: weights cannot be used.
    """
    clock = Clock()
    numbers = first_numbers(images.labels, images.classes, images.given_splits, len(images))
    metric = "auc" if images.multi_label else "top1"
    start = Look(name, name, "images", metric, numbers, images.classes)
    with clock.phase("copies"):
        examined = examine(images)
    read = _with_data(start, images, (count_of("images", len(images), len(images)),), examined)
    from transferscope.look.networks import with_probes

    return with_probes(read, images, inside, examined, settings, clock, on_step)


def _found(place: Path, settings: LookSettings) -> Found:
    try:
        return find_data(place, settings.data)
    except DataError as error:
        if error.expected is not None:
            raise
        # A table of texts is told so: a missing column is not the whole story.
        raise DataError(
            error.what,
            expected="labelled pictures; a look does not read texts, or tables without pictures",
            got=error.got,
            hint=error.hint,
        ) from error


def _listed(found: Found, listing: Listing, place: Path) -> Look:
    whole = len(found.listing.names)
    return Look(
        study_name(place),
        str(place),
        str(found.source.model_dump()["kind"]),
        "auc" if listing.multi_label else "top1",
        first_numbers(listing.labels, listing.classes, listing.splits, whole),
        listing.classes,
        notes=found.notes,
        sampled=len(listing.names) < whole,
    )


def _nothing(*told: object) -> None:
    pass


def _with_data(start: Look, images: "ImageSet", numbers: Sequence[Estimate], examined: Examined) -> Look:
    return replace(
        start,
        numbers=(*start.numbers, *numbers, *examined.numbers),
        duplicates=examined.duplicates,
        unreadable=images.skipped,
        notes=tuple(dict.fromkeys((*start.notes, *images.notes))),
    )
