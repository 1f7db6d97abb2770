"""What a look is told, and how long it takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from transferscope.analyses.estimates import Estimate
from transferscope.look.quantities import plain
from transferscope.look.result import Look

__all__ = ["PROBED", "Clock", "LookSettings", "OnNumbers", "OnStep"]

PROBED: Final = 2000
"""Images that are probed where nobody says how many."""

OnStep = Callable[[str, int, int], None]
OnNumbers = Callable[[Look], None]


@dataclass(frozen=True)
class LookSettings:
    """What to look at.

    Attributes:
        models: names, packages or files of networks; none takes that of the demo where it is installed.
        architecture: of files that do not name theirs.
        images: so many at most are read, and all of them probed; None reads all and probes 2,000.
        image_size: height and width in pixels; None takes the largest usual one that enlarges few pictures.
        device: where to compute.
        data: settings of the source, as under ``target.data``.
        words: the same, as after ``--set``.
    """

    models: tuple[str, ...] = ()
    architecture: str | None = None
    images: int | None = None
    image_size: int | None = None
    device: str = "auto"
    data: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()


@dataclass
class Clock:
    """How long each phase took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, key: str) -> Iterator[None]:
        """Add what passes within it to a phase."""
        start = time.monotonic()
        yield
        self.seconds[key] = self.seconds.get(key, 0.0) + time.monotonic() - start

    def numbers(self) -> tuple[Estimate, ...]:
        """Seconds of each phase."""
        return tuple(plain("seconds", value, 0, phase=key) for key, value in self.seconds.items())
