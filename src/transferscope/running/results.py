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

__all__ = ["AnalysisResult", "Results"]


@readable
@dataclass(frozen=True)
class AnalysisResult:
    """One finished analysis, or the reason why it could not be run or failed.

    Attributes:
        analysis: its settings; the class knows its title, question and columns.
        table: its rows in the declared columns; None where it was inapplicable, or failed before there was one.
        files: named files beside the table.
        summary: verdict, numbers and notes; None where it was inapplicable or failed.
        skip_reason: the reason why it could not be run; None where it was.
        failed: what went wrong in it; None where nothing did. What it has measured is kept in the store.
    """

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
        study: its settings.
        headline: one row per variant and split, with the columns ``variant, split, metric, value, low, high,
            basis, n, learning_rate, epochs, note``. ``low`` and ``high`` are the 95 % interval, or the range
            where ``basis`` is ``range``.
        gap: P-T − RI-T, once over seeds and once over examples.
        verdict: one sentence.
        analyses: in the order of the report.
        manifest: versions, device, precision, threads, seeds, hashes, data notes, networks; ``mixed`` lists
            what the parts of the study do not have in common.
    """

    study: Study
    headline: pl.DataFrame
    gap: tuple[Estimate, ...]
    verdict: str
    analyses: tuple[AnalysisResult, ...]
    manifest: Mapping[str, Any]
