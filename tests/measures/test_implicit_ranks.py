"""Ranks from products alone, against whole decompositions."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.implicit_ranks import Ranks, implicit_ranks, ranks_of_values
from transferscope.measures.spectra import matrix_spectrum
from transferscope.measures.spectrum_summary import spectrum_summary

ROWS, COLUMNS = 700, 500


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spectral(values: Tensor) -> Tensor:
    left = torch.linalg.qr(normal(ROWS, COLUMNS)).Q
    right = torch.linalg.qr(normal(COLUMNS, COLUMNS, seed=1)).Q
    return left @ torch.diag(values) @ right.T


def low_rank(rank: int) -> Tensor:
    return normal(ROWS, rank) @ normal(rank, COLUMNS, seed=1)


INDEX = torch.arange(1.0, COLUMNS + 1)
MATRICES: dict[str, Callable[[], Tensor]] = {
    "noise": lambda: normal(ROWS, COLUMNS),
    "rank 1": lambda: low_rank(1),
    "rank 8": lambda: low_rank(8),
    "rank 40": lambda: low_rank(40),
    "rank 128": lambda: low_rank(128),
    "rank 8 in noise": lambda: low_rank(8) + 1e-2 * normal(ROWS, COLUMNS, seed=2),
    "slow decay": lambda: spectral(INDEX**-0.5),
    "decay": lambda: spectral(INDEX**-1.0),
    "steep decay": lambda: spectral(INDEX**-2.0),
    "exponential": lambda: spectral(torch.exp(-INDEX / 50)),
    "two levels": lambda: spectral(torch.where(INDEX <= 100, 1.0, 1e-3)),
}


def estimated(matrix: Tensor, seed: int = 0) -> Ranks | None:
    return implicit_ranks(lambda v: matrix.T @ (matrix @ v), matrix.shape[1], float(matrix.double().norm()), seed)


@pytest.mark.parametrize("name", MATRICES)
def test_the_limits_hold_what_a_decomposition_gives(name: str) -> None:
    matrix = MATRICES[name]()
    exact = spectrum_summary(matrix_spectrum(matrix))
    found = estimated(matrix)
    assert found is not None
    assert exact.effective_rank is not None
    assert exact.stable_rank is not None
    # 95 % limits, of one fixed seed: half their width more for the one in twenty.
    slack = (found.effective.high - found.effective.low) / 4
    assert found.effective.low - slack <= exact.effective_rank <= found.effective.high + slack
    assert found.stable.low <= exact.stable_rank * (1 + 1e-5)
    assert exact.stable_rank <= found.stable.high * (1 + 1e-5)
    assert found.stable.value == pytest.approx(exact.stable_rank, rel=0.02)


@pytest.mark.parametrize("rank", [1, 8, 40])
def test_few_directions_are_found_exactly(rank: int) -> None:
    matrix = low_rank(rank)
    exact = spectrum_summary(matrix_spectrum(matrix))
    found = estimated(matrix)
    assert found is not None
    assert found.effective.value == pytest.approx(exact.effective_rank, rel=1e-3)
    assert found.stable.value == pytest.approx(exact.stable_rank, rel=1e-4)


def test_limits_cover_at_their_rate() -> None:
    """Over seeds of the probes, of the matrix that is hardest for them."""
    matrix = MATRICES["rank 128"]()
    exact = spectrum_summary(matrix_spectrum(matrix)).effective_rank
    assert exact is not None
    found = [estimated(matrix, seed) for seed in range(20)]
    inside = sum(one is not None and one.effective.low <= exact <= one.effective.high for one in found)
    assert inside >= 17


def test_ranks_are_those_of_any_multiple() -> None:
    matrix = MATRICES["decay"]()
    one, other = estimated(matrix), estimated(1024 * matrix)
    assert one is not None
    assert other is not None
    assert one.effective == other.effective
    assert other.largest == pytest.approx(1024 * one.largest)


def test_small_and_empty() -> None:
    assert estimated(torch.zeros(5, 3)) is None
    assert ranks_of_values(torch.zeros(3)) is None
    for side in (1, 3, 17):
        matrix = normal(40, side)
        found, exact = estimated(matrix), ranks_of_values(torch.linalg.svdvals(matrix.double()))
        assert found is not None
        assert exact is not None
        assert found.effective.value == pytest.approx(exact.effective.value, rel=0.02)
    with pytest.raises(MeasureError):
        estimated(torch.full((3, 3), math.nan))
