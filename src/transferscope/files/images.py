"""Images for networks stored in files: decoded, normalised and divided as the files say."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from transferscope.data.batches import EvaluationBatches
from transferscope.data.decode_all import peek
from transferscope.data.images import ImageSet
from transferscope.data.sources import AbstractSource
from transferscope.data.sources.guess import source_at
from transferscope.data.spec import Split, SplitSettings
from transferscope.data.splits import make_splits
from transferscope.data.store import open_images
from transferscope.data.stratified_shuffle import stratified_shuffle
from transferscope.networks.architectures import input_size, input_stats
from transferscope.specs.architecture import Architecture, FileWeights

_DEFAULT_SIZE = 224
_BATCH = 128
_MOST_CLASSES = 20
_LOOKED_AT = 24
_FAR_SMALLER = 2  # times: pictures that much enlarged hold nothing at the size they are given


@final
class StoredImages:
    """Images of a folder, divided as in a study."""

    def __init__(
        self,
        images: ImageSet,
        division: SplitSettings,
        known: bool,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        prepared: tuple[str, ...] = (),
    ) -> None:
        self.images, self._prepared = images, prepared
        self._division, self._known = division, known
        self._splits = make_splits(images, division)
        self._mean, self._std, self._device = mean, std, device

    @property
    def prepared(self) -> dict[str, object]:
        """What the images are and how they were made: as the metadata of a network that reads them alike say it."""
        return {
            "image_size": self.images.image_size,
            "mean": self._mean,
            "std": self._std,
            "class_names": self.images.classes,
        }

    @property
    def metric(self) -> str:
        """``auc`` where several labels hold at once, else ``top1``."""
        return "auc" if self.images.multi_label else "top1"

    def batches(self, split: Split, most: int | None = None) -> EvaluationBatches:
        """Batches of a split under the evaluation transform.

        A folder lists one class after the other, and batches of one class give other statistics than those of training:
        they are mixed.
        """
        order = self._order(split, most)
        # A batch of one image has no statistics.
        order = order[:-1] if split == "train" and len(order) % _BATCH == 1 else order
        return EvaluationBatches(self.images, order, self._mean, self._std, _BATCH, self._device)

    def clusters(self, split: Split, most: int | None = None) -> npt.NDArray[np.object_] | None:
        """The group of each image of :meth:`batches`; None where there are none."""
        groups = self.images.groups
        return None if groups is None else np.asarray(groups)[self._order(split, most)]

    def notes(self, split: Split) -> tuple[str, ...]:
        """What a reader must know of the images."""
        return (self._divided(split), self._named(), *self._prepared, *self.images.notes)

    def _order(self, split: Split, most: int | None) -> npt.NDArray[np.int64]:
        return stratified_shuffle(self.images.labels, self._splits[split], self._division.seed, most)

    def _divided(self, split: Split) -> str:
        shown = len(self._splits[split])
        said = f"measured on {shown:,} of {len(self.images):,} images, {self.images.image_size} px"
        if self._known:
            return f"{said}: the {split} images of the study that the files name"
        return (
            f"{said}; the files do not say that the networks were trained on others of these images: where they were "
            "trained on the same, they look better than they are"
        )

    def _named(self) -> str:
        # The files do not name their classes: a reader must compare.
        classes = self.images.classes
        more = f" and {len(classes) - _MOST_CLASSES} more" if len(classes) > _MOST_CLASSES else ""
        return f"classes, in the order of the outputs: {', '.join(classes[:_MOST_CLASSES])}{more}"


def image_size_of(architecture: Architecture, facts: Mapping[str, str], image_size: int | None) -> int:
    """Height and width in pixels: given, else of the files, else what timm declares for the architecture, else 224."""
    return image_size or int(facts.get("image_size", 0)) or input_size(architecture) or _DEFAULT_SIZE


@contextmanager
def stored_images(
    data: Path | AbstractSource,
    size: int,
    architecture: Architecture,
    facts: Mapping[str, str],
    weights: Path,
    device: torch.device,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[StoredImages]:
    """Images of a place on disk or a source, kept on disk within the context.

    Before pictures are decoded it is said at what size and by which mean and standard deviation, and whether they are
    far smaller than that.
    """
    known = "mean" in facts and "std" in facts
    if known:
        mean, std = json.loads(facts["mean"]), json.loads(facts["std"])
    else:
        mean, std = input_stats(architecture, FileWeights(path=str(weights)))
    source, left_out = (data, ()) if isinstance(data, AbstractSource) else source_at(data, {})[::2]
    prepared = (_normalised(size, mean, std, architecture, known=known), *_too_small(source, size), *left_out)
    if on_note is not None:
        for note in prepared:
            on_note(note)
    division = SplitSettings(**json.loads(facts["splits"])) if "splits" in facts else SplitSettings()
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        # A study may have left out what it could not read: its division is found again only without those.
        images = open_images(source, size, Path(folder), on_unreadable="skip")
        trained = "splits" in facts and facts.get("images") == images.fingerprint
        yield StoredImages(images, division, trained, mean, std, device, prepared)


def _normalised(
    size: int, mean: tuple[float, ...], std: tuple[float, ...], architecture: Architecture, *, known: bool
) -> str:
    shown = ["(" + ", ".join(f"{value:g}" for value in values) + ")" for values in (mean, std)]
    declared = input_size(architecture)
    more = "" if declared in (None, size) else f" (timm declares {declared} for {architecture.name})"
    source = "as the file says" if known else f"as {architecture.name} takes them, for the file does not say"
    return f"images of {size} × {size} pixels{more}; mean {shown[0]}, std {shown[1]}, {source}"


def _too_small(source: AbstractSource, size: int) -> list[str]:
    """A warning where pictures are enlarged so far that the network was hardly trained on them at this size."""
    listing = source.listing()
    looked = range(0, len(listing.names), max(1, len(listing.names) // _LOOKED_AT))
    sides = [min(size) for size in peek(listing, looked)[0]]  # decoding tells of those that cannot be read
    middle = sorted(sides)[len(sides) // 2] if sides else size
    if size < _FAR_SMALLER * middle:
        return []
    return [
        f"warning: the pictures are about {middle} pixels wide, far smaller than {size}: if the networks were trained "
        f"at another size, give it: --image-size {max(middle, 8)}, which also takes about {(size / middle) ** 2:.0f} "
        "times less"
    ]
