"""Moving the units of one network to the places of another's: what both ways of alignment share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from transferscope.measures.assignment import assign, assign_wholes
from transferscope.networks.permutations.groups import PermutationGroups
from transferscope.networks.permutations.units import Group, Order


@dataclass(frozen=True)
class Move:
    """One group's permutation, and those of the units within wholes once these have moved."""

    order: Order
    inner: tuple[tuple[Order, ...], ...] = ()

    @property
    def trivial(self) -> bool:
        """Whether nothing moves."""
        orders = [self.order, *(order for whole in self.inner for order in whole)]
        return all(bool((order == np.arange(len(order))).all()) for order in orders)


@dataclass(frozen=True)
class Match:
    """Where the units of a network went.

    Attributes:
        orders: by group and inner group: which unit, by its number before, is at each place now.
        moved: share of all units that are not where they were.
    """

    state: dict[str, Tensor]
    orders: dict[str, Order]
    moved: float
    before: float
    after: float
    rounds: int


@final
class Mover:
    """A state whose units are moved step by step, and where each came from."""

    def __init__(self, groups: PermutationGroups, state: Mapping[str, Tensor]) -> None:
        self.groups = groups
        self.state = dict(state)
        size = max((int(group.atoms.max()) + 1 for group in groups.every()), default=0)
        self._origin = np.arange(size)

    def preview(self, group: Group, move: Move) -> dict[str, Tensor]:
        """The tensors of a group as they would be."""
        names = dict.fromkeys([*group.tensors, *(name for g in _inner(group) for name in g.tensors)])
        moved = {name: self.state[name] for name in names}
        for part, order in _steps(group, move):
            part.permute(moved, order)
        return moved

    def apply(self, group: Group, move: Move) -> None:
        """Move the units of a group."""
        self.state.update(self.preview(group, move))
        for part, order in _steps(group, move):
            self._origin[part.atoms] = self._origin[part.atoms[order]]

    def finished(self, before: float, after: float, rounds: int) -> Match:
        """What came out."""
        orders = {group.name: self._order(group, group.atoms) for group in self.groups}
        units = moved = 0
        for group in self.groups:
            leaves = list(_inner(group)) or [group]
            for leaf in leaves:
                here = self._origin[leaf.atoms[:, 0]] != leaf.atoms[:, 0]
                units, moved = units + len(here), moved + int(here.sum())
            for place in range(len(group.inner[0]) if group.inner else 0):
                # A unit may come from any whole; its number is that within the whole.
                every = np.concatenate([whole[place].atoms for whole in group.inner])
                for whole in group.inner:
                    orders[whole[place].name] = self._order(whole[place], every) % whole[place].units
        return Match(self.state, orders, moved / max(1, units), before, after, rounds)

    def _order(self, group: Group, among: npt.NDArray[np.int64]) -> Order:
        row = np.full(len(self._origin), -1)
        row[among] = np.arange(len(among))[:, None]
        found: Order = row[self._origin[group.atoms[:, 0]]]
        return found


def best_move(group: Group, inner: list[npt.NDArray[np.float64]], similarity: npt.NDArray[np.float64]) -> Move:
    """The move that makes matched units most similar.

    Args:
        inner: of wholes, for each kind of inner group similarities ``wholes wholes units units``.
        similarity: ``units units``; of wholes without what is in ``inner``.
    """
    if not group.inner:
        return Move(assign(similarity))
    wholes, units = assign_wholes(inner, similarity)
    return Move(wholes, tuple(tuple(orders) for orders in units))


def _inner(group: Group) -> list[Group]:
    return [part for whole in group.inner for part in whole]


def _steps(group: Group, move: Move) -> list[tuple[Group, Order]]:
    steps = [(group, move.order)]
    for whole, orders in zip(group.inner, move.inner, strict=True):
        steps += list(zip(whole, orders, strict=True))
    return steps
