"""Networks of equal names and shapes are of one architecture only if their tensors are all that tells them apart."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import transferscope as ts
from tests.callers import gathered
from transferscope.errors import TransferscopeError
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.landscape import Landscape

ON_CPU = Evaluation(device="cpu")

VECTORS = [(torch.randn(24, 16, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 4)]
IMAGES = [(torch.randn(12, 3, 6, 6, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 4)]
TOKENS = [(torch.randn(12, 5, 8, generator=torch.Generator().manual_seed(2)), torch.arange(12) % 4)]


class _With(nn.Module):
    """A network with state that is neither parameter nor buffer, used by ``forward``."""

    def __init__(self, **attributes) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16, 8), nn.Linear(8, 4)
        self.__dict__.update(attributes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        if "scale" in self.__dict__:
            hidden = hidden * self.scale
        return self.head(hidden.relu())


class _Extra(_With):
    def get_extra_state(self):
        return {"scale": self.scale}

    def set_extra_state(self, state) -> None:
        self.scale = state["scale"]


class _Order(_With):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.relu()))


class _Chosen(nn.Module):
    """Which of the inputs are looked at is a buffer of whole numbers that is not saved."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.register_buffer("index", torch.arange(8) + first, persistent=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[:, self.index])


class _Scaled(_With):
    """A table of fractions that no norm keeps."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.register_buffer("table", torch.full((8,), factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mul(self.table).relu())


class _Quantised(nn.Module):
    """As a quantised layer keeps its weights: packed, and no tensor of the module."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        weight = torch.randn(4, 16, generator=torch.Generator().manual_seed(seed))
        self.packed = [(weight * 32).round().to(torch.int8), 1 / 32]
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        weight, scale = self.packed
        return self.norm(x) @ (weight.float() * scale).T


class _Heads(nn.Module):
    def __init__(self, heads: int) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, heads, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def mlp(act: nn.Module, norm: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), norm or nn.Identity(), act, nn.Linear(32, 4))


def normed(norm: nn.Module) -> nn.Module:
    return mlp(nn.ReLU(), norm)


def cnn(**settings) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, **settings), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    )


UNLIKE: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], list]] = {
    "activation": (lambda: mlp(nn.ReLU()), lambda: mlp(nn.Tanh()), VECTORS),
    "slope of an activation": (lambda: mlp(nn.LeakyReLU(0.01)), lambda: mlp(nn.LeakyReLU(0.2)), VECTORS),
    "approximation": (lambda: mlp(nn.GELU()), lambda: mlp(nn.GELU(approximate="tanh")), VECTORS),
    "eps of a layer norm": (lambda: normed(nn.LayerNorm(32)), lambda: normed(nn.LayerNorm(32, 1e-2)), VECTORS),
    "eps of a batch norm": (lambda: normed(nn.BatchNorm1d(32)), lambda: normed(nn.BatchNorm1d(32, 1e-6)), VECTORS),
    "padding": (lambda: cnn(padding=0), lambda: cnn(padding=1), IMAGES),
    "padding mode": (lambda: cnn(padding=1), lambda: cnn(padding=1, padding_mode="circular"), IMAGES),
    "stride": (lambda: cnn(stride=1), lambda: cnn(stride=2), IMAGES),
    "dilation": (lambda: cnn(), lambda: cnn(dilation=2), IMAGES),
    "heads": (lambda: _Heads(2), lambda: _Heads(4), TOKENS),
    "an attribute": (lambda: _With(scale=1.0), lambda: _With(scale=2.0), VECTORS),
    "extra state": (lambda: _Extra(scale=1.0), lambda: _Extra(scale=0.5), VECTORS),
    "order of operations": (lambda: _With(), lambda: _Order(), VECTORS),
    "packed weights": (lambda: _Quantised(0), lambda: _Quantised(1), VECTORS),
    "an index that is not saved": (lambda: _Chosen(0), lambda: _Chosen(8), VECTORS),
    "a table": (lambda: _Scaled(1.0), lambda: _Scaled(2.0), VECTORS),
}  # fmt: skip


def pair(name: str) -> tuple[nn.Module, nn.Module, list]:
    one, other, data = UNLIKE[name]
    torch.manual_seed(0)
    return one(), other(), data


def path(a: nn.Module, b: nn.Module, data: list, **settings):
    if "recompute_on" not in settings and "batch_norm" not in settings:
        settings["recompute_on"] = data
    return ts.linear_path(a, b, {"t": data}, **gathered(ts.linear_path, alphas=(0, 0.5, 1), device="cpu", **settings))


def losses(found) -> list[float]:
    return [float(point.losses.mean()) for point in found.points["t"]]


@torch.no_grad()
def own_loss(network: nn.Module, data: list) -> float:
    network = copy.deepcopy(network).eval()
    return float(nn.functional.cross_entropy(network(data[0][0]).double(), data[0][1]))


@pytest.mark.kind("F1")
@pytest.mark.parametrize("name", UNLIKE)
def test_there_is_no_line_between_networks_of_unlike_code(name: str) -> None:
    a, b, data = pair(name)
    with pytest.raises(TransferscopeError):
        path(a, b, data)


@pytest.mark.kind("F1")
@pytest.mark.parametrize("name", ["activation", "padding mode", "heads"])
def test_nor_a_plane_or_a_comparison_or_an_alignment(name: str) -> None:
    a, b, data = pair(name)
    with pytest.raises(TransferscopeError):
        Landscape((a, copy.deepcopy(a), b), {"t": data}, evaluation=ON_CPU)
    with pytest.raises(TransferscopeError):
        ts.align(a, b, data, device="cpu")
    found = ts.compare(a, b, data, path=ts.PathGrid(points=3, refine=None), evaluation=ts.Evaluation(device="cpu"))
    assert found.path is None
    assert found.average is None
    assert found.aligned is None
    assert "not of one architecture" in found.not_measured["path"]


@pytest.mark.kind("F1")
def test_the_modules_that_differ_are_named() -> None:
    a, b, data = pair("activation")
    with pytest.raises(TransferscopeError, match=r"2: ReLU\(\) and Tanh\(\)"):
        path(a, b, data)
    a, b, data = pair("an index that is not saved")
    with pytest.raises(TransferscopeError, match="nothing can be put between: index"):
        path(a, b, data)


@pytest.mark.kind("F1")
def test_a_trunk_keeps_its_own_code_under_the_other_head() -> None:
    torch.manual_seed(0)
    a, b = mlp(nn.ReLU()), mlp(nn.Tanh())
    b[3] = nn.Linear(32, 7)
    with pytest.raises(TransferscopeError, match="not of one architecture"):
        path(a, b, VECTORS, trunk_of="3")
    b[2] = nn.ReLU()
    found = path(a, b, VECTORS, trunk_of="3")
    expected = nn.Sequential(*b[:3], a[3])
    assert losses(found)[2] == pytest.approx(own_loss(expected, VECTORS), abs=1e-6)


@pytest.mark.kind("F1")
def test_randomness_of_the_second_network_is_named_as_such() -> None:
    class Always(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5, training=True)

    torch.manual_seed(0)
    with pytest.raises(TransferscopeError, match="other outputs for the same images"):
        path(mlp(nn.Identity()), mlp(Always()), VECTORS)


class _Counting(_With):
    """Whole numbers and fractions that differ and make no difference to an output."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(steps))
        self.register_buffer("mean_loss", torch.tensor(1.0 / steps))


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0][:, -1])


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.two.weight = self.one.weight
        self.one.register_buffer("mask", torch.ones(16))
        self.two.register_buffer("mask", self.one.mask)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x).relu() * self.two.mask))


ALIKE: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], list]] = {
    "plain": (lambda: mlp(nn.ReLU()), lambda: mlp(nn.ReLU()), VECTORS),
    "other dropout": (lambda: mlp(nn.Dropout(0.1)), lambda: mlp(nn.Dropout(0.5)), VECTORS),
    "no dropout": (lambda: mlp(nn.Dropout(0.1)), lambda: mlp(nn.Identity()), VECTORS),
    "counters": (lambda: _Counting(1), lambda: _Counting(7), VECTORS),
    "another memory format": (lambda: cnn(), lambda: cnn().to(memory_format=torch.channels_last), IMAGES),
    "trained without gradients": (lambda: cnn(), lambda: cnn().requires_grad_(False), IMAGES),
    "heads": (lambda: _Heads(2), lambda: _Heads(2), TOKENS),
    "recurrent": (_Recurrent, _Recurrent, TOKENS),
    "tied": (_Tied, _Tied, VECTORS),
    "normalised input": (lambda: nn.Sequential(_Scaled(2.0)), lambda: nn.Sequential(_Scaled(2.0)), VECTORS),
}


@pytest.mark.kind("F1")
@pytest.mark.parametrize("name", ALIKE)
def test_networks_of_one_architecture_are_their_ends(name: str) -> None:
    one, other, data = ALIKE[name]
    torch.manual_seed(0)
    a, b = one(), other()
    b.train()
    before = copy.deepcopy(b.state_dict())
    weight = next(b.parameters())
    place = weight.data_ptr(), weight.stride()
    found = path(a, b, data)
    assert losses(found)[0] == pytest.approx(own_loss(a, data), abs=1e-6)
    assert losses(found)[2] == pytest.approx(own_loss(b, data), abs=1e-6)
    # Looked at, and as it was.
    assert b.training
    assert (weight.data_ptr(), weight.stride()) == place
    assert all(torch.equal(tensor, before[key]) for key, tensor in b.state_dict().items())


@pytest.mark.kind("F1")
def test_other_momentum_makes_no_difference() -> None:
    torch.manual_seed(0)
    a, b = mlp(nn.ReLU(), nn.BatchNorm1d(32)), mlp(nn.ReLU(), nn.BatchNorm1d(32, momentum=0.5))
    assert np.isfinite(losses(path(a, b, VECTORS))).all()


@pytest.mark.kind("F1")
def test_a_table_may_be_moved_like_weights_where_the_result_says_so() -> None:
    a, b, data = pair("a table")
    found = path(a, b, data, batch_norm="interpolate")
    assert found.batch_norm == "interpolate"
    assert losses(found)[2] == pytest.approx(own_loss(b, data), abs=1e-6)


@pytest.mark.kind("F1")
def test_the_check_costs_two_passes_of_a_few_images() -> None:
    calls: list[int] = []

    class Counted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().forward(x)

    def one() -> nn.Module:
        return nn.Sequential(Counted(16, 4))

    many = [(torch.zeros(500, 16), torch.zeros(500, dtype=torch.long))]
    Landscape((one(),), {"t": many}, evaluation=ON_CPU)
    alone = len(calls)
    calls.clear()
    Landscape((one(), one()), {"t": many}, evaluation=ON_CPU)
    assert len(calls) == alone + 2
    assert max(calls) <= 32
