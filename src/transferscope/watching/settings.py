"""What is recorded of a training, how often, and which checkpoints are kept: settings that need no torch."""

from dataclasses import dataclass
from typing import Literal

from transferscope.arguments import check_fields
from transferscope.errors import OptionError

__all__ = ["Keep", "Recording"]

Granularity = Literal["stage", "block", "layer"]


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which checkpoints are kept. The start and the end always are; the rules add up.

    Attributes:
        epochs: after every so many epochs; None for none.
        steps: after every so many steps; None for none.
        log_spaced: after steps 1, 2, 4, 8, ...: early training changes most.
        last: the ends of the last so many epochs.
        best: name of a metric given to ``log``: the checkpoint at its best value, the earliest of equals.
        mode: whether the best value is the largest or the smallest.

    Raises:
        OptionError: a number below 1 (below 0 for ``last``), or an unknown mode.
    """

    epochs: int | None = None
    steps: int | None = None
    log_spaced: bool = False
    last: int = 1
    best: str | None = None
    mode: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        check_fields(self, OptionError)
        for name in ("epochs", "steps"):
            _at_least(name, getattr(self, name), 1)
        _at_least("last", self.last, 0)

    def step_reasons(self, step: int) -> list[str]:
        """Why the weights after a step are kept; empty where they are not.

        >>> Keep(steps=10, log_spaced=True).step_reasons(40), Keep(log_spaced=True).step_reasons(64)
        (['steps'], ['log'])
        """
        found = ["steps"] if self.steps is not None and step % self.steps == 0 else []
        return [*found, *(["log"] if self.log_spaced and step & (step - 1) == 0 else [])]

    def epoch_reasons(self, epoch: int) -> list[str]:
        """Why the weights after an epoch are kept; ``last`` is for the keeper, which removes earlier ones."""
        found = ["epochs"] if self.epochs is not None and epoch % self.epochs == 0 else []
        return [*found, *(["last"] if self.last else [])]

    def improves(self, value: float, before: float | None) -> bool:
        """Whether a value of the metric is better than the best one before; one that is not finite never is."""
        if not -float("inf") < value < float("inf"):
            return False
        return before is None or (value > before if self.mode == "max" else value < before)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What is recorded, and how often.

    Attributes:
        every: steps from record to record; None chooses it from what a record and a step are measured to take.
        budget: share of a step that recording may take where ``every`` is None.
        granularity: of the modules: ``stage``, ``block`` or ``layer``.
        updates: the cosine of the latest update to the direction from the start; takes the memory of one more network.
        flush_records: records that are written together.
        flush_seconds: after so long they are written however few they are.

    Raises:
        OptionError: a number outside its range, or an unknown granularity.
    """

    every: int | None = None
    budget: float = 0.01
    granularity: Granularity = "block"
    updates: bool = True
    flush_records: int = 64
    flush_seconds: float = 30.0

    def __post_init__(self) -> None:
        check_fields(self, OptionError)
        _at_least("every", self.every, 1)
        _at_least("flush_records", self.flush_records, 1)
        if not 0 < self.budget < 1:
            raise OptionError(
                "budget is a share of a step", expected="in (0, 1), for example 0.01", got=str(self.budget)
            )


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise OptionError(
            f"{name} is a number of steps, epochs or records", expected=f"{least} or more", got=repr(value)
        )
