"""A network in its role."""

from transferscope.frozen import Frozen
from transferscope.specs.network import NetworkSpec

__all__ = ["StudyNetwork"]


class StudyNetwork(Frozen):
    """A network in its role.

    Attributes:
        variant: ``RI``, ``P``, ``RI_T``, ``P_T`` or a variant of a later analysis.
        seed: of the network.
        spec: the network.
    """

    variant: str
    seed: int
    spec: NetworkSpec

    @property
    def label(self) -> str:
        """As shown: ``P-T[0]``."""
        return f"{self.variant.replace('_', '-')}[{self.seed}]"
