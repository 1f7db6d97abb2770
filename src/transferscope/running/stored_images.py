"""Images for networks stored in files: decoded, normalised and divided as the files say."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from transferscope.data.batches import EvaluationBatches, evaluation_batches
from transferscope.data.images import ImageSet
from transferscope.data.mixing import mixed
from transferscope.data.sources import AbstractSource, parse_source
from transferscope.data.spec import Split, SplitSettings
from transferscope.data.splits import make_splits
from transferscope.data.store import open_images
from transferscope.networks.architectures import input_size, input_stats
from transferscope.networks.settings import Architecture, FileWeights

__all__ = ["StoredImages", "image_size_of", "stored_images"]

_DEFAULT_SIZE = 224
_BATCH = 128
_MOST_CLASSES = 20


@final
class StoredImages:
    """Images of a folder, divided as in a study.

    Args:
        images: decoded.
        division: how they are divided.
        known: whether the files name these very images: then they were trained on none of the test images.
        mean: per channel, of values in [0, 1].
        std: per channel.
        device: where batches are wanted.

    Attributes:
        images: as given.
    """

    def __init__(
        self,
        images: ImageSet,
        division: SplitSettings,
        known: bool,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> None:
        self.images = images
        self._division, self._known = division, known
        self._splits = make_splits(images, division)
        self._mean, self._std, self._device = mean, std, device

    @property
    def metric(self) -> str:
        """``auc`` where several labels hold at once, else ``top1``."""
        return "auc" if self.images.multi_label else "top1"

    def batches(self, split: Split, most: int | None = None) -> EvaluationBatches:
        """Batches of a split under the evaluation transform.

        A folder lists one class after the other, and batches of one class give other statistics than those of
        training: they are mixed.

        Args:
            split: ``train``, ``validation`` or ``test``.
            most: so many images at most, of all classes.
        """
        order = self._order(split, most)
        # A batch of one image has no statistics.
        order = order[:-1] if split == "train" and len(order) % _BATCH == 1 else order
        return evaluation_batches(self.images, order, self._mean, self._std, _BATCH, self._device)

    def clusters(self, split: Split) -> npt.NDArray[np.object_] | None:
        """The group of each image of :meth:`batches`; None where there are none."""
        groups = self.images.groups
        return None if groups is None else np.asarray(groups)[self._order(split, None)]

    def notes(self, split: Split) -> tuple[str, ...]:
        """What a reader must know of the images.

        Args:
            split: that was measured on.
        """
        return (self._divided(split), self._named(), *self.images.notes)

    def _order(self, split: Split, most: int | None) -> npt.NDArray[np.int64]:
        return mixed(self.images.labels, self._splits[split], self._division.seed, most)

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
) -> Iterator[StoredImages]:
    """Images of a folder or source, kept on disk within the context.

    Args:
        data: folder with one folder of images per class, or any data source.
        size: height and width in pixels.
        architecture: its normalisation is taken where the files name none.
        facts: of the files: see :func:`~transferscope.running.stored_networks.facts_of`.
        weights: the file.
        device: where batches are wanted.

    Raises:
        DataError: the images cannot be used.
    """
    if "mean" in facts and "std" in facts:
        mean, std = json.loads(facts["mean"]), json.loads(facts["std"])
    else:
        mean, std = input_stats(architecture, FileWeights(path=str(weights)))
    source = data if isinstance(data, AbstractSource) else parse_source({"kind": "folder", "path": str(data)})
    division = SplitSettings(**json.loads(facts["splits"])) if "splits" in facts else SplitSettings()
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        # A study may have left out what it could not read: its division is found again only without those.
        images = open_images(source, size, Path(folder), on_unreadable="skip")
        known = "splits" in facts and facts.get("images") == images.fingerprint
        yield StoredImages(images, division, known, mean, std, device)
