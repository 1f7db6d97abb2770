"""The settings of the choice of a checkpoint."""

from typing import Annotated

from pydantic import Field

from transferscope.analyses.images import OnImages
from transferscope.analyses.tuned import AbstractTuned, OnSeeds
from transferscope.frozen import Once

__all__ = ["CheckpointSettings"]


class CheckpointSettings(AbstractTuned, OnImages, OnSeeds):
    """Which checkpoints of which pre-trainings, and how they are judged.

    Attributes:
        epochs: of the pre-training, 0 is its random start; None takes kept ones. The last is always among them.
        max_epochs: at most so many, evenly spread over the kept ones, where ``epochs`` is None.
        pretrain_seeds: seeds of further pre-trainings like the source's, of which the same checkpoints are taken;
            checkpoints of one run are not independent, so that rank correlations need two runs.
        margin: loss of the metric that counts as nothing, where an earlier checkpoint is called as good as the last.
        max_seeds: at most so many seeds of fine-tuned networks; None for all.
        points: positions on the line between a checkpoint's P-T and the last one's, ends included.
        neighbours: that vote in k-NN.
        penalties: ℓ2 penalties of the linear probe to choose from, on the mean loss.
        n_bootstrap: draws of examples and of the truth, from which an expected regret is computed.
    """

    epochs: tuple[int, ...] | None = Field(default=None, min_length=1)
    max_epochs: int = Field(default=6, ge=3)
    pretrain_seeds: Annotated[tuple[int, ...], Once] = ()
    margin: float = Field(default=0.005, gt=0)
    points: int = Field(default=13, ge=3)
    test_images: int | None = Field(default=None, ge=2)
    neighbours: int = Field(default=10, ge=1)
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(10.0, 1.0, 0.1, 0.01, 0.001, 0.0001), min_length=1
    )
    n_bootstrap: int = Field(default=2000, ge=100)
