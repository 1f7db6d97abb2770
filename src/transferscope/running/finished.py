"""What a run has so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.running.failures import Failure
from transferscope.running.rounds import PlannedTask
from transferscope.specs.network import NetworkSpec

__all__ = ["Finished"]


@dataclass
class Finished:
    """Filled round by round.

    Attributes:
        analyses: of the run, needs first.
        tables: by the key of the analysis.
        pieces: measured units, by the key of the analysis, in their order.
        networks: trained networks, by key.
        stored: keys of the networks that were seen in the store.
        labels: how each network is shown.
        done: keys of finished analyses.
        failed: why others could not be finished, by the key of the analysis.
        notes: of the data (licence, leakage, files skipped).
        examples: images by split.
    """

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
