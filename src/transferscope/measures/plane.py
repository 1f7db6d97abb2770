"""Planes through parameter space: where three networks lie in theirs, and a grid evaluated coarse to fine."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferscope.arguments import checked
from transferscope.errors import MeasureError

__all__ = ["Surface", "coarse_to_fine", "strides", "triangle", "weights_at"]

Array = npt.NDArray[np.float64]

_COLLINEAR = 1e-4
_COARSEST = 5


@dataclass(frozen=True)
class Surface:
    """Values on a square grid.

    Attributes:
        values: ``rows columns quantities``.
        level: ``rows columns``, the level a point belongs to: 0 is the coarsest grid.
        interpolated: ``rows columns``, whether a point's values are means of its neighbours one level up.
    """

    values: Array
    level: npt.NDArray[np.int64]
    interpolated: npt.NDArray[np.bool_]


def triangle(distances: npt.ArrayLike) -> Array:
    """Where three networks lie in their plane, by Gram and Schmidt: the first at the origin, the second on the x axis.

    Coordinates are lengths in parameter space: distances in the plane are those of the networks.

    Args:
        distances: ``3 3``, ‖θ_i − θ_j‖₂.

    Returns:
        ``3 2`` coordinates, the third with y > 0.

    >>> triangle([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]]).round(9).tolist()
    [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]
    """
    table = np.asarray(distances, dtype=np.float64)
    if table.shape != (3, 3) or not np.isfinite(table).all():
        raise MeasureError("a plane goes through three networks", expected="'3 3' finite distances", got=str(table))
    base, third, across = table[0, 1], table[0, 2], table[1, 2]
    if min(base, third, across) <= _COLLINEAR * table.max():
        raise MeasureError(
            "two of the three networks are the same: there is no plane",
            expected="three different networks",
            got=f"distances {base:.4g}, {third:.4g}, {across:.4g}",
        )
    x = (base**2 + third**2 - across**2) / (2 * base)
    y = np.sqrt(max(0.0, third**2 - x**2))
    if y <= _COLLINEAR * table.max():
        raise MeasureError(
            "the three networks lie on one line: there is no plane through them",
            expected="three networks that are not averages of each other",
            got=f"the third is {y:.4g} from the line through the others",
            hint="a path shows what lies on the line",
        )
    return np.array([[0.0, 0.0], [base, 0.0], [x, y]])


def weights_at(places: npt.ArrayLike, corners: npt.ArrayLike) -> Array:
    """The networks' weights at places of their plane: Σ weights·θ is the point there; they sum to 1.

    Args:
        places: ``... 2`` coordinates.

    >>> weights_at([[0.0, 4.0], [1.5, 0.0]], [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]).tolist()
    [[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]
    """
    points, three = np.asarray(places, dtype=np.float64), np.asarray(corners, dtype=np.float64)
    third = points[..., 1] / three[2, 1]
    second = (points[..., 0] - third * three[2, 0]) / three[1, 0]
    return np.stack([1 - second - third, second, third], axis=-1)


def strides(resolution: int) -> tuple[int, ...]:
    """Steps of the grids from coarse to fine, each half of the one before, down to 1.

    The coarsest grid has at least 5 points a side.

    >>> strides(17), strides(25), strides(5)
    ((4, 2, 1), (4, 2, 1), (1,))
    """
    if resolution < _COARSEST or resolution % 2 == 0:
        raise MeasureError("a plane needs an odd number of points a side", expected="5, 7, 9, ...", got=str(resolution))
    found = [1]
    while (resolution - 1) % (2 * found[-1]) == 0 and (resolution - 1) // (2 * found[-1]) + 1 >= _COARSEST:
        found.append(2 * found[-1])
    return tuple(reversed(found))


@checked
def coarse_to_fine(
    evaluate: Callable[[int, int], npt.ArrayLike],
    resolution: int,
    tolerance: float,
    judged: Callable[[Array], Array] = lambda values: values,
) -> Surface:
    """Values on a grid, evaluated only where interpolation from the coarser grid was seen to be off.

    The two coarsest grids are evaluated wholly. At every point of a level the difference to the mean of its two or four
    neighbours one level up (bilinear interpolation) shows how much the last halving brought. The next level is
    evaluated in the cells at whose corners this was above ``tolerance``; elsewhere values are interpolated and flagged.
    A feature narrower than the second grid, or hidden at its points, is missed.

    Args:
        evaluate: row and column of the finest grid to ``quantities`` values; called once for a point, in no particular
            order. Infinite values are kept.
        resolution: points a side: odd, at least 5.
        tolerance: of the largest difference of judged values; 0 evaluates wherever anything is seen to change.
        judged: ``... quantities`` to what is compared; must be finite.

    Raises:
        MeasureError: a negative tolerance, or another resolution.

    >>> slope = coarse_to_fine(lambda row, column: [row + 2.0 * column], 17, 0.01)
    >>> int(slope.interpolated.sum()), float(slope.values[3, 4, 0])
    (208, 11.0)
    """
    if not tolerance >= 0:
        raise MeasureError("a tolerance is a height", expected="at least 0", got=str(tolerance))
    steps = strides(resolution)
    first = np.asarray(evaluate(0, 0), dtype=np.float64)
    values = np.zeros((resolution, resolution, len(first)))
    level = np.zeros((resolution, resolution), dtype=np.int64)
    interpolated = np.zeros((resolution, resolution), dtype=np.bool_)
    for row in range(0, resolution, steps[0]):
        for column in range(0, resolution, steps[0]):
            values[row, column] = first if row == column == 0 else np.asarray(evaluate(row, column))
    # Cells of the current grid in which the next finer points are evaluated.
    cells = np.ones(((resolution - 1) // steps[0],) * 2, dtype=np.bool_)
    for number, step in enumerate(steps[1:], start=1):
        brought = np.zeros(((resolution - 1) // step + 1,) * 2)
        for row in range(0, resolution, step):
            for column in range(0, resolution, step):
                odd = (row // step % 2, column // step % 2)
                if odd == (0, 0):
                    continue
                level[row, column] = number
                guess = _guess(values, row, column, step, odd)
                if _touches(cells, row // step, column // step):
                    values[row, column] = np.asarray(evaluate(row, column))
                    change = np.abs(judged(values[row, column]) - judged(guess))
                    brought[row // step, column // step] = float(change.max())
                else:
                    values[row, column] = guess
                    interpolated[row, column] = True
        far = brought > tolerance
        cells = far[:-1, :-1] | far[1:, :-1] | far[:-1, 1:] | far[1:, 1:]
    return Surface(values, level, interpolated)


def _guess(values: Array, row: int, column: int, step: int, odd: tuple[int, int]) -> Array:
    rows = (row - step, row + step) if odd[0] else (row,)
    columns = (column - step, column + step) if odd[1] else (column,)
    mean: Array = np.mean([values[r, c] for r in rows for c in columns], axis=0)
    return mean


def _touches(cells: npt.NDArray[np.bool_], row: int, column: int) -> bool:
    """Whether a point, counted in steps of the finer grid, lies in or at the edge of a cell that is refined."""
    last = len(cells) - 1
    rows = {row // 2} if row % 2 else {max(0, row // 2 - 1), min(last, row // 2)}
    columns = {column // 2} if column % 2 else {max(0, column // 2 - 1), min(last, column // 2)}
    return any(bool(cells[r, c]) for r in rows for c in columns)
