"""Where the seconds of an epoch go: waiting for images, forward pass, backward pass and update."""

import time
from typing import Literal

import torch

Phase = Literal["images", "forward", "backward"]


class Phases:
    """A stopwatch for the parts of an update.

    On CUDA it reads the device's own clock: the host runs ahead, and what it waits for is not what takes time. Events
    are read where the host waits for the device anyway. Elsewhere it reads the host's clock.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[Phase, float] = {"images": 0.0, "forward": 0.0, "backward": 0.0}
        self._cuda = device.type == "cuda"
        self._last = self._now()
        self._open: list[tuple[Phase, torch.cuda.Event]] = []

    def ended(self, phase: Phase) -> None:
        """What has passed since the last call was ``phase``."""
        now = self._now()
        if isinstance(now, torch.cuda.Event):
            self._open.append((phase, now))
            return
        assert isinstance(self._last, float)
        self.seconds[phase] += now - self._last
        self._last = now

    def settle(self) -> None:
        """Add up what the device has finished; it waits for it."""
        if not self._open:
            return
        self._open[-1][1].synchronize()
        for phase, event in self._open:
            assert isinstance(self._last, torch.cuda.Event)
            self.seconds[phase] += self._last.elapsed_time(event) / 1000
            self._last = event
        self._open.clear()

    def _now(self) -> "float | torch.cuda.Event":
        if not self._cuda:
            return time.perf_counter_ns() / 1e9
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch's own stub
        event.record()
        return event
