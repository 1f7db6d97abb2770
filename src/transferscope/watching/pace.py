"""How often to record: chosen from what a record and a step are measured to take, within a share of a step."""

import math
import statistics
import time
from collections import deque

import torch

__all__ = ["Pace", "sparse"]

_COLD = 3  # first records, from which their cost is known


def sparse(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is not below ``least``: the records of two runs then meet.

    >>> sparse(0.3), sparse(2.1), sparse(6), sparse(51)
    (1, 5, 10, 100)
    """
    scale = 1
    while True:
        for digit in (1, 2, 5):
            if digit * scale >= least:
                return digit * scale
        scale *= 10


class Pace:
    """Times steps and records, and says when the next record is due.

    On CUDA a record is timed by the device's own clock, asked when it has passed: nothing is waited for.

    Args:
        every: fixed; None chooses.
        budget: share of a step.
        cuda: whether the network is on a CUDA device.
    """

    def __init__(self, every: int | None, budget: float, cuda: bool = False) -> None:
        self._fixed, self._budget, self._cuda = every, budget, cuda
        self.every = every or 1
        self._steps: deque[float] = deque(maxlen=31)
        self._costs: deque[float] = deque(maxlen=15)
        self._pending: deque[tuple[float, torch.cuda.Event, torch.cuda.Event]] = deque(maxlen=64)
        self._ended: float | None = None
        self._records = 0

    def due(self, step: int) -> bool:
        """Called once in a step, before its record: whether it has one."""
        now = time.perf_counter()
        if self._ended is not None:
            self._steps.append(now - self._ended)
        self._ended = now
        return step % self.every == 0

    def begin(self) -> tuple[float, "torch.cuda.Event | None"]:
        """A record begins."""
        event = None
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
        return time.perf_counter(), event

    def end(self, begun: tuple[float, "torch.cuda.Event | None"]) -> None:
        """A record, with what was written, has ended: its time is no part of the step after it."""
        start, event = begun
        now = time.perf_counter()
        self._ended = now
        self._records += 1
        if event is None:
            self._costs.append(now - start)
        else:
            last = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            last.record()
            self._pending.append((now - start, event, last))
            while self._pending and self._pending[0][2].query():  # type: ignore[no-untyped-call]
                host, first, second = self._pending.popleft()
                self._costs.append(max(host, first.elapsed_time(second) / 1000))
        self._choose()

    def pause(self) -> None:
        """What follows (an evaluation, a checkpoint) is no part of a step."""
        self._ended = None

    def _choose(self) -> None:
        if self._fixed is not None or self._records < _COLD or not self._steps or not self._costs:
            return
        # The first record of all warms caches up; from the median on it does not count.
        step = statistics.median(self._steps)
        # Writing many records at once is rare and dear: the mean has it, the median has not.
        cost = max(statistics.median(self._costs), statistics.fmean(list(self._costs)[1:] or self._costs))
        self.every = sparse(min(cost / (self._budget * step), 1e6)) if step > 0 and math.isfinite(cost) else self.every
