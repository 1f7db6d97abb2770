"""Where hidden units lie in the parameters of a network, and where their activations can be seen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.networks.permutations.blocks import Atoms

Order = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slot:
    """Where the units of a group lie in one parameter or buffer.

    Attributes:
        index: ``units columns``, positions along the axis: a unit may have several (its place at every position of a
            flattened map; queries and keys of one unit).
        rows: range of axis 0 that is concerned; None for all. Of a grouped convolution's weight, whose input channels
            lie on axis 1 for each group of rows anew.
    """

    tensor: str
    axis: int
    index: Atoms
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Place:
    """Where the activations of a group's units can be seen.

    Attributes:
        index: ``units columns``, positions along these axes, flattened in their order.
        beside: names of the groups whose units lie along other axes of the value: only when these are in their places
            do two networks show the same samples there.
    """

    node: str
    axes: tuple[int, ...]
    index: Atoms
    beside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Group:
    """Units that may change places.

    Attributes:
        name: the parameter and axis where they first occur.
        atoms: ``units columns``, numbers of all their positions.
        inner: where the units are wholes (heads, groups of channels): for each of them its own groups, in the same
            order for all; empty for plain units.
    """

    name: str
    units: int
    atoms: Atoms
    slots: tuple[Slot, ...]
    places: tuple[Place, ...] = ()
    inner: tuple[tuple["Group", ...], ...] = ()

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of parameters and buffers."""
        return tuple(dict.fromkeys(slot.tensor for slot in self.slots))

    def permute(self, state: dict[str, Tensor], order: Order) -> None:
        """Put unit ``order[k]`` in the place of unit k, in every tensor of ``state``; tensors are made anew."""
        for slot in self.slots:
            tensor = state[slot.tensor]
            part = tensor if slot.rows is None else tensor[slice(*slot.rows)]
            index = np.arange(part.shape[slot.axis])
            index[slot.index] = slot.index[order]
            moved = part.index_select(slot.axis, torch.as_tensor(index, device=tensor.device))
            if slot.rows is not None:
                whole = tensor.clone()
                whole[slice(*slot.rows)] = moved
                moved = whole
            state[slot.tensor] = moved
