"""The Hessian: in closed form, against dense ones, and what is said where there is none."""

import copy
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.analyses.test_radius_curves import IMAGES, LABELS, Quadratic, noise
from tests.reference.flatness_reference import dense_hessian
from tests.studies import tiny_network
from transferscope.errors import LoaderError, MeasureError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.hessian import hessian
from transferscope.networks.batchnorm import recompute

ON_CPU = Evaluation(device="cpu")


@pytest.mark.parametrize("width", [2, 20])
def test_the_hessian_of_a_quadratic_is_its_diagonal(width: int) -> None:
    torch.manual_seed(0)
    h, at = torch.rand(3, width, dtype=torch.float64) * 4, torch.randn(3, width, dtype=torch.float64)
    found = hessian(
        Quadratic(h, at), [(IMAGES, LABELS)], count=3, dtype="float64", tolerance=1e-9, probes=2, evaluation=ON_CPU
    )
    assert found.converged
    assert found.eigenvalues == pytest.approx(sorted(h.flatten().tolist())[::-1][:3], rel=1e-6)
    # The matrix is diagonal: signs see its trace exactly, once the eigenvectors found are taken out.
    assert found.trace == pytest.approx(float(h.sum()), rel=1e-6)
    assert found.trace_se == pytest.approx(0, abs=1e-5)
    assert found.norm == pytest.approx(float(at.norm()))
    assert (found.parameters, found.examples, found.batch_norm) == (3 * width, 4, "no batch norm")
    assert found.loss == pytest.approx(0.3 + float((h * at**2).sum()) / 2, rel=1e-6)


@pytest.mark.parametrize(("multi", "policy"), [(False, "recompute"), (False, "none"), (True, "recompute")])
def test_the_hessian_of_a_network_is_the_dense_one(multi: bool, policy) -> None:
    torch.manual_seed(1)
    network = tiny_network(3, width=2)
    images, classes = noise(22)
    images = images[:, :, :8, :8]
    labels = torch.stack([classes == 0, classes > 0, classes == 2], 1).byte() if multi else classes
    statistics = [(images[:10], labels[:10])]
    recompute(network, [(images[4:], labels[4:])])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    # Batches of unlike length: the mean is over examples, not over batches.
    found = hessian(
        network, [(images[:15], labels[:15]), (images[15:], labels[15:])], count=2, probes=10, tolerance=1e-6,
        dtype="float64", evaluation=Evaluation(recompute_on=statistics, batch_norm=policy, device="cpu"),
    )  # fmt: skip
    assert found.batch_norm == policy
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    if policy == "recompute":
        recompute(network, statistics)
    dense = dense_hessian(network, images, labels)
    values = torch.linalg.eigvalsh(dense).flip(0)
    assert found.parameters == len(dense)
    assert found.eigenvalues == pytest.approx(values[:2].tolist(), rel=1e-5)
    assert max(found.residuals) < 1e-4 * found.eigenvalues[0]
    assert abs(found.trace - float(dense.trace())) < 4 * found.trace_se
    assert 0 < found.trace_se < abs(found.trace)


def test_single_precision_agrees_with_double() -> None:
    torch.manual_seed(2)
    network = tiny_network(3, width=4, norm=False)
    images, labels = noise()
    single, double = (
        hessian(network, [(images, labels)], dtype=dtype, tolerance=1e-4, probes=2, evaluation=ON_CPU)
        for dtype in ("float32", "float64")
    )
    assert single.eigenvalues == pytest.approx(double.eigenvalues, rel=1e-3)
    assert single.trace == pytest.approx(double.trace, rel=1e-3)  # the same probes


class Directions(nn.Module):
    """Logits that a common scale of the weights does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(6, 12)), nn.Parameter(torch.randn(3, 6))

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(nn.functional.linear(images.flatten(1), nn.functional.normalize(self.first)))
        return nn.functional.linear(hidden, nn.functional.normalize(self.second)) * 4


def test_times_the_squared_norm_a_common_scale_drops_out_and_a_layers_own_does_not() -> None:
    torch.manual_seed(3)
    network = Directions()
    images, labels = torch.randn(10, 3, 2, 2), torch.arange(10) % 3

    def measured(first: float, second: float) -> tuple[float, float]:
        scaled = Directions()
        with torch.no_grad():
            scaled.first.copy_(network.first * first)
            scaled.second.copy_(network.second * second)
        found = hessian(scaled, [(images, labels)], dtype="float64", tolerance=1e-8, probes=2, evaluation=ON_CPU)
        return found.eigenvalues[0], found.eigenvalues[0] * found.norm**2

    plain, common, single = measured(1, 1), measured(3, 3), measured(3, 1)
    assert common[0] == pytest.approx(plain[0] / 9, rel=1e-5)
    assert common[1] == pytest.approx(plain[1], rel=1e-5)
    assert abs(single[1] / plain[1] - 1) > 0.1


def test_frozen_parameters_count_and_stay_frozen() -> None:
    torch.manual_seed(4)
    network = tiny_network(3, width=3, norm=False).train()
    network.head.weight.requires_grad_(False)
    images, labels = noise()
    with torch.no_grad():  # a caller's switch is not ours
        found = hessian(network, [(images, labels)], probes=2, evaluation=ON_CPU)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert not network.head.weight.requires_grad
    assert network.training
    assert all(p.grad is None for p in network.parameters())


def test_attention_is_differentiated_twice() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.head = nn.Linear(4, 12), nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            queries, keys, values = self.project(images.flatten(2).mT)[:, None].chunk(3, dim=-1)
            mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
            return self.head(mixed[:, 0].mean(1))

    torch.manual_seed(5)
    network = Attending()
    images, labels = torch.randn(6, 4, 3, 3), torch.arange(6) % 2
    found = hessian(network, [(images, labels)], dtype="float64", tolerance=1e-7, probes=2, evaluation=ON_CPU)

    class Plain(Attending):
        def forward(self, images: Tensor) -> Tensor:
            queries, keys, values = self.project(images.flatten(2).mT).chunk(3, dim=-1)
            mixed = torch.softmax(queries @ keys.mT / 2, dim=-1) @ values
            return self.head(mixed.mean(1))

    plain = Plain()
    plain.load_state_dict(network.state_dict())
    assert found.eigenvalues[0] == pytest.approx(float(torch.linalg.eigvalsh(dense_hessian(plain, images, labels))[-1]))


def test_an_operation_without_second_derivative_is_named() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Hardsigmoid(), nn.Linear(3, 2))
    with pytest.raises(MeasureError, match="cannot be differentiated twice") as caught:
        hessian(network, [(IMAGES, LABELS)], probes=2, evaluation=ON_CPU)
    assert "hardsigmoid" in str(caught.value)


def test_a_lack_of_memory_is_not_taken_for_a_missing_derivative() -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(12, 2)

        def forward(self, images: Tensor) -> Tensor:
            if torch.is_grad_enabled():  # what derivatives need is kept; passes without them go through
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return self.head(images.flatten(1))

    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        hessian(Hungry(), [(IMAGES, LABELS)], probes=2, evaluation=ON_CPU)


def test_a_hessian_that_is_not_finite_is_refused() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, 2))

        def forward(self, images: Tensor) -> Tensor:
            return self.weight.abs().sqrt().expand(len(images), 2)

    with pytest.raises(MeasureError, match="not a vector of finite numbers"):
        hessian(Root(), [(IMAGES, LABELS)], probes=2, evaluation=ON_CPU)


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Tokens(nn.Module):
    """An encoder layer of torch's, whose evaluation has a fused path."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.reshape(len(x), 2, 4)).mean(1))


class _Keeping(nn.Module):
    """Keeps a product of its weights between evaluations, as LeViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(8, 8)), nn.Linear(8, 3)
        self.kept: Tensor | None = None

    def train(self, mode: bool = True) -> "_Keeping":
        self.kept = None if mode else self.kept
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = self.weight @ self.weight
        return self.head(torch.tanh(x @ self.kept))


def images_of(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 4, 1), *layers, nn.Flatten(), nn.Linear(16, 3))


TWICE = {
    "layer norm": lambda: nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)),
    "layer norm in a residual": lambda: nn.Sequential(
        _Residual(nn.LayerNorm(8), nn.Linear(8, 8)), nn.GELU(), nn.Linear(8, 3)),
    "group norm": lambda: images_of(nn.GroupNorm(2, 4), nn.Tanh()),
    "instance norm": lambda: images_of(nn.InstanceNorm2d(4, affine=True), nn.Tanh()),
    "batch norm": lambda: images_of(nn.BatchNorm2d(4), nn.SiLU()),
    "root mean square norm": lambda: nn.Sequential(nn.Linear(8, 5), nn.RMSNorm(5), nn.Tanh(), nn.Linear(5, 3)),
    "local response norm": lambda: images_of(nn.LocalResponseNorm(2), nn.Softplus()),
    "an encoder layer": _Tokens,
    "linear in its weights": lambda: nn.Linear(8, 3),
    "weights kept between evaluations": _Keeping,
}  # fmt: skip


def by_differences(network: nn.Module, inputs: Tensor, labels: Tensor, step: float = 1e-5) -> Tensor:
    """∇² by central differences of the gradient, number by number: no second derivative of torch's is asked."""
    model = copy.deepcopy(network).double().requires_grad_(True)
    parameters = list(model.parameters())

    def gradient() -> Tensor:
        model.train().eval()
        with torch.enable_grad():
            value = nn.functional.cross_entropy(model(inputs.double()), labels)
            return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters, materialize_grads=True)])

    rows = []
    for parameter in parameters:
        for index in range(parameter.numel()):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[index] += sign * step
                ends.append(gradient())
                with torch.no_grad():
                    parameter.view(-1)[index] -= sign * step
            rows.append((ends[0] - ends[1]) / (2 * step))
    found = torch.stack(rows)
    return (found + found.T) / 2


@pytest.mark.kind("F8")
@pytest.mark.parametrize("name", TWICE)
def test_eigenvalues_are_those_of_differences_of_the_gradient(name: str) -> None:
    torch.manual_seed(7)
    network = TWICE[name]().eval()
    inputs, labels = torch.randn(20, 8), torch.arange(20) % 3
    data = [(inputs[:12], labels[:12]), (inputs[12:], labels[12:])]
    found = hessian(
        network,
        data,
        dtype="float64",
        tolerance=1e-8,
        probes=2,
        evaluation=Evaluation(batch_norm="none", device="cpu"),
        most_products=3000,
    )
    true = torch.linalg.eigvalsh(by_differences(network, inputs, labels))
    assert found.converged
    assert found.eigenvalues[0] == pytest.approx(float(true[-1]), rel=1e-6)
    # The residual that is stated holds: an eigenvalue lies that close.
    assert float((true - found.eigenvalues[0]).abs().min()) <= found.residuals[0] + 1e-6 * abs(float(true[-1]))
    assert found.residuals[0] <= 1e-6 * found.eigenvalues[0]
    single = hessian(network, data, probes=2, evaluation=Evaluation(batch_norm="none", device="cpu"))
    assert single.eigenvalues[0] == pytest.approx(found.eigenvalues[0], rel=2e-3)


class _Product(torch.autograd.Function):
    """A backward written by hand that forgets that one of its slopes depends on the other factor."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return slope @ weight.detach(), slope.T @ x


class _ByHand(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body, self.weight = nn.Linear(width, width), nn.Parameter(torch.randn(2, width))

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(torch.tanh(self.body(x)), self.weight)


ASYMMETRIC = {
    "written by hand": lambda: _ByHand(6),
    "written by hand, few parameters": lambda: _ByHand(1),
    # The fused kernel's second derivative is wrong as of torch 2.14.
    "torch's weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 2)),
}  # fmt: skip


@pytest.mark.kind("F8")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ASYMMETRIC)
def test_a_wrong_second_derivative_is_refused(name: str, dtype) -> None:
    torch.manual_seed(8)
    network = ASYMMETRIC[name]()
    width = 1 if "few" in name else 6
    with pytest.raises(MeasureError, match="not those of a symmetric matrix"):
        hessian(network, [(torch.randn(12, width), torch.arange(12) % 2)], dtype=dtype, evaluation=ON_CPU)


@pytest.mark.kind("F8")
def test_no_package_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    torch.manual_seed(9)
    assert hessian(nn.Linear(4, 2), [(torch.randn(8, 4), torch.arange(8) % 2)], evaluation=ON_CPU).converged


def test_what_is_missing_or_not_the_same_twice_is_refused() -> None:
    images, labels = noise()
    with pytest.raises(MeasureError, match="nothing to recompute its statistics on"):
        hessian(tiny_network(3, width=3), [(images, labels)], evaluation=ON_CPU)
    with pytest.raises(LoaderError, match="read only once"):
        hessian(tiny_network(3, width=3, norm=False), iter([(images, labels)]), evaluation=ON_CPU)
    with pytest.raises(MeasureError, match="needs probes"):
        hessian(tiny_network(3, width=3, norm=False), [(images, labels)], probes=1, evaluation=ON_CPU)


def test_the_same_seed_gives_the_same_numbers() -> None:
    torch.manual_seed(6)
    network = tiny_network(3, width=3, norm=False)
    images, labels = noise()
    runs = [hessian(network, [(images, labels)], probes=3, seed=seed, evaluation=ON_CPU) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].trace != runs[2].trace
    assert np.isclose(runs[0].eigenvalues[0], runs[2].eigenvalues[0], rtol=1e-2)
