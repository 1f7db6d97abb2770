"""Progress: what is running, how fast, how much is left. Bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from transferscope.errors import nearest, printable
from transferscope.rounding import duration
from transferscope.streams import Lasting

OnEvent = Callable[[dict[str, Any]], None]

EVENTS: Mapping[str, tuple[str, ...]] = {
    # More work has become known: how many trainings and units.
    "round": ("trainings", "units"),
    # A training is at this step (of steps) of this epoch (1 ... epochs).
    "training": ("network", "label", "epoch", "epochs", "step", "steps", "images_per_second"),
    # An epoch is finished and measured.
    "epoch": ("network", "label", "epoch", "epochs"),
    # A training goes on after this epoch, or starts again because what was kept is damaged.
    "training_resumed": ("network", "label", "epoch"),
    "training_restarted": ("network", "label", "reason"),
    # A training is finished and stored.
    "trained": ("network", "label", "seconds"),
    # A unit is begun; it is finished and stored.
    "unit": ("analysis", "label"),
    "measured": ("analysis", "label", "seconds"),
    # Words for the user.
    "note": ("text",),
}
"""Kinds of events, and the fields each must have; more fields are allowed."""


@dataclass
class _Row:
    """One of the two overall bars."""

    total: int = 0
    done: int = 0
    running: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0
    given: float = 0.0

    @property
    def completed(self) -> float:
        """Pieces finished, running ones counted by their share."""
        return min(self.done + sum(self.running.values()), self.total)

    @property
    def left(self) -> float | None:
        """Seconds left if the pieces to come are like those so far; None before anything can be said."""
        made = self.completed - self.given
        return self.busy * (self.total - self.completed) / made if made > 0 and self.busy > 0 else None

    def share(self, name: str, done: float) -> None:
        """A running piece is so far; what it is when first heard of was not done in this time."""
        done = min(max(done, 0.0), 1.0)
        if name not in self.running:
            self.given += done
        self.running[name] = done

    def finish(self, name: str) -> None:
        """Count one finished piece."""
        self.share(name, 1.0)
        del self.running[name]
        self.done += 1
        self.total = max(self.total, self.done)

    def __str__(self) -> str:
        return f"{self.done} of {self.total}"


class Tally:
    """Counts and times of a run, from its events; draws nothing."""

    def __init__(
        self, total_trainings: int = 0, total_units: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.trainings = _Row(total_trainings)
        self.units = _Row(total_units)
        self.labels: dict[str, str] = {}
        self.rates: dict[str, float] = {}
        self.positions: dict[str, str] = {}
        self._clock = clock
        self._last: float | None = None

    def take(self, event: Mapping[str, Any]) -> str | None:
        """Count one event.

        Returns:
            A line worth printing, for a finished piece or a note; else None.
        """
        kind = _checked(event)
        self._pass_time()
        line: str | None = None
        if kind == "round":
            self.trainings.total += event["trainings"]
            self.units.total += event["units"]
        elif kind in ("training", "epoch"):
            self._position(event, 0.0 if kind == "training" else 1.0)
        elif kind == "trained":
            line = self._trained(event)
        elif kind == "unit":
            self.units.share(f"{event['analysis']} {event['label']}", 0.0)
        elif kind == "measured":
            self.units.finish(f"{event['analysis']} {event['label']}")
            line = f"measured {event['label']} in {duration(event['seconds'])} (unit {self.units})"
        elif kind == "training_resumed":
            line = f"{event['label']} goes on after epoch {event['epoch']}"
        elif kind == "training_restarted":
            line = f"{event['label']} starts again: {event['reason']}"
        else:
            line = str(event["text"])
        return line

    @property
    def images_per_second(self) -> float:
        """Images per second of all running trainings together."""
        return sum(self.rates.values())

    def _position(self, event: Mapping[str, Any], share: float) -> None:
        network, epoch, epochs = event["network"], event["epoch"], event["epochs"]
        if event["kind"] == "training":
            share = event["step"] / max(event["steps"], 1)
            self.rates[network] = event["images_per_second"]
        # Epoch 0 is the clean measurement of the start: nothing is trained yet.
        done = (epoch - 1 + share) / epochs if epochs else 0.0
        self.trainings.share(network, done)
        self.labels[network] = event["label"]
        self.positions[network] = f"epoch {epoch} of {epochs}"

    def _trained(self, event: Mapping[str, Any]) -> str:
        network = event["network"]
        self.trainings.finish(network)
        for memory in (self.rates, self.labels, self.positions):
            memory.pop(network, None)
        ended = "diverged" if event.get("diverged") else "trained"
        return f"{ended} {event['label']} in {duration(event['seconds'])} (training {self.trainings})"

    def _pass_time(self) -> None:
        now = self._clock()
        if self._last is not None:
            for row in (self.trainings, self.units):
                if row.running:
                    row.busy += now - self._last
        self._last = now


@contextmanager
def progress(
    total_trainings: int = 0,
    total_units: int = 0,
    console: Console | None = None,
    *,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[OnEvent]:
    """Show events while the block runs: bars on a terminal, else one plain line per finished piece.

    Yields:
        ``on_event``, which takes one event: a dictionary with ``kind``, one of :data:`EVENTS`, and its fields. It
        raises ValueError for an unknown kind or a missing field.

    Example:
        >>> import sys
        >>> with progress(console=Console(file=sys.stdout)) as on_event:
        ...     on_event({"kind": "round", "trainings": 1, "units": 0})
        ...     on_event({"kind": "trained", "network": "0f", "label": "P-T[0]", "seconds": 75.2})
        trained P-T[0] in 1 min 15 s (training 1 of 1)
    """
    console = Console(file=cast("TextIO", Lasting(sys.stderr))) if console is None else console
    tally = Tally(total_trainings, total_units, clock)
    if quiet or not console.is_terminal:

        def on_event(event: dict[str, Any]) -> None:
            line = tally.take(event)
            if line is not None and not quiet:
                _say(console, line)

        yield on_event
        return
    with _bars(console) as bars:
        yield _Drawing(bars, tally).take


def _bars(console: Console) -> Progress:
    return Progress(
        # Labels such as P-T[0] would be taken for markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    )


class _Drawing:
    """A tally as bars: one overall bar for trainings, one for units, one for each running training."""

    def __init__(self, bars: Progress, tally: Tally) -> None:
        self._bars, self._tally = bars, tally
        self._overall = {
            "trainings": (bars.add_task("trainings", total=None, count="", note=""), tally.trainings),
            "units": (bars.add_task("units", total=None, count="", note=""), tally.units),
        }
        self._trainings: dict[str, TaskID] = {}
        self._draw()

    def take(self, event: dict[str, Any]) -> None:
        """Count one event, and draw."""
        line = self._tally.take(event)
        if line is not None and event["kind"] not in ("trained", "measured"):
            _say(self._bars.console, line)
        self._draw()

    def _draw(self) -> None:
        tally = self._tally
        for name, (task, row) in self._overall.items():
            what = f"{tally.images_per_second:,.0f} images/s" if name == "trainings" else _first(row.running)
            left = "" if row.left is None or row.done >= row.total else f"{duration(row.left)} left"
            self._bars.update(
                task,
                total=max(row.total, 1),
                completed=row.completed,
                count=str(row),
                note=", ".join(word for word in (left, what if row.running else "") if word),
                visible=row.total > 0,
            )
        for network in [network for network in self._trainings if network not in tally.trainings.running]:
            self._bars.remove_task(self._trainings.pop(network))
        for network, share in tally.trainings.running.items():
            if network not in self._trainings:
                self._trainings[network] = self._bars.add_task("", total=1.0, count="", note="")
            self._bars.update(
                self._trainings[network],
                description=f"  {tally.labels[network]}",
                completed=share,
                count=tally.positions[network],
                note=f"{tally.rates.get(network, 0.0):,.0f} images/s",
            )


def _first(running: Mapping[str, float]) -> str:
    names = list(running)
    return "" if not names else names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _say(console: Console, line: str) -> None:
    # Names of a file of weights may stand in it.
    console.print(printable(line, keep="\n"), markup=False, highlight=False, soft_wrap=True)


def _checked(event: Mapping[str, Any]) -> str:
    kind = str(event.get("kind"))
    if kind not in EVENTS:
        raise ValueError(f"there is no event of kind {kind!r}: {nearest(kind, EVENTS)}")
    missing = [name for name in EVENTS[kind] if name not in event]
    if missing:
        raise ValueError(f"an event of kind {kind!r} lacks {', '.join(missing)}: {dict(event)}")
    return kind
