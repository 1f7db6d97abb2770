"""Planes: where three networks lie, and a grid that is evaluated where it matters."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.errors import MeasureError
from transferscope.measures.plane import coarse_to_fine, strides, triangle, weights_at


def distances(places: np.ndarray) -> np.ndarray:
    return np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_the_triangle_is_gram_and_schmidt(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    networks = scale * rng.normal(size=(3, 40))
    corners = triangle(distances(networks))
    u = networks[1] - networks[0]
    u /= np.linalg.norm(u)
    rest = networks[2] - networks[0]
    v = rest - (rest @ u) * u
    v /= np.linalg.norm(v)
    for network, corner in zip(networks, corners, strict=True):
        here = network - networks[0]
        assert corner == pytest.approx([here @ u, here @ v], abs=1e-9 * scale)
    assert distances(corners) == pytest.approx(distances(networks))
    place = rng.normal(size=2) * scale
    weights = weights_at(place, corners)
    assert weights.sum() == pytest.approx(1)
    assert weights @ networks == pytest.approx(networks[0] + place[0] * u + place[1] * v, abs=1e-6 * scale)


def test_at_the_corners_weights_are_the_networks() -> None:
    corners = triangle([[0, 3, 4], [3, 0, 2], [4, 2, 0]])
    assert weights_at(corners, corners) == pytest.approx(np.eye(3), abs=1e-12)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], "a plane goes through three networks"),
        ([[0, math.inf, 1], [math.inf, 0, 1], [1, 1, 0]], "a plane goes through three networks"),
        (np.zeros((3, 3)), "two of the three networks are the same"),
        ([[0, 1, 1], [1, 0, 0], [1, 0, 0]], "two of the three networks are the same"),
        ([[0, 1, 3], [1, 0, 2], [3, 2, 0]], "lie on one line"),
        ([[0, 2, 1], [2, 0, 1], [1, 1, 0]], "lie on one line"),
    ],
)
def test_what_is_no_plane_is_named(table, match: str) -> None:
    with pytest.raises(MeasureError, match=match):
        triangle(table)


@pytest.mark.parametrize("resolution", [3, 4, 16, 0])
def test_grids_halve(resolution: int) -> None:
    with pytest.raises(MeasureError, match="odd number of points a side"):
        strides(resolution)


@pytest.mark.parametrize(
    ("resolution", "wanted"), [(5, (1,)), (7, (1,)), (9, (2, 1)), (33, (8, 4, 2, 1)), (65, (16, 8, 4, 2, 1))]
)
def test_coarsest_grids_have_five_points_or_more(resolution: int, wanted: tuple[int, ...]) -> None:
    assert strides(resolution) == wanted


def run(function, resolution: int, tolerance: float):
    seen: list[tuple[int, int]] = []

    def evaluate(row: int, column: int):
        seen.append((row, column))
        return function(row / (resolution - 1), column / (resolution - 1))

    found = coarse_to_fine(evaluate, resolution, tolerance)
    assert len(seen) == len(set(seen)), "no point twice"
    assert sorted(seen) == sorted(zip(*np.nonzero(~found.interpolated), strict=True))
    return found


def test_where_it_is_evaluated_it_is_the_full_grid() -> None:
    def hill(y: float, x: float) -> list[float]:
        return [math.exp(-40 * ((x - 0.3) ** 2 + (y - 0.6) ** 2)), x * y]

    found = run(hill, 33, 0.02)
    full = np.array([[hill(row / 32, column / 32) for column in range(33)] for row in range(33)])
    assert (found.values[~found.interpolated] == full[~found.interpolated]).all()
    assert 0.1 < found.interpolated.mean() < 0.9
    assert np.abs(found.values - full).max() < 0.02
    assert not found.interpolated[::4, ::4].any(), "the two coarsest grids are evaluated wholly"
    peak = np.unravel_index(full[..., 0].argmax(), (33, 33))
    assert not found.interpolated[peak]


def test_levels_name_the_grid_a_point_belongs_to() -> None:
    found = run(lambda y, x: [x], 17, 0.1)
    for row in range(17):
        for column in range(17):
            step = math.gcd(math.gcd(row, column), 4)
            assert found.level[row, column] == {4: 0, 2: 1, 1: 2}[step]


def test_a_bilinear_surface_needs_two_grids_alone() -> None:
    found = run(lambda y, x: [1 + 2 * x - y + 3 * x * y], 33, 1e-9)
    assert (~found.interpolated).sum() == 81
    grid = np.linspace(0, 1, 33)
    exact = 1 + 2 * grid[None] - grid[:, None] + 3 * grid[None] * grid[:, None]
    assert found.values[..., 0] == pytest.approx(exact)


def test_a_quadratic_is_within_its_tolerance() -> None:
    """Halving a step h brings h²/8·|second derivative|, so what is left after a stop is at most a third of that."""
    for tolerance in (0.5, 0.05, 0.005, 0.0005):
        found = run(lambda y, x: [4 * x * x + 3 * y * y], 33, tolerance)
        grid = np.linspace(0, 1, 33)
        exact = 4 * grid[None] ** 2 + 3 * grid[:, None] ** 2
        assert np.abs(found.values[..., 0] - exact).max() <= tolerance / 3 + 1e-9


def test_a_smaller_tolerance_evaluates_more_and_none_everything_that_changes() -> None:
    def wave(y: float, x: float) -> list[float]:
        return [math.sin(5 * x + 3 * y)]

    counts = [int((~run(wave, 33, tolerance).interpolated).sum()) for tolerance in (10.0, 0.05, 0.005, 0.0)]
    assert counts == sorted(counts)
    assert counts[0] == 81
    assert counts[-1] == 33 * 33


def test_an_edge_is_followed() -> None:
    found = run(lambda y, x: [float(x + 0.4 * y > 0.7)], 33, 0.01)
    grid = np.linspace(0, 1, 33)
    exact = (grid[None] + 0.4 * grid[:, None] > 0.7).astype(float)
    assert (np.abs(found.values[..., 0] - exact) < 1e-12).mean() > 0.97
    assert found.interpolated.mean() > 0.4


def test_infinite_values_are_kept_and_judged_as_asked() -> None:
    def cliff(row: int, column: int) -> list[float]:
        return [math.inf if row > 8 else 0.1 * column]

    found = coarse_to_fine(cliff, 17, 0.01, judged=lambda values: 1 - np.exp(-values))
    assert np.isinf(found.values[9:]).all()
    assert np.isfinite(found.values[:9]).all()
    assert found.interpolated.any()


def test_tolerances_are_heights() -> None:
    for tolerance in (-0.1, math.nan):
        with pytest.raises(MeasureError, match="tolerance"):
            coarse_to_fine(lambda row, column: [0.0], 9, tolerance)
