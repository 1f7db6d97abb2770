"""Whether two networks can be averaged: the barrier between them, before and after matching units, and where it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy.typing as npt
from torch import nn

from transferscope.errors import AlignmentError
from transferscope.measures.barriers import stability
from transferscope.measures.interval import Interval
from transferscope.methods.alignment.align import align
from transferscope.methods.evaluation import Batches, Evaluation
from transferscope.methods.landscape.barrier import barrier_of
from transferscope.methods.landscape.landscape import Landscape
from transferscope.methods.landscape.line_points import LinePoints
from transferscope.methods.modules.paths import module_paths
from transferscope.networks.modules import Granularity

__all__ = ["BlockingModule", "Correspondence", "Stability", "blocking_modules", "correspondence"]

Stability = Literal["stable", "unstable", "undecided"]

LIMIT = 0.02
"""Points of error that count as no barrier (Frankle et al. 2020)."""
_FIRST = (0.0, 0.5, 1.0)
_FURTHER = (0.25, 0.75)
_SPLIT = "validation"


@dataclass(frozen=True)
class BlockingModule:
    """A module on whose way from one network to the other, all else staying, the error rises.

    Attributes:
        barrier: of the error, over the mean of the ends; the limits hold for all modules at once.
    """

    name: str
    barrier: Interval
    verdict: Stability


@dataclass(frozen=True)
class Correspondence:
    """Whether a network can be averaged with the best one.

    Attributes:
        barrier: of the error on the line between the two as they are, over the mean of the ends.
        aligned_barrier: the same once hidden units are matched; None where that was not tried, or not possible.
        not_aligned: why units could not be matched; empty else.
        network: the one that enters averages, aligned where that is better.
        aligned: whether it is.
        modules: that block the way, the highest barrier first; empty where they were not looked for.
    """

    barrier: Interval
    verdict: Stability
    aligned_barrier: Interval | None = None
    aligned_verdict: Stability | None = None
    not_aligned: str = ""
    aligned: bool = False
    modules: tuple[BlockingModule, ...] = ()
    network: nn.Module = field(repr=False, kw_only=True)

    @property
    def blocked(self) -> bool:
        """Whether there is a barrier, whatever was tried."""
        return self._last == "unstable"

    @property
    def open(self) -> bool:
        """Whether there may be a barrier."""
        return self._last != "stable"

    @property
    def _last(self) -> Stability | None:
        return self.aligned_verdict if self.aligned else self.verdict


def correspondence(
    anchor: nn.Module,
    other: nn.Module,
    batches: Batches,
    evaluation: Evaluation,
    clusters: npt.ArrayLike | None,
    match_on: Batches | None,
) -> Correspondence:
    """Measure the barrier between two networks, and whether matching hidden units removes it.

    A barrier that the middle of the line shows is not looked at any further.

    Args:
        anchor: stays as it is.
        other: whose units are matched to those of ``anchor``.
        batches: examples on which errors are measured.
        match_on: images on which units are matched; None looks at weights alone.
    """
    barrier, verdict = _barrier(anchor, other, batches, evaluation, clusters)
    if verdict == "stable":
        return Correspondence(barrier, verdict, network=other)
    try:
        if match_on is None:
            aligned = align(anchor, other, batches, method="weights", device=evaluation.device)
        else:
            aligned = align(anchor, other, match_on, device=evaluation.device)
    except AlignmentError as error:
        return Correspondence(barrier, verdict, not_aligned=f"{error.what} ({error.got})", network=other)
    after, judged = _barrier(anchor, aligned.network, batches, evaluation, clusters)
    better = judged == "stable" or (verdict == "unstable" and (after.value or 0.0) < (barrier.value or 0.0))
    return Correspondence(barrier, verdict, after, judged, aligned=better, network=aligned.network if better else other)


def _barrier(
    anchor: nn.Module, other: nn.Module, batches: Batches, evaluation: Evaluation, clusters: npt.ArrayLike | None
) -> tuple[Interval, Stability]:
    line = LinePoints(Landscape((anchor, other), {_SPLIT: batches}, evaluation))
    for alphas in (_FIRST, _FURTHER):
        line.visit(alphas)
        found = barrier_of(line.alphas, line.points[_SPLIT], "error", clusters).mean.interval
        verdict = stability(found, LIMIT)
        if verdict == "unstable":
            break
    return found, verdict


def blocking_modules(
    anchor: nn.Module,
    other: nn.Module,
    batches: Batches,
    evaluation: Evaluation,
    clusters: npt.ArrayLike | None,
    *,
    granularity: Granularity = "block",
    head: str | None = None,
) -> tuple[BlockingModule, ...]:
    """The modules that block the way between two networks, the highest barrier first.

    Each is moved alone from its values in ``anchor`` to those in ``other``. Where none blocks by itself, they block
    together: then the highest ones, undecided or not.
    """
    data: Mapping[str, Batches] = {_SPLIT: batches}
    lines = module_paths(anchor, other, data, evaluation, granularity=granularity, head=head, alphas=_FIRST)
    found = []
    for name in lines.modules:
        interval = lines.barrier(name, _SPLIT, "error", clusters, simultaneous=True).mean.interval
        found.append(BlockingModule(name, interval, stability(interval, LIMIT)))
    found.sort(key=lambda item: -(item.barrier.value or 0.0))
    surely = tuple(item for item in found if item.verdict == "unstable")
    return surely or tuple(item for item in found[:_SHOWN] if item.barrier.value)


_SHOWN = 3
