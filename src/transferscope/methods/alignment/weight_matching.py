"""Units matched by their weights alone (Ainsworth, Hayase & Srinivasa 2023, "Git Re-Basin", algorithm 1)."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.errors import AlignmentError
from transferscope.methods.alignment.permuted_state import Match, Mover, best_move
from transferscope.networks.permutations.groups import PermutationGroups
from transferscope.networks.permutations.units import Group, Slot

_PROGRESS = 1e-6
"""Of the product of norms: a gain below is rounding of float32."""


@torch.no_grad()
def weight_matching(
    groups: PermutationGroups,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    parameters: Collection[str],
    *,
    seed: int = 0,
    restarts: int = 1,
    rounds: int = 100,
) -> Match:
    """Permute the units of ``second`` so that Σ_p ⟨θ_first,p, θ_second,p⟩ over all parameters is large.

    Coordinate descent: one group after the other, in random order, is given its best permutation with all others held,
    until no group gains. That is the same as making ‖θ_first − θ_second‖ small. The problem is NP-hard; what is found
    is a local optimum, and depends on the seed. A move is kept only if the objective grows, which is checked on the
    moved weights: the assignment alone does not see that a weight may have both its axes in one group.

    Args:
        restarts: descents from the given order of units, with other orders of groups; the best is taken.
    """
    if restarts < 1 or rounds < 1:
        raise AlignmentError("matching needs at least one pass", expected="restarts and rounds of at least 1")
    names = sorted(set(parameters))
    before = _product(first, second, names)
    scale = sum(float(first[name].norm()) * float(second[name].norm()) for name in names)
    best: Match | None = None
    for restart in range(restarts):
        mover = Mover(groups, second)
        used = _descend(mover, first, set(names), np.random.default_rng([seed, restart]), rounds, scale)
        found = mover.finished(before, _product(first, mover.state, names), used)
        if best is None or found.after > best.after:
            best = found
    assert best is not None
    return best


def _descend(
    mover: Mover,
    first: Mapping[str, Tensor],
    names: set[str],
    generator: np.random.Generator,
    rounds: int,
    scale: float,
) -> int:
    waiting = set(range(len(mover.groups.groups)))
    for used in range(1, rounds + 1):
        gained = False
        for number in generator.permutation(len(mover.groups.groups)):
            # A group whose tensors have not changed since its last turn has nothing to gain.
            if int(number) not in waiting:
                continue
            waiting.discard(int(number))
            group = mover.groups.groups[number]
            move = best_move(group, _inner(first, mover.state, group, names), _outer(first, mover.state, group, names))
            if move.trivial:
                continue
            moved = mover.preview(group, move)
            counted = [name for name in moved if name in names]
            gain = _product(first, moved, counted) - _product(first, mover.state, counted)
            if gain > _PROGRESS * scale:
                mover.apply(group, move)
                gained = True
                touched = set(moved)
                waiting |= {place for place, other in enumerate(mover.groups.groups) if touched & set(other.tensors)}
        if not gained:
            return used
    raise AlignmentError(
        f"weight matching did not end in {rounds} passes over all groups",
        expected="no group that gains",
        hint="allow more rounds",
    )


def _product(first: Mapping[str, Tensor], second: Mapping[str, Tensor], names: Collection[str]) -> float:
    return sum(float((first[name].flatten() @ second[name].flatten()).double()) for name in names)


def _rows(state: Mapping[str, Tensor], slot: Slot, units: int) -> Tensor:
    """``units entries`` of one slot."""
    tensor = state[slot.tensor]
    part = tensor if slot.rows is None else tensor[slice(*slot.rows)]
    index = torch.as_tensor(slot.index.ravel(), device=tensor.device)
    return part.movedim(slot.axis, 0).index_select(0, index).reshape(units, -1)


def _similarity(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], slots: Sequence[Slot], units: int
) -> npt.NDArray[np.float64]:
    total = np.zeros((units, units))
    for slot in slots:
        total += (_rows(first, slot, units) @ _rows(second, slot, units).T).double().cpu().numpy()
    return total


def _outer(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], group: Group, names: set[str]
) -> npt.NDArray[np.float64]:
    """Similarities of units; of wholes for what is in none of their groups."""
    slots = []
    for slot in group.slots:
        if slot.tensor not in names:
            continue
        covered = {
            int(position)
            for part in (group.inner[0] if group.inner else ())
            for other in part.slots
            if (other.tensor, other.axis, other.rows) == (slot.tensor, slot.axis, None)
            for position in other.index.ravel()
        }
        columns = [place for place, position in enumerate(slot.index[0]) if int(position) not in covered]
        if columns:
            slots.append(Slot(slot.tensor, slot.axis, slot.index[:, columns]))
    return _similarity(first, second, slots, group.units)


def _inner(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], group: Group, names: set[str]
) -> list[npt.NDArray[np.float64]]:
    """For each kind of inner group similarities ``wholes wholes units units``."""
    found = []
    for place in range(len(group.inner[0]) if group.inner else 0):
        parts = [whole[place] for whole in group.inner]
        units = parts[0].units
        total = np.zeros((len(parts) * units,) * 2)
        for number, slot in enumerate(parts[0].slots):
            if slot.tensor not in names:
                continue
            stacked = [
                torch.cat([_rows(state, part.slots[number], units) for part in parts]) for state in (first, second)
            ]
            total += (stacked[0] @ stacked[1].T).double().cpu().numpy()
        found.append(total.reshape(len(parts), units, len(parts), units).transpose(0, 2, 1, 3))
    return found
