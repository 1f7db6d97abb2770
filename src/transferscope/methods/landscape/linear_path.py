"""The straight line between two networks: loss, error and metric along it, and its barriers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from transferscope.errors import MeasureError, ModuleNameError, nearest
from transferscope.measures.barriers import Barrier
from transferscope.measures.refinement import Resolution
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.barrier import barrier_of, values_of
from transferscope.methods.landscape.landscape import Landscape, LandscapePoint
from transferscope.methods.landscape.line_points import LinePoints, Recheck
from transferscope.networks.alike import unlike
from transferscope.networks.copies import copied
from transferscope.networks.given import takes_networks
from transferscope.readable import readable


def alpha_grid(points: int = 25, extrapolate: float = 0.5, outer: int = 6) -> tuple[float, ...]:
    """Values of α: ``points`` from 0 to 1, both included, and ``outer`` more on either side.

    >>> alpha_grid(3, 0.5, 1)
    (-0.5, 0.0, 0.5, 1.0, 1.5)
    """
    if points < 2 or extrapolate < 0 or outer < 0:
        raise MeasureError(
            "no grid of α can be made of these numbers",
            expected="at least 2 points (the ends), extrapolate and outer of at least 0",
            got=f"points {points}, extrapolate {extrapolate:g}, outer {outer}",
        )
    if extrapolate == 0:
        outer = 0
    inner = [index / (points - 1) for index in range(points)]
    before = [-extrapolate * (outer - index) / outer for index in range(outer)]
    after = [1 + extrapolate * (index + 1) / outer for index in range(outer)]
    return (*before, *inner, *after)


@readable
@dataclass(frozen=True)
class LinearPath:
    """What was measured on a line θ(α) = (1−α)θ₁ + αθ₂.

    Attributes:
        alphas: ascending; 0 is the first network.
        distance: ‖θ₁ − θ₂‖₂ over the parameters that move, buffers left out.
        batch_norm: ``recompute`` (running statistics estimated anew at every point, ends included), ``interpolate``
            (statistics interpolated like weights) or ``none`` (those of the first network everywhere): barriers of
            networks with batch norm are artefacts then; or ``no batch norm``.
        moved: ``all``, or ``trunk``: the head is that of the first network everywhere, α = 1 included.
        resolution: how finely the maxima were looked for, where α went from coarse to fine; None for given α.
        recheck: what computing in bfloat16 changed; None where all points are float32.
    """

    alphas: tuple[float, ...]
    distance: float
    batch_norm: str
    points: Mapping[str, tuple[LandscapePoint, ...]]
    own: Mapping[str, tuple[LandscapePoint, LandscapePoint]]
    moved: Literal["all", "trunk"] = "all"
    resolution: Resolution | None = None
    recheck: Recheck | None = None

    def barrier(self, split: str, quantity: Literal["loss", "error"], clusters: npt.ArrayLike | None = None) -> Barrier:
        """Barrier of loss or error on one split, against both baselines; see :func:`measures.barriers.barrier`.

        Where α went from coarse to fine the lower limit allows for all points of the finest grid.
        """
        family = None if self.resolution is None else self.resolution.equivalent
        return barrier_of(self.alphas, self.points[split], quantity, clusters, family=family)

    def values(self, split: str, quantity: Literal["loss", "error"]) -> npt.NDArray[np.float64]:
        """``points examples`` losses or errors of one split."""
        return values_of(self.points[split], quantity)


@takes_networks("a", "b")
def linear_path(
    a: nn.Module,
    b: nn.Module,
    data: Mapping[str, Batches],
    evaluation: Evaluation = Evaluation(),
    *,
    alphas: Sequence[float] | None = None,
    refine: float | None = None,
    trunk_of: str | None = None,
    fast: bool = False,
    on_point: Callable[[int, int], None] | None = None,
) -> LinearPath:
    """Evaluate the straight line between two networks of one architecture.

    At α = 0 and 1 all tensors are copied bit for bit: without recomputation the values there are those of the networks
    themselves. With batch norm the running statistics are estimated anew at every point on the same batches, ends
    included; the ends with their own statistics are listed apart.

    Args:
        a: α = 0. Left as it is.
        b: α = 1. Left as it is.
        data: loaders by split; each must give the same batches twice.
        evaluation: batch norm, metric, device and number format: see :class:`Evaluation`.
        alphas: where to evaluate; :func:`alpha_grid` by default, of 13 points where it is refined.
        refine: tolerance in α: halve the intervals of ``alphas`` in [0, 1] in which the maximum of loss or error, on
            any split and over either baseline, lies or may lie, until they are no wider; see
            :func:`~transferscope.measures.refinement.next_point` for what this supposes. It takes at most half of the
            points of the even grid of that spacing. None evaluates ``alphas`` alone.
        trunk_of: name of the head: all else moves, the head stays that of ``a``, at α = 1 too. Needed where the heads
            differ in size; the second end is then not ``b`` but its trunk under the head of ``a``.
        fast: compute in bfloat16 and channels_last; ends and maxima again in float32 (the difference is in the result).
        on_point: told how many points are done, of how many at most.

    Raises:
        MeasureError: the networks have different parameters or buffers, there is nothing to recompute batch norm on, or
            nothing can be refined (no ends in the grid, fewer than 3 points).
        ModuleNameError: no module of the name ``trunk_of``.
        LoaderError: a loader does not give the same batches twice.
        ArchitectureError: the networks give other outputs for the same images (dropout that ignores the mode); one
            computes something else than the other does with its parameters and buffers; or buffers follow the data that
            nothing recomputes.

    Reference: Neyshabur et al. 2020, Fig. 4; Frankle et al. 2020.
    """
    grid = tuple(float(alpha) for alpha in (alphas if alphas is not None else alpha_grid(13 if refine else 25)))
    if not grid or not all(map(math.isfinite, grid)) or list(grid) != sorted(set(grid)):
        raise MeasureError("alphas must ascend, each once", expected="for example alpha_grid()", got=str(grid))
    if refine is not None and not ({0.0, 1.0} <= set(grid)):
        raise MeasureError("only a path with both ends can be refined", expected="0 and 1 among alphas", got=str(grid))
    if fast:
        evaluation = replace(evaluation, memory_format="channels_last", precision="bfloat16")
    land = Landscape((a, b if trunk_of is None else with_head_of(a, b, trunk_of)), data, evaluation)
    line = LinePoints(land, on_point)
    line.visit(grid)
    if refine is not None:
        line.refine(refine)
    recheck = line.recheck() if fast else None
    return LinearPath(
        alphas=line.alphas,
        distance=land.distance(),
        batch_norm=land.policy,
        points=line.points,
        own=line.own_ends(),
        moved="all" if trunk_of is None else "trunk",
        # After the recheck, whose values may have moved a maximum.
        resolution=None if refine is None else line.resolution(refine),
        recheck=recheck,
    )


def with_head_of(a: nn.Module, b: nn.Module, head: str) -> nn.Module:
    """The trunk of ``b`` under the head of ``a``: a new network; both are left as they are."""
    names = [name for name, _ in a.named_modules() if name]
    if head not in names:
        raise ModuleNameError(f"the network has no module named {head!r}", got=head, hint=nearest(head, names))
    apart = unlike(a, b, without=head)
    if apart is not None:
        raise MeasureError(
            "there is no straight line between these trunks: their parameters or buffers differ",
            expected="two networks of one architecture",
            got=f"{apart.got} ({apart.cause})",
            hint=apart.hint,
        )
    # A copy of b: its own code, not that of a, says what its tensors mean.
    made = copied(b)
    made.set_submodule(head, copied(a).get_submodule(head))
    return made
