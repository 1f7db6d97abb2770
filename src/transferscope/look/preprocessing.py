"""How images are prepared against what the network declares, and what another way costs the probe."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from transferscope.analyses.estimates import Estimate
from transferscope.data.decoding import MAX_IMAGE_SIZE, Decoding
from transferscope.data.images import ImageSet
from transferscope.data.sources.base import Listing
from transferscope.errors import DataError
from transferscope.look.data import read_images
from transferscope.look.probes import Examples, Input, network_features, read_features
from transferscope.look.quantities import QUANTITIES
from transferscope.networks.architectures import IMAGENET_MEAN, IMAGENET_STD
from transferscope.networks.on_disk import DeclaredInput

__all__ = ["Prepared", "preprocessing_costs", "read_again"]

_IMAGES: Final = 300
_APART: Final = 0.01
"""Means and deviations nearer than that are the same."""
_OBLONG: Final = 0.05
"""Share of pictures that are not square from which squashing is tried."""


@dataclass(frozen=True)
class Prepared:
    """A network and how its images are prepared.

    Attributes:
        name: of the network.
        network: and the name of its head.
        declared: by timm, or by the package of the weights.
        given: as used.
        table: features of all examples, prepared as used.
        device: where to compute.
    """

    name: str
    network: tuple[nn.Module, str]
    declared: DeclaredInput
    given: Input
    table: Tensor
    device: torch.device


def preprocessing_costs(
    prepared: Prepared, examples: Examples, listing: Listing, decoding: Decoding, oblong: float
) -> Iterator[Estimate]:
    """The metric of the linear probe under each other preparation, less that of the one in use, on the same images.

    Sizes, crops and shapes are read from the files again, of these images alone.

    Args:
        prepared: the network.
        examples: that were probed.
        listing: of all images that were read.
        decoding: as used.
        oblong: share of pictures that are not square.
    """
    places = examples.part(_IMAGES)
    few = examples.at(places)
    base = read_features(prepared.table[places], few).linear
    for change, make in _changes(prepared, few, listing, decoding, oblong):
        table = make()
        scores = read_features(table, few).linear
        yield QUANTITIES["preprocessing"].of(few.interval(scores, base), model=prepared.name, change=change)


def _changes(
    prepared: Prepared, few: Examples, listing: Listing, decoding: Decoding, oblong: float
) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    given, declared = prepared.given, prepared.declared

    def features(images: ImageSet, chosen: np.ndarray, one: Input) -> Tensor:
        return network_features(prepared.network, images, chosen, one, prepared.device)

    def again(size: int, crop: float, how: Decoding) -> Tensor:
        with read_again(few, listing, round(size / crop), how) as images:
            return features(images, np.arange(len(images)), replace(given, cut=size))

    yield "unnormalised", lambda: features(few.images, few.chosen, replace(given, mean=(0.0,) * 3, std=(1.0,) * 3))
    apart = np.abs(np.subtract([*given.mean, *given.std], [*IMAGENET_MEAN, *IMAGENET_STD])).max()
    if apart > _APART:
        yield (
            "imagenet_stats",
            lambda: features(few.images, few.chosen, replace(given, mean=IMAGENET_MEAN, std=IMAGENET_STD)),
        )
    size, crop = declared.size, declared.crop or 1.0
    if size is not None and given.size is None and size != few.images.image_size and size / crop <= MAX_IMAGE_SIZE:
        yield "declared_size", lambda: again(size, crop, decoding)
    if oblong > _OBLONG:
        yield "squash", lambda: again(few.images.image_size, 1.0, decoding.model_copy(update={"fit": "squash"}))


@contextmanager
def read_again(
    few: Examples,
    listing: Listing,
    size: int,
    decoding: Decoding,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[ImageSet]:
    """Decode examples at another size or shape, in their order, into a folder that is gone afterwards.

    Args:
        few: the examples.
        listing: of all images that were read.
        size: height and width in pixels.
        decoding: how.
        progress: called as ``progress(done, total)``.

    Raises:
        DataError: a picture cannot be read any more.
    """
    numbers = {name: number for number, name in enumerate(listing.names)}
    wanted = [numbers[few.images.names[int(k)]] for k in few.chosen]
    inner = listing.read

    def part(values: Any) -> Any:
        return None if values is None else [values[k] for k in wanted]

    fewer = replace(
        listing,
        names=part(listing.names),
        labels=np.zeros(len(wanted), dtype=np.int64) + np.arange(len(wanted)) % 2,  # a listing needs two classes
        classes=("a", "b"),
        multi_label=False,
        read=lambda number: inner(wanted[number]),
        splits=None,
        groups=None,
    )
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        images, _ = read_images(fewer, size, Path(folder), decoding, progress)
        if len(images) != len(wanted):
            raise DataError(
                "pictures that were read before cannot be read any more",
                expected=f"{len(wanted)} pictures",
                got=f"{len(images)}",
                hint="look again once nobody writes to the folder",
            )
        yield images
