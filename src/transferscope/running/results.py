"""What a finished study leaves behind: the only thing a report reads. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.estimates import Estimate
from transferscope.analyses.summary import Summary
from transferscope.readable import readable
from transferscope.running.failures import Failure
from transferscope.study.settings import Study


@readable
@dataclass(frozen=True)
class AnalysisResult:
    """One finished analysis, or the reason why it could not be run or failed."""

    analysis: AbstractAnalysis
    table: pl.DataFrame | None
    files: Mapping[str, bytes]
    summary: Summary | None
    skip_reason: str | None
    failed: Failure | None = None


@readable
@dataclass(frozen=True)
class Results:
    """A finished study.

    Attributes:
        headline: one row per variant and split, with the columns ``variant, split, metric, value, low, high, basis, n,
            learning_rate, epochs, note``. ``low`` and ``high`` are the 95 % interval, or the range where ``basis`` is
            ``range``.
        manifest: versions, device, precision, threads, seeds, hashes, data notes, networks; ``mixed`` lists what the
            parts of the study do not have in common.
    """

    study: Study
    headline: pl.DataFrame
    gap: tuple[Estimate, ...]
    verdict: str
    analyses: tuple[AnalysisResult, ...]
    manifest: Mapping[str, Any]
