"""One reading of a network's operations: which units may move, and where they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import fx, nn

from transferscope.networks.permutations.blocks import Atoms, Blocks
from transferscope.networks.permutations.labels import Labels
from transferscope.networks.permutations.products import PRODUCTS
from transferscope.networks.permutations.rules import Reader
from transferscope.networks.permutations.shapes import SHAPES
from transferscope.networks.permutations.trace import Operations, state_of
from transferscope.networks.permutations.units import Group, Place, Slot
from transferscope.networks.permutations.values import Label, Value


@final
class Reading:
    """A network read once: the partition, and where its units lie.

    Attributes:
        tables: blocks of units that may change places, ``units columns``.
        seen: by node, for every label of its value: the axes, and an atom of a parameter for each of its blocks.
    """

    def __init__(self, blocks: Blocks, reader: Reader, where: Sequence["_Axis"]) -> None:
        self.tables = blocks.movable()
        self.known = max((int(axis.atoms.max()) + 1 for axis in where), default=0)
        self._slots: dict[int, list[Slot]] = {}
        self._places: dict[int, list[Place]] = {}
        self.seen: dict[str, list[tuple[tuple[int, ...], list[int]]]] = {}
        every = blocks.count
        self._block, self._row, self._column = np.full(every, -1), np.zeros(every, int), np.zeros(every, int)
        for number, table in enumerate(self.tables):
            self._block[table] = number
            self._row[table] = np.arange(len(table))[:, None]
            self._column[table] = np.arange(table.shape[1])[None, :]
        self._names: dict[int, str] = {}
        for axis in where:
            for number, index in self._positions(axis.atoms):
                self._slots.setdefault(number, []).append(Slot(axis.tensor, axis.axis, index, axis.rows))
                self._names.setdefault(number, _name(axis, index))
        for node in reader.places:
            for label in reader.values[node].labels:
                shown = []
                for number, index in self._positions(label.atoms.ravel()):
                    self._places.setdefault(number, []).append(Place(node.name, label.axes, index))
                    shown.append(int(self.tables[number].min()))
                self.seen.setdefault(node.name, []).append((label.axes, shown))

    def _positions(self, atoms: Atoms) -> Iterator[tuple[int, Atoms]]:
        """For each block among ``atoms`` the positions of its rows: ``rows columns``."""
        for number in np.unique(self._block[atoms]):
            mine = np.flatnonzero(self._block[atoms] == number)
            if number < 0 or len(np.unique(self._row[atoms[mine]])) < len(self.tables[number]):
                # Some rows alone: an axis that holds the channels of one group of a convolution. They go along with
                # the rows of the weight when groups move as wholes.
                continue
            # By row, and within a row by column: the same roles then stand in the same columns of every row.
            order = np.lexsort((mine, self._column[atoms[mine]], self._row[atoms[mine]]))
            yield int(number), mine[order].reshape(len(self.tables[number]), -1)

    def moves(self, number: int) -> bool:
        """Whether a block concerns any parameter or buffer."""
        return number in self._slots

    def name(self, number: int) -> str:
        """The first parameter of a block, and which part of it."""
        return self._names[number]

    def group(self, number: int, name: str | None = None, inner: tuple[tuple[Group, ...], ...] = ()) -> Group:
        """The group of a block."""
        table = self.tables[number]
        return Group(
            name=name or self.name(number),
            units=len(table),
            atoms=saved(table, self.known),
            slots=tuple(self._slots[number]),
            places=tuple(self._places.get(number, ())),
            inner=inner,
        )


def _name(axis: "_Axis", index: Atoms) -> str:
    words = [f"axis {axis.axis}"] if axis.axis else []
    if axis.rows is not None:
        words.append(f"rows {axis.rows[0]} to {axis.rows[1] - 1}")
    if index.size < len(axis.atoms):
        words.append(f"from {index.min()}")
    return axis.tensor + (f"[{', '.join(words)}]" if words else "")


def saved(table: Atoms, known: int) -> Atoms:
    """The columns of a block that lie in parameters and buffers."""
    return table[:, table[0] < known]


@dataclass(frozen=True)
class _Axis:
    """Atoms along one axis of a parameter or buffer, or of some of its rows."""

    tensor: str
    axis: int
    atoms: Atoms
    rows: tuple[int, int] | None = None


def read(model: nn.Module, traced: Operations, whole: bool) -> Reading:
    """Read all operations once.

    Args:
        model: whose tensors the axes are of.
        traced: its operations, for a single image.
        whole: whether heads and groups of channels move as wholes, or the units within them; see
            :class:`~transferscope.networks.permutations.labels.Labels`.

    Raises:
        AlignmentError: an operation has no rule.
    """
    blocks = Blocks()
    kept = frozenset(traced.saved)
    state = state_of(model)
    nodes = traced.nodes
    slabs = _slabs(nodes)
    values: dict[fx.Node, Value] = {}
    where: list[_Axis] = []
    slab_atoms: dict[str, Atoms] = {}
    for name, node in traced.state.items():
        tensor = state[name]
        moves = bool(node.users) and tensor.is_floating_point() and name in kept
        labels = []
        for axis, size in enumerate(tensor.shape):
            if size < 2 or not moves:
                continue
            if axis == 1 and node.name in slabs:
                groups = slabs[node.name]
                atoms = blocks.fresh(groups * size).reshape(groups, size)
                slab_atoms[node.name] = atoms
                rows = tensor.shape[0] // groups
                where += [_Axis(name, 1, part, (k * rows, (k + 1) * rows)) for k, part in enumerate(atoms)]
                continue
            atoms = blocks.fresh(size)
            where.append(_Axis(name, axis, atoms))
            labels.append(Label((axis,), atoms))
        # Made anew with each network, always of this one value: it tells no units apart.
        uniform = name not in kept and tensor.is_floating_point() and bool((tensor == tensor.flatten()[:1]).all())
        values[node] = Value(tuple(tensor.shape), tuple(labels), uniform=uniform)
    reader = Reader(Labels(blocks, whole), {**SHAPES, **PRODUCTS}, slab_atoms)
    reader.values.update(values)
    reader.values[traced.images] = Value(tuple(traced.images.meta["val"].shape), live=True)
    for node in nodes:
        if node.op != "placeholder":
            reader.read(node)
    return Reading(blocks, reader, where)


def _slabs(nodes: Sequence[fx.Node]) -> dict[str, int]:
    """Weights that are used by one grouped convolution alone, with its number of groups."""
    found = {}
    for node in nodes:
        if str(node.target).startswith("aten.conv") and len(node.args) > 6 and node.args[6] != 1:
            weight = node.args[1]
            if isinstance(weight, fx.Node) and weight.op == "placeholder" and len(weight.users) == 1:
                found[weight.name] = int(str(node.args[6]))
    return found
