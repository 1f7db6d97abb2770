"""The grid of module criticality with a full forward pass for every point, word by word."""

import copy

import torch
from torch import nn

from transferscope.frozen import derive_seed
from transferscope.networks.batchnorm import recompute


def naive_grid(initial, final, name, names, batches, recompute_on, alphas, sigmas, draws, seed):
    """Mean error of each (α, σ) over draws."""
    first, last = dict(initial.named_parameters()), dict(final.named_parameters())
    noise = []
    for draw in range(draws):
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", name, draw))
        noise.append({key: torch.randn(last[key].shape, generator=generator) for key in names})
    table = {}
    for place, alpha in enumerate(alphas):
        for sigma in sigmas:
            values = []
            for drawn in noise:
                point = copy.deepcopy(final).eval()
                live = dict(point.named_parameters())
                with torch.no_grad():
                    for key in names:
                        value = torch.lerp(last[key], first[key], 1 - alpha)
                        live[key].copy_({0.0: first[key], 1.0: last[key]}.get(alpha, value))
                        live[key].add_(drawn[key], alpha=sigma)
                    recompute(point, recompute_on)
                    values.append(error(point, batches))
            table[place, sigma] = sum(values) / draws
    return table


def error(network: nn.Module, batches) -> float:
    wrong = total = 0
    with torch.no_grad():
        for images, labels in batches:
            wrong += int((network(images).argmax(1) != labels).sum())
            total += len(labels)
    return 1 - (total - wrong) / total
