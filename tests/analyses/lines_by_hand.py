"""Small networks, images, and the points of a line between networks by hand."""

import copy

import numpy as np
import torch
from torch import nn

from tests.studies import Tiny

CPU = torch.device("cpu")


def images(count: int = 24, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator), torch.randint(3, (count,), generator=generator)


def batches(count: int = 24, size: int = 10, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x, y = images(count, seed)
    return list(zip(x.split(size), y.split(size), strict=True))


def network(seed: int, norm: bool = True, **changes) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Tiny(3, changes.pop("width", 4), norm)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0.0))
            else:
                buffer.fill_(7 + seed)
    return model


def literal(model: nn.Module, data) -> tuple[np.ndarray, np.ndarray]:
    """Losses and errors of every example, one batch at a time."""
    losses, errors = [], []
    model.eval()
    with torch.no_grad():
        for x, y in data:
            out = model(x).double()
            losses.append(nn.functional.cross_entropy(out, y, reduction="none"))
            errors.append((out.argmax(1) != y).double())
    return torch.cat(losses).numpy(), torch.cat(errors).numpy()


def between(a: nn.Module, b: nn.Module, alpha: float) -> nn.Module:
    """θ(α), parameter by parameter; buffers of the first."""
    middle = copy.deepcopy(a)
    ends = dict(a.named_parameters()), dict(b.named_parameters())
    with torch.no_grad():
        for name, parameter in middle.named_parameters():
            parameter.copy_((1 - alpha) * ends[0][name] + alpha * ends[1][name])
    return middle


def recomputed(model: nn.Module, data) -> nn.Module:
    """Running statistics as the pooled mean and variance of all values that a layer sees in training mode."""
    model.train()
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = [[] for _ in layers]
    handles = [
        layer.register_forward_pre_hook(lambda module, inputs, kept=kept: kept.append(inputs[0].detach()))
        for layer, kept in zip(layers, seen, strict=True)
    ]
    with torch.no_grad():
        for x, _ in data:
            model(x)
    for layer, kept, handle in zip(layers, seen, handles, strict=True):
        handle.remove()
        values = torch.cat([batch.transpose(0, 1).flatten(1) for batch in kept], dim=1).double()
        layer.running_mean.copy_(values.mean(1))
        layer.running_var.copy_(values.var(1))
    return model.eval()


def snapshot(model: nn.Module) -> dict:
    return {
        "state": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "grad": [parameter.requires_grad for parameter in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "ids": [id(parameter) for parameter in model.parameters()],
    }


def same(one: dict, two: dict) -> bool:
    state = one.pop("state"), two.pop("state")
    return one == two and all(torch.equal(state[0][name], state[1][name]) for name in state[0])


class Exploding(nn.Module):
    """Overflows for some images where its parameter leaves [0, 1]."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([at]))
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.linear(x)
        bad = ((self.at > 1) | (self.at < 0)) & (x[:, :1] > 0)
        return torch.where(bad, out * float("inf"), out)
