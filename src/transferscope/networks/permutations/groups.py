"""Hidden units of a network that may be permuted together without a change of what it computes.

The forward pass is read operation by operation (``torch.fx``, at the level of ATen). What comes out is exact for every
value of the weights: permuting the units of a group wherever they occur leaves the function as it is. Covered are
convolutions (plain, depthwise, grouped), linear maps, batch, layer and group norms, residual sums, gates
(squeeze-excite), concatenation and splits, flattening, layer scale, position embeddings and tokens, and attention:
whole heads, and the units of a head (queries with keys, values with the projection).

Inputs and outputs of the network are never permuted. Not covered, because they are no permutations: rotations within a
head, scales between layers (ReLU), signs (tanh).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from transferscope.errors import AlignmentError
from transferscope.networks.permutations.blocks import Atoms
from transferscope.networks.permutations.reading import Reading, read, saved
from transferscope.networks.permutations.trace import Operations, operations
from transferscope.networks.permutations.units import Group, Order, Place


@final
@dataclass(frozen=True)
class PermutationGroups:
    """All permutations found for a network.

    Attributes:
        groups: of plain units, and of wholes with groups of their own.
        share: of the parameters (by number of entries) that some group moves.
        fixed: parameters that nothing moves although they have an axis of two or more.
    """

    groups: tuple[Group, ...]
    operations: Operations = field(repr=False)
    share: float
    fixed: tuple[str, ...]

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def every(self) -> Iterator[Group]:
        """Groups, and after each its inner ones."""
        for group in self.groups:
            yield group
            for inner in group.inner:
                yield from inner

    def random(self, seed: int) -> dict[str, Order]:
        """A random permutation for every group, by its name."""
        generator = np.random.default_rng(seed)
        return {group.name: generator.permutation(group.units) for group in self.every()}

    def apply(self, state: Mapping[str, Tensor], orders: Mapping[str, Order]) -> dict[str, Tensor]:
        """A state with units permuted: wholes first, then the units within the whole that now has the place.

        Args:
            orders: for each group's name which unit comes to each place; groups that are not named stay.
        """
        known = {group.name: group for group in self.every()}
        for name, order in orders.items():
            if name not in known or sorted(np.asarray(order).tolist()) != list(range(known[name].units)):
                raise AlignmentError(
                    f"no permutation of the group {name!r}",
                    expected=f"each of 0 to {known[name].units - 1} once" if name in known else ", ".join(known),
                    got=str(np.asarray(order).tolist())[:80],
                )
        moved = dict(state)
        for group in self.every():
            if group.name in orders:
                group.permute(moved, np.asarray(orders[group.name]))
        return moved


def permutation_groups(model: nn.Module, example: Tensor) -> PermutationGroups:
    """Which hidden units of a network may be permuted together.

    Args:
        model: takes one tensor of images; left as it was. What it computes for an image must not depend on the others.
        example: a batch of images on the network's device; its first is used.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> (group,) = permutation_groups(net, torch.ones(1, 3))
        >>> group.name, group.units, [(slot.tensor, slot.axis) for slot in group.slots]
        ('0.weight', 4, [('0.weight', 0), ('0.bias', 0), ('2.weight', 1)])
    """
    traced = operations(model, example[:1])
    within, whole = read(model, traced, whole=False), read(model, traced, whole=True)
    outer, taken = _wholes(within, whole)
    groups = list(outer)
    for number, table in enumerate(within.tables):
        if within.moves(number) and not taken[table].any():
            groups.append(within.group(number))
    groups.sort(key=lambda group: int(group.atoms.min()))
    groups = _with_neighbours(groups, (within, whole))
    moved = {slot.tensor for group in groups for slot in group.slots}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return PermutationGroups(
        groups=tuple(groups),
        operations=traced,
        share=sum(size for name, size in sizes.items() if name in moved) / max(1, sum(sizes.values())),
        fixed=tuple(name for name, size in sizes.items() if name not in moved and size > 1),
    )


def _with_neighbours(groups: Sequence[Group], readings: Sequence[Reading]) -> list[Group]:
    """The same groups, with what lies beside them where they are seen."""
    owner = {int(atom): group.name for group in groups for atom in group.atoms.ravel()}

    def beside(place: Place, name: str) -> Place:
        others = {
            owner[atom]
            for reading in readings
            for axes, atoms in reading.seen.get(place.node, ())
            if not set(axes) <= set(place.axes)
            for atom in atoms
            if atom in owner
        }
        return replace(place, beside=frozenset(others - {name}))

    def known(group: Group, name: str) -> Group:
        inner = tuple(tuple(known(part, name) for part in whole) for whole in group.inner)
        return replace(group, places=tuple(beside(place, name) for place in group.places), inner=inner)

    return [known(group, group.name) for group in groups]


def _wholes(within: Reading, whole: Reading) -> tuple[list[Group], npt.NDArray[np.bool_]]:
    """Groups of wholes, with the groups within each; and which atoms they take.

    A block of the second reading is one of wholes where the first reading keeps its rows apart. It is taken if what the
    first reading found lies within its rows, alike in all of them.
    """
    size = max(1, *(int(table.max()) + 1 for table in (*within.tables, *whole.tables)), within.known)
    taken = np.zeros(size, dtype=bool)
    block = np.full(size, -1)
    for number, table in enumerate(within.tables):
        block[table] = number
    groups = []
    for number, table in enumerate(whole.tables):
        if not whole.moves(number):
            continue
        atoms = saved(table, whole.known)
        inside = block[atoms]
        if (inside >= 0).any() and all(len(np.unique(column)) == 1 for column in inside.T):
            continue  # as the first reading has it, or a refinement of that
        if not _alike(atoms, inside, within):
            continue
        name = whole.name(number)
        inner = tuple(
            tuple(
                within.group(found, f"{name} / {k} / {place}")
                for place, found in enumerate(dict.fromkeys(inside[k][inside[k] >= 0].tolist()))
            )
            for k in range(len(atoms))
        )
        groups.append(whole.group(number, name, inner))
        taken[atoms] = True
    return groups, taken


def _alike(atoms: Atoms, inside: Atoms, within: Reading) -> bool:
    """Whether every row holds whole blocks of the first reading, the same columns in the same block for all rows."""
    pattern: list[list[list[int]]] | None = None
    for row, numbers in zip(atoms, inside, strict=True):
        columns = {int(atom): place for place, atom in enumerate(row)}
        shape = []
        for number in dict.fromkeys(numbers[numbers >= 0].tolist()):
            table = saved(within.tables[number], within.known)
            if not all(int(atom) in columns for atom in table.ravel()):
                return False
            shape.append([[columns[int(atom)] for atom in line] for line in table])
        if pattern is None:
            pattern = shape
        elif pattern != shape:
            return False
    return True
