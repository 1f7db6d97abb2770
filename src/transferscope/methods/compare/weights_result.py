"""What a comparison of weights found, tensor by tensor, and put together by module."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from transferscope.measures.batchnorm_drift import BatchNormDrift
from transferscope.measures.change import NO_CHANGE, ChangeSums
from transferscope.measures.implicit_ranks import Ranks
from transferscope.networks.tensor_names import Correspondence

__all__ = ["State", "TensorChange", "WeightsComparison"]

State = Literal["measured", "codes", "not_finite", "kept"]
"""Of a tensor: its change has a norm; its numbers are codes (integers, float8 with a scale) or of two kinds; some of
them are NaN or infinite; an adapter leaves it as it is."""

Shapes = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class TensorChange:
    """One tensor of both networks.

    Attributes:
        name: without wrappers.
        shape: of it.
        types: as stored in each.
        state: what could be measured.
        sums: over its numbers; None where they are codes.
        ranks: of its change as a matrix of outputs and all the rest; None for vectors and where nothing changed.
        equal: whether all numbers are; None where that was not looked at.
        repeated: it is another tensor of this comparison under a second name, in both networks: it counts there.
    """

    name: str
    shape: tuple[int, ...]
    types: tuple[str, str]
    state: State
    sums: ChangeSums | None = None
    ranks: Ranks | None = None
    equal: bool | None = None
    repeated: bool = False

    @property
    def module(self) -> str:
        """The module it belongs to: its name without the last word."""
        return self.name.rpartition(".")[0] or self.name


@dataclass(frozen=True)
class WeightsComparison:
    """What :func:`~transferscope.methods.compare.weights.compare_weights` found.

    Attributes:
        sources: the two networks.
        tensors: those of both, of one shape.
        drift: of running statistics by module; None where they are not finite.
        reshaped: both shapes of those of two shapes.
        names: which correspond, and which do not.
        tied: groups of equal matrices in each network.
        ranks: whether ranks were asked for.
        adapter: whether the second is a low-rank adapter.
    """

    sources: tuple[str, str]
    tensors: tuple[TensorChange, ...]
    drift: Mapping[str, BatchNormDrift | None]
    reshaped: Mapping[str, Shapes]
    names: Correspondence
    tied: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]
    ranks: bool = True
    adapter: bool = False

    @cached_property
    def total(self) -> ChangeSums:
        """Over all tensors that could be measured, each once."""
        return _sum(change for change in self.tensors if not change.repeated)

    @cached_property
    def by_module(self) -> dict[str, ChangeSums]:
        """The same module by module."""
        groups: dict[str, list[TensorChange]] = {}
        for change in self.tensors:
            if change.sums is not None and not change.repeated:
                groups.setdefault(change.module, []).append(change)
        return {module: _sum(changes) for module, changes in groups.items()}

    def of_state(self, state: State) -> list[TensorChange]:
        """The tensors of which no more or no less could be measured."""
        return [change for change in self.tensors if change.state == state]


def _sum(changes: Iterable[TensorChange]) -> ChangeSums:
    return sum((change.sums for change in changes if change.sums is not None), NO_CHANGE)
