"""What becomes of a network's buffers while its parameters are moved: which move along, and how a result says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from transferscope.errors import ArchitectureError
from transferscope.keys import NO_BATCH_NORM
from transferscope.networks.batchnorm import tracked_norms
from transferscope.networks.derived_buffers import followers_of_data, spectral_norm_buffers
from transferscope.networks.pruning import pruning_masks

BatchNormPolicy = Literal["recompute", "interpolate", "none"]


@dataclass(frozen=True)
class BufferRules:
    """What is known of a network's buffers.

    Attributes:
        movable: names of parameters and buffers that have a right value anywhere between the networks.
    """

    policy: str
    movable: frozenset[str]
    spectral_norms: bool


def buffer_rules(
    network: nn.Module, ends: Sequence[Mapping[str, Tensor]], asked: BatchNormPolicy, example: Tensor
) -> BufferRules:
    """Sort the buffers of a network that is to be moved.

    Args:
        asked: for running statistics: see :class:`~transferscope.methods.landscape.landscape.Landscape`.
    """
    parameters = {name for name, _ in network.named_parameters()}
    fractions = {name for name, buffer in network.named_buffers() if buffer.is_floating_point()}
    norms = tracked_norms(network)
    statistics = {f"{name}.{key}" if name else key for name, norm in norms.items() for key in norm._buffers}
    spectral = spectral_norm_buffers(network)
    known = statistics | spectral | pruning_masks(network).keys()
    followers = followers_of_data(network, known, example[:2])
    if followers and asked == "recompute":
        raise ArchitectureError(
            "these buffers follow the data in training, and nothing recomputes them: " + ", ".join(followers[:5]),
            expected="running statistics of torch's batch and instance norms, or of classes derived from them",
            hint="choose batch_norm='none' (those of the first network everywhere) or, on lines, planes and basins, "
            "'interpolate': the result then says so",
        )
    others = fractions - known
    # Where others differ and were asked to move or to stay, the result must say which.
    unlike = asked != "recompute" and any(not torch.equal(ends[0][name], end[name]) for end in ends for name in others)
    return BufferRules(
        policy=asked if norms or followers or unlike else NO_BATCH_NORM,
        movable=frozenset(parameters | known | (others if asked != "recompute" else set())),
        spectral_norms=bool(spectral),
    )
