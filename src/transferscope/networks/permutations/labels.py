"""What operations ask of the units along the axes of tensors."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np

from transferscope.networks.permutations.blocks import Atoms, Blocks
from transferscope.networks.permutations.values import Label, Value


@final
class Labels:
    """Operations on values: each refines the partition until the operation commutes with every permutation left.

    Args:
        whole: where an axis was unfolded in two (heads and their units, groups and their channels): False to let the
            finer move within each coarser one, which stays; True to let the coarser move as wholes.
    """

    def __init__(self, blocks: Blocks, whole: bool) -> None:
        self.blocks, self.whole = blocks, whole

    # -- positions that stay ------------------------------------------------------------------------------------

    def fix(self, value: Value, axes: Sequence[int] | None = None) -> Value:
        """Hold all units along ``axes`` (or all) in place."""
        kept = []
        for label in value.labels:
            if axes is None or set(label.axes) & set(axes):
                self.blocks.fix(label.atoms.ravel())
            else:
                kept.append(label)
        return replace(value, labels=tuple(kept))

    # -- an axis that was unfolded --------------------------------------------------------------------------------

    def _rows(self, atoms: Atoms, coarse: int) -> Atoms:
        """As ``coarse fine``; coarser positions are kept apart, or made wholes that move."""
        table = atoms.reshape(math.prod(atoms.shape[:coarse]), -1)
        if self.whole:
            for column in table.T:
                self.blocks.restrict(column)
            for column in table.T[1:]:
                self.blocks.couple(table[:, 0], column)
        else:
            for row in table:
                self.blocks.restrict(row)
        return table

    def _coarse(self, label: Label, coarse: int) -> Label | None:
        """What is left to move along the first ``coarse`` axes where the others are summed over, or do not matter."""
        table = self._rows(label.atoms, coarse)
        if not self.whole:
            return None
        return Label(label.axes[:coarse], table[:, 0].reshape(label.atoms.shape[:coarse]))

    def _fine(self, label: Label, coarse: int) -> Label | None:
        """What is left to move along the last axes where they must do so alike for all positions of the first."""
        table = self._rows(label.atoms, coarse)
        if self.whole:
            return None
        for row in table[1:]:
            self.blocks.couple(table[0], row)
        return Label(label.axes[coarse:], table[0].reshape(label.atoms.shape[coarse:]))

    def _without(self, label: Label, axes: frozenset[int]) -> Label | None:
        """A label where some of its axes are gone."""
        gone = [axis in axes for axis in label.axes]
        if not any(gone):
            return label
        if all(gone):
            return None
        count = sum(gone)
        if all(gone[-count:]):
            return self._coarse(label, len(gone) - count)
        if all(gone[:count]):
            return self._fine(label, count)
        self.blocks.fix(label.atoms.ravel())
        return None

    # -- elementwise ----------------------------------------------------------------------------------------------

    def meet(self, shape: Sequence[int], values: Sequence[Value]) -> Value:
        """An elementwise operation with broadcasting."""
        shape = tuple(shape)
        met: tuple[Label, ...] = ()
        present: frozenset[int] = frozenset()
        for value in values:
            shift = len(shape) - len(value.shape)
            labels = tuple(replace(label, axes=tuple(a + shift for a in label.axes)) for label in value.labels)
            there = frozenset(axis + shift for axis in value.present)
            met = self._pair(met, present, labels, there)
            present |= there
        return Value(shape, met, any(v.live for v in values), all(v.uniform for v in values))

    def _pair(
        self, first: tuple[Label, ...], in_first: frozenset[int], second: tuple[Label, ...], in_second: frozenset[int]
    ) -> tuple[Label, ...]:
        labelled_first = frozenset(axis for label in first for axis in label.axes)
        labelled_second = frozenset(axis for label in second for axis in label.axes)
        for one in first:
            for two in second:
                self._join(one, two, in_first - labelled_first, in_second - labelled_second)
        kept = [label for label in first if self._beside_fixed(label, in_second - labelled_second, in_second)]
        kept += [label for label in second if self._beside_fixed(label, in_first - labelled_first, in_first)]
        return _widest(kept)

    def _join(self, one: Label, two: Label, fixed_first: frozenset[int], fixed_second: frozenset[int]) -> None:
        """Two labels that share axes, and the axes along which the positions of either side stay."""
        shared = set(one.axes) & set(two.axes)
        if not shared:
            return
        if set(one.axes) == set(two.axes):
            order = [two.axes.index(axis) for axis in one.axes]
            self.blocks.couple(one.atoms.ravel(), two.atoms.transpose(order).ravel())
            return
        count = len(shared)
        alone_one, alone_two = set(one.axes) - shared, set(two.axes) - shared
        if not (alone_one & fixed_second or alone_two & fixed_first):
            if one.axes[:count] == two.axes[:count]:
                coarse = [self._coarse(label, count) if len(label.axes) > count else label for label in (one, two)]
                if coarse[0] is not None and coarse[1] is not None:
                    self.blocks.couple(coarse[0].atoms.ravel(), coarse[1].atoms.ravel())
                for label in coarse:
                    # Without wholes the coarse positions of the one stay: so do those of the other.
                    if label is not None and None in coarse:
                        self.blocks.fix(label.atoms.ravel())
                return
            longer, shorter = (one, two) if len(one.axes) > len(two.axes) else (two, one)
            if longer.axes[-count:] == shorter.axes:
                table = self._rows(longer.atoms, len(longer.axes) - count)
                if self.whole:
                    self.blocks.fix(shorter.atoms.ravel())
                else:
                    for row in table:
                        self.blocks.couple(shorter.atoms.ravel(), row)
                return
        self.blocks.fix(one.atoms.ravel())
        self.blocks.fix(two.atoms.ravel())

    def _beside_fixed(self, label: Label, fixed: frozenset[int], present: frozenset[int]) -> bool:
        """Whether a label survives a partner whose positions along ``fixed`` stay."""
        hit = [axis in fixed for axis in label.axes]
        if not any(hit):
            return True
        count = sum(hit)
        alone = not any(axis in present for axis, is_hit in zip(label.axes, hit, strict=True) if not is_hit)
        if not all(hit) and alone and all(hit[:count]) and not self.whole:
            self._rows(label.atoms, count)
            return True
        if not all(hit) and alone and all(hit[-count:]) and self.whole:
            self._rows(label.atoms, len(hit) - count)
            return True
        self.blocks.fix(label.atoms.ravel())
        return False

    # -- sums over axes -------------------------------------------------------------------------------------------

    def reduce(self, value: Value, axes: Sequence[int], keep: bool) -> Value:
        """An operation that does not mind the order along ``axes``, which are gone afterwards (or of size 1)."""
        gone = frozenset(axis % len(value.shape) for axis in axes)
        labels = [found for label in value.labels if (found := self._without(label, gone)) is not None]
        if keep:
            shape = tuple(1 if axis in gone else size for axis, size in enumerate(value.shape))
            return replace(value, shape=shape, labels=_widest(labels))
        left = [axis for axis in range(len(value.shape)) if axis not in gone]
        moved = [replace(label, axes=tuple(left.index(axis) for axis in label.axes)) for label in labels]
        return replace(value, shape=tuple(value.shape[axis] for axis in left), labels=_widest(moved))

    def normalise(self, value: Value, axes: Sequence[int]) -> Value:
        """An operation of a value with its own statistics over ``axes``: softmax, layer norm."""
        return self.meet(value.shape, [value, self.reduce(value, axes, keep=True)])

    def contract(self, first: Value, second: Value, letters: tuple[str, str, str], shape: Sequence[int]) -> Value:
        """A sum of products, as ``einsum`` of two operands: ``letters`` of both and of the outcome."""
        one, two, out = letters
        every = out + "".join(sorted(set(one + two) - set(out)))
        sizes: dict[str, int] = {}
        for letter, size in (*zip(one, first.shape, strict=True), *zip(two, second.shape, strict=True)):
            sizes[letter] = max(size, sizes.get(letter, 1))
        product = self.meet(
            [sizes[letter] for letter in every], [_spread(first, one, every), _spread(second, two, every)]
        )
        gone = range(len(out), len(every))
        return replace(self.reduce(product, gone, keep=False), shape=tuple(shape), uniform=False)

    # -- other shapes ---------------------------------------------------------------------------------------------

    def permute(self, value: Value, order: Sequence[int]) -> Value:
        """Axes in another order."""
        order = [axis % len(value.shape) for axis in order]
        labels = tuple(replace(label, axes=tuple(order.index(axis) for axis in label.axes)) for label in value.labels)
        return replace(value, shape=tuple(value.shape[axis] for axis in order), labels=labels)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """Axes folded and unfolded, without a change of order."""
        shape = tuple(shape)
        labels: list[Label] = []
        done: set[int] = set()
        for before, after in _matched(value.shape, shape):
            for number, label in enumerate(value.labels):
                if number in done or not set(label.axes) & set(before):
                    continue
                done.add(number)
                straight = len(before) == len(after) == 1
                if straight:
                    # Other axes of this label are folded elsewhere: only one that moves straight on as a whole may.
                    kept = self._straight(value, label, shape)
                else:
                    kept = self._folded(value, label, before, after, shape)
                if kept is not None:
                    labels.append(kept)
        return replace(value, shape=shape, labels=tuple(labels))

    def _straight(self, value: Value, label: Label, shape: tuple[int, ...]) -> Label | None:
        moved = {
            before[0]: after[0] for before, after in _matched(value.shape, shape) if len(before) == len(after) == 1
        }
        if not all(axis in moved for axis in label.axes):
            self.blocks.fix(label.atoms.ravel())
            return None
        return replace(label, axes=tuple(moved[axis] for axis in label.axes))

    def _folded(
        self, value: Value, label: Label, before: list[int], after: list[int], shape: tuple[int, ...]
    ) -> Label | None:
        others = [other for other in value.labels if other is not label and set(other.axes) & set(before)]
        # Two axes of units folded into one: the longer keeps its units.
        longest = all(label.atoms.size > other.atoms.size for other in others)
        if not longest or not set(label.axes) <= set(before):
            self.blocks.fix(label.atoms.ravel())
            return None
        for other in others:
            self.blocks.fix(other.atoms.ravel())
        free = [axis for axis in before if axis not in label.axes]
        columns = math.prod(value.shape[axis] for axis in free)
        atoms = label.atoms
        if columns > 1:
            # Each position of the other axes is one more column of the same units.
            table = self.blocks.fresh_rows(atoms.size, columns)
            self.blocks.couple(atoms.ravel(), table[:, 0])
            atoms = table.reshape(*atoms.shape, *(value.shape[axis] for axis in free))
        axes = [*label.axes, *free]
        ordered = atoms.transpose([axes.index(axis) for axis in before]).reshape([shape[axis] for axis in after])
        # Units that were folded with positions and are unfolded again: the positions are only columns of the units.
        for place in range(len(after)) if len(after) > 1 else ():
            table = np.moveaxis(ordered, place, 0).reshape(ordered.shape[place], -1)
            if self.blocks.one_row_each(table):
                return Label((after[place],), table[:, 0])
        return Label(tuple(after), ordered)

    def slice(self, value: Value, axis: int, chosen: Atoms | slice | int, shape: Sequence[int]) -> Value:
        """Some positions of an axis; with a number the axis is gone."""
        axis %= len(value.shape)
        labels = []
        for label in value.labels:
            axes, atoms = label.axes, label.atoms
            if axis in axes:
                place = axes.index(axis)
                atoms = atoms[(slice(None),) * place + (chosen,)]
                self.blocks.restrict(atoms.ravel())
                if isinstance(chosen, int) or atoms.shape[place] == 1:
                    atoms = atoms.reshape(label.atoms.shape[:place] + label.atoms.shape[place + 1 :])
                    axes = (*axes[:place], *axes[place + 1 :])
            if isinstance(chosen, int):
                axes = tuple(other - (other > axis) for other in axes)
            if axes:
                labels.append(Label(axes, atoms))
        return replace(value, shape=tuple(shape), labels=tuple(labels))

    def concatenate(self, values: Sequence[Value], axis: int, shape: Sequence[int]) -> Value:
        """Values one after the other along an axis."""
        axis %= len(shape)
        # Along the other axes it is as if they were added.
        ones = [
            replace(
                value,
                shape=tuple(1 if k == axis else size for k, size in enumerate(value.shape)),
                labels=tuple(label for label in value.labels if axis not in label.axes),
            )
            for value in values
        ]
        across = [value.at(axis) for value in values]
        beside = self.meet([1 if k == axis else size for k, size in enumerate(shape)], ones)
        live, labels = any(value.live for value in values), list(beside.labels)
        found = [label for label in across if label is not None]
        if not found:
            return Value(tuple(shape), tuple(labels), live)
        if all(label is not None and label.axes == found[0].axes for label in across):
            place = found[0].axes.index(axis)
            atoms = np.concatenate([label.atoms for label in found], axis=place)
            return Value(tuple(shape), (*labels, Label(found[0].axes, atoms)), live)
        if any(len(label.axes) > 1 for label in found):
            for label in found:
                self.blocks.fix(label.atoms.ravel())
            return Value(tuple(shape), tuple(labels), live)
        parts = []
        for value, there in zip(values, across, strict=True):
            if there is not None:
                parts.append(there.atoms)
            elif value.uniform:
                parts.append(self.blocks.fresh(value.shape[axis]))
            else:
                parts.append(self.blocks.fresh_fixed(value.shape[axis]))
        return Value(tuple(shape), (*labels, Label((axis,), np.concatenate(parts))), live)

    def repeat(self, value: Value, times: Sequence[int], shape: Sequence[int]) -> Value:
        """Copies along axes, new axes first."""
        shift = len(times) - len(value.shape)
        labels = tuple(
            Label(
                tuple(axis + shift for axis in label.axes),
                np.tile(label.atoms, [times[axis + shift] for axis in label.axes]),
            )
            for label in value.labels
        )
        return replace(value, shape=tuple(shape), labels=labels)


def _widest(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Without labels whose axes another one has too: the atoms of both are coupled."""
    kept: list[Label] = []
    for label in labels:
        if any(set(label.axes) <= set(other.axes) for other in kept):
            continue
        kept = [other for other in kept if not set(other.axes) < set(label.axes)]
        kept.append(label)
    return tuple(kept)


def _spread(value: Value, letters: str, every: str) -> Value:
    """A value in the space of all letters, of size 1 along those it does not have."""
    sizes = dict(zip(letters, value.shape, strict=True))
    return replace(
        value,
        shape=tuple(sizes.get(letter, 1) for letter in every),
        labels=tuple(
            replace(label, axes=tuple(every.index(letters[axis]) for axis in label.axes)) for label in value.labels
        ),
    )


def _matched(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes (of more than one position) with the same number of entries on both sides."""
    first = [axis for axis, size in enumerate(before) if size > 1]
    second = [axis for axis, size in enumerate(after) if size > 1]
    runs = []
    while first or second:
        one, two = [first.pop(0)], [second.pop(0)]
        while (left := math.prod(before[axis] for axis in one)) != (right := math.prod(after[axis] for axis in two)):
            if left < right:
                one.append(first.pop(0))
            else:
                two.append(second.pop(0))
        runs.append((one, two))
    return runs
