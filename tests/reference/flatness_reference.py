"""Filter-normalised directions and Hessians, slow and literal."""

import math

import torch
from torch import Tensor, nn

from transferscope.frozen import derive_seed


def direction(parameters: dict[str, Tensor], seed: int, normalise: bool = False) -> dict[str, Tensor]:
    """Number by number: draw, then scale each filter to the norm of the network's own."""
    found = {}
    for name, value in parameters.items():
        if value.ndim < 2 and not normalise:
            continue
        generator = torch.Generator().manual_seed(derive_seed(seed, "direction", name))
        drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        filters = list(range(len(value))) if value.ndim >= 2 else [slice(None)]
        for index in filters:
            own = math.sqrt(sum(float(number) ** 2 for number in value[index].detach().reshape(-1)))
            random = math.sqrt(sum(float(number) ** 2 for number in drawn[index].reshape(-1)))
            drawn[index] *= own / random
        found[name] = drawn
    return found


def moved(network: nn.Module, along: dict[str, Tensor], radius: float) -> dict[str, Tensor]:
    """θ + radius·d/‖d‖."""
    norm = math.sqrt(sum(float((part**2).sum()) for part in along.values()))
    return {
        name: value.detach().double() + radius / norm * along[name] if name in along else value.detach().double()
        for name, value in network.named_parameters()
    }


def dense_hessian(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """∇² of the mean loss over all parameters in float64, evaluation mode; ``parameters parameters``."""
    model = network.double().eval()
    names = [name for name, _ in model.named_parameters()]
    values = [value.detach() for _, value in model.named_parameters()]
    buffers = dict(model.named_buffers())

    def loss(flat: Tensor) -> Tensor:
        parts = [part.reshape(value.shape) for part, value in zip(flat.split(sizes), values, strict=True)]
        logits = torch.func.functional_call(model, {**dict(zip(names, parts, strict=True)), **buffers}, images.double())
        if labels.ndim == 1:
            return nn.functional.cross_entropy(logits, labels.long())
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.double())

    sizes = [value.numel() for value in values]
    return torch.autograd.functional.hessian(loss, torch.cat([value.reshape(-1) for value in values]))
