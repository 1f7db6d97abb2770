"""One module at a time: the straight line between two networks in the parameters of a single module."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from transferscope.errors import MeasureError, nearest
from transferscope.measures.barriers import Barrier
from transferscope.measures.families import bonferroni_confidence
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.barrier import barrier_of, values_of
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.methods.landscape.linear_path import alpha_grid
from transferscope.networks.batchnorm import batch_norm_state
from transferscope.networks.given import takes_networks
from transferscope.networks.modules import Granularity, parts_parameters
from transferscope.readable import readable

__all__ = ["ModuleLine", "ModuleLines", "module_paths"]


@readable
@dataclass(frozen=True)
class ModuleLine:
    """What was measured while one module went from its value in θ₁ to that in θ₂, all else staying at θ₁.

    Attributes:
        distance: ‖θ₁ − θ₂‖₂ over the module's parameters, buffers left out.
        parameters: how many numbers moved.
        points: by split, one for each α.
        evaluated: how points were evaluated: ``kept before NAME (graph)``, ``full pass`` and why, or ``not at all``
            where the module is equal in both networks.
    """

    distance: float
    parameters: int
    points: Mapping[str, tuple[LandscapePoint, ...]]
    evaluated: str


@readable
@dataclass(frozen=True)
class ModuleLines:
    """The lines of all modules of one network towards another.

    Attributes:
        alphas: ascending; 0 is θ₁, at 1 the module is that of θ₂.
        batch_norm: the policy, as in :class:`~transferscope.methods.landscape.linear_path.LinearPath`.
        own: by split, θ₁ with its own running statistics.
        modules: by name, in the order given.
    """

    alphas: tuple[float, ...]
    batch_norm: str
    own: Mapping[str, LandscapePoint]
    modules: Mapping[str, ModuleLine]

    def values(self, module: str, split: str, quantity: Literal["loss", "error"]) -> npt.NDArray[np.float64]:
        """``points examples`` losses or errors of one module on one split.

        Raises:
            MeasureError: there is no such module.
        """
        return values_of(self._line(module).points[split], quantity)

    def barrier(
        self,
        module: str,
        split: str,
        quantity: Literal["loss", "error"],
        clusters: npt.ArrayLike | None = None,
        *,
        simultaneous: bool = False,
    ) -> Barrier:
        """Barrier of one module, against both baselines; see :func:`transferscope.measures.barriers.barrier`.

        The ends are θ₁ and θ₁ with the module of θ₂. The linear-baseline barrier is the hill between them, 0 even where
        the exchange does harm; the mean-baseline one is at least half of that harm.

        Args:
            module: which.
            split: which.
            quantity: ``loss`` or ``error``.
            clusters: group of each example.
            simultaneous: widen the limits so that those of all modules hold at once (Bonferroni).

        Raises:
            MeasureError: there is no such module, or a value in [0, 1] is not finite.
        """
        confidence = bonferroni_confidence(len(self.modules)) if simultaneous else 0.95
        return barrier_of(self.alphas, self._line(module).points[split], quantity, clusters, confidence=confidence)

    def _line(self, module: str) -> ModuleLine:
        if module not in self.modules:
            raise MeasureError(f"no line of the module {module!r} was measured", hint=nearest(module, self.modules))
        return self.modules[module]


@takes_networks("a", "b")
def module_paths(
    a: nn.Module,
    b: nn.Module,
    data: Mapping[str, Batches],
    evaluation: Evaluation = Evaluation(),
    *,
    modules: Mapping[str, Collection[str]] | None = None,
    granularity: Granularity = "block",
    head: str | None = None,
    alphas: Sequence[float] | None = None,
    on_point: Callable[[int, int], None] | None = None,
) -> ModuleLines:
    """Interpolate one module after the other between two networks; the rest stays at ``a``.

    θ_i(α) = (1−α)θ₁,ᵢ + αθ₂,ᵢ, θ_j = θ₁,ⱼ for all j ≠ i. The other direction is ``module_paths(b, a, ...)``: it is
    not the same line backwards. What lies before a module never changes and is run once, within ``memory``, with the
    same result to the last bit. Both networks are left as they are.

    Not invariant to a permutation of the channels of one network, though that leaves its function as it was: a module
    then no longer fits those around it in the other network.

    Args:
        a: θ₁, the network whose other modules stay.
        b: θ₂, which gives the module.
        data: loaders by split; each must give the same batches twice.
        modules: names of parameters by name of the module, or of any group of modules; the parts of ``granularity``
            where None. Buffers move with the parameters beside them.
        granularity: of the modules: ``stage``, ``block`` or ``layer``.
        head: the classifying module, which is then a part of its own.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        alphas: where to evaluate, 0 and 1 among them; nine points from 0 to 1 by default.
        on_point: told how many points are done, of how many.

    Raises:
        MeasureError: the networks have different parameters or buffers, α does not ascend from 0 to 1, an unknown
            parameter, no module, or nothing to recompute batch norm on.
        ModuleNameError: there is no module ``head``.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the networks give other outputs for the same images (dropout that ignores the mode).

    Reference: Adilova et al. (2024), "Layer-wise linear mode connectivity"; Neyshabur et al. (2020), Figs. 4-5.5.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> a, b = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)) for _ in range(2))
        >>> data = {"test": [(torch.randn(8, 4), torch.arange(8) % 3)]}
        >>> found = module_paths(a, b, data, Evaluation(device="cpu"))
        >>> list(found.modules), found.barrier("2", "test", "loss").linear.value  # convex in the last layer
        (['0', '2'], 0.0)
    """
    grid = tuple(float(alpha) for alpha in (alphas if alphas is not None else alpha_grid(9, 0)))
    if not {0.0, 1.0} <= set(grid) or not all(map(math.isfinite, grid)) or list(grid) != sorted(set(grid)):
        raise MeasureError(
            "alphas must ascend, each once, with both ends", expected="0 and 1 among them", got=str(grid)
        )
    land = Landscape((a, b), data, evaluation)
    chosen = {
        name: set(of) for name, of in (parts_parameters(a, granularity, head) if modules is None else modules).items()
    }
    _check_modules(chosen, land.parameters)
    beside = _beside(a)
    statistics = set(batch_norm_state(a)) if land.policy == "recompute" else set()
    own = land.evaluate(own_statistics=True)
    here = land.evaluate() if land.policy == "recompute" else own
    found: dict[str, ModuleLine] = {}
    total = len(chosen) * (len(grid) - 1)
    for name, parameters in chosen.items():
        moving = parameters | {buffer for buffer, near in beside.items() if near <= parameters}
        line: dict[float, dict[str, LandscapePoint]] = dict.fromkeys(grid, here)
        if all(torch.equal(land.ends[0][tensor], land.ends[1][tensor]) for tensor in moving - statistics):
            words = "not at all: the module is equal in both networks"
        else:
            land.combine((1.0, 0.0))
            words = land.focus(parameters, memory=evaluation.memory, granularity=granularity, head=head)
            for alpha in grid:
                if alpha != 0:
                    land.combine((1 - alpha, alpha), only=moving)
                    line[alpha] = land.evaluate()
                    if on_point is not None:
                        on_point(len(found) * (len(grid) - 1) + sum(done <= alpha for done in grid if done), total)
        found[name] = ModuleLine(
            distance=land.distance(only=parameters),
            parameters=sum(land.parameters[parameter].numel() for parameter in parameters),
            points={split: tuple(line[alpha][split] for alpha in grid) for split in land.splits},
            evaluated=words,
        )
    return ModuleLines(grid, land.policy, own, found)


def _check_modules(chosen: Mapping[str, Collection[str]], known: Collection[str]) -> None:
    if not chosen:
        raise MeasureError("there is no module to move", expected="at least one", got="none")
    for module, parameters in chosen.items():
        unknown = sorted(set(parameters) - set(known))
        if unknown or not parameters:
            raise MeasureError(
                f"the module {module!r} cannot move",
                expected="names of parameters of the network",
                got=unknown[0] if unknown else "no parameter",
                hint=nearest(unknown[0], known) if unknown else "leave it out",
            )


def _beside(model: nn.Module) -> dict[str, frozenset[str]]:
    """Each buffer, and the parameters it moves with: those of the smallest module around it that has any."""
    parameters = [name for name, _ in model.named_parameters()]
    found = {}
    for buffer, _ in model.named_buffers():
        owner = buffer
        near: list[str] = []
        while owner and not near:
            owner = owner.rpartition(".")[0]
            near = [name for name in parameters if not owner or name.startswith(f"{owner}.")]
        found[buffer] = frozenset(near)
    return found
