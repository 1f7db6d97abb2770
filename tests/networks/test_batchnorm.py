import copy

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferscope.errors import LoaderError, WeightsError
from transferscope.networks.batchnorm import batch_norm_state, has_batch_norm, load_batch_norm_state, recompute


class Twice(nn.Module):
    """One batch norm used two times in a pass."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.norm(x) * 2 + 1)


NETWORKS = {
    "1d": lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3), nn.BatchNorm1d(3)),
    "2d": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Conv2d(4, 2, 3),
        nn.BatchNorm2d(2, affine=False),
    ),
    "3d": lambda: nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)),
    "sync": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)),
    "timm": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 2, 1), BatchNormAct2d(2)),
    "twice": Twice,
    "root": lambda: nn.BatchNorm2d(3),
}  # fmt: skip
SHAPES = {"1d": (5,), "3d": (2, 4, 4, 4)}


def network(kind):
    torch.manual_seed(0)
    return NETWORKS[kind]()


def batches_for(kind, sizes=(8, 8, 3)):
    generator = torch.Generator().manual_seed(1)
    shape = SHAPES.get(kind, (3, 6, 6))
    return [(torch.randn(n, *shape, generator=generator) * (i + 1) + i, torch.zeros(n)) for i, n in enumerate(sizes)]


def literal(model, batches):
    """Mean and variance of each batch norm's input, all batches joined, straight from the definition."""
    model = copy.deepcopy(model).eval()
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: seen.setdefault(name, []).append(inputs[0].double().clone())
            )
    with torch.no_grad():
        for images, _ in batches:
            model(images)
    flat = {name: torch.cat([x.transpose(0, 1).flatten(1) for x in xs], 1) for name, xs in seen.items()}
    return {name: (x.mean(1), x.var(1, unbiased=True)) for name, x in flat.items()}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("sizes", [(8,), (8, 8, 3), (2, 30)])
def test_statistics_are_those_of_the_layer_inputs(kind, sizes):
    model, batches = network(kind), batches_for(kind, sizes)
    expected = literal(model, batches)
    recompute(model, batches)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    assert layers.keys() == expected.keys()
    for name, layer in layers.items():
        mean, variance = expected[name]
        torch.testing.assert_close(layer.running_mean.double(), mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(layer.running_var.double(), variance, atol=1e-5, rtol=1e-5)
        assert layer.num_batches_tracked == len(sizes) * (2 if kind == "twice" else 1)


@pytest.mark.parametrize("kind", ["1d", "2d", "timm"])
def test_one_batch_is_what_update_bn_gives(kind):
    model = network(kind)
    other, batches = copy.deepcopy(model), batches_for(kind, (16,))
    for module in other.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # update_bn would leave it on
    torch.optim.swa_utils.update_bn(batches, other)
    recompute(model, batches)
    for name, value in batch_norm_state(model).items():
        torch.testing.assert_close(value, batch_norm_state(other)[name], atol=1e-6, rtol=1e-6)


def test_former_statistics_have_no_weight_not_even_nan():
    a, b = network("2d"), network("2d")
    a[1].running_mean.fill_(float("nan"))
    a[1].running_var.fill_(float("inf"))
    for model in (a, b):
        recompute(model, batches_for("2d"))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert torch.isfinite(a[1].running_mean).all()


def test_repeated_and_order_of_batches():
    model = network("2d")
    recompute(model, batches_for("2d"))
    first = batch_norm_state(model)
    recompute(model, batches_for("2d"))
    assert all(torch.equal(first[name], value) for name, value in batch_norm_state(model).items())
    recompute(model, batches_for("2d")[::-1])
    for name, value in batch_norm_state(model).items():
        torch.testing.assert_close(value, first[name], atol=1e-5, rtol=1e-5)


def test_only_statistics_change():
    model = network("2d")
    model[1].momentum, model[5].momentum = 0.25, None
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model.register_forward_hook(lambda *_: None)
    modes = [module.training for module in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    weights = {name: value.clone() for name, value in model.named_parameters()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    recompute(model, batches_for("2d"))
    assert torch.equal(torch.rand(1), expected)  # dropout was off
    assert [module.training for module in model.modules()] == modes
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    assert (model[1].momentum, model[5].momentum) == (0.25, None)
    assert all(torch.equal(weights[name], value) for name, value in model.named_parameters())
    assert not model[0].weight.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_exceptions_put_everything_back():
    def failing():
        yield batches_for("2d")[0]
        raise OSError("the disk went away")

    model = network("2d")
    recompute(model, batches_for("2d"))
    model[1].momentum = 0.3
    before = batch_norm_state(model)
    with pytest.raises(OSError, match="went away"):
        recompute(model, failing())
    with pytest.raises(LoaderError, match="there is no batch to estimate"):
        recompute(model, [])
    assert all(torch.equal(before[name], value) for name, value in batch_norm_state(model).items())
    assert model.training
    assert all(module.training for module in model.modules())
    assert model[1].momentum == 0.3
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_batch_that_is_too_small_is_named():
    with pytest.raises(LoaderError, match=r"too small(?s:.*)'1'(?s:.*)at least 2(?s:.*)\(1, 4\)(?s:.*)larger batch"):
        recompute(network("1d"), batches_for("1d", (8, 1)))
    recompute(network("2d"), batches_for("2d", (8, 1)))  # a map of one image holds many values


def test_without_batch_norm_no_batch_is_read():
    def never():
        raise AssertionError("read")
        yield

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False))
    assert not has_batch_norm(model)
    recompute(model, never())
    assert batch_norm_state(model) == {}


def test_a_layer_no_batch_reaches_keeps_its_statistics():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.used(x)

    model = Branch()
    model.unused.running_mean.fill_(5.0)
    model.unused.num_batches_tracked.fill_(7)
    recompute(model, batches_for("2d"))
    assert model.unused.running_mean.tolist() == [5.0] * 3
    assert model.unused.num_batches_tracked == 7
    assert model.used.num_batches_tracked == 3


def test_evaluation_after_recomputing_is_normalised():
    """A real network, with and without channels_last and labels; then its first layer's output has mean 0."""
    a = timm.create_model("resnet10t", num_classes=3)
    b = copy.deepcopy(a)
    images = [torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(i)) + 4 for i in range(2)]
    recompute(a, images)
    recompute(b, [(x, None) for x in images], memory_format="channels_last")
    for name, value in batch_norm_state(a).items():
        torch.testing.assert_close(value, batch_norm_state(b)[name], atol=1e-4, rtol=1e-3)
    convolution, norm = a.eval().conv1[0], a.conv1[1]
    first = convolution(torch.cat(images))
    normalised = nn.functional.batch_norm(first, norm.running_mean, norm.running_var)
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(first.shape[1]), atol=1e-4, rtol=0)


def test_autocast_keeps_statistics_in_float32():
    plain, fast = network("2d"), network("2d")
    recompute(plain, batches_for("2d"))
    recompute(fast, batches_for("2d"), precision="bfloat16")
    for name, value in batch_norm_state(fast).items():
        assert value.dtype == batch_norm_state(plain)[name].dtype
        torch.testing.assert_close(value, batch_norm_state(plain)[name], atol=3e-2, rtol=3e-2)


def test_state_goes_in_and_out():
    model = network("2d")
    start = batch_norm_state(model)
    recompute(model, batches_for("2d"))
    assert set(start) == {name for name in model.state_dict() if name.startswith(("1.r", "1.n", "5.r", "5.n"))}
    buffer = model[1].running_mean
    load_batch_norm_state(model, start)
    assert model[1].running_mean is buffer
    assert all(torch.equal(model.state_dict()[name], value) for name, value in start.items())
    with pytest.raises(WeightsError, match=r"of another network(?s:.*)4\.running_mean"):
        load_batch_norm_state(model, batch_norm_state(network("1d")))
