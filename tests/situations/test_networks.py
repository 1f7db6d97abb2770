"""Networks as people write them, strange and legal: looked at rightly, or refused by name; data and weights stay."""

from collections.abc import Callable
from contextlib import nullcontext, suppress

import pytest
import torch
from torch import Tensor, nn

import transferscope as ts
from tests.callers import CPU, FUNCTIONS
from transferscope.errors import AlignmentError, ArchitectureError, TransferscopeError
from transferscope.networks.evaluate import digest

X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 3


class Body(nn.Module):
    """A hidden layer and a head; ``taken`` is what becomes of the input first."""

    def __init__(self, taken: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.taken = taken or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.taken(x)).relu())


class Words(nn.Module):
    """Rows of the embedding that are used are brought to a largest norm: forward passes write to a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(5, 6, max_norm=0.5), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words((x[:, 0] > 0).long()))


def pair(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    networks = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            networks.append(make().eval())
    return networks[0], networks[1]


def batches() -> list[tuple[Tensor, Tensor]]:
    return [(X[:8].clone(), LABELS[:8]), (X[8:].clone(), LABELS[8:])]


IN_PLACE = {
    "halves": lambda x: x.mul_(0.5),
    "rectifies": nn.ReLU(inplace=True),
    "shifts": lambda x: x.sub_(x.mean()),
}
PURE = {"halves": lambda x: x * 0.5, "rectifies": nn.ReLU(), "shifts": lambda x: x - x.mean()}


@pytest.mark.kind("in-place")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_network_that_writes_to_its_input_changes_no_data(name: str) -> None:
    a, b = pair(lambda: Body(IN_PLACE["halves"]))
    data = batches()
    FUNCTIONS[name](a, b, data)
    assert all(torch.equal(mine, given) for (mine, _), (given, _) in zip(data, batches(), strict=True))


@pytest.mark.kind("in-place")
@pytest.mark.parametrize("change", IN_PLACE)
def test_it_is_measured_as_one_that_writes_to_a_copy(change: str) -> None:
    found = []
    for taken in (IN_PLACE[change], PURE[change]):
        a, b = pair(lambda: Body(taken))  # noqa: B023  # called at once
        path = ts.linear_path(a, b, {"t": batches()}, alphas=(0, 0.5, 1), evaluation=ts.Evaluation(**CPU))
        similarity = ts.cka(a, b, batches(), execution=ts.Execution(**CPU))
        found.append((digest(path.points), similarity.values))
    (first, cka), (second, other) = found
    assert first == second
    assert (cka == other).all()


@pytest.mark.kind("F9")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_weights_that_forward_passes_write_to_come_back(name: str) -> None:
    a, b = pair(Words)
    before = [network.words.weight.detach().clone() for network in (a, b)]
    refused = pytest.raises(AlignmentError) if name == "align" else nullcontext()  # there is no rule for such a layer
    with refused:
        FUNCTIONS[name](a, b, batches())
    for network, kept in zip((a, b), before, strict=True):
        assert torch.equal(network.words.weight, kept)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.kind("networks")
@pytest.mark.parametrize("name", ["cka", "compare", "spectra", "hessian"])
@pytest.mark.parametrize("layout", ["to_sparse_csr", "to_sparse"])
def test_sparse_weights_are_refused_by_name(name: str, layout: str) -> None:
    a, b = pair(Body)
    a.hidden.weight = nn.Parameter(getattr(a.hidden.weight.detach(), layout)())
    with pytest.raises(ArchitectureError, match=r"hidden\.weight") as refused:
        FUNCTIONS[name](a, b, batches())
    assert "to_dense()" in (refused.value.hint or "")


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.kind("networks")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_layer_without_numbers_is_left_out_or_named(name: str) -> None:
    a, b = pair(lambda: nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 0), nn.Linear(0, 3)))
    with suppress(TransferscopeError):
        FUNCTIONS[name](a, b, batches())
