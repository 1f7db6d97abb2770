"""What a training optimises: the network itself, or something made of its parameters."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PrefixBudget:
    """MiB that may be kept of what frozen first modules give; no value depends on it.

    Attributes:
        disk: of a mapped file, where memory is not enough.
    """

    memory: int = 2048
    disk: int = 8192


class Objective(abc.ABC):
    """What an update computes with, and what is measured after an epoch; the parameters are always the network's.

    All it draws comes from the epoch and the update, so that a resumed training draws the same.

    Attributes:
        prefix_budget: how much may be kept of frozen first modules; None: every update needs its images.
    """

    prefix_budget: PrefixBudget | None = None

    @abc.abstractmethod
    def logits(self, inputs: Any, epoch: int, step: int) -> Tensor:
        """Compute the logits of one update, with gradients.

        Args:
            inputs: images, or what was kept of them.
            epoch: of the update.
            step: its number within the epoch.
        """

    @abc.abstractmethod
    def before_step(self) -> None:
        """Called once per update, after gradient clipping and after the learning rate is set."""

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
        prefix_budget: see :class:`Objective`.
    """

    def __init__(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, prefix_budget: PrefixBudget | None = PrefixBudget()
    ) -> None:
        self._model = model
        self.prefix_budget = prefix_budget

    def logits(self, inputs: Tensor, epoch: int, step: int) -> Tensor:
        """Run the network."""
        outputs: Tensor = self._model(inputs)
        return outputs

    def before_step(self) -> None:
        """Do nothing: the optimiser decays weights by itself."""

    def measured(self) -> nn.Module:
        """The network."""
        return self._model
