"""A tensor as seen by permutations: the units along its axes."""

from dataclasses import dataclass

from transferscope.networks.permutations.blocks import Atoms


@dataclass(frozen=True)
class Label:
    """The atoms along some axes.

    Attributes:
        axes: of the tensor, one for each dimension of ``atoms``; where an axis was unfolded the coarser comes first
            (heads before the units of a head).
    """

    axes: tuple[int, ...]
    atoms: Atoms


@dataclass(frozen=True)
class Value:
    """A tensor as seen by permutations."""

    shape: tuple[int, ...]
    labels: tuple[Label, ...] = ()
    live: bool = False
    uniform: bool = False

    @property
    def present(self) -> frozenset[int]:
        """Axes along which entries differ."""
        return frozenset() if self.uniform else frozenset(k for k, size in enumerate(self.shape) if size > 1)

    def at(self, axis: int) -> Label | None:
        """The label of an axis."""
        return next((label for label in self.labels if axis in label.axes), None)
