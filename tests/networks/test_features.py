"""Pooled features of all parts in one pass, and what enters batch norms."""

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from transferscope.errors import ActivationError, LoaderError, ModuleNameError
from transferscope.networks.batchnorm_inputs import input_moments
from transferscope.networks.features import FEATURES, feature_parts, feature_parts_of, pooled, pooled_features
from transferscope.specs.architecture import Architecture


def images(count: int = 6, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def net(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=3, **options)


@pytest.mark.parametrize(
    ("name", "head", "options", "size"),
    [
        ("resnet10t", "fc", {}, 32),
        ("mobilenetv3_small_050", "classifier", {}, 32),
        ("vit_tiny_patch16_224", "head", {"img_size": 32, "depth": 2}, 32),
        (
            "swin_tiny_patch4_window7_224",
            "head.fc",
            {"img_size": 56, "depths": (1, 2), "embed_dim": 12, "num_heads": (1, 2)},
            56,
        ),
        ("convnext_atto", "head.fc", {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)}, 32),
    ],
)
def test_features_are_those_of_a_forward_pass(name: str, head: str, options: dict, size: int) -> None:
    model = net(name, **options)
    batches = [images(4, size), images(2, size, 1)]
    found = pooled_features(model, batches, head, device="cpu")
    assert found.unusable == {}
    assert list(found.tables) == [*feature_parts(model, "block", head), FEATURES]
    model.eval()
    features: list[Tensor] = []
    handle = model.get_submodule(head).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in batches])
    handle.remove()
    assert torch.equal(found.tables[FEATURES], torch.cat(features).flatten(1))
    torch.testing.assert_close(model.get_submodule(head)(found.tables[FEATURES]), logits)
    # Channels, never places, are kept: no part has as many features as the map has pixels by accident.
    channels = {part: model.get_submodule(part) for part in found.tables if part != FEATURES}
    for part, module in channels.items():
        widths = [p.shape[0] for p in module.parameters() if p.ndim > 1]
        assert not widths or found.tables[part].shape[1] in widths
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_pooling_by_shape() -> None:
    maps = torch.arange(2 * 5 * 3 * 3, dtype=torch.float32).reshape(2, 5, 3, 3)
    assert torch.equal(pooled(maps), maps.mean((2, 3)))
    assert torch.equal(pooled(maps.permute(0, 2, 3, 1)), maps.mean((2, 3)))
    cube = torch.randn(2, 4, 4, 4)
    assert torch.equal(pooled(cube), cube.mean((2, 3)))
    assert torch.equal(pooled(cube, channels_last=True), cube.mean((1, 2)))
    tokens = torch.randn(2, 7, 4)
    assert torch.equal(pooled(tokens), tokens.mean(1))
    with pytest.raises(ActivationError, match="the output cannot be pooled"):
        pooled(torch.zeros(3))


class Odd(nn.Module):
    """A part that gives two tensors, one that is called twice, one whose output has no examples."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.LSTM(4, 4), nn.Linear(4, 4)
        self.d = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.b(self.a(self.a(x)))
        return self.head(self.c(x) + self.d(x.sum(0)))


def test_parts_that_cannot_be_pooled_are_named() -> None:
    torch.manual_seed(0)
    model, x = Odd(), torch.randn(5, 4)
    found = pooled_features(model, [x], "head", device="cpu")
    assert list(found.tables) == ["a", "c", FEATURES]
    assert torch.equal(found.tables["a"], model.a(x))
    assert set(found.unusable) == {"b", "d", "unused"}
    assert "never called" in found.unusable["unused"]
    assert "for 5 examples" in found.unusable["d"]
    with pytest.raises(ActivationError, match="the head 'unused' is never called"):
        pooled_features(model, [x], "unused", device="cpu")
    with pytest.raises(ActivationError, match="what enters the head 'd' cannot be pooled"):
        pooled_features(model, [x], "d", device="cpu")
    with pytest.raises(LoaderError, match="has no batches"):
        pooled_features(model, [], "head", device="cpu")
    with pytest.raises(ModuleNameError, match="no module"):
        pooled_features(model, [x], "heed", device="cpu")


def test_a_network_is_given_back_as_it_was() -> None:
    model = net("resnet10t")
    model.train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pooled_features(model, [images()], "fc", device="cpu")
    assert model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_parts_of_an_architecture() -> None:
    architecture = Architecture(name="timm:resnet10t")
    assert feature_parts_of(architecture, "stage") == tuple(feature_parts(net("resnet10t"), "stage", "fc"))


def test_moments_of_what_enters_batch_norms() -> None:
    model = net("resnet10t").eval()
    seen: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(lambda _, given, name=name: seen.setdefault(name, []).append(given[0].clone()))
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]  # fmt: skip
    with input_moments(model, folds=3) as found, torch.no_grad():
        for batch in (images(5), images(2, seed=1)):
            found.begin(len(batch))
            model(batch)
    for handle in handles:
        handle.remove()
    assert set(found.layers) == set(seen)
    for name, layer in found.layers.items():
        values = torch.cat(seen[name]).double()
        mean, variance = layer.moments()
        np.testing.assert_allclose(mean, values.mean((0, 2, 3)), atol=1e-10)
        np.testing.assert_allclose(variance, values.var((0, 2, 3), correction=0), atol=1e-10)
        rest = values[[1, 2, 4, 5]]  # images are dealt in turn: 0, 3 and 6 are the first fold
        np.testing.assert_allclose(layer.moments(without=0)[0], rest.mean((0, 2, 3)), atol=1e-10)
    assert not any(module._forward_pre_hooks for module in model.modules())
