"""A network under watch in any training loop: what is recorded when, and what is written."""

import atexit
import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from transferscope.errors import counted
from transferscope.watching.columns import WHOLE
from transferscope.watching.folder import RunFolder
from transferscope.watching.layout import Checkpoint
from transferscope.watching.movement import Movement, Observed
from transferscope.watching.pace import Pace
from transferscope.watching.probe import Probe
from transferscope.watching.settings import Keep, Recording

__all__ = ["Watch", "WatchWarning"]

_PATIENCE = 3
"""After so many failures one kind of record is given up; writing never is: a full disk may have room again."""


class WatchWarning(UserWarning):
    """Something could not be recorded; the training goes on."""


class Watch:
    """One network under watch. Made by :func:`~transferscope.watching.start.watch`.

    Nothing here raises into the training, changes the network, or waits for the device but where records are written.
    What goes wrong becomes one warning and a note in the run.

    Args:
        model: the network, without what is wrapped around it.
        movement: the network and its start.
        folder: where the run is written.
        recording: what is recorded.
        keep: which checkpoints are kept.
        probe: batch for the similarity with the start; None for none.
        metadata: written beside the weights of every checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        movement: Movement,
        folder: RunFolder,
        recording: Recording,
        keep: Keep,
        probe: Any,
        metadata: Mapping[str, str],
    ) -> None:
        self._model, self._movement, self._folder = model, movement, folder
        self._recording, self._keep, self._batch, self._metadata = recording, keep, probe, metadata
        self._probe: Probe | None = None
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._pace = Pace(recording.every, recording.budget, device.type == "cuda")
        self._steps, self._epochs, self._said_epoch = 0, 0.0, False
        self._waiting: list[tuple[dict[str, Any], int | None, Observed]] = []
        self._rows: list[dict[str, Any]] = []
        self._metrics: list[dict[str, Any]] = []
        self._recorded_at: int | None = None
        self._written_at = time.monotonic()
        self._best = next((item.metric for item in folder.checkpoints if "best" in item.reasons), None)
        self._failures: dict[str, int] = {}
        self._process = os.getpid()
        self.closed = False
        self._attempt("note", self._say_bound, "")
        atexit.register(self._left)

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return self._folder.path

    @property
    def every(self) -> int:
        """Steps from record to record, as given or as chosen from what was measured so far."""
        return self._pace.every

    def step(self, step: int | None = None, epoch: float | None = None) -> None:
        """An update was made. Call it after ``optimizer.step()`` and before gradients are set to zero.

        Args:
            step: updates done, counted by the loop; None counts calls.
            epoch: epochs done, a fraction within one; None counts calls of :meth:`epoch`.
        """
        if self.closed:
            return
        self._steps = self._steps + 1 if step is None else step
        if epoch is not None:
            self._epochs, self._said_epoch = epoch, True
        if self._pace.due(self._steps):
            begun = self._pace.begin()
            self._attempt("record", self._record)
            full = len(self._waiting) >= self._recording.flush_records
            if full or time.monotonic() - self._written_at > self._recording.flush_seconds:
                self._attempt("write", self._write)
            self._pace.end(begun)
        if reasons := self._keep.step_reasons(self._steps):
            self._attempt("checkpoint", self._save, reasons)
            self._pace.pause()

    def epoch(self, epoch: float | None = None) -> None:
        """An epoch has ended: record, compare with the start on the probe batch, write, keep what the rules say.

        Args:
            epoch: epochs done; None counts calls.
        """
        if self.closed:
            return
        self._epochs, self._said_epoch = math.floor(self._epochs) + 1.0 if epoch is None else epoch, True
        self._attempt("record", self._record)
        if self._batch is not None:
            self._attempt("similarity", self._compare)
        self._attempt("write", self._write)
        self._attempt("checkpoint", self._end_of_epoch)
        self._pace.pause()

    def log(self, **metrics: Any) -> None:
        """Record metrics: numbers, or tensors of one number, which are read when records are written.

        The one that ``Keep(best=...)`` names is read at once, and may keep a checkpoint.

        Args:
            metrics: name to value.
        """
        if self.closed:
            return
        for name, value in metrics.items():
            kept = value.detach().clone() if isinstance(value, Tensor) else value
            self._metrics.append({**self._place(), "name": name, "value": kept})
        if self._keep.best in metrics:
            self._attempt("checkpoint", self._judge, metrics[str(self._keep.best)])
            self._pace.pause()

    def note(self, text: str, kind: str = "loop") -> None:
        """Add a line that the report shows.

        Args:
            text: a sentence.
            kind: a key.
        """
        if not self.closed:
            self._attempt("note", self._folder.note, kind, text, self._steps)

    def flush(self) -> None:
        """Write what was recorded. Waits for the device."""
        if not self.closed:
            self._attempt("write", self._write)

    def close(self, status: str = "finished", error: str | None = None) -> None:
        """End the run: write what is left, and the last weights. A second call does nothing.

        Args:
            status: ``finished``, ``failed``, or ``left`` where the process ended without closing it.
            error: what the loop raised.
        """
        if self.closed:
            return
        self.closed = True
        atexit.unregister(self._left)
        if self._steps:
            self._attempt("record", self._record)
        self._attempt("write", self._write)
        if self._steps:
            self._attempt("checkpoint", self._last_weights)
        facts = {"status": status, "error": error, "steps": self._steps, "epochs": self._epochs, "every": self.every}
        self._attempt("write", self._folder.end, facts)
        self._waiting, self._probe = [], None

    def state_dict(self) -> dict[str, Any]:
        """What a loop keeps with its own checkpoint: where the run lies, and how far it is."""
        return {"folder": str(self.folder), "step": self._steps, "epoch": self._epochs, "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from a loop's checkpoint.

        Args:
            state: of :meth:`state_dict`.
        """
        self._steps, self._epochs, self._best = int(state["step"]), float(state["epoch"]), state["best"]
        self._said_epoch = self._epochs > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.close("failed", f"{type(error).__name__}: {error}"[:500])

    def _left(self) -> None:
        if os.getpid() == self._process:  # a worker that was forked leaves too
            self.close("left")

    def _place(self) -> dict[str, Any]:
        return {"step": self._steps, "epoch": self._epochs if self._said_epoch else None}

    def _record(self) -> None:
        if self._recorded_at == self._steps:
            return
        if self._movement.changed():
            self._movement.rebind()
            self._say_bound("the network's parameters changed, those that kept name and shape are followed on; ")
        observed = self._movement.observe()
        between = None if self._recorded_at is None else self._steps - self._recorded_at
        self._waiting.append((self._place(), between, observed))
        self._recorded_at = self._steps

    def _write(self) -> None:
        self._written_at = time.monotonic()
        # Records of one network come over together: one wait for all of them.
        while self._waiting:
            shape = self._waiting[0][2].sums.shape
            alike = [item for item in self._waiting if item[2].sums.shape == shape]
            for (place, between, observed), sums in zip(
                alike, torch.stack([item[2].sums for item in alike]).cpu(), strict=True
            ):
                for shown in observed.shown(sums, WHOLE):
                    steps = None if shown.update_cosine is None else between
                    self._rows.append({**place, **vars(shown), "update_steps": steps})
            self._waiting = [item for item in self._waiting if item[2].sums.shape != shape]
        for row in self._metrics:
            row["value"] = _number(row["value"])
        # Taken off once they are on disk: a disk that is full now may have room later.
        self._folder.add("steps", self._rows)
        self._rows = []
        self._folder.add("metrics", self._metrics)
        self._metrics = []

    def _compare(self) -> None:
        if self._probe is None:
            self._probe = Probe(self._batch, self._model, self._movement.start, self._recording.granularity)
            for name, why in self._probe.unusable.items():
                self._folder.note("not_compared", f"{name} is not compared with the start: {why}", self._steps)
        found = self._probe.similarity(self._model)
        rows = [{"module": name, "cka": value, "examples": self._probe.examples} for name, value in found.items()]
        self._folder.add("similarity", [{**self._place(), **row} for row in rows])

    def _save(self, reasons: list[str], metric: float | None = None) -> str:
        file = f"checkpoints/step-{self._steps:010d}.safetensors"
        made = Checkpoint(file, self._steps, self._place()["epoch"], tuple(reasons), metric)
        state = {name: value for name, value in self._model.state_dict().items() if isinstance(value, Tensor)}
        self._folder.keep(state, made, {**self._metadata, "step": str(self._steps), "epoch": str(self._epochs)})
        return file

    def _end_of_epoch(self) -> None:
        if not (reasons := self._keep.epoch_reasons(round(self._epochs))):
            return
        self._save(reasons)
        ends = [item.file for item in self._folder.checkpoints if "last" in item.reasons]
        self._folder.release("last", but=ends[-self._keep.last :] if self._keep.last else [])

    def _judge(self, metric: Any) -> None:
        value = float(metric)
        if self._keep.improves(value, self._best):
            made = self._save(["best"], value)
            self._folder.release("best", but=[made])
            self._best = value

    def _last_weights(self) -> None:
        self._folder.release("end", but=[self._save(["end"])])

    def _say_bound(self, before: str) -> None:
        movement, said = self._movement, []
        if movement.left_out:
            names, why = ", ".join(list(movement.left_out)[:5]), next(iter(movement.left_out.values()))
            said.append(("left_out", f"{counted(len(movement.left_out), 'parameter')} not followed ({names}): {why}"))
        if movement.own_start:
            many, names = counted(len(movement.own_start), "tensor"), ", ".join(movement.own_start[:5])
            text = (
                f"{many} not in the start with this name and shape ({names}): they start as they were when first seen"
            )
            said.append(("own_start", text))
        for kind, text in said or ([("changed", "none is new")] if before else []):
            self._folder.note(kind, before + text, self._steps)

    def _attempt(self, what: str, act: Callable[..., object], *args: Any) -> None:
        """A training is worth more than its record: what goes wrong is told once and noted."""
        failed = self._failures.get(what, 0)
        if failed >= _PATIENCE and what != "write":
            return
        try:
            act(*args)
        except Exception as error:  # whatever a network, a disk or a device raises
            self._failures[what] = failed + 1
            text = f"{what} failed at step {self._steps}: {type(error).__name__}: {error}"
            if failed == 0:
                warnings.warn(f"transferscope.watch: {text}; the training goes on", WatchWarning, stacklevel=3)
            if failed < _PATIENCE:
                with contextlib.suppress(Exception):  # a disk that takes no note: the warning has said it
                    self._folder.note("failure", text, self._steps)


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError):  # a text, a tensor of several numbers
        return None
    return found if math.isfinite(found) else None
