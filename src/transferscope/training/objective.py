"""What a training works on: the network itself, or something that is made of its parameters."""

import abc
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

__all__ = ["Objective", "ObjectiveFactory", "WholeNetwork"]


class Objective(abc.ABC):
    """What an update computes with, and what is measured after an epoch; the parameters are always the network's.

    All it draws comes from the epoch and the update, so that a resumed training draws the same.
    """

    @abc.abstractmethod
    def logits(self, images: Tensor, epoch: int, step: int) -> Tensor:
        """Of an update, with gradients.

        Args:
            images: of its batch.
            epoch: from 1.
            step: update of the epoch, from 0.
        """

    @abc.abstractmethod
    def before_step(self) -> None:
        """Asked once in an update, when all gradients are there and clipped and the rate is set."""

    @abc.abstractmethod
    def measured(self) -> nn.Module:
        """The network whose clean loss and metric the history records."""


ObjectiveFactory = Callable[[nn.Module, torch.optim.Optimizer], Objective]
"""Makes the objective of a network on its device and the optimiser over it."""


@final
class WholeNetwork(Objective):
    """The network itself: ordinary training.

    Args:
        model: on its device.
        optimiser: over it; it needs no help.
    """

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self._model = model

    def logits(self, images: Tensor, epoch: int, step: int) -> Tensor:
        """Those of the network."""
        outputs: Tensor = self._model(images)
        return outputs

    def before_step(self) -> None:
        """Nothing: the optimiser decays weights by itself."""

    def measured(self) -> nn.Module:
        """The network."""
        return self._model
