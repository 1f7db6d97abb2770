"""A pre-trained network that may be taken in the source's place, with an architecture and images of its own."""

from typing import Any, final

from transferscope.data.decoding import ImageSize
from transferscope.specs.architecture import Architecture
from transferscope.specs.origin import AbstractOrigin


@final
class Candidate(AbstractOrigin):
    """Another pre-trained network, of any architecture; images are normalised as its weights want them.

    Attributes:
        architecture: as in ``source.architecture``.
        weights: as in ``source.weights``.
        pretrain: a data set and a recipe, in place of ``weights``.
        image_size: height and width of its images in pixels; None takes that of the target. A network that takes
            images of one size alone needs that size here.
    """

    architecture: Architecture
    image_size: ImageSize | None = None

    def identity(self) -> Any:
        """Leave out an image size that is the target's."""
        identity = dict(super().identity())
        if self.image_size is None:
            del identity["image_size"]
        return identity
