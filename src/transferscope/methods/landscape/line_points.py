"""The points of one straight line, evaluated as they are asked for: refined around maxima, checked in float32."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt
import torch

from transferscope.measures.refinement import Resolution, budget, next_point, resolution
from transferscope.measures.standard_error import standard_error
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint

_QUANTITIES: tuple[Literal["losses", "errors"], ...] = ("losses", "errors")
_SHARE_OF_RANGE = 0.01
_SHARE_OF_ERROR = 0.25
_MOST_RECHECKS = 6


@dataclass(frozen=True)
class Recheck:
    """What computing in bfloat16 changed, where points were computed in float32 as well.

    Attributes:
        alphas: whose values are those of float32: both ends, every maximum over them, and at least one point between.
        loss: largest difference of a mean loss between the two at those that were computed twice (all but the ends), in
            nats; infinite where one of the two is not finite.
        settled: whether all maxima are among them; else the search for them ended after a few points.
    """

    alphas: tuple[float, ...]
    loss: float
    error: float
    settled: bool

    @property
    def text(self) -> str:
        """What was done, in a sentence."""
        loss = f"{self.loss:.2g}" if math.isfinite(self.loss) else "not finite"
        left = "" if self.settled else "; a maximum is still of bfloat16, for want of points"
        return (
            "computed in bfloat16, ends and maxima again in float32: largest difference of a mean loss "
            f"{loss}, of an error {self.error:.2g}{left}"
        )


@final
class LinePoints:
    """Evaluates θ(α) = (1−α)θ₁ + αθ₂ of a landscape of two networks, each α once."""

    def __init__(self, land: Landscape, on_point: Callable[[int, int], None] | None = None) -> None:
        self._land = land
        self._on_point = on_point
        self._found: dict[float, dict[str, LandscapePoint]] = {}
        # Every gap is measured from the ends: they are never of less than float32.
        self._exact: set[float] = set()

    @property
    def alphas(self) -> tuple[float, ...]:
        """The evaluated α, ascending."""
        return tuple(sorted(self._found))

    @property
    def points(self) -> Mapping[str, tuple[LandscapePoint, ...]]:
        """The points by split, one for each α."""
        return {split: tuple(self._found[alpha][split] for alpha in self.alphas) for split in self._land.splits}

    def visit(self, alphas: Iterable[float], most: int | None = None) -> None:
        """Evaluate at each of ``alphas``; ``most``: how many points there will be at most."""
        wanted = list(alphas)
        total = len(self._found) + len(wanted) if most is None else most
        for alpha in wanted:
            if alpha in (0.0, 1.0):
                self._found[alpha] = self._exactly(alpha)
            else:
                self._land.combine((1 - alpha, alpha))
                self._found[alpha] = self._land.evaluate()
            if self._on_point is not None:
                self._on_point(len(self._found), total)

    def refine(self, tolerance: float) -> None:
        """Halve the intervals of [0, 1] in which a maximum lies or may lie, within a budget of points."""
        outside = sum(not 0 <= alpha <= 1 for alpha in self._found)
        most = budget(len(self._found) - outside, tolerance)
        while len(self._found) - outside < most:
            inside, profiles, heights = self._searched()
            alpha = next_point(inside, profiles, tolerance, heights)
            if alpha is None:
                return
            self.visit([alpha], outside + most)

    def resolution(self, tolerance: float) -> Resolution:
        """How finely the maxima were looked for."""
        inside, profiles, heights = self._searched()
        return resolution(inside, profiles, tolerance, heights)

    def recheck(self) -> Recheck:
        """Evaluate the maxima again in float32, until every maximum is one of float32, within a few points."""
        twice: list[float] = []
        loss = error = 0.0
        while True:
            inside, profiles, _ = self._searched()
            known = np.isin(inside, sorted(self._exact))
            # One at a time: of equal maxima, of other profiles too, one of float32 is enough.
            tops = [
                inside[int(row.argmax())]
                for row in profiles
                if np.isfinite(row).all() and row[known].max(initial=-np.inf) < row.max()
            ]
            between = [alpha for alpha in inside if alpha not in self._exact]
            if not tops and not twice and between:
                # No hill: still one point tells how far off the others may be.
                tops = [between[len(between) // 2]]
            if not tops or len(twice) >= _MOST_RECHECKS:
                return Recheck(tuple(sorted(self._exact)), loss, error, not tops)
            alpha = tops[0]
            fast, exact = self._found[alpha], self._exactly(alpha)
            loss = max(loss, *(_apart(fast[split].losses, exact[split].losses) for split in exact))
            error = max(error, *(_apart(fast[split].errors, exact[split].errors) for split in exact))
            self._found[alpha] = exact
            twice.append(alpha)

    def own_ends(self) -> dict[str, tuple[LandscapePoint, LandscapePoint]]:
        """By split, both networks with their own running statistics."""
        ends: list[dict[str, LandscapePoint]] = []
        for end in (0.0, 1.0):
            # Where no buffer is recomputed or kept of the first network, the end of the path is the network.
            if end in self._found and not self._land.settles:
                ends.append(self._found[end])
                continue
            with _in_float32(self._land):
                _put_back(self._land, int(end))
                ends.append(self._land.evaluate(own_statistics=True))
        return {split: (ends[0][split], ends[1][split]) for split in self._land.splits}

    def _exactly(self, alpha: float) -> dict[str, LandscapePoint]:
        self._exact.add(alpha)
        with _in_float32(self._land):
            self._land.combine((1 - alpha, alpha))
            return self._land.evaluate()

    def _searched(self) -> tuple[list[float], npt.NDArray[np.float64], list[float]]:
        """α in [0, 1], the gaps there, and which rise counts for nothing.

        Gaps split by split, of loss and error, over the linear and over the mean baseline.
        """
        inside = [alpha for alpha in self.alphas if 0 <= alpha <= 1]
        at = np.asarray(inside)
        profiles, heights = [], []
        for split in self._land.splits:
            for quantity in _QUANTITIES:
                values = [getattr(self._found[alpha][split], quantity) for alpha in inside]
                mean = np.array([value.mean() for value in values])
                lines = ((1 - at) * mean[0] + at * mean[-1], np.full(len(at), (mean[0] + mean[-1]) / 2))
                for line in lines:
                    with np.errstate(invalid="ignore"):
                        gap = mean - line
                    profiles.append(gap)
                    heights.append(_negligible(gap, values))
        return inside, np.stack(profiles), heights


@contextmanager
def _in_float32(land: Landscape) -> Iterator[None]:
    former = land.precision
    land.precision = "float32"
    try:
        yield
    finally:
        land.precision = former


@torch.no_grad()
def _put_back(land: Landscape, end: int) -> None:
    """The network of an end as it is, its running statistics included whatever the policy."""
    live = dict((*land.network.named_parameters(), *land.network.named_buffers()))
    # A forward pass may have made further buffers, which are of no end.
    for name, tensor in land.ends[end].items():
        live[name].copy_(tensor)


def _negligible(gap: npt.NDArray[np.float64], values: list[npt.NDArray[np.float64]]) -> float:
    """A rise that is not worth a point: a hundredth of the profile's range, or a quarter of the maximum's error."""
    if not np.isfinite(gap).all():
        return 0.0
    top = int(gap.argmax())
    error = standard_error(values[top] - (values[0] + values[-1]) / 2) or 0.0
    return max(_SHARE_OF_RANGE * float(gap.max() - gap.min()), _SHARE_OF_ERROR * error)


def _apart(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> float:
    first, second = float(one.mean()), float(two.mean())
    return 0.0 if first == second else abs(first - second)
