"""The set a basin is measured on: points of a simplex, rays out of it, and the rules of its integrals."""

import math

import numpy as np
import pytest

from tests.reference.basin_reference import simplex_exit
from transferscope.errors import MeasureError
from transferscope.measures.simplex import (
    affine_rank,
    half_normal_quadrature,
    outward,
    rim,
    segment_quadrature,
    simplex_draws,
    squared_lengths,
)


def test_the_ray_of_the_worked_example() -> None:
    assert rim([0.2, 0.3, 0.5], [0.1, 0.4, 0.5]).tolist() == pytest.approx([0.0, 0.5, 0.5], abs=1e-15)
    assert rim([0.3, 0.7], [0.6, 0.4]).tolist() == [1.0, 0.0]


def test_rays_leave_where_bisection_says() -> None:
    rng = np.random.default_rng(3)
    first, second = simplex_draws(50, 4, rng), simplex_draws(50, 4, rng)
    ends = rim(first, second)
    for b1, b2, end in zip(first, second, ends, strict=True):
        assert end == pytest.approx(simplex_exit(list(b1), list(b2)), abs=1e-9)
    assert (ends.min(axis=1) == 0).all()
    assert ends.sum(axis=1) == pytest.approx(1.0)
    with pytest.raises(MeasureError, match="two different points"):
        rim(first[0], first[0])


def test_lengths_and_ways_out_are_those_of_the_networks() -> None:
    rng = np.random.default_rng(1)
    corners = rng.normal(size=(4, 30))
    table = ((corners[:, None] - corners[None]) ** 2).sum(-1)
    first, second = simplex_draws(20, 4, rng), simplex_draws(20, 4, rng)
    change = second - first
    assert squared_lengths(change, table) == pytest.approx(((change @ corners) ** 2).sum(1))
    end = rim(first, second)
    ways = outward(first, end, table) @ corners
    literal = (end - first) @ corners
    assert ways == pytest.approx(literal / np.linalg.norm(literal, axis=1, keepdims=True))
    assert np.linalg.norm(ways, axis=1) == pytest.approx(1.0)
    with pytest.raises(MeasureError, match="the way out has no direction"):
        outward(first, first, table)


def test_uniform_points_of_a_simplex_have_its_moments() -> None:
    draws = simplex_draws(20_000, 3, np.random.default_rng(0))
    assert draws.sum(axis=1) == pytest.approx(1.0)
    assert draws.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.01)
    # Dirichlet(1, 1, 1): variance 1/18, and P(b_1 > 1/2) = 1/4.
    assert draws.var(axis=0) == pytest.approx([1 / 18] * 3, abs=0.002)
    assert (draws[:, 0] > 0.5).mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("corners", [2, 3, 5])
def test_rank_counts_dimensions_whatever_the_place_and_scale(corners: int) -> None:
    rng = np.random.default_rng(corners)
    places = rng.normal(size=(corners, 200))
    table = ((places[:, None] - places[None]) ** 2).sum(-1)
    for changed in (table, 1e6 * table, 1e-12 * table, table[::-1, ::-1]):
        assert affine_rank(changed) == corners - 1
    inner = np.vstack([places, places.mean(axis=0)])
    assert affine_rank(((inner[:, None] - inner[None]) ** 2).sum(-1)) == corners - 1
    assert affine_rank(np.zeros((corners, corners))) == 0


def test_a_table_of_distances_is_square() -> None:
    with pytest.raises(MeasureError, match="distances are a square table"):
        affine_rank([1.0, 2.0])


@pytest.mark.parametrize("nodes", [1, 2, 5, 16])
def test_half_normal_quadrature_is_exact_for_polynomials(nodes: int) -> None:
    places, weights = half_normal_quadrature(nodes)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights > 0).all()
    assert (places > 0).all()
    for power in range(2 * nodes):
        exact = 2 ** (power / 2) * math.gamma((power + 1) / 2) / math.sqrt(math.pi)
        assert weights @ places**power == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("nodes", [0, 17])
def test_half_normal_quadrature_has_its_range(nodes: int) -> None:
    with pytest.raises(MeasureError, match="1 to 16 nodes"):
        half_normal_quadrature(nodes)


@pytest.mark.parametrize("points", [1, 2, 4])
def test_simpson_needs_an_odd_number(points: int) -> None:
    with pytest.raises(MeasureError, match="odd number of points"):
        segment_quadrature(points)
