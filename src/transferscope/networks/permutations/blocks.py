"""Which hidden units of a network may change places: a partition that is refined as the network is read.

Every position of every axis of a parameter is an *atom*. Atoms that must move together are in one row of a *block*; the
rows of a block may be permuted freely, all its columns at once. Reading an operation either makes two rows one
(:meth:`Blocks.couple`), keeps some rows from mixing with others (:meth:`Blocks.restrict`), or holds rows in place
(:meth:`Blocks.fix`). What is never refined stays a symmetry.
"""

from typing import final

import numpy as np
import numpy.typing as npt

Atoms = npt.NDArray[np.int64]

_FIXED = -1


@final
class Blocks:
    """A partition of atoms into blocks of ``rows columns``; the rows of one block may change places.

    Example:
        >>> blocks = Blocks()
        >>> made, read = blocks.fresh(3), blocks.fresh(3)
        >>> blocks.couple(made, read)
        >>> [block.tolist() for block in blocks.movable()]
        [[[0, 3], [1, 4], [2, 5]]]
        >>> blocks.fix(read[:1])
        >>> [block.tolist() for block in blocks.movable()]
        [[[1, 4], [2, 5]]]
    """

    def __init__(self) -> None:
        self._count = 0
        self._block: Atoms = np.empty(0, dtype=np.int64)
        self._row: Atoms = np.empty(0, dtype=np.int64)
        self._column: Atoms = np.empty(0, dtype=np.int64)
        self._tables: dict[int, Atoms] = {}
        self._next = 0

    @property
    def count(self) -> int:
        """How many atoms there are."""
        return self._count

    def fresh(self, units: int) -> Atoms:
        """New atoms that may all change places with each other."""
        return self.fresh_rows(units, 1)[:, 0]

    def fresh_rows(self, units: int, columns: int) -> Atoms:
        """New atoms ``units columns``: the units may change places, each with all its columns."""
        table = self.fresh_fixed(units * columns).reshape(units, columns)
        if units > 1:
            self._put(table)
        return table

    def fresh_fixed(self, units: int) -> Atoms:
        """New atoms that stay where they are."""
        atoms = np.arange(self._count, self._count + units, dtype=np.int64)
        self._count += units
        missing = self._count - len(self._block)
        if missing > 0:
            more = max(missing, len(self._block), 1024)
            self._block = np.concatenate([self._block, np.full(more, _FIXED)])
            self._row = np.concatenate([self._row, np.zeros(more, dtype=np.int64)])
            self._column = np.concatenate([self._column, np.zeros(more, dtype=np.int64)])
        return atoms

    def movable(self) -> list[Atoms]:
        """The blocks of two rows and more, in the order of their first atoms: ``rows columns``."""
        return sorted(self._tables.values(), key=lambda table: int(table.min()))

    def one_row_each(self, table: Atoms) -> bool:
        """Whether all atoms of each row of ``table`` already move together, and may move."""
        block, row = self._block[table], self._row[table]
        return bool((block != _FIXED).all() and (block == block[:, :1]).all() and (row == row[:, :1]).all())

    def fix(self, atoms: Atoms) -> None:
        """Hold the rows of ``atoms`` in place."""
        for block in np.unique(self._block[atoms]):
            if block != _FIXED:
                mine = atoms[self._block[atoms] == block]
                self._divide(int(block), np.unique(self._row[mine]), fixed=True)

    def restrict(self, atoms: Atoms) -> None:
        """Rows that are among ``atoms`` do not mix with rows that are not."""
        remaining = np.unique(atoms)
        while len(remaining):
            block, column = self._block[remaining[0]], self._column[remaining[0]]
            here = (self._block[remaining] == block) & (self._column[remaining] == column)
            if block != _FIXED:
                self._divide(int(block), np.unique(self._row[remaining[here]]))
            remaining = remaining[~here]

    def couple(self, first: Atoms, second: Atoms) -> None:
        """``first[k]`` and ``second[k]`` move together, for every k.

        An atom that comes twice on one side is coupled with two of the other: its row then has two columns more.
        """
        apart = first != second
        remaining = np.stack([first[apart], second[apart]])
        while remaining.shape[1]:
            blocks = self._block[remaining]
            held = (blocks == _FIXED).any(axis=0)
            if held.any():
                self.fix(remaining[:, held].ravel())
                remaining = remaining[:, ~held]
                continue
            keys = np.stack([*blocks, *self._column[remaining]])
            here = (keys == keys[:, :1]).all(axis=0)
            places = np.flatnonzero(here)
            # Of an atom that comes several times, one occurrence at a time.
            rows = self._row[remaining[:, places]]
            once = _first_of_each(rows[0]) & _first_of_each(rows[1])
            places, rows = places[once], rows[:, once]
            self._couple_rows(remaining[:, places], rows)
            remaining = np.delete(remaining, places, axis=1)

    def _couple_rows(self, pairs: Atoms, rows: Atoms) -> None:
        """Two columns, each of one block, no atom twice."""
        first, second = (int(block) for block in self._block[pairs[:, 0]])
        if first == second:
            # Within one block only rows that are coupled with themselves are free: the others would have to follow
            # a permutation of their own.
            crossed = pairs[0][rows[0] != rows[1]]
            other = pairs[1][rows[0] != rows[1]]
            self.fix(np.concatenate([crossed, other]))
            return
        self._divide(first, np.sort(rows[0]))
        self._divide(second, np.sort(rows[1]))
        if self._block[pairs[0, 0]] == _FIXED or self._block[pairs[1, 0]] == _FIXED:
            self.fix(pairs.ravel())
            return
        one = self._tables.pop(int(self._block[pairs[0, 0]]))
        two = self._tables.pop(int(self._block[pairs[1, 0]]))
        order_one, order_two = self._row[pairs[0]], self._row[pairs[1]]
        joined = np.concatenate([one[order_one], two[order_two]], axis=1)
        self._put(joined[np.argsort(order_one)])

    def _divide(self, block: int, rows: Atoms, fixed: bool = False) -> None:
        """Rows apart from the others of their block; a single row is fixed."""
        table = self._tables[block]
        if len(rows) == len(table) and not fixed:
            return
        inside = np.zeros(len(table), dtype=bool)
        inside[rows] = True
        del self._tables[block]
        for part, hold in ((table[inside], fixed), (table[~inside], False)):
            if hold or len(part) < 2:
                self._block[part] = _FIXED
            else:
                self._put(part)

    def _put(self, table: Atoms) -> None:
        number = self._next
        self._next += 1
        self._tables[number] = table
        self._block[table] = number
        self._row[table] = np.arange(len(table))[:, None]
        self._column[table] = np.arange(table.shape[1])[None, :]


def _first_of_each(values: Atoms) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(values), dtype=bool)
    found[np.unique(values, return_index=True)[1]] = True
    return found
