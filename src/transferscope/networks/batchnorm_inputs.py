"""Moments of what enters each batch norm, beside the statistics it holds."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferscope.networks.activations import entering


@dataclass
class LayerMoments:
    """Of one batch norm.

    Attributes:
        running_mean: ``channels``, as the layer holds it.
        counts: ``folds``: values per channel that were seen.
        sums: ``folds channels``, float64 (float32 on devices without it): sums of the values.
    """

    running_mean: Tensor
    running_variance: Tensor
    epsilon: float
    counts: Tensor
    sums: Tensor
    squares: Tensor

    def moments(self, without: int | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance per channel over all folds, or all but one."""
        kept = torch.ones_like(self.counts)
        if without is not None:
            kept[without] = 0
        total = (kept * self.counts).sum()
        mean = (kept[:, None] * self.sums).sum(0) / total
        square = (kept[:, None] * self.squares).sum(0) / total
        return mean, (square - mean.square()).clamp(min=0)


@final
@dataclass
class InputMoments:
    """What :func:`input_moments` collects.

    Attributes:
        folds: into which images are dealt in turn, for jackknife errors.
        examples: images so far; count a batch by :meth:`begin` before it goes through the network.
    """

    folds: int
    layers: dict[str, LayerMoments] = field(default_factory=dict)
    examples: int = 0
    batch: int = 0

    def begin(self, batch: int) -> None:
        """Say how many images go through the network next."""
        self.examples += self.batch
        self.batch = batch

    def add(self, name: str, layer: _BatchNorm, values: Tensor) -> None:
        """Count what enters a layer: ``examples channels ...``."""
        wide = torch.float32 if values.device.type == "mps" else torch.float64
        flat = values.detach().flatten(2) if values.ndim > 2 else values.detach()[:, :, None]
        flat = flat.to(wide)
        fold = ((torch.arange(len(flat)) + self.examples) % self.folds).to(flat.device)
        if name not in self.layers:
            # For the type checker: only layers with statistics are watched.
            assert layer.running_mean is not None
            assert layer.running_var is not None
            zeros = torch.zeros(self.folds, flat.shape[1], dtype=wide, device=flat.device)
            self.layers[name] = LayerMoments(
                layer.running_mean.detach().clone(),
                layer.running_var.detach().clone(),
                layer.eps,
                torch.zeros(self.folds, dtype=wide, device=flat.device),
                zeros,
                zeros.clone(),
            )
        seen = self.layers[name]
        seen.counts.index_add_(0, fold, torch.full((len(flat),), float(flat.shape[2]), dtype=wide, device=flat.device))
        seen.sums.index_add_(0, fold, flat.sum(2))
        seen.squares.index_add_(0, fold, flat.square().sum(2))


@contextmanager
def input_moments(model: nn.Module, folds: int = 20) -> Iterator[InputMoments]:
    """Collect what enters each batch norm with running statistics while a network runs; hooks are removed on leaving.

    Args:
        model: run in evaluation mode by the caller, who calls ``begin(batch size)`` before each forward pass.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm2d(1)).eval()
        >>> with input_moments(net, folds=2) as found:
        ...     found.begin(2)
        ...     _ = net(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1))
        >>> [float(value) for value in found.layers["0"].moments()]
        [2.0, 1.0]
    """
    found = InputMoments(folds)

    def watch(name: str, layer: _BatchNorm) -> Any:
        return lambda _module, args, kwargs: found.add(name, layer, entering(args, kwargs))

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                stack.callback(module.register_forward_pre_hook(watch(name, module), with_kwargs=True).remove)
        yield found
