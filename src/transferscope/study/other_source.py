"""A second pre-trained network beside the source's: what is compared with it differs only in what it was taught."""

from typing import final

from transferscope.specs.origin import AbstractOrigin

__all__ = ["OtherSource"]


@final
class OtherSource(AbstractOrigin):
    """Another pre-trained network of the source's architecture, with images normalised as the source's are.

    Attributes:
        weights: as in ``source.weights``.
        pretrain: a data set and a recipe, in place of ``weights``. Where the source has a pre-training run of its own,
            no more images than it was trained on are used: a stratified part of that size.
    """
