"""What a cut of a network is, and what a way of running its halves must offer."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree


class Untraceable(Exception):  # noqa: N818 - a finding inside this package that becomes a reason, not a failure
    """One way of tracing does not fit the network; the words say why."""


@dataclass(frozen=True)
class Cut:
    """A place in the forward pass."""

    index: int
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    shared: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    bytes_per_example: int


@dataclass(frozen=True)
class CutValues:
    """What is kept at a cut for one batch.

    Attributes:
        values: tensors, and here and there a number or a list of tensors.
        stand_ins: of a replay: shapes of what the modules before gave, by the number of their call.
    """

    values: tuple[Any, ...]
    stand_ins: Mapping[int, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in :attr:`values`."""
        return tuple(tensors_of(self.values))

    @property
    def bytes(self) -> int:
        """Memory of the tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)

    def to(self, device: torch.device | str) -> "CutValues":
        """The same values on another device; bits and strides stay."""
        moved: tuple[Any, ...] = pytree.tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, self.values)
        return replace(self, values=moved)


class AbstractRoute(abc.ABC):
    """A way of running a network from cut to cut."""

    def __init__(self) -> None:
        # Numbers of the values that running on from a cut writes to, by the name of the cut.
        self.overwritten: dict[str, frozenset[int]] = {}

    @abc.abstractmethod
    def run(self, first: Cut | None, given: Any, second: Cut | None) -> Any:
        """Run from a cut (None: the input) with its values to another (None: the output)."""

    @abc.abstractmethod
    def parameters(self, cut: Cut) -> tuple[frozenset[str], frozenset[str]]:
        """Names of the parameters that are used before, and after, a cut."""

    def protected(self, cut: Cut, values: Sequence[Any]) -> tuple[Any, ...]:
        """Values that may be written to; those that are written to are copied."""
        written = self.overwritten.get(cut.name, frozenset())
        return tuple(cloned(value) if place in written else value for place, value in enumerate(values))


@dataclass(frozen=True)
class Found:
    """What a way of tracing found."""

    route: AbstractRoute
    cuts: tuple[Cut, ...]
    refused: Mapping[str, str]
    graph: fx.Graph | None = None

    def renumbered(self, cuts: tuple[Cut, ...], refused: Mapping[str, str]) -> "Found":
        """Keep some of the cuts only."""
        numbered = tuple(replace(cut, index=index) for index, cut in enumerate(cuts))
        return replace(self, cuts=numbered, refused=dict(refused))


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def cloned(value: Any) -> Any:
    """A copy of all tensors in ``value``, strides kept."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, value)


@contextmanager
def holding(route: AbstractRoute, cut: Cut, values: CutValues) -> Iterator[None]:
    """Note which of ``values`` are written to inside: from then on these are copied before a run goes on from them."""
    versions = [[tensor._version for tensor in tensors_of(value)] for value in values.values]
    kept = [cloned(value) for value in values.values]
    yield
    written = {
        place
        for place, (value, before) in enumerate(zip(values.values, versions, strict=True))
        if [tensor._version for tensor in tensors_of(value)] != before
    }
    if not written:
        return
    route.overwritten[cut.name] = route.overwritten.get(cut.name, frozenset()) | written
    for place in written:
        for tensor, former in zip(tensors_of(values.values[place]), tensors_of(kept[place]), strict=True):
            tensor.copy_(former)


def same(first: Any, second: Any) -> bool:
    """Whether two outputs are equal to the last bit, in structure, type and value; NaN equals NaN."""
    a, structure = pytree.tree_flatten(first)
    b, other = pytree.tree_flatten(second)
    return structure == other and all(map(_same_leaf, a, b))


def _same_leaf(a: Any, b: Any) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return type(a) is type(b) and bool(a == b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(torch.equal(a, b) or ((a == b) | (a.isnan() & b.isnan())).all())
