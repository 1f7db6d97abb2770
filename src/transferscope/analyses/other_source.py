"""A second pre-trained network beside the source's: what is compared with it differs only in what it was taught."""

from pydantic import field_validator, model_validator

from transferscope.frozen import Frozen
from transferscope.networks.settings import Weights, weights_from_text
from transferscope.training.pretraining import Pretraining

__all__ = ["OtherSource"]


class OtherSource(Frozen):
    """Another pre-trained network of the source's architecture, with images normalised as the source's are.

    Attributes:
        weights: as of ``source.weights``.
        pretrain: a data set and a recipe, in place of ``weights``. Where the source has a pre-training run of its own,
            no more images than it was trained on are used: a stratified part of that size.
    """

    weights: Weights | None = None
    pretrain: Pretraining | None = None

    @field_validator("weights", mode="before")
    @classmethod
    def _weights_from_text(cls, value: object) -> object:
        return weights_from_text(value)

    @model_validator(mode="after")
    def _one_origin(self) -> "OtherSource":
        if (self.weights is None) == (self.pretrain is None):
            raise ValueError("give either weights or pretrain: one of the two says what the other network was taught")
        return self
