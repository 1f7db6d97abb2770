"""Rows of a line: what is not finite is a null and nothing else is; limits of a family are wider."""

import math

import numpy as np
import pytest

from tests.reference.barriers_reference import barriers, gap_error
from transferscope.analyses.path_rows import barrier_rows, point_rows
from transferscope.methods.landscape.landscape import LandscapePoint

GRID = (0.0, 0.5, 1.0)


def point(losses, errors=(0.0, 1.0, 0.0, 1.0)) -> LandscapePoint:
    return LandscapePoint(np.array(losses, dtype=float), np.array(errors, dtype=float), 0.5)


FINE = [0.1, 0.2, 0.3, 0.4]
HILL = [0.2, 0.5, 0.4, 0.9]


@pytest.mark.parametrize("groups", [None, [0, 0, 1, 2]])
def test_barriers_and_errors_are_the_literal_ones(groups: list[int] | None) -> None:
    values = [FINE, HILL, [0.3, 0.1, 0.3, 0.5]]
    rows = list(barrier_rows(GRID, [point(v) for v in values], groups, 3))
    wanted = barriers(list(GRID), [sum(v) / 4 for v in values])
    for row, baseline in zip(rows[:2], ("linear", "mean"), strict=True):
        assert (row["quantity"], row["baseline"], row["n_comparisons"]) == ("loss", baseline, 3)
        assert row["barrier"] == pytest.approx(wanted[baseline])
        assert row["smallest_gap"] == pytest.approx(wanted["minimum"])
        assert row["alpha"] == 0.5
        error = gap_error(0.5, HILL, FINE, values[2], baseline, groups or [0, 1, 2, 3])
        assert row["barrier_se"] == pytest.approx(error)
        assert row["simultaneous_high"] > row["high"] > row["barrier"] > row["low"] >= row["simultaneous_low"]
        assert row["n"] == (4 if groups is None else 3)


@pytest.mark.filterwarnings("error")
def test_a_loss_that_is_not_finite_is_a_null_and_nothing_else_is() -> None:
    points = [point(FINE), point([0.2, math.inf, 0.4, 0.5]), point(FINE)]
    middle = list(point_rows(GRID, points, None))[1]
    for column in ("loss", "loss_se", "loss_change", "loss_change_se"):
        assert middle[column] is None
    assert (middle["error"], middle["error_change"], middle["metric"]) == (0.5, 0.0, 0.5)
    loss, _, error, _ = barrier_rows(GRID, points, None, 1)
    assert "barrier" not in loss
    assert error["barrier"] == 0
    infinite = [point([math.inf] * 4), point(FINE), point(FINE)]
    assert next(iter(point_rows(GRID, infinite, None)))["loss_change"] is None


def test_changes_are_paired_with_the_start() -> None:
    rows = list(point_rows(GRID, [point(FINE), point([v + 1 for v in FINE]), point(HILL)], None))
    assert (rows[0]["loss_change"], rows[0]["loss_change_se"]) == (0, 0)
    assert rows[1]["loss_change"] == pytest.approx(1)
    assert rows[1]["loss_change_se"] == pytest.approx(0, abs=1e-12)
    assert rows[2]["loss_change"] == pytest.approx(np.mean(HILL) - np.mean(FINE))
