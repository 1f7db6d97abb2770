"""Networks and inputs of other types: indices, half and double precision."""

import numpy as np
import pytest
import torch
from torch import nn

import transferscope as ts
from tests.analyses.test_networks_of_all_kinds import GENERATOR, ON_CPU, PAIRS, path, small
from tests.callers import CPU, DISTINCT, FUNCTIONS
from transferscope.errors import LoaderError


class Words(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table, self.mix, self.fc = nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, ids):
        return self.fc(self.mix(self.table(ids)).relu().mean(1))


WORDS = [(torch.randint(0, 10, (12, 5), generator=GENERATOR), torch.arange(12) % 3) for _ in range(2)]


@pytest.mark.kind("F19")
@pytest.mark.parametrize(("name", "dtype"), [*((name, torch.int64) for name in DISTINCT), ("linear_path", torch.int32)])
def test_indices_are_kept(name: str, dtype: torch.dtype) -> None:
    FUNCTIONS[name](Words(0), Words(1), [(x.to(dtype), y) for x, y in WORDS])


@pytest.mark.kind("F19")
def test_the_hessian_of_a_network_of_indices() -> None:
    network = Words().double()
    found = ts.hessian(network, WORDS, tolerance=1e-6, dtype="float64", evaluation=ts.Evaluation(**CPU))
    parameters = dict(network.named_parameters())
    flat = torch.cat([p.detach().flatten() for p in parameters.values()])

    def loss(vector):
        parts = vector.split([p.numel() for p in parameters.values()])
        state = {n: part.view_as(p) for part, (n, p) in zip(parts, parameters.items(), strict=True)}
        outputs = [torch.func.functional_call(network, state, (x,)) for x, _ in WORDS]
        return nn.functional.cross_entropy(torch.cat(outputs), torch.cat([y for _, y in WORDS]))

    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    assert found.eigenvalues[0] == pytest.approx(float(exact[-1]), rel=1e-4)


@pytest.mark.kind("F19")
def test_indices_outside_the_table_are_told() -> None:
    with pytest.raises(
        LoaderError, match=r"fails on a batch of torch.int64(?s:.*)IndexError(?s:.*)within the embedding"
    ):
        path(Words(0), Words(1), [(WORDS[0][0] + 9, WORDS[0][1])])


@pytest.mark.kind("F19")
@pytest.mark.parametrize(
    "name", ["cka", "channel_reuse", "domain_distance", "spectra", "align", "linear_path", "rewind"]
)
@pytest.mark.parametrize(
    ("of_network", "of_inputs"),
    [
        (torch.float32, torch.float64),
        (torch.float64, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float16),
        (torch.float16, torch.float32),
    ],
)
def test_inputs_come_in_the_type_of_the_network(name: str, of_network, of_inputs) -> None:
    FUNCTIONS[name](small(0).to(of_network), small(1).to(of_network), [(x.to(of_inputs), y) for x, y in PAIRS])


@pytest.mark.kind("F19")
def test_the_type_of_inputs_changes_no_number() -> None:
    wide = [(x.double(), y) for x, y in PAIRS]
    assert path(small(0), small(1), wide) == path(small(0), small(1))
    assert np.array_equal(
        ts.cka(small(0), loader=wide, execution=ON_CPU).values, ts.cka(small(0), loader=PAIRS, execution=ON_CPU).values
    )
    mixed = ts.cka_networks({"a": small(0), "b": small(0).double()}, wide, execution=ON_CPU)
    assert mixed.between("a", "b").diagonal().tolist() == pytest.approx([1, 1], abs=1e-5)
    half = path(small(0).bfloat16(), small(1).bfloat16())
    assert half == pytest.approx(path(small(0), small(1)), rel=0.02)
