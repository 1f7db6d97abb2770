"""How far a training is, as text and tensors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from transferscope.specs.network import NetworkSpec
from transferscope.training.history import EpochRow, EpochTiming
from transferscope.training.phases import Phase


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

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

    def changes(self, device: torch.device) -> list[str]:
        """What the next epoch will not have in common with the last one, in words: no run gives these bytes again."""
        before, now = self.timings[-1], timed(0, 0, 0.0, 0.0, device)
        pairs = [(name, getattr(before, name), getattr(now, name)) for name in ("threads", "device", "torch")]
        return [
            f"this training goes on with {name} {here} instead of {was}: its result is that of neither alone"
            for name, was, here in pairs
            if was not in (None, here)
        ]

    def to_json(self) -> str:
        """Write the progress as JSON; numbers come back bit for bit."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """The inverse of :meth:`to_json`."""
        values = json.loads(text)
        return cls(
            identity=values["identity"],
            rows=tuple(EpochRow(**row) for row in values["rows"]),
            timings=tuple(EpochTiming(**timing) for timing in values["timings"]),
            kept={int(epoch): digest for epoch, digest in values["kept"].items()},
            state_epoch=values["state_epoch"],
        )


def timed(
    epoch: int,
    images: int,
    training: float,
    evaluation: float,
    device: torch.device,
    phases: Mapping[Phase, float] | None = None,
    writing: float | None = None,
) -> EpochTiming:
    """The timing of an epoch, with what its bytes hang on in this process."""
    parts = phases or {}
    return EpochTiming(
        epoch, images, training, evaluation, torch.get_num_threads(), str(device), torch.__version__,
        parts.get("images"), parts.get("forward"), parts.get("backward"), writing,
    )  # fmt: skip


def position(spec: NetworkSpec, epoch: int, step: int, steps: int, rate: float) -> dict[str, object]:
    """The event that tells where a training is.

    Args:
        spec: of the network.
        epoch: that runs.
        step: its updates so far.
        steps: its updates.
        rate: images per second.
    """
    return {
        "kind": "training", "network": spec.key, "epoch": epoch, "epochs": spec.recipe.epochs if spec.recipe else 0,
        "step": step, "steps": steps, "images_per_second": rate,
    }  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """What a partial file holds."""

    progress: Progress
    state: dict[str, Tensor]
    optimiser: dict[str, Tensor]
