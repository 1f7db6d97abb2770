"""Watch a network that transformers' Trainer trains: ``Trainer(..., callbacks=[transformers_callback(out="run")])``."""

import functools
import importlib
from pathlib import Path
from typing import Any

from transferscope.arguments import checked_as
from transferscope.errors import MissingExtraError, OptionError
from transferscope.watching.attach import Watch
from transferscope.watching.settings import Keep, Recording
from transferscope.watching.start import Start, watch_quietly

__all__ = ["transformers_callback"]


@checked_as(OptionError)
def transformers_callback(
    start: Start = None,
    out: str | Path = "run",
    *,
    keep: Keep = Keep(),
    recording: Recording = Recording(),
    probe: Any = None,
    name: str | None = None,
    group: str | None = None,
) -> Any:
    """A ``TrainerCallback`` that watches what the Trainer trains. Its ``watch`` is the :class:`Watch` of the training.

    What the Trainer logs and evaluates is recorded as metrics. A Trainer that resumes from a checkpoint continues the
    run; one that begins anew beside an existing run takes the next free name.

    Args:
        start: as in :func:`~transferscope.watching.start.watch`.
        out: folder of the run.
        keep: which checkpoints are kept; ``best="eval_loss"``, ``mode="min"``, say.
        recording: what is recorded, and how often.
        probe: batch for CKA with the start: a mapping of the network's arguments.
        name: of the run in reports.
        group: what is repeated.

    Raises:
        OptionError: an argument is none.
        MissingExtraError: transformers is not installed.
    """
    settings = {"keep": keep, "recording": recording, "probe": probe, "name": name, "group": group}
    return _callback_class()(start, out, settings)


def __getattr__(name: str) -> Any:
    # A callback that is sent to another process is looked up here by the name of its class.
    if name == "TransformersWatch":
        return _callback_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _callback_class() -> Any:
    try:
        base: Any = importlib.import_module("transformers").TrainerCallback
    except ImportError as error:
        raise MissingExtraError("transformers", "transformers") from error

    class TransformersWatch(base):  # type: ignore[misc]  # known only when it is imported
        """Tells a watch of the Trainer's steps."""

        def __init__(self, start: Start, out: str | Path, settings: dict[str, Any]) -> None:
            self._start, self._out, self._settings = start, out, settings
            self.watch: Watch | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            """The network is there, weights of a checkpoint included."""
            if self.watch is not None:
                self.watch.close()
            self.watch = watch_quietly(model, self._start, self._out, state.global_step > 0, self._settings)
            if state.global_step:
                self.watch.load_state_dict(
                    {
                        "step": state.global_step,
                        "epoch": float(state.epoch or 0),
                        "best": self.watch.state_dict()["best"],
                    }
                )

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """The optimiser has stepped; gradients are still there, and the Trainer has not yet counted."""
            if self.watch is not None:
                self.watch.step(state.global_step + 1)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            """Losses, rates and metrics of evaluations come by here."""
            if self.watch is not None:
                self.watch.log(**{name: value for name, value in (logs or {}).items() if name != "epoch"})

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """An epoch has ended."""
            if self.watch is not None:
                self.watch.epoch(float(state.epoch) if state.epoch is not None else None)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """The training has ended."""
            if self.watch is not None:
                self.watch.close()

    TransformersWatch.__qualname__ = "TransformersWatch"
    return TransformersWatch
