"""What architectures want: names and shapes of their tensors; and which of the common ones a file fits."""

import functools
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from transferscope.networks.architectures import make, split_name
from transferscope.networks.heads import head_name
from transferscope.networks.initialisation import isolated_randomness
from transferscope.networks.weight_names import Layout, Tables, matches
from transferscope.specs.architecture import Architecture

_TIMM = """
    resnet18 resnet34 resnet50 resnet101 resnet152 resnet26 resnet50d resnext50_32x4d
    wide_resnet50_2 densenet121 densenet169 vgg11 vgg16 vgg16_bn vgg19 mobilenetv2_100
    mobilenetv3_small_100 mobilenetv3_large_100 efficientnet_b0 efficientnet_b1 efficientnet_b2
    efficientnet_b3 tf_efficientnet_lite0 tf_efficientnet_lite1 tf_efficientnet_lite2
    tf_efficientnetv2_s convnext_nano convnext_tiny convnext_small convnext_base
    vit_tiny_patch16_224 vit_small_patch16_224 vit_base_patch16_224 vit_base_patch32_224
    swin_tiny_patch4_window7_224 swin_small_patch4_window7_224 regnetx_008 regnety_008 regnety_016
    mixer_b16_224
"""
_TORCHVISION = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s mobilenet_v2
    mobilenet_v3_large mobilenet_v3_small resnet18 resnet34 resnet50 resnet101 shufflenet_v2_x1_0
    squeezenet1_0 swin_t vgg16 vgg16_bn vit_b_16 mnasnet1_0
"""
CANDIDATES = (*(f"timm:{name}" for name in _TIMM.split()), *(f"torchvision:{name}" for name in _TORCHVISION.split()))
"""Architectures that a file of unknown origin is compared with."""


def layout_of(architecture: Architecture) -> Layout:
    """The tensors of an architecture, without their values where it is timm's or torchvision's."""
    # A user's own function may look at values, and may be another one the next time.
    if split_name(architecture)[0] == "factory":
        with isolated_randomness(0):
            model = make(architecture, 2)
        return Layout(model, head_name(model, architecture))
    return _known_layout(architecture.model_dump_json())


@functools.lru_cache(maxsize=128)
def _known_layout(settings: str) -> Layout:
    architecture = Architecture.model_validate_json(settings)
    # On the meta device a network has names and shapes, but neither memory nor random numbers.
    with isolated_randomness(0), torch.device("meta"):
        model = make(architecture, 2)
    return Layout(model, head_name(model, architecture))


def fitting_architectures(state: Mapping[str, Tensor], candidates: Iterable[str] | None = None) -> list[str]:
    """The architectures whose names and shapes are those of ``state``, the head apart.

    Args:
        state: tensors by name; prefixes of wrappers and counters do not matter.
        candidates: names as in a study; :data:`CANDIDATES` where None.

    Returns:
        The names that fit, in the order of the candidates. Networks may share names and shapes and still differ
        (padding, activation): more than one can fit.
    """
    return fitting({"": state}, candidates)


def fitting(tables: Tables, candidates: Iterable[str] | None = None) -> list[str]:
    """Find the architectures that fit any of the containers in a file, as :func:`fitting_architectures` does."""
    layouts = {name: layout_of(Architecture(name=name)) for name in (CANDIDATES if candidates is None else candidates)}
    return [name for name, layout in layouts.items() if any(m.fits and not m.wrong for m in matches(tables, layout))]
