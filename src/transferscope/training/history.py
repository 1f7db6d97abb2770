"""What happened in a training, epoch by epoch; timings apart, so that histories compare byte for byte."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class EpochRow:
    """One row of the history: the network after an epoch (epoch 0 is the start).

    Losses and metrics are *clean*: evaluation transform, eval mode, no smoothing, no mixup. They are None where the
    split is not measured, the metric is not defined, or the loss is not finite.

    Attributes:
        learning_rate: of the epoch's last update (before module factors); None at epoch 0.
        running_loss: mean training loss of the epoch as optimised (augmented, smoothed, mixed).
    """

    epoch: int
    updates: int
    learning_rate: float | None = None
    running_loss: float | None = None
    train_loss: float | None = None
    train_metric: float | None = None
    validation_loss: float | None = None
    validation_metric: float | None = None
    test_loss: float | None = None
    test_metric: float | None = None
    diverged: bool = False


@dataclass(frozen=True)
class EpochTiming:
    """Wall-clock of one epoch; never part of a comparison of bytes."""

    epoch: int
    images: int
    training_seconds: float
    evaluation_seconds: float
    threads: int | None = None
    device: str | None = None
    torch: str | None = None
    images_seconds: float | None = None
    forward_seconds: float | None = None
    backward_seconds: float | None = None
    writing_seconds: float | None = None

    @property
    def images_per_second(self) -> float | None:
        """Images trained on per second, None at epoch 0."""
        return self.images / self.training_seconds if self.images and self.training_seconds > 0 else None


def history_frame(rows: Sequence[EpochRow]) -> "pl.DataFrame":
    """The history as a table with one row per epoch and the columns of :class:`EpochRow`."""
    import polars as pl

    kinds: dict[str, Any] = {"epoch": pl.Int64, "updates": pl.Int64, "diverged": pl.Boolean}
    schema = {field.name: kinds.get(field.name, pl.Float64) for field in fields(EpochRow)}
    return pl.DataFrame([asdict(row) for row in rows], schema=schema)


def best_epoch(rows: Sequence[EpochRow]) -> int | None:
    """The epoch of the best validation metric, the earliest of equals; the start counts too.

    Returns:
        The epoch, or None where no epoch has a validation metric.
    """
    scored = [(row.validation_metric, row.epoch) for row in rows if row.validation_metric is not None]
    return max(scored, key=lambda pair: (pair[0], -pair[1]))[1] if scored else None
