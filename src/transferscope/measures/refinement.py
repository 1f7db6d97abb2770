"""Coarse to fine: where on a line to look next for the maximum of several profiles, without supposing one hill."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError

__all__ = ["Resolution", "budget", "finest", "next_point", "resolution"]

_SAFETY = 4.0
"""How much more a profile may bend in an interval than it was seen to at its ends: a kink half-way is covered."""
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class Resolution:
    """How finely the maxima of profiles on [0, 1] were looked for.

    Attributes:
        equivalent: points of the even grid that has the finest spacing of these everywhere.
        tolerance: intervals beside a maximum are at most so wide, where ``settled``.
        widest: widest interval at all: a peak that is narrower, between two points, may be missed.
        open: intervals wider than the tolerance that may hide a higher value, by how much the profile bends nearby.
    """

    evaluations: int
    equivalent: int
    tolerance: float
    bracket: float
    widest: float
    open: int

    @property
    def settled(self) -> bool:
        """Whether every maximum is located within the tolerance and no interval is open.

        Then no interval wider than the tolerance holds a value above the maximum by more than the height tolerance, for
        every profile whose second derivative is in each interval at most the bound that :func:`next_point` names.
        """
        return not self.open and self.bracket <= self.tolerance * _ROUNDING

    @property
    def text(self) -> str:
        """What was done, in a sentence."""
        said = (
            f"{self.evaluations} points in [0, 1], of the {self.equivalent} of an even grid of the finest spacing; "
            f"maxima located within {self.bracket:.3g}, no interval wider than {self.widest:.3g}"
        )
        left = f"; {self.open} intervals that may hide a higher value were left for want of points" if self.open else ""
        return said + left


def finest(points: int, tolerance: float) -> int:
    """Points of the even grid that halving the intervals of ``points`` even ones until the tolerance leads to.

    >>> finest(13, 0.021)
    49
    """
    _check(points, tolerance)
    halvings = max(0, math.ceil(math.log2(1 / ((points - 1) * tolerance * _ROUNDING))))
    return int((points - 1) * 2**halvings + 1)


def budget(points: int, tolerance: float) -> int:
    """How many points a search may take: half of the even grid it stands for, or a few more than it starts with.

    >>> budget(13, 0.021)
    24
    """
    dense = finest(points, tolerance)
    return max(dense // 2, min(dense, points + 8))


def next_point(
    positions: npt.ArrayLike, profiles: npt.ArrayLike, tolerance: float, heights: npt.ArrayLike
) -> float | None:
    """The middle of the interval to look into next for the maxima of profiles; None where none is left.

    An interval wider than the tolerance is looked into if it lies beside the maximum of a profile (up to its height
    tolerance: on a plateau any point is one), or, after those, if a profile may rise in it above its maximum by more
    than that, the likeliest first. How high it may rise is bounded by the parabola through its ends that bends four
    times as much as the second differences at its ends: as high as the straight lines from the points around would
    meet, and more. At an end of the line there is no second difference: it is what the two before it lead to, or the
    last one if that is larger, so that a profile that is about to turn there is looked into. So several hills are
    followed side by side; what no finite number of points can exclude is a peak narrower than an interval whose
    surroundings are straight.

    Profiles with a value that is not finite are not followed: they have no barrier.

    Args:
        positions: ``points``, ascending.
        profiles: ``profiles points``.
        tolerance: intervals of at most this width are not halved.
        heights: ``profiles``, at least 0: rises up to this count for nothing.

    Reference: Piyavskii (1972) and Shubert (1972), with an estimated bound for the second derivative in place of a
    known one for the slope.

    >>> next_point([0.0, 0.5, 1.0], [[0.0, 1.0, 0.1]], 0.1, [0.01])
    0.75
    """
    x, table, height = _checked(positions, profiles, heights)
    if not len(table):
        return None
    excess, beside = _excess(x, table, height)
    width = np.diff(x)
    wanted = (width > tolerance * _ROUNDING) & ((excess > 1) | beside)
    if not wanted.any():
        return None
    # First where the maxima lie: steep and noisy places elsewhere could take all points there are.
    chosen = wanted & beside if (wanted & beside).any() else wanted
    best = int(np.where(chosen, excess, -np.inf).argmax())
    return float((x[best] + x[best + 1]) / 2)


def resolution(
    positions: npt.ArrayLike, profiles: npt.ArrayLike, tolerance: float, heights: npt.ArrayLike
) -> Resolution:
    """How finely the maxima of profiles were looked for; for the arguments see :func:`next_point`."""
    x, table, height = _checked(positions, profiles, heights)
    width = np.diff(x)
    bracket, left = 0.0, 0
    if len(table):
        excess, beside = _excess(x, table, height)
        bracket = float(width[beside].max())
        left = int(((width > tolerance * _ROUNDING) & (excess > 1)).sum())
    return Resolution(len(x), round(1 / float(width.min())) + 1, tolerance, bracket, float(width.max()), left)


def _excess(
    x: npt.NDArray[np.float64], table: npt.NDArray[np.float64], height: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """For each interval: how far a profile may rise above its maximum, in height tolerances; whether beside one."""
    width = np.diff(x)
    slope = np.diff(table, axis=1) / width
    bend = np.zeros_like(table)
    bend[:, 1:-1] = 2 * np.diff(slope, axis=1) / (x[2:] - x[:-2])
    if len(x) > 2:
        for end, inner, further in ((0, 1, 2), (-1, -2, -3)):
            # Three points have one second difference, which then holds everywhere.
            change = (bend[:, inner] - bend[:, further]) / (x[inner] - x[further]) if len(x) > 3 else 0.0
            carried_on = bend[:, inner] + change * (x[end] - x[inner])
            bend[:, end] = np.maximum(np.abs(bend[:, inner]), np.abs(carried_on))
    bend = np.abs(bend)
    curve = _SAFETY * np.maximum(bend[:, :-1], bend[:, 1:])
    left, right = table[:, :-1], table[:, 1:]
    top = np.maximum(left, right)
    inside = np.abs(slope) < curve * width / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = (left + right) / 2 + curve * width**2 / 8 + slope**2 / (2 * curve)
    top = np.where(inside, vertex, top)
    most = table.max(axis=1)
    rise = (top - most[:, None]) / np.maximum(height, np.finfo(np.float64).tiny)[:, None]
    beside = np.zeros(len(width), dtype=bool)
    reach = np.maximum(np.append(0.0, width), np.append(width, 0.0))
    for row, best, small in zip(table, most, height, strict=True):
        # On a plateau any point will do: the one that is bracketed best, and of these the highest.
        tied = np.flatnonzero(row >= best - small)
        where = int(tied[np.lexsort((-row[tied], reach[tied].round(9)))[0]])
        beside[max(0, where - 1) : where + 1] = True
    highest: npt.NDArray[np.float64] = rise.max(axis=0)
    return highest, beside


def _checked(
    positions: npt.ArrayLike, profiles: npt.ArrayLike, heights: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, table = np.asarray(positions, dtype=np.float64), np.asarray(profiles, dtype=np.float64)
    height = np.asarray(heights, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or table.ndim != 2 or table.shape[1] != len(x) or height.shape != (len(table),):
        raise MeasureError(
            "profiles on a line need a value for each position",
            expected="positions 'points' (two or more), profiles 'profiles points', heights 'profiles'",
            got=f"positions {x.shape}, profiles {table.shape}, heights {height.shape}",
        )
    if not (np.diff(x) > 0).all():
        raise MeasureError("positions must ascend, each once", expected="for example 0, 0.5, 1", got=str(x.tolist()))
    if not (height >= 0).all():
        raise MeasureError(
            "a height tolerance is at least 0", expected="a number of at least 0", got=str(height.tolist())
        )
    finite = np.isfinite(table).all(axis=1)
    return x, table[finite], height[finite]


def _check(points: int, tolerance: float) -> None:
    if points < 3 or not 0 < tolerance <= 1:
        raise MeasureError(
            "nothing can be refined to this",
            expected="at least 3 points and a tolerance above 0, at most 1",
            got=f"points {points}, tolerance {tolerance}",
        )
