"""Networks on lines, made and evaluated the slow way: parameter by parameter, one image at a time."""

import copy
from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn


def mixed(a: nn.Module, b: nn.Module, alpha: float, names: Collection[str] | None = None) -> nn.Module:
    """A copy of ``a`` whose parameters (those of ``names``) are (1−α) of ``a`` and α of ``b``."""
    made = copy.deepcopy(a)
    first, second = dict(a.named_parameters()), dict(b.named_parameters())
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if names is None or name in names:
                parameter.copy_((1 - alpha) * first[name].double() + alpha * second[name].double())
    return made


def restatistics(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> nn.Module:
    """Running statistics as mean and variance of all that a layer sees, layers in the order in which they come."""
    images = list(batches)
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    model.eval()
    for layer in layers:
        layer.train()
    seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}
    handles = [layer.register_forward_pre_hook(lambda m, given: seen[m].append(given[0].detach())) for layer in layers]
    with torch.no_grad():
        for x, _ in images:
            model(x)
    for handle in handles:
        handle.remove()
    for layer in layers:
        values = torch.cat([batch.transpose(0, 1).flatten(1) for batch in seen[layer]], dim=1).double()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(values.mean(1))
        layer.running_var.copy_(values.var(1))
    return model.eval()


def examples(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[float], list[float]]:
    """Loss and error of every image."""
    model.eval()
    losses, errors = [], []
    with torch.no_grad():
        for x, y in batches:
            for image, label in zip(x, y, strict=True):
                out = model(image[None]).double()[0]
                losses.append(float(torch.logsumexp(out, 0) - out[label]))
                errors.append(float(int(out.argmax()) != int(label)))
    return losses, errors


def first_stable(highs: list[float], limit: float = 0.02) -> int | None:
    """The first place from which all upper limits are below the limit."""
    for place in range(len(highs)):
        if all(high < limit for high in highs[place:]):
            return place
    return None
