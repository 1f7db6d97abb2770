"""A network in its role."""

from transferscope.frozen import Frozen
from transferscope.specs.network import NetworkSpec

__all__ = ["Member", "shown"]


def shown(variant: str) -> str:
    """A variant's name as shown to readers: ``P_T`` is P-T.

    >>> shown("P_T"), shown("P_T_block_8")
    ('P-T', 'P-T, blocks of 8 px')
    """
    start, block, side = variant.partition("_block_")
    return start.replace("_", "-") + (f", blocks of {side} px" if block else "")


class Member(Frozen):
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
