"""Operators of networks: which weights there are, on which maps, and what is none."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.utils import parametrizations

from transferscope.networks.operators import operators

IMAGE = torch.zeros(1, 3, 32, 32)


def test_maps_of_a_network_with_strides() -> None:
    model = timm.create_model("resnet18", num_classes=5)
    listed = operators(model, torch.zeros(1, 3, 64, 64))
    seen = {one.name: one for one in listed.found}
    assert len(seen) == 21
    first, deep, head = seen["conv1"], seen["layer4.0.conv1"], seen["fc"]
    assert (first.size, first.stride, first.padding, first.kind) == ((64, 64), (2, 2), (3, 3), "convolution")
    assert (deep.size, deep.stride) == ((4, 4), (2, 2))
    assert (head.size, head.kind, tuple(head.weight.shape)) == ((), "linear", (5, 512))
    names = list(seen)
    assert names.index("layer1.0.conv1") < names.index("layer2.0.conv1") < names.index("fc")
    assert deep.weight.data_ptr() == model.layer4[0].conv1.weight.data_ptr()
    assert not deep.weight.requires_grad


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"])
def test_every_parameter_is_an_operator_or_has_a_reason(name: str) -> None:
    pixels = 224 if "vit" in name else 64
    model = timm.create_model(name)
    listed = operators(model, torch.zeros(1, 3, pixels, pixels))
    told = {one.parameter for one in listed.found}
    assert told | set(listed.skipped) == {parameter for parameter, _ in model.named_parameters()}
    assert not told & set(listed.skipped)
    assert not any("does not run" in reason or "of its own" in reason for reason in listed.skipped.values())


def test_attention_of_timm_is_split() -> None:
    model = timm.create_model("vit_tiny_patch16_224")
    found = {one.name: one for one in operators(model, torch.zeros(1, 3, 224, 224)).found}
    whole = model.blocks[0].attn.qkv.weight
    for part, rows in zip("qkv", whole.chunk(3), strict=True):
        one = found[f"blocks.0.attn.qkv ({part})"]
        assert one.part == part
        assert torch.equal(one.weight, rows)
    assert found["blocks.0.attn.proj"].part == "out"
    assert found["blocks.0.mlp.fc1"].part == ""
    assert (found["patch_embed.proj"].size, found["patch_embed.proj"].stride) == ((224, 224), (16, 16))


@pytest.mark.parametrize("inputs", [None, 6])
def test_attention_of_torch_is_split(inputs: int | None) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, kdim=inputs, vdim=inputs, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            other = x if inputs is None else x.new_zeros(*x.shape[:2], inputs)
            return self.attention(x, other, other)[0]

    model = Model()
    listed = operators(model, torch.zeros(2, 5, 4))
    assert [(one.name, one.part) for one in listed.found] == [
        (f"attention ({part})", part) for part in ("q", "k", "v", "out")
    ]
    if inputs is None:
        packed = torch.cat([one.weight for one in listed.found[:3]])
        assert torch.equal(packed, model.attention.in_proj_weight)
    assert set(listed.skipped.values()) == {"a bias"}


def test_a_transformer_layer_does_not_take_its_fast_way_past_the_hooks() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    found = [one.name for one in operators(layer, torch.zeros(2, 5, 4)).found]
    assert found == ["self_attn (q)", "self_attn (k)", "self_attn (v)", "self_attn (out)", "linear1", "linear2"]


def test_separate_projections_are_known_by_their_names() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.out_proj = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out_proj(self.query(x) + self.key(x) + self.value(x))

    listed = operators(nn.Sequential(nn.Embedding(7, 4), Attention()), torch.tensor([[1, 2]]))
    assert [(one.name, one.kind, one.part) for one in listed.found] == [
        ("0", "embedding", ""),
        ("1.query", "linear", "q"),
        ("1.key", "linear", "k"),
        ("1.value", "linear", "v"),
        ("1.out_proj", "linear", "out"),
    ]


class Odd(nn.Module):
    """What a network may hold beside plain layers."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 3, padding=1)
        self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)
        self.made = parametrizations.weight_norm(nn.Conv2d(4, 6, 3, padding="same"))
        self.mirrored = nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect", groups=2)
        self.uneven = nn.Conv2d(6, 6, 2, padding="same", bias=False)
        self.valid = nn.Conv2d(6, 6, 3, padding="valid", bias=False)
        self.norm = nn.GroupNorm(2, 6)
        self.table = nn.Parameter(torch.zeros(6, 6))
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.idle = nn.Linear(6, 6)
        self.own = Own(6, 6)
        self.tied = nn.Linear(6, 6, bias=False)
        self.head = nn.Linear(6, 6, bias=False)
        self.head.weight = self.tied.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.twice(nn.functional.avg_pool2d(self.twice(x), 2))
        x = self.uneven(self.mirrored(self.made(self.up(x))))
        x = self.own(self.norm(self.valid(x)).mean((2, 3))) + self.token[0] + self.table.mean()
        return self.head(self.tied(x))


class Own(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def test_what_is_not_plain() -> None:
    torch.manual_seed(0)
    model = Odd()
    listed = operators(model, torch.zeros(2, 3, 16, 16))
    found = {one.name: one for one in listed.found}
    assert list(found) == ["twice (16 × 16)", "twice (8 × 8)", "up", "made", "mirrored", "uneven", "valid", "tied"]
    assert (found["up"].kind, found["up"].size, found["up"].padding) == ("transposed convolution", (8, 8), None)
    assert torch.equal(found["made"].weight, model.made.weight)
    assert [found[name].padding for name in ("made", "mirrored", "uneven", "valid")] == [(1, 1), None, None, (0, 0)]
    assert found["mirrored"].groups == 2
    reasons = {name: reason for name, reason in listed.skipped.items() if reason != "a bias"}
    assert reasons == {
        "made.parametrizations.weight.original0": "made.weight is made from it, and is listed",
        "made.parametrizations.weight.original1": "made.weight is made from it, and is listed",
        "norm.weight": "of a normalisation",
        "norm.bias": "of a normalisation",
        "table": "not a weight of a convolution, linear layer, embedding or attention",
        "token": "no matrix: a scale, an offset or a token",
        "idle.weight": "its module does not run on the example",
        "own.weight": "its module applies it in a way of its own",
        "head.weight": "the same tensor as tied.weight",
    }


def test_a_standardised_weight_is_taken_as_it_is_applied() -> None:
    from timm.layers import StdConv2d

    layer = StdConv2d(3, 8, 3)
    (found,) = operators(nn.Sequential(layer), IMAGE).found
    mean = found.weight.mean((1, 2, 3))
    assert float(mean.abs().max()) < 1e-6
    assert not torch.allclose(found.weight, layer.weight)
    scaled = timm.create_model("nf_resnet26")
    listed = operators(scaled, torch.zeros(1, 3, 64, 64))
    assert "a further parameter of its layer" in set(listed.skipped.values())


def test_the_network_is_given_back_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    operators(model, torch.randn(2, 3, 8, 8))
    assert model.training
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(RuntimeError):
        operators(model, torch.randn(2, 5, 8, 8))
    assert not model[0]._forward_hooks
    assert model.training
