"""How networks are evaluated: settings that travel together through all methods."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferscope.methods.landscape.buffer_rules import BatchNormPolicy
from transferscope.networks.evaluate import MemoryFormat, Precision, logits, resolve_device
from transferscope.readable import readable

Batches = Iterable[object]


@readable
@dataclass(frozen=True, kw_only=True)
class Execution:
    """How forward passes are computed.

    Attributes:
        device: ``auto`` (cuda, then mps, then cpu), ``cpu``, ``cuda`` or ``mps``.
        memory_format: of weights and images.
        precision: ``bfloat16`` for autocast: faster, and off by about 1e-3.
    """

    device: str | torch.device = "auto"
    memory_format: MemoryFormat = "contiguous"
    precision: Precision = "float32"


@readable
@dataclass(frozen=True, kw_only=True)
class Evaluation(Execution):
    """How loss, error and metric are measured at a point of parameter space.

    Attributes:
        recompute_on: batches of *training* images for batch norm's running statistics, the same at every point, in
            mixed order; needed where there is batch norm and the policy is ``recompute``.
        batch_norm: what happens to running statistics at a point: ``recompute`` estimates them anew on
            ``recompute_on``; ``interpolate`` combines them like weights; ``none`` keeps those of the first network.
            Both of the latter make barriers that are artefacts, and results say so.
        metric: ``top1``, ``top5`` or ``auc``.
        memory: MiB that may be kept of what lies before a module that changes alone; no value depends on it.
    """

    recompute_on: Batches | None = None
    batch_norm: BatchNormPolicy = "recompute"
    metric: str = "top1"
    memory: int = 1024


def outputs_of(network: nn.Module, batches: Batches, execution: Execution) -> tuple[Tensor, Tensor]:
    """Logits of a network in evaluation mode and labels; see :func:`~transferscope.networks.evaluate.logits`."""
    device = resolve_device(execution.device)
    return logits(network, batches, device, execution.precision, execution.memory_format)
