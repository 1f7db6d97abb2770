"""What one pass of a network over a set of images leaves: all that distances between sets are computed from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.errors import MeasureError
from transferscope.measures.appearance import colour_moments, spectrum_slope
from transferscope.networks.batch import inputs_of
from transferscope.networks.batchnorm_inputs import InputMoments, LayerMoments, input_moments
from transferscope.networks.features import FEATURES, pooled_features
from transferscope.networks.modules import Granularity
from transferscope.readable import readable

FOLDS = 20
"""Into which images are dealt for the jackknife of batch-norm moments."""
COLOURS = ("red", "green", "blue")
"""Channels, as they are named."""


@readable
@dataclass(frozen=True)
class Domain:
    """A set of images, and what is known of them.

    Attributes:
        loader: images, or tuples that start with them, in mixed order; see
            :func:`~transferscope.networks.batch.inputs_of`.
        groups: ``examples``, what must not be torn apart (a patient, a panel); None where unknown.
        mean: that was subtracted from the images, per channel; colours are then those of the images before. None if
            nothing was.
        std: by which they were divided.
    """

    loader: Iterable[Any]
    groups: Sequence[str] | npt.NDArray[Any] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


@dataclass(frozen=True)
class Observed:
    """What one pass over a set of images leaves.

    Attributes:
        tables: pooled features by part, the last is what enters the head; ``examples features``.
        slopes: ``examples``, NaN for flat images; None for images that are not square.
        groups: ``examples``, what must not be torn apart; None where unknown.
    """

    tables: Mapping[str, Tensor]
    batch_norms: Mapping[str, LayerMoments]
    colours: Tensor | None
    slopes: Tensor | None
    examples: int
    groups: npt.NDArray[Any] | None = None


def observe(
    model: nn.Module,
    domain: Domain,
    head: str,
    *,
    granularity: Granularity = "stage",
    device: str | torch.device = "auto",
    memory_format: Literal["contiguous", "channels_last"] = "contiguous",
) -> Observed:
    """Run a network once over a set of images and keep what distances are computed from; leave it as it was."""
    colours: list[Tensor] = []
    slopes: list[Tensor] = []

    def watched(moments: InputMoments) -> Iterator[Tensor]:
        for batch in domain.loader:
            images = inputs_of(batch)
            moments.begin(len(images))
            pixels = images.detach().cpu().double()
            if domain.mean is not None and domain.std is not None:
                pixels = pixels * torch.tensor(domain.std)[:, None, None] + torch.tensor(domain.mean)[:, None, None]
            if pixels.ndim == 4 and pixels.shape[1] == len(COLOURS):
                colours.append(colour_moments(pixels))
            if pixels.ndim == 4 and pixels.shape[2] == pixels.shape[3] >= 8:
                slopes.append(spectrum_slope(pixels))
            yield images

    with input_moments(model, FOLDS) as moments:
        found = pooled_features(
            model, watched(moments), head, granularity=granularity, device=device, memory_format=memory_format
        )
    examples = len(found.tables[FEATURES])
    names = None if domain.groups is None else np.asarray(domain.groups)
    if names is not None and names.shape != (examples,):
        raise MeasureError("groups must name the group of each image", expected=f"({examples},)", got=str(names.shape))
    return Observed(
        tables=found.tables,
        batch_norms=moments.layers,
        colours=torch.cat(colours) if colours else None,
        slopes=torch.cat(slopes) if slopes else None,
        examples=examples,
        groups=names,
    )
