"""Watch a network that Lightning's Trainer trains: ``Trainer(..., callbacks=[lightning_callback(out="run")])``."""

import functools
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferscope.arguments import checked_as
from transferscope.errors import MissingExtraError, OptionError
from transferscope.watching.attach import Watch
from transferscope.watching.settings import Keep, Recording
from transferscope.watching.start import Start, watch_quietly

__all__ = ["lightning_callback"]

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


@checked_as(OptionError)
def lightning_callback(
    start: Start = None,
    out: str | Path = "run",
    *,
    module: str = "",
    keep: Keep = Keep(),
    recording: Recording = Recording(),
    probe: Any = None,
    name: str | None = None,
    group: str | None = None,
) -> Any:
    """A ``Callback`` that watches what Lightning trains. Its ``watch`` is the :class:`Watch` of the training.

    What the module logs is recorded as metrics at the end of each epoch. Where the run lies and how far it is goes into
    Lightning's own checkpoint: a training that resumes from it continues the run. One that begins anew beside an
    existing run takes the next free name.

    Args:
        start: as in :func:`~transferscope.watching.start.watch`.
        out: folder of the run.
        module: name of the network within the LightningModule (``model``, say), whose names are those of the start;
            empty for all of it.
        keep: which checkpoints are kept; ``best="val_loss"``, ``mode="min"``, say.
        recording: what is recorded, and how often.
        probe: batch for CKA with the start.
        name: of the run in reports.
        group: what is repeated.

    Raises:
        OptionError: an argument is none.
        MissingExtraError: neither lightning nor pytorch_lightning is installed.
    """
    settings = {"keep": keep, "recording": recording, "probe": probe, "name": name, "group": group}
    return _callback_class()(start, out, module, settings)


def __getattr__(name: str) -> Any:
    # A callback that is sent to another process is looked up here by the name of its class.
    if name == "LightningWatch":
        return _callback_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _callback_class() -> Any:
    # Both packages have a Callback of their own; the one in use is loaded already.
    loaded = [package for package in _PACKAGES if package in sys.modules]
    for package in (*loaded, *_PACKAGES):
        try:
            base: Any = importlib.import_module(package).Callback
            break
        except ImportError:
            continue
    else:
        raise MissingExtraError("lightning", "lightning")

    class LightningWatch(base):  # type: ignore[misc]  # known only when it is imported
        """Tells a watch of Lightning's steps."""

        def __init__(self, start: Start, out: str | Path, module: str, settings: dict[str, Any]) -> None:
            self._start, self._out, self._module, self._settings = start, out, module, settings
            self._restored: Mapping[str, Any] | None = None
            self._steps = 0
            self.watch: Watch | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """The network is there, on its device, with the weights of a checkpoint."""
            if self.watch is not None:
                self.watch.close()
            restored, self._restored = self._restored, None
            out = self._out if restored is None else restored["folder"]
            self.watch = watch_quietly(pl_module, self._start, out, restored is not None, self._settings, self._module)
            self._steps = trainer.global_step
            if restored is not None:
                self.watch.load_state_dict({**restored, "step": trainer.global_step})

        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            """The gradients of the update are set to zero in the next batch."""
            if self.watch is not None and trainer.global_step > self._steps:
                self._steps = trainer.global_step
                self.watch.step(self._steps)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Validation, where there is any, has been done."""
            if self.watch is not None:
                self.watch.log(**trainer.callback_metrics)
                self.watch.epoch(float(trainer.current_epoch + 1))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """The training has ended."""
            if self.watch is not None:
                self.watch.close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            """The training was broken off."""
            if self.watch is not None:
                self.watch.close("failed", f"{type(exception).__name__}: {exception}"[:500])

        def state_dict(self) -> dict[str, Any]:
            """Where the run lies, and how far it is: kept in Lightning's checkpoint."""
            return {} if self.watch is None else self.watch.state_dict()

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            """Continue that run."""
            self._restored = state_dict or None

    LightningWatch.__qualname__ = "LightningWatch"
    return LightningWatch
