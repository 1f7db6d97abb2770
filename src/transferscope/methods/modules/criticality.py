"""Criticality of the modules of a trained network, from its weights at the start and at the end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from transferscope.errors import MeasureError, ModuleNameError, nearest
from transferscope.frozen import derive_seed
from transferscope.measures.criticality import (
    Criticality,
    NetworkCriticality,
    evaluate_grid,
    network_criticality,
    search_grid,
)
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.networks.given import takes_networks
from transferscope.networks.modules import Granularity, parts_parameters
from transferscope.readable import readable

ALPHAS = tuple(index / 10 for index in range(11))
SIGMAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
Quantity = Literal["error", "loss"]
View = Literal["direct", "optimisation", "final"]
_SPLIT = "train"


@readable
@dataclass(frozen=True, kw_only=True)
class CriticalitySearch:
    """How μ of a module is looked for.

    Attributes:
        view: ``direct``: the straight line from θ_i^0 to θ_i^F; ``optimisation``: the module's values in checkpoints,
            ‖θ_i^t − θ_i^0‖² in place of α²‖·‖²; ``final``: α = 1 alone.
        alphas: in [0, 1], with 0 among them.
        sigmas: noise scales in (0, 1], standard deviation of each parameter.
        draws: of noise, at least 2.
        epsilon: largest L that counts as kept; None for that of the trained network plus ``margin``.
        margin: see ``epsilon``.
        quantity: ``error`` is 1 − metric, ``loss`` the mean loss.
        grid: ``search`` finds μ alone and leaves out what cannot become the minimum; ``full`` evaluates every point.
        seed: of the noise.
    """

    view: View = "direct"
    alphas: Sequence[float] = ALPHAS
    sigmas: Sequence[float] = SIGMAS
    draws: int = 5
    epsilon: float | None = None
    margin: float = 0.01
    quantity: Quantity = "error"
    grid: Literal["search", "full"] = "search"
    seed: int = 0


@dataclass(frozen=True)
class CriticalModule:
    """One module.

    Attributes:
        evaluation: what was kept of the network before the module: see :meth:`Landscape.focus`.
    """

    name: str
    parameters: int
    distance: float
    distances: tuple[float, ...]
    criticality: Criticality
    evaluation: str
    evaluations: int


@readable
@dataclass(frozen=True)
class CriticalityResult:
    """Of all modules that were asked for.

    Attributes:
        final: the quantity of the trained network itself, on the same data and with the same batch-norm policy.
    """

    modules: tuple[CriticalModule, ...]
    network: NetworkCriticality
    final: float
    epsilon: float
    quantity: Quantity
    batch_norm: str
    view: View
    draws: int


@takes_networks("initial", "final", "checkpoints")
def criticality(
    initial: nn.Module,
    final: nn.Module,
    data: Batches,
    evaluation: Evaluation = Evaluation(),
    *,
    modules: Sequence[str] | None = None,
    granularity: Granularity = "block",
    head: str | None = None,
    checkpoints: Sequence[nn.Module] = (),
    search: CriticalitySearch = CriticalitySearch(),
    on_module: Callable[[], None] | None = None,
) -> CriticalityResult:
    """How far each module can go back to its initial value, and how much noise it bears, before the error rises.

    μ_i = min over α, σ of α²‖θ_i^F − θ_i^0‖² / σ² subject to E_{u~N(0,σ²I)} L(θ_i^α + u) ≤ ε, all other modules at
    their final value. What lies before a module runs once (:meth:`Landscape.focus`): values are those of full passes to
    the last bit. Noise falls on weights and biases, not on buffers; the same draws u/σ serve all points of a module.

    Not invariant to rescaling: multiplying a module's weights and dividing the next one's changes μ of both.

    Args:
        initial: θ^0: before the training (for P-T the pre-trained values, the head its random start). Left as it is.
        final: θ^F: after it. Left as it is.
        data: a fixed part of the training images under the evaluation transform.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        modules: names at ``granularity``; None for all.
        head: the classifying module, a part of its own.
        checkpoints: of the training, in its order, where the view is ``optimisation``.
        search: path, noise, and what counts as kept.
        on_module: told after every module.

    Raises:
        MeasureError: ε below the trained network's own value, a grid that makes no sense, or a metric that is not
            defined on ``data``.
        ModuleNameError: there is no such module.

    Reference: Chatterji, Neyshabur & Sedghi (2020), Def. 3.1; Neyshabur et al. 2020, Fig. 6.
    """
    if search.draws < 2:
        raise MeasureError("noise needs draws", expected="at least 2, for a standard error", got=str(search.draws))
    sigmas = search.sigmas
    parts = parts_parameters(final, granularity, head)
    wanted = list(parts) if modules is None else list(modules)
    for name in wanted:
        if name not in parts:
            raise ModuleNameError(f"there is no module {name!r} at granularity {granularity!r}",
                                  hint=nearest(name, parts))  # fmt: skip
    grids = ModuleGrid(
        Landscape((final, initial, *checkpoints), {_SPLIT: data}, evaluation),
        search.quantity,
        path_weights(search.view, search.alphas, len(checkpoints)),
        search.draws,
        search.seed,
    )
    own = grids.final()
    limit = own + search.margin if search.epsilon is None else search.epsilon
    found = []
    for name in wanted:
        evaluated = grids.focus(name, parts[name], evaluation.memory, granularity, head)
        way = search_grid if search.grid == "search" else evaluate_grid
        result = way(lambda place, column: grids.at(place, sigmas[column]), grids.squared, sigmas, limit, own)
        found.append(
            CriticalModule(
                name=name,
                parameters=grids.size,
                distance=math.sqrt(grids.moved),
                distances=tuple(math.sqrt(value) for value in grids.squared),
                criticality=result,
                evaluation=evaluated,
                evaluations=grids.evaluations,
            )
        )
        if on_module is not None:
            on_module()
    return CriticalityResult(
        modules=tuple(found),
        network=network_criticality([m.criticality.mu for m in found], [m.parameters for m in found]),
        final=own,
        epsilon=limit,
        quantity=search.quantity,
        batch_norm=grids.land.policy,
        view=search.view,
        draws=search.draws,
    )


def path_weights(view: View, alphas: Sequence[float], checkpoints: int) -> list[tuple[float, ...]]:
    """For each place on a path from the initial to the final network the shares of (final, initial, checkpoints...).

    Args:
        alphas: in [0, 1], with 0 among them, for ``direct``.
        checkpoints: how many, for ``optimisation``.
    """
    rest = (0.0,) * checkpoints
    if view == "final":
        return [(1.0, 0.0, *rest)]
    if view == "optimisation":
        if not checkpoints:
            raise MeasureError(
                "the optimisation path needs checkpoints", expected="networks of the same training", got="none"
            )
        middle = [
            tuple(float(index == other) for other in range(2 + checkpoints)) for index in range(2, 2 + checkpoints)
        ]
        return [(0.0, 1.0, *rest), *middle, (1.0, 0.0, *rest)]
    places = sorted(float(alpha) for alpha in alphas)
    if not places or places[0] != 0 or places[-1] > 1 or len(set(places)) < len(places):
        raise MeasureError(
            "alphas must lie in [0, 1], each once, with 0 among them",
            expected="for example (0, 0.5, 1)",
            got=str(list(alphas)),
        )
    return [(alpha, 1 - alpha, *rest) for alpha in places]


@final
class ModuleGrid:
    """Points of one module after the other: place on the path × noise, each evaluated once.

    Args:
        land: spanned by the final network, the initial one, and checkpoints.

    Attributes:
        squared: ‖θ_p − θ_0‖² of each place, of the module in focus.
    """

    def __init__(
        self, land: Landscape, quantity: Quantity, weights: Sequence[tuple[float, ...]], draws: int, seed: int
    ) -> None:
        self.land, self.quantity, self.weights = land, quantity, weights
        self._draws, self._seed = draws, seed
        self._names: list[str] = []
        self._noise: list[dict[str, Tensor]] = []
        self._known: dict[tuple[int, float], tuple[float, float]] = {}
        self.squared: list[float] = []
        self.moved, self.size, self.evaluations = 0.0, 0, 0

    def final(self) -> float:
        """L of the trained network."""
        self.land.focus(None)
        self.land.combine((1.0, *(0.0 for _ in self.land.ends[1:])))
        return self._value(self.land.evaluate()[_SPLIT])

    def focus(
        self, name: str, parameters: Sequence[str], memory: int, granularity: Granularity, head: str | None
    ) -> str:
        """Take up a module; say how its points will be evaluated."""
        self._names = list(parameters)
        self._known = {}
        self._noise = []
        self.evaluations = 0
        shapes = {name: self.land.parameters[name].shape for name in self._names}
        self.size = sum(shape.numel() for shape in shapes.values())
        start = self.land.ends[1]
        self.squared = []
        for weights in self.weights:
            total = 0.0
            for parameter in self._names:
                # Shares sum to 1: differences from the start keep a module that never moved at exactly 0.
                away = torch.zeros_like(start[parameter], dtype=torch.float64, device="cpu")
                for weight, end in zip(weights, self.land.ends, strict=True):
                    away += weight * (end[parameter].cpu().double() - start[parameter].cpu().double())
                total += float(away.square().sum())
            self.squared.append(total)
        self.moved = self.land.distance(0, 1, only=set(self._names)) ** 2
        if self.moved == 0 and max(self.squared) == 0:
            return "not evaluated: it never moved"
        for draw in range(self._draws):
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "noise", name, draw))
            self._noise.append(
                {
                    parameter: torch.randn(shape, generator=generator).to(self.land.device)
                    for parameter, shape in shapes.items()
                }
            )
        self.land.combine((1.0, *(0.0 for _ in self.land.ends[1:])))
        return self.land.focus(self._names, memory=memory, granularity=granularity, head=head)

    def at(self, place: int, sigma: float) -> tuple[float, float]:
        """Mean of L over the noise draws, and its standard error."""
        if (place, sigma) not in self._known:
            values = []
            for noise in self._noise:
                self.land.combine(self.weights[place], only=self._names)
                self.land.shift(noise, sigma)
                values.append(self._value(self.land.evaluate()[_SPLIT]))
                self.evaluations += 1
            mean = sum(values) / len(values)
            spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
            self._known[place, sigma] = (mean, spread)
        return self._known[place, sigma]

    def _value(self, point: LandscapePoint) -> float:
        if self.quantity == "loss":
            return float(point.losses.mean())
        if point.metric is None:
            raise MeasureError(
                "the metric is not defined on these images",
                expected="images of every class",
                hint="take more training images, or the quantity 'loss'",
            )
        return 1 - point.metric
