"""What a run has so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.running.failures import Failure
from transferscope.running.rounds import PlannedTask
from transferscope.specs.network import NetworkSpec


@dataclass
class Finished:
    """What a run has finished so far; filled round by round."""

    analyses: tuple[AbstractAnalysis, ...]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    pieces: dict[str, list[PlannedTask]] = field(default_factory=dict)
    networks: dict[str, NetworkSpec] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, Failure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    examples: Mapping[str, int] = field(default_factory=dict)

    @property
    def evidence(self) -> Evidence:
        """The tables so far."""
        return Evidence(dict(self.tables))
