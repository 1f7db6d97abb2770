"""Sums of two tensors, against double precision throughout."""

import math

import pytest
import torch

from transferscope.errors import MeasureError
from transferscope.measures.batchnorm_drift import batchnorm_drift
from transferscope.measures.change import change_sums

KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_sums_are_those_of_double_precision(kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 2001, generator=generator).to(kind) for _ in range(2))
    x, y = a.double(), b.double()
    found = change_sums(a, b)
    assert found.count == 10005
    assert found.changed == int((x != y).sum())
    for value, exact in (
        (found.distance, (x - y).norm()), (found.relative, (x - y).norm() / x.norm()),
        (found.aa, x.square().sum()), (found.bb, y.square().sum()),
    ):  # fmt: skip
        assert value == pytest.approx(float(exact), rel=1e-6)
    assert found.cosine == pytest.approx(float((x * y).sum() / x.norm() / y.norm()), abs=1e-6)


def test_pieces_add_up() -> None:
    a, b = torch.arange(9.0), torch.arange(9.0).flip(0)
    whole, parts = change_sums(a, b), change_sums(a[:4], b[:4]) + change_sums(a[4:], b[4:])
    assert whole == parts


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e20, 1e36])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    a, b = torch.tensor([3.0, 4.0]) * scale, torch.tensor([3.0, 4.5]) * scale
    assert change_sums(a, b).relative == pytest.approx(0.1, rel=1e-5)


def test_what_is_not_finite_is_counted_and_not_measured() -> None:
    found = change_sums(torch.tensor([1.0, math.nan, math.inf]), torch.tensor([1.0, math.nan, math.inf]))
    assert (found.not_finite_a, found.not_finite_b, found.changed) == (2, 2, 1)
    assert (found.distance, found.relative, found.cosine) == (None, None, None)


def test_zeros_have_no_direction() -> None:
    found = change_sums(torch.zeros(3), torch.ones(3))
    assert (found.relative, found.cosine) == (None, None)
    assert found.distance == pytest.approx(math.sqrt(3))


def test_integers_and_shapes_are_refused() -> None:
    for a, b in ((torch.ones(2), torch.ones(3)), (torch.ones(2).int(), torch.ones(2).int())):
        with pytest.raises(MeasureError):
            change_sums(a, b)


def test_drift_of_statistics_by_hand() -> None:
    mean_a, variance_a = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 4.0])
    found = batchnorm_drift(mean_a, variance_a, torch.tensor([1.0, 5.0]), torch.tensor([1.0, 16.0]), 0.0)
    assert found.mean == pytest.approx(math.sqrt((1 + 4) / 2))
    assert found.scale == pytest.approx(math.sqrt(math.log(2) ** 2 / 2))
    # Of scaling a channel in both nothing is seen.
    scaled = batchnorm_drift(3 * mean_a, 9 * variance_a, torch.tensor([3.0, 15.0]), torch.tensor([9.0, 144.0]), 0.0)
    assert (scaled.mean, scaled.scale) == (pytest.approx(found.mean), pytest.approx(found.scale))
    with pytest.raises(MeasureError):
        batchnorm_drift(mean_a, -variance_a, mean_a, variance_a)
    with pytest.raises(MeasureError):
        batchnorm_drift(mean_a, variance_a, mean_a[:1], variance_a)
