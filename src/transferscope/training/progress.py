"""How far a training is, as text and tensors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from torch import Tensor

from transferscope.training.history import EpochRow, EpochTiming

__all__ = ["Progress", "Saved"]


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        identity: what the training was asked for; a partial file of another training is not resumed.
        rows: of the history so far, one per finished epoch, the start included.
        timings: as many.
        kept: SHA-256 of the file of each kept epoch.
        state_epoch: the epoch the weights belong to.
    """

    identity: str
    rows: tuple[EpochRow, ...] = ()
    timings: tuple[EpochTiming, ...] = ()
    kept: Mapping[int, str] = field(default_factory=dict)
    state_epoch: int = 0

    @property
    def epoch(self) -> int:
        """The last finished epoch."""
        return self.rows[-1].epoch

    @property
    def diverged(self) -> bool:
        """Whether the training ended as diverged."""
        return self.rows[-1].diverged

    def to_json(self) -> str:
        """As text; numbers come back bit for bit."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """The inverse of :meth:`to_json`.

        Args:
            text: of :meth:`to_json`.
        """
        values = json.loads(text)
        return cls(
            identity=values["identity"],
            rows=tuple(EpochRow(**row) for row in values["rows"]),
            timings=tuple(EpochTiming(**timing) for timing in values["timings"]),
            kept={int(epoch): digest for epoch, digest in values["kept"].items()},
            state_epoch=values["state_epoch"],
        )


@dataclass(frozen=True)
class Saved:
    """What a partial file holds.

    Attributes:
        progress: history and bookkeeping.
        state: of the network.
        optimiser: its state.
    """

    progress: Progress
    state: dict[str, Tensor]
    optimiser: dict[str, Tensor]
