"""Masks that switch weights off: what a pruned network is made of, and whether two are pruned alike."""

import re
from collections.abc import Container, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.prune import BasePruningMethod

__all__ = ["PERMANENT", "is_factor", "plain_weights", "pruning_masks", "unlike_masks", "without_pruned"]

PERMANENT = (
    "make it permanent in both, torch.nn.utils.prune.remove(module, 'weight') or of a parametrisation "
    "torch.nn.utils.parametrize.remove_parametrizations(module, 'weight'): networks between them are then dense; or "
    "give both one mask"
)
"""What to do where two networks are pruned unlike, for messages."""


def pruning_masks(model: nn.Module) -> dict[str, str]:
    """Names of the masks of torch's pruning, each with the name of the parameter that it multiplies.

    >>> from torch.nn.utils import prune
    >>> pruning_masks(nn.Sequential(prune.identity(nn.Linear(2, 2), "weight")))
    {'0.weight_mask': '0.weight_orig'}
    """
    return {
        f"{start}{hook._tensor_name}_mask": f"{start}{hook._tensor_name}_orig"
        for start, module in ((f"{prefix}." if prefix else "", module) for prefix, module in model.named_modules())
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, BasePruningMethod)
    }


@torch.no_grad()
def unlike_masks(model: nn.Module, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Names of masks that differ between two networks of one architecture.

    Masks are those of torch's pruning, and tables of zeros and ones that are of the shape of a parameter beside them or
    lie in a parametrisation. Between two that differ there is no mask: whichever was taken, weights that one of the
    networks does not use, and whose values mean nothing, would count.

    Args:
        model: of the architecture; only its modules are looked at.
        first: parameters and buffers of one network by name.
        second: of the other; what is in one of them alone is left out.
    """
    known = pruning_masks(model)
    return [
        name
        for name, _ in model.named_buffers()
        if name in first
        and name in second
        and not torch.equal(first[name], second[name].to(first[name]))
        and (name in known or (_may_mask(model, name, first[name]) and _binary(first[name]) and _binary(second[name])))
    ]


def without_pruned(tensors: Mapping[str, Tensor], masks: Mapping[str, str]) -> dict[str, Tensor]:
    """The same tensors, with zeros where a mask switches a weight off: the function of a network is the same.

    Args:
        tensors: parameters by name, and masks; where a mask or its parameter is missing nothing is done. Left as they
            are.
        masks: as in :func:`pruning_masks`.
    """
    found = dict(tensors)
    for mask, weight in masks.items():
        if mask in tensors and weight in tensors:
            # The product, which keeps the sign of a zero, so that outputs are the same to the last bit.
            own, factor = tensors[weight].detach(), tensors[mask]
            found[weight] = torch.where(factor == 0, own * factor, own)
    return found


def plain_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of pruned layers as the layers use them, from what torch's pruning leaves of them in a file.

    >>> plain_weights({"fc.weight_orig": torch.tensor([3.0, 4.0]), "fc.weight_mask": torch.tensor([0.0, 1.0])})
    {'fc.weight': tensor([0., 4.])}
    """
    found = {}
    for name, own in tensors.items():
        plain = name.removesuffix("_orig")
        mask = tensors.get(f"{plain}_mask")
        if plain != name and plain not in tensors and mask is not None and mask.shape == own.shape:
            found[plain] = own * mask
    return found


def is_factor(name: str, names: Container[str]) -> bool:
    """Whether a weight, what is left of it before pruning, and its mask are all there, and this is one of them."""
    plain = re.sub("_(orig|mask)$", "", name)
    return all(part in names for part in (plain, f"{plain}_orig", f"{plain}_mask"))


def _may_mask(model: nn.Module, name: str, buffer: Tensor) -> bool:
    place = name.rpartition(".")[0]
    above = [place[:end] for end, letter in enumerate(f"{place}.") if letter == "."]
    if any(isinstance(model.get_submodule(module), ParametrizationList) for module in above):
        return buffer.numel() > 1
    own = model.get_submodule(place)._parameters.values()
    return buffer.numel() > 1 and any(weight is not None and weight.shape == buffer.shape for weight in own)


def _binary(buffer: Tensor) -> bool:
    return buffer.dtype == torch.bool or bool(((buffer == 0) | (buffer == 1)).all())
