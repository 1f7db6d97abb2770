"""Module criticality: how far a module can go back to its start, and how much noise it bears, before errors rise."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from transferscope.errors import MeasureError

__all__ = ["Criticality", "GridPoint", "NetworkCriticality", "evaluate_grid", "network_criticality", "search_grid"]

Evaluate = Callable[[int, int], tuple[float, float]]


@dataclass(frozen=True)
class GridPoint:
    """A module somewhere between its initial and final value, with noise."""

    position: int
    sigma: float
    objective: float
    value: float
    standard_error: float


@dataclass(frozen=True)
class Criticality:
    """μ of one module.

    Attributes:
        mu: the smallest objective of a point whose value + 2 SE is at most ε; None if there is none (``unreachable``,
            +∞).
        mu_low: the same with value − 2 SE: what μ may be, the noise of the draws considered. At most ``mu``.
        position: of the point; None where ``mu`` is.
        sigma: of the point; None where ``mu`` is. Among equal objectives the largest.
        at_largest_sigma: the point has the largest σ there is: more noise might make μ smaller.
        certificate: ``grid``: every point was evaluated; ``ordered``: every point that would give a smaller μ (or the
            same with more noise) was; ``still``: the module never moved, nothing was evaluated.
    """

    mu: float | None
    mu_low: float | None
    position: int | None
    sigma: float | None
    epsilon: float
    at_largest_sigma: bool
    points: tuple[GridPoint, ...]
    grid_points: int
    certificate: Literal["grid", "ordered", "still"]


@dataclass(frozen=True)
class NetworkCriticality:
    """Of a whole network; comparable only at equal granularity.

    Attributes:
        total: Σ μ_i; None where a module is unreachable (+∞).
        logarithmic: Σ k_i·log(1 + μ_i/k_i) over reachable modules, k_i parameters of module i.
    """

    total: float | None
    finite: float
    logarithmic: float
    unreachable: int
    modules: int


def evaluate_grid(
    evaluate: Evaluate, squared_distances: Sequence[float], sigmas: Sequence[float], epsilon: float, final: float
) -> Criticality:
    """μ from every point of the grid.

    μ = min over places p and σ of ‖θ_p − θ_0‖²/σ² subject to E_{u~N(0,σ²I)} L(θ_p + u) ≤ ε. On the direct path θ_p =
    (1−α)θ_0 + αθ_F the numerator is α²‖θ_F − θ_0‖². Does not rise as ε grows; scales with the squared distances.

    Args:
        squared_distances: of each place on the path from the initial value; one is 0 (the initial value itself), or the
            path has the final value alone.
        sigmas: in (0, 1], each once.

    Reference: Chatterji, Neyshabur & Sedghi (2020), "The intriguing role of module criticality in the generalization of
    deep networks", Def. 3.1; Neyshabur et al. 2020, Fig. 6.

    >>> found = evaluate_grid(lambda place, noise: (0.1 * noise, 0.0), [0.0, 1.0, 4.0], [0.1, 1.0], 0.05, 0.0)
    >>> found.mu, found.position, found.sigma
    (0.0, 0, 0.1)
    """
    order = _checked(squared_distances, sigmas, epsilon, final)
    if max(squared_distances) == 0:
        return _still(epsilon, len(squared_distances) * len(sigmas))
    memory = _Memory(evaluate, squared_distances, sigmas)
    for position in range(len(squared_distances)):
        for column in order:
            memory.at(position, column)
    return memory.found(epsilon, "grid")


def search_grid(
    evaluate: Evaluate, squared_distances: Sequence[float], sigmas: Sequence[float], epsilon: float, final: float
) -> Criticality:
    """μ from few points of the grid: those that cannot become the minimum are not evaluated.

    First a small μ is found as if, at one place, more noise never lowered L below ε again: bisection finds the largest
    feasible σ of a place, and one evaluation rules a place out. Then it is verified: every point left whose objective
    is smaller is evaluated, in ascending order, so that ``mu``, ``mu_low``, ``position`` and ``sigma`` are those of
    :func:`evaluate_grid` whatever L is. Points with larger objectives are never needed.
    """
    order = _checked(squared_distances, sigmas, epsilon, final)
    if max(squared_distances) == 0:
        return _still(epsilon, len(squared_distances) * len(sigmas))
    memory = _Memory(evaluate, squared_distances, sigmas)
    for side in (+2.0, -2.0):
        _search(memory, order, epsilon, side)
        _verify(memory, epsilon, side)
    return memory.found(epsilon, "ordered")


def network_criticality(mus: Sequence[float | None], parameters: Sequence[int]) -> NetworkCriticality:
    """Criticality of a network from that of its modules.

    >>> network_criticality([3.0, None], [4, 5]).finite
    3.0
    """
    if len(mus) != len(parameters) or any(mu is not None and mu < 0 for mu in mus) or min(parameters, default=1) < 1:
        raise MeasureError(
            "the criticality of a network needs μ ≥ 0 and the number of parameters of each module",
            expected="two sequences of one length, modules of at least one parameter",
            got=f"μ {list(mus)}, parameters {list(parameters)}",
        )
    reached = [(mu, size) for mu, size in zip(mus, parameters, strict=True) if mu is not None]
    finite = math.fsum(mu for mu, _ in reached)
    return NetworkCriticality(
        total=finite if len(reached) == len(mus) else None,
        finite=finite,
        logarithmic=math.fsum(size * math.log1p(mu / size) for mu, size in reached),
        unreachable=len(mus) - len(reached),
        modules=len(mus),
    )


class _Memory:
    """Each point is evaluated once."""

    def __init__(self, evaluate: Evaluate, squared_distances: Sequence[float], sigmas: Sequence[float]) -> None:
        self._evaluate = evaluate
        self.squared, self.sigmas = squared_distances, sigmas
        self.points: dict[tuple[int, int], GridPoint] = {}

    def objective(self, position: int, column: int) -> float:
        return self.squared[position] / self.sigmas[column] ** 2

    def at(self, position: int, column: int) -> GridPoint:
        key = (position, column)
        if key not in self.points:
            value, error = self._evaluate(position, column)
            # What is not finite is not kept, whatever its error.
            value = value if math.isfinite(value) else math.inf
            error = error if math.isfinite(error) else 0.0
            self.points[key] = GridPoint(position, self.sigmas[column], self.objective(*key), value, error)
        return self.points[key]

    def feasible(self, position: int, column: int, epsilon: float, side: float) -> bool:
        point = self.at(position, column)
        return point.value + side * point.standard_error <= epsilon

    def best(self, epsilon: float, side: float) -> GridPoint | None:
        kept = [point for point in self.points.values() if point.value + side * point.standard_error <= epsilon]
        return min(kept, key=lambda point: _rank(point.objective, point.sigma, point.position), default=None)

    def found(self, epsilon: float, certificate: Literal["grid", "ordered"]) -> Criticality:
        best, low = self.best(epsilon, 2.0), self.best(epsilon, -2.0)
        points = tuple(sorted(self.points.values(), key=lambda point: (point.position, point.sigma)))
        return Criticality(
            mu=None if best is None else best.objective,
            mu_low=None if low is None else low.objective,
            position=None if best is None else best.position,
            sigma=None if best is None else best.sigma,
            epsilon=epsilon,
            at_largest_sigma=best is not None and best.sigma == max(self.sigmas),
            points=points,
            grid_points=len(self.squared) * len(self.sigmas),
            certificate=certificate,
        )


def _rank(objective: float, sigma: float, position: int) -> tuple[float, float, int]:
    return objective, -sigma, position


def _search(memory: _Memory, order: Sequence[int], epsilon: float, side: float) -> None:
    """Evaluate what decides the smallest feasible objective; ``order`` lists σ from small to large."""

    def largest_feasible(position: int, known: int) -> int:
        """Bisection among ``order``; ``known`` is the number of σ at the small end that are feasible already."""
        low, high = known, len(order)
        while low < high:
            middle = (low + high) // 2
            if memory.feasible(position, order[middle], epsilon, side):
                low = middle + 1
            else:
                high = middle
        return low

    places = sorted(range(len(memory.squared)), key=lambda place: memory.squared[place])
    start = places[0]
    if memory.squared[start] == 0:
        if memory.feasible(start, order[0], epsilon, side):
            # μ = 0; the largest σ at the initial value breaks the tie.
            largest_feasible(start, 1)
            return
        places = places[1:]
    if not places:
        return
    # The far end of the path is where L is smallest as a rule: it gives a first bound.
    largest_feasible(places[-1], 0)
    for position in places:
        while True:
            best = memory.best(epsilon, side)
            # The smallest σ at which this place would be better; of equal objectives the larger σ is.
            bound = (math.inf, 0.0, 0) if best is None else _rank(best.objective, best.sigma, best.position)
            better = [
                column
                for column in order
                if _rank(memory.objective(position, column), memory.sigmas[column], position) < bound
            ]
            if not better or not memory.feasible(position, better[0], epsilon, side):
                break


def _verify(memory: _Memory, epsilon: float, side: float) -> None:
    """Evaluate every point that would be better than the best one so far, until none is left."""
    places = [(place, column) for place in range(len(memory.squared)) for column in range(len(memory.sigmas))]
    ranked = sorted((_rank(memory.objective(*at), memory.sigmas[at[1]], at[0]), at) for at in places)
    for rank, at in ranked:
        best = memory.best(epsilon, side)
        if best is not None and _rank(best.objective, best.sigma, best.position) <= rank:
            return
        memory.at(*at)


def _still(epsilon: float, grid_points: int) -> Criticality:
    return Criticality(0.0, 0.0, 0, None, epsilon, False, (), grid_points, "still")


def _checked(
    squared_distances: Sequence[float], sigmas: Sequence[float], epsilon: float, final: float
) -> Sequence[int]:
    if not squared_distances or any(not (math.isfinite(value) and value >= 0) for value in squared_distances):
        raise MeasureError(
            "squared distances must be finite and at least 0", expected="one for each place", got=str(squared_distances)
        )
    if not sigmas or len(set(sigmas)) < len(sigmas) or any(not 0 < sigma <= 1 for sigma in sigmas):
        raise MeasureError(
            "noise scales must lie in (0, 1], each once", expected="for example (0.1, 0.5)", got=str(list(sigmas))
        )
    if not math.isfinite(epsilon) or not math.isfinite(final):
        raise MeasureError(
            "ε and the final value must be finite", expected="numbers", got=f"ε {epsilon}, final {final}"
        )
    if epsilon < final:
        raise MeasureError(
            "ε lies below what the trained network itself reaches: no point could keep it",
            expected=f"at least {final:.6g}",
            got=f"{epsilon:.6g}",
            hint="raise epsilon, or give a margin above the final value",
        )
    return sorted(range(len(sigmas)), key=lambda column: sigmas[column])
