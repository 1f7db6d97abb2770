"""Named parts: a partition of the parameters for every architecture, with the names people expect."""

import functools

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrizations

from transferscope.errors import ModuleNameError
from transferscope.networks.modules import DIRECT, find_module, hookable_parts, named_parts, parts_parameters

ARCHITECTURES = [
    "resnet18",
    "resnet10t",
    "efficientnet_lite0",
    "mobilenetv3_small_050",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "densenet121",
    "convnext_atto",
    "vgg11",
    "mixer_s32_224",
    "regnety_002",
    "mobilevit_xxs",
    "convmixer_768_32",
    "levit_128s",
    "maxvit_pico_rw_256",
    "hrnet_w18_small",
    "repvgg_a0",
    "inception_v3",
    "tv:mobilenet_v2",
    "tv:swin_t",
    "tv:vit_b_16",
    "tv:alexnet",
    "tv:convnext_tiny",
]


@functools.cache
def made(name: str) -> nn.Module:
    with torch.device("meta"):
        if name.startswith("tv:"):
            return getattr(torchvision.models, name[3:])()
        return timm.create_model(name, pretrained=False)


@pytest.mark.parametrize("granularity", ["stage", "block", "layer"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_belongs_to_exactly_one_part(name, granularity):
    model = made(name)
    parts = parts_parameters(model, granularity)
    owned = [parameter for parameters in parts.values() for parameter in parameters]
    assert sorted(owned) == sorted(name for name, _ in model.named_parameters())
    assert len(owned) == len(set(owned))
    assert all(parts.values())
    assert list(parts) == named_parts(model, granularity)
    for part, parameters in parts.items():
        owner = part.removesuffix(DIRECT)
        assert all(parameter.startswith(owner) for parameter in parameters)
        if part.endswith(DIRECT):
            assert all("." not in parameter.removeprefix(owner) for parameter in parameters)
        else:
            assert all(parameter.startswith(f"{part}.") for parameter in parameters)
            find_module(model, part)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_granularities_get_finer(name):
    model = made(name)
    stages, blocks, layers = (parts_parameters(model, g) for g in ("stage", "block", "layer"))
    assert len(stages) <= len(blocks) <= len(layers)
    block_of = {p: block for block, parameters in blocks.items() for p in parameters}
    stage_of = {p: stage for stage, parameters in stages.items() for p in parameters}
    for parameters in layers.values():
        assert len({block_of[p] for p in parameters}) == 1
    for parameters in blocks.values():
        assert len({stage_of[p] for p in parameters}) == 1


@pytest.mark.parametrize(
    ("name", "granularity", "expected"),
    [
        ("resnet18", "stage", "conv1 bn1 layer1 layer2 layer3 layer4 fc"),
        ("resnet18", "block", "conv1 bn1 layer1.0 layer1.1 layer2.0 layer2.1 layer3.0 layer3.1 layer4.0 layer4.1 fc"),
        ("vit_tiny_patch16_224", "stage", "(direct) patch_embed blocks norm head"),
        ("swin_tiny_patch4_window7_224", "stage", "patch_embed layers.0 layers.1 layers.2 layers.3 norm head"),
        ("convnext_atto", "stage", "stem stages.0 stages.1 stages.2 stages.3 head"),
        ("regnety_002", "stage", "stem s1 s2 s3 s4 head"),
        ("tv:vit_b_16", "stage", "(direct) conv_proj encoder.(direct) encoder.layers encoder.ln heads"),
        ("tv:alexnet", "block", "features.0 features.3 features.6 features.8 features.10 classifier"),
    ],
)
def test_names(name, granularity, expected):
    assert named_parts(made(name), granularity) == expected.split()


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("efficientnet_lite0", "conv_stem blocks.0.0 blocks.6.0 conv_head classifier"),
        ("vit_tiny_patch16_224", "(direct) patch_embed blocks.0 blocks.11 norm head"),
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.0 layers.1.downsample layers.2.blocks.5 head"),
        ("densenet121", "features.conv0 features.denseblock1.denselayer1 features.transition1 classifier"),
        ("convnext_atto", "stem stages.0.blocks.0 stages.1.downsample head"),
        ("regnety_002", "stem s1.b1 s4.b7 head"),
        ("inception_v3", "Mixed_5b Mixed_7c fc"),
        ("tv:mobilenet_v2", "features.0 features.17 features.18 classifier"),
        ("tv:swin_t", "features.0 features.1.0 features.2 head"),
    ],
)
def test_blocks_are_the_repeated_units(name, some):
    found = named_parts(made(name), "block")
    assert set(some.split()) <= set(found)


def test_layers_are_modules_with_parameters_of_their_own():
    parts = parts_parameters(made("tv:vit_b_16"), "layer")
    attention = "encoder.layers.encoder_layer_0.self_attention"
    # The projections inside are never run by themselves.
    assert len(parts[attention]) == 4
    assert f"{attention}.out_proj" not in parts
    assert parts["encoder.(direct)"] == ["encoder.pos_embedding"]
    scale = parts_parameters(made("tv:convnext_tiny"), "layer")["features.1.0.(direct)"]
    assert scale == ["features.1.0.layer_scale"]


def test_head_is_a_part_of_its_own_where_named():
    model = made("convnext_atto")
    for granularity in ("stage", "block"):
        parts = parts_parameters(model, granularity, head="head.fc")
        assert parts["head.fc"] == ["head.fc.weight", "head.fc.bias"]
        assert "head.norm" in parts
        assert "head" not in parts
        assert named_parts(made("resnet18"), granularity, head="fc") == named_parts(made("resnet18"), granularity)
    assert "classifier.1" in named_parts(made("tv:mobilenet_v2"), "stage", head="classifier.1")
    assert "features" in named_parts(made("tv:mobilenet_v2"), "stage", head="classifier.1")


def test_hookable_parts_leave_out_what_has_no_forward():
    model = made("vit_tiny_patch16_224")
    assert hookable_parts(model, "block") == [p for p in named_parts(model, "block") if p != DIRECT]
    bare = nn.Module()
    bare.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    bare.head = nn.Linear(2, 2)
    assert named_parts(bare, "stage") == ["layers", "head"]
    assert hookable_parts(bare, "stage") == ["head"]
    assert hookable_parts(bare, "block") == ["layers.0", "layers.1", "head"]


def test_shared_parametrised_and_empty_modules():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared, parametrizations.weight_norm(nn.Linear(3, 3)))
    assert named_parts(model, "block") == ["0", "3"]
    assert hookable_parts(model, "layer") == ["0", "3"]
    assert len(parts_parameters(model, "layer")["3"]) == 3
    tied = nn.Module()
    tied.a, tied.b = nn.Linear(3, 3), nn.Linear(3, 3)
    tied.b.weight = tied.a.weight
    assert parts_parameters(tied, "block") == {"a": ["a.weight", "a.bias"], "b": ["b.bias"]}
    assert named_parts(nn.ReLU(), "block") == []
    assert parts_parameters(nn.Linear(2, 2), "layer") == {DIRECT: ["weight", "bias"]}


def test_a_backbone_inside_another_network_is_opened():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = made("resnet18")
            self.head = nn.Linear(2, 2, device="meta")

    assert named_parts(Wrapped(), "stage")[:3] == ["backbone.conv1", "backbone.bn1", "backbone.layer1"]
    assert "backbone.layer1.0" in named_parts(Wrapped(), "block")
    assert "0.layer1" in named_parts(nn.Sequential(made("resnet18"), nn.ReLU()), "stage")


def test_find_module():
    model = made("resnet18")
    assert find_module(model, "layer1.0.conv1") is model.layer1[0].conv1
    with pytest.raises(ModuleNameError, match=r"no module 'layer1.0.conv'[\s\S]*did you mean 'layer1.0.conv"):
        find_module(model, "layer1.0.conv")
    for name in ("", "layer1.0.conv1.weight", "no"):
        with pytest.raises(ModuleNameError, match="has no module"):
            find_module(model, name)
    with pytest.raises(ModuleNameError, match="has no module 'haed'"):
        named_parts(model, "block", head="haed")
