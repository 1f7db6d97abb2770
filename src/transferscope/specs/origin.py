"""Where a pre-trained network comes from: weights there are, or a pre-training run of our own. No torch here."""

from typing import Self

from pydantic import field_validator, model_validator

from transferscope.frozen import Frozen
from transferscope.specs.architecture import Weights, weights_from_text
from transferscope.specs.pretraining import Pretraining


class AbstractOrigin(Frozen):
    """One of two origins of a pre-trained network.

    Attributes:
        weights: ``timm`` (the weights timm names for the architecture), ``package:NAME``, a path, or the long form.
        pretrain: a data set and a recipe, in place of ``weights``.
    """

    weights: Weights | None = None
    pretrain: Pretraining | None = None

    @field_validator("weights", mode="before")
    @classmethod
    def _weights_from_text(cls, value: object) -> object:
        return weights_from_text(value)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.weights is None) == (self.pretrain is None):
            raise ValueError("give either weights or pretrain: one of the two says what the network was taught")
        return self
