import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.curve_reference import length
from transferscope.errors import MeasureError
from transferscope.measures.curve_length import curve_lengths

SHAPES = ("bezier", "chain")
AT = (0.0, 0.2, 0.5, 0.8, 1.0)


def distances(a, bend, b):
    return tuple(float(np.linalg.norm(value)) for value in (bend - a, b - bend, b - a))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_against_many_chords(shape, seed):
    a, bend, b = np.random.default_rng(seed).normal(size=(3, 7))
    found = curve_lengths(shape, AT, *distances(a, bend, b))
    assert found == pytest.approx([length(shape, a, bend, b, t) for t in AT], rel=1e-6)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_laws(seed, scale):
    a, bend, b = np.random.default_rng(seed).normal(size=(3, 4))
    sides = distances(a, bend, b)
    turned = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(4, 4)))[0]
    for shape in SHAPES:
        found = curve_lengths(shape, AT, *sides)
        assert list(found) == sorted(found)
        assert sides[2] * (1 - 1e-9) <= found[-1] <= (sides[0] + sides[1]) * (1 + 1e-9)
        assert curve_lengths(shape, AT, *(scale * side for side in sides)) == pytest.approx(
            [scale * value for value in found], rel=1e-7
        )
        # Moving a bend along the curve's way makes it longer: it is no invariant of the ends alone.
        assert curve_lengths(shape, AT, *distances(a, bend + 10 * (bend - a), b))[-1] > found[-1]
        rotated = distances(*(value @ turned for value in (a, bend, b)))
        assert curve_lengths(shape, AT, *rotated) == pytest.approx(found, rel=1e-6, abs=1e-9)


def test_closed_forms():
    # A right angle of two unit steps: 2∫√((1−t)² + t²)dt = 1 + asinh(1)/√2.
    expected = 1 + np.arcsinh(1) / np.sqrt(2)
    assert curve_lengths("bezier", [1.0], 1, 1, 2**0.5) == pytest.approx([expected], rel=1e-8)
    assert curve_lengths("chain", [0.5, 1.0], 1, 1, 2**0.5) == pytest.approx([1, 2])
    # There and back on one line, which has a point of speed 0.
    assert curve_lengths("bezier", [0.5, 1.0], 1, 1, 0) == pytest.approx([0.5, 1.0], rel=1e-6)
    # A bend at the middle makes the straight line, at its even speed.
    assert curve_lengths("bezier", AT, 2, 2, 4) == pytest.approx([4 * t for t in AT])
    for shape in SHAPES:
        assert curve_lengths(shape, AT, 0, 0, 0) == (0.0,) * 5


@pytest.mark.parametrize("sides", [(1, 1, 3), (3, 1, 1), (1, float("nan"), 1), (-1, 1, 1), (float("inf"), 1, 1)])
def test_distances_of_no_triangle(sides):
    with pytest.raises(MeasureError, match=r"those of no triangle|as from_bend"):
        curve_lengths("bezier", AT, *sides)


@pytest.mark.parametrize("positions", [[0.5, 0.2], [-0.1, 1.0], [0.0, 1.2], [0.0, float("nan")]])
def test_positions_ascend(positions):
    with pytest.raises(MeasureError, match="positions on a curve ascend"):
        curve_lengths("chain", positions, 1, 1, 1)
