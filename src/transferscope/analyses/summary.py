"""What an analysis says: few numbers, one verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transferscope.analyses.estimates import Estimate

__all__ = ["Summary"]


@dataclass(frozen=True)
class Summary:
    """The few numbers of an analysis, and one sentence.

    Attributes:
        verdict: one sentence that names the interval it rests on, or says "undecided".
        estimates: every number, under its key, with its interval.
        notes: what a reader must know (diverged runs, RI-T still improving, settings off).
        facts: what verdict and notes say, by key, for what is decided by it: sentences are for readers alone.
    """

    verdict: str
    estimates: tuple[Estimate, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
