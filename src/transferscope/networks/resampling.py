"""Weights of another image size: position embeddings and patch kernels resampled as the network's library does it."""

import inspect
import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


def resampled(model: nn.Module, state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Tensors whose shape depends on the size of the images, made to fit a network.

    timm resamples position embeddings, tables of relative positions and patch kernels when it loads its own weights;
    the function it uses is the one called here. torchvision has one for its vision transformers.
    """
    own = model.state_dict()
    dense = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of timm's own indexing
            made = _by_library(model, dense)
    except Exception:  # the libraries assert, index and reshape: what cannot be resampled stays as it is, and misfits
        return {}
    return {name: made[name] for name in names if name in made and made[name].shape == own[name].shape}


def _by_library(model: nn.Module, state: dict[str, Tensor]) -> Mapping[str, Tensor]:
    module = inspect.getmodule(type(model))
    family = "" if module is None else module.__name__.partition(".")[0]
    fit = getattr(module, "checkpoint_filter_fn", None)
    if family == "timm" and fit is not None:
        made: Mapping[str, Tensor] = fit(state, model)
        return made
    if family == "torchvision":
        from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

        if isinstance(model, VisionTransformer):
            return dict(interpolate_embeddings(model.image_size, model.patch_size, dict(state)))
    return {}
