"""Buffers that follow from weights or data, where weights are moved: made anew, or refused by name."""

import copy
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torchvision.ops import FrozenBatchNorm2d

import transferscope as ts
from tests.callers import gathered
from transferscope.errors import TransferscopeError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.landscape import Landscape
from transferscope.networks.batchnorm import recompute, tracked_norms

ON_CPU = Evaluation(device="cpu")

VECTORS = [(torch.randn(24, 16, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 4)]
IMAGES = [(3 * torch.randn(12, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) + 1, torch.arange(12) % 4)
          for seed in (1, 2)]  # fmt: skip


def path(a: nn.Module, b: nn.Module, data: list, **settings):
    return ts.linear_path(a, b, {"t": data}, **gathered(ts.linear_path, alphas=(0, 0.5, 1), device="cpu", **settings))


def losses(found) -> list[float]:
    return [float(point.losses.mean()) for point in found.points["t"]]


def hooked(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.spectral_norm(layer)


def flat(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(32, 4))


def of_images(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


SPECTRAL: dict[str, tuple[Callable[[], nn.Module], list]] = {
    "a parametrisation": (lambda: flat(parametrizations.spectral_norm(nn.Linear(16, 32))), VECTORS),
    "the older hook": (lambda: flat(hooked(nn.Linear(16, 32))), VECTORS),
    "a convolution": (lambda: of_images(parametrizations.spectral_norm(nn.Conv2d(3, 6, 3))), IMAGES),
    "the older hook of a convolution": (lambda: of_images(hooked(nn.Conv2d(3, 6, 3))), IMAGES),
    "turned": (lambda: of_images(nn.Sequential(
        nn.Conv2d(3, 6, 1), parametrizations.spectral_norm(nn.ConvTranspose2d(6, 6, 3), dim=1))), IMAGES),
    "after a weight norm": (lambda: flat(parametrizations.spectral_norm(
        parametrizations.weight_norm(nn.Linear(16, 32)))), VECTORS),
}  # fmt: skip


def vectors_of(network: nn.Module) -> list[Tensor]:
    return [b for name, b in network.named_buffers() if name.endswith(("_u", "_v"))]


def top_singular_values(network: nn.Module) -> list[float]:
    """Of all weights that are normalised, as the network uses them: 1 where the vectors are right."""
    found = []
    for module in network.modules():
        if any(name.endswith(("_u", "_v")) for name, _ in module.named_buffers()) and isinstance(
            module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
        ):
            for hook in module._forward_pre_hooks.values():
                hook(module, ())
            axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            found.append(float(torch.linalg.svdvals(module.weight.transpose(0, axis).flatten(1))[0]))
    return found


@pytest.mark.kind("F2")
@pytest.mark.parametrize("name", SPECTRAL)
def test_the_same_function_with_its_singular_vectors_turned_round_has_no_barrier(name: str) -> None:
    make, data = SPECTRAL[name]
    torch.manual_seed(0)
    a = make()
    with torch.no_grad():
        for _ in range(50):  # as in training: a power iteration each
            a(data[0][0])
    a.eval()
    b = copy.deepcopy(a)
    for vector in vectors_of(b):
        vector.neg_()
    found = losses(path(a, b, data))
    assert found == pytest.approx([found[0]] * 3, abs=1e-6)
    with torch.no_grad():
        own = float(np.mean([float(nn.functional.cross_entropy(a(x), y)) for x, y in data]))
    assert found[0] == pytest.approx(own, rel=0.01)


@pytest.mark.kind("F2")
@pytest.mark.parametrize("name", SPECTRAL)
def test_singular_vectors_are_those_of_the_weights_at_every_point(name: str) -> None:
    make, data = SPECTRAL[name]
    torch.manual_seed(0)
    land = Landscape((make().eval(), make().eval()), {"t": data}, evaluation=ON_CPU)
    for go in (lambda: land.combine((0.5, 0.5)), lambda: land.combine((-0.5, 1.5)), lambda: land.shift(
            {key: torch.randn_like(p) for key, p in land.parameters.items()}, 3.0)):  # fmt: skip
        go()
        land.evaluate()
        with torch.no_grad():
            assert top_singular_values(land.network) == pytest.approx([1.0], abs=1e-5)


@pytest.mark.kind("F2")
def test_ends_are_listed_with_their_own_vectors_too() -> None:
    torch.manual_seed(0)
    a, b = (flat(parametrizations.spectral_norm(nn.Linear(16, 32))).eval() for _ in range(2))
    found = path(a, b, VECTORS)
    with torch.no_grad():
        for network, point in zip((a, b), found.own["t"], strict=True):
            own = float(nn.functional.cross_entropy(network(VECTORS[0][0]), VECTORS[0][1]))
            assert float(point.losses.mean()) == pytest.approx(own, abs=1e-6)


@pytest.mark.kind("F2")
def test_what_is_kept_before_a_cut_is_equal_to_full_passes() -> None:
    def make() -> nn.Module:
        first = parametrizations.spectral_norm(nn.Linear(16, 32))
        return nn.Sequential(first, nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 4)).eval()

    torch.manual_seed(0)
    land = Landscape((make(), make()), {"t": VECTORS}, evaluation=ON_CPU)
    moving = {"4.weight", "4.bias"}
    values = []
    for focus in (None, moving):
        land.focus(focus, granularity="layer")
        for alpha in (0.0, 0.3, 1.0):
            land.combine((1 - alpha, alpha), only=moving)
            values.append(land.evaluate()["t"].losses)
    assert all(np.array_equal(one, other) for one, other in zip(values[:3], values[3:], strict=True))


@pytest.mark.kind("F2")
def test_parametrisations_without_state_need_nothing() -> None:
    torch.manual_seed(0)
    a, b = (flat(parametrizations.weight_norm(nn.Linear(16, 32))).eval() for _ in range(2))
    found = path(a, b, VECTORS)
    with torch.no_grad():
        own = [float(nn.functional.cross_entropy(each(VECTORS[0][0]), VECTORS[0][1])) for each in (a, b)]
    assert losses(found)[::2] == pytest.approx(own, abs=1e-6)


class _MeanOfWeights(nn.Module):
    """A parametrisation with state that follows the weights in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("typical", torch.ones(()))

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            self.typical.lerp_(weight.detach().norm(), 0.5)
        return weight / self.typical


@pytest.mark.kind("F2")
@pytest.mark.parametrize("apart", [False, True])
def test_a_parametrisation_of_ones_own_with_state_is_refused_by_name(apart: bool) -> None:
    def make() -> nn.Module:
        layer = nn.Linear(16, 32)
        parametrize.register_parametrization(layer, "weight", _MeanOfWeights())
        return flat(layer)

    torch.manual_seed(0)
    a, b = make(), make()
    if apart:
        b.train()(VECTORS[0][0])
    with pytest.raises(TransferscopeError, match=r"0\.parametrizations\.weight\.0\.typical"):
        path(a, b, VECTORS)
    with pytest.raises(TransferscopeError, match="typical"):
        Landscape((a,), {"t": VECTORS}, evaluation=ON_CPU)
    assert path(a, b, VECTORS, batch_norm="none").batch_norm == "none"


@pytest.mark.kind("F2")
def test_orthogonal_weights_around_another_base_are_refused_by_name() -> None:
    """A weight is base·exp(X): between two bases the matrices mixed are orthogonal no more."""
    torch.manual_seed(0)
    a, b = (flat(parametrizations.orthogonal(nn.Linear(16, 32))).eval() for _ in range(2))
    with pytest.raises(TransferscopeError, match=r"0\.parametrizations\.weight\.0\.base"):
        path(a, b, VECTORS)
    b = copy.deepcopy(a)
    with torch.no_grad():
        b[0].parametrizations.weight.original.add_(0.1)
    assert np.isfinite(losses(path(a, b, VECTORS))).all()


def normed(norm: nn.Module) -> nn.Module:
    made = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    made.train()
    with torch.no_grad():
        for _ in range(30):
            for images, _ in IMAGES:
                made(images)
    return made.eval()


def ten_times(network: nn.Module) -> nn.Module:
    """The same function, up to the norm's eps: the convolution and the norm's statistics ten times as large."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[0].weight.mul_(10)
        other[0].bias.mul_(10)
        other[1].running_mean.mul_(10)
        other[1].running_var.mul_(100)
    return other


class _Own(nn.Module):
    """A user's batch norm, of no class of torch's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.running_mean.lerp_(x.mean((0, 2, 3)), 0.1)
            self.running_var.lerp_(x.var((0, 2, 3)), 0.1)
        return (x - self.running_mean[:, None, None]) / (self.running_var[:, None, None] + 1e-5).sqrt()


class _Renamed(_Own):
    """The same, with buffers that are not called as torch calls them."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("shift", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.shift.lerp_(x.mean((0, 2, 3)), 0.1)
        return x - self.shift[:, None, None]


class _Derived(nn.BatchNorm2d):
    """Of a class derived from torch's."""


RECOMPUTED: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.BatchNorm2d(6),
    "instance norm": lambda: nn.InstanceNorm2d(6, track_running_stats=True),
    "instance norm with weights": lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
    "synchronised batch norm": lambda: nn.SyncBatchNorm(6),
    "a derived class": lambda: _Derived(6),
}


@pytest.mark.kind("F4")
@pytest.mark.parametrize("name", RECOMPUTED)
def test_running_statistics_are_recomputed_on_paths(name: str) -> None:
    torch.manual_seed(0)
    a = normed(RECOMPUTED[name]())
    found = path(a, ten_times(a), IMAGES, recompute_on=IMAGES)
    assert found.batch_norm == "recompute"
    assert losses(found) == pytest.approx([losses(found)[0]] * 3, rel=1e-3)
    with pytest.raises(TransferscopeError, match="nothing to recompute"):
        path(a, ten_times(a), IMAGES)


@pytest.mark.kind("F4")
@pytest.mark.parametrize("sizes", [[12], [12, 12], [12, 5, 1]])
def test_statistics_of_an_instance_norm_are_averages_over_examples(sizes: list[int]) -> None:
    """The reference, literally; the limit of running averages over batches of one size."""
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(3, track_running_stats=True)
    batches = [torch.randn(size, 3, 4, 5) * 2 + 1 for size in sizes]
    recompute(norm, batches)
    means, variances = [], []
    for batch in batches:
        for example in batch.double():
            means.append(example.flatten(1).mean(1))
            variances.append(example.flatten(1).var(1))
    assert norm.running_mean.numpy() == pytest.approx(torch.stack(means).mean(0).numpy(), abs=1e-6)
    assert norm.running_var.numpy() == pytest.approx(torch.stack(variances).mean(0).numpy(), rel=1e-6)


@pytest.mark.kind("F4")
@pytest.mark.parametrize("make", [lambda: _Own(6), lambda: _Renamed(6)], ids=["running_*", "other names"])
def test_statistics_of_an_unknown_class_are_refused_or_said(make) -> None:
    torch.manual_seed(0)
    a = normed(make())
    for call in (
        lambda: path(a, ten_times(a), IMAGES, recompute_on=IMAGES),
        lambda: Landscape((a,), {"t": IMAGES}, evaluation=ON_CPU),
    ):
        with pytest.raises(TransferscopeError, match=r"follow the data in training.*1\.(running_mean|shift)"):
            call()
    assert path(a, ten_times(a), IMAGES, batch_norm="interpolate").batch_norm == "interpolate"
    assert Landscape((a,), {"t": IMAGES}, evaluation=Evaluation(batch_norm="none", device="cpu")).policy == "none"
    found = ts.compare(
        a, ten_times(a), IMAGES, path=ts.PathGrid(points=3, refine=None), evaluation=ts.Evaluation(device="cpu")
    )
    assert found.path is None
    assert "follow the data in training" in found.not_measured["path"]


@pytest.mark.kind("F4")
def test_frozen_statistics_are_constants_where_they_are_equal() -> None:
    torch.manual_seed(0)
    a, b = (normed(FrozenBatchNorm2d(6)) for _ in range(2))
    for network in (a, b):
        network[1].running_mean.fill_(0.3)
    assert path(a, b, IMAGES).batch_norm == "no batch norm"
    other = ten_times(a)
    with pytest.raises(TransferscopeError, match=r"nothing can be put between: 1\.running_mean; 1\.running_var"):
        path(a, other, IMAGES)
    assert path(a, other, IMAGES, batch_norm="interpolate").batch_norm == "interpolate"


@pytest.mark.kind("F4")
def test_kept_statistics_of_an_instance_norm_before_a_cut_are_those_of_full_passes() -> None:
    torch.manual_seed(0)
    a, b = (normed(nn.InstanceNorm2d(6, track_running_stats=True)) for _ in range(2))
    land = Landscape((a, b), {"t": IMAGES}, evaluation=Evaluation(recompute_on=IMAGES, device="cpu"))
    moving = {"5.weight", "5.bias"}
    values = []
    for focus in (None, moving):
        land.focus(focus, granularity="layer")
        for alpha in (0.0, 0.5):
            land.combine((1 - alpha, alpha), only=moving)
            values.append(land.evaluate()["t"].losses)
    assert all(np.array_equal(one, other) for one, other in zip(values[:2], values[2:], strict=True))
    assert list(tracked_norms(land.network)) == ["1"]
