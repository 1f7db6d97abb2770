"""The partition of units, against a literal search for all symmetries."""

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.networks.permutations.blocks import Blocks


def tables(blocks: Blocks) -> list[list[list[int]]]:
    return [table.tolist() for table in blocks.movable()]


def test_two_halves_of_one_axis_that_meet() -> None:
    blocks = Blocks()
    atoms = blocks.fresh(6)
    blocks.restrict(atoms[:3])
    blocks.couple(atoms[:3], atoms[3:])
    assert tables(blocks) == [[[0, 3], [1, 4], [2, 5]]]


def test_a_copy_couples_each_occurrence() -> None:
    blocks = Blocks()
    one, two = blocks.fresh(2), blocks.fresh(4)
    blocks.couple(np.concatenate([one, one]), two)
    assert tables(blocks) == [[[0, 2, 4], [1, 3, 5]]]


def test_an_axis_met_with_itself_in_another_order_stays() -> None:
    blocks = Blocks()
    atoms = blocks.fresh(5)
    blocks.couple(atoms, atoms[[0, 1, 2, 4, 3]])
    assert tables(blocks) == [[[0], [1], [2]]]


def test_a_unit_alone_does_not_move() -> None:
    blocks = Blocks()
    atoms = blocks.fresh(3)
    blocks.restrict(atoms[:1])
    assert tables(blocks) == [[[1], [2]]]
    assert not blocks.one_row_each(atoms[:1, None])
    assert blocks.one_row_each(atoms[1:, None])


@st.composite
def constraints(draw):
    """Three axes of some units, and a few demands on positions of them."""
    sizes = [draw(st.integers(2, 3)) for _ in range(3)]
    axes = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    found = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["couple", "restrict", "fix"]))
        one = axes[draw(st.integers(0, 2))]
        part = draw(st.lists(st.sampled_from(one.tolist()), min_size=1, unique=True))
        if kind == "couple":
            two = axes[draw(st.integers(0, 2))].tolist()
            size = min(len(part), len(two))
            other = draw(st.permutations(two))[:size]
            # An axis is read as a whole or in parts that were cut off before: what is coupled is restricted.
            found += [("restrict", part[:size], None), ("restrict", other, None), ("couple", part[:size], other)]
        else:
            found.append((kind, part, None))
    return sizes, found


@given(constraints())
@settings(derandomize=True, deadline=None, max_examples=40)
def test_all_that_is_left_is_a_symmetry(drawn) -> None:
    """Every permutation the partition allows keeps each demand: sets stay sets, coupled atoms move alike."""
    sizes, demands = drawn
    blocks = Blocks()
    for size in sizes:
        blocks.fresh(size)
    for kind, one, two in demands:
        atoms = np.array(one)
        if kind == "couple":
            blocks.couple(atoms, np.array(two))
        else:
            getattr(blocks, kind)(atoms)
    for table in blocks.movable():
        for order in permutations(range(len(table))):
            image = np.arange(sum(sizes))
            image[table] = table[list(order)]
            for kind, one, two in demands:
                moved = image[np.array(one)]
                if kind == "restrict":
                    assert set(moved) == set(one)
                elif kind == "fix":
                    assert (moved == np.array(one)).all()
                else:
                    partner = dict(zip(one, two, strict=True))
                    assert [partner[atom] for atom in moved] == image[np.array(two)].tolist()
