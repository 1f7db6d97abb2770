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
    """One finished analysis, or the reason why it could not be run or failed.

    Attributes:
        waiting: it is still to come: the study is being run.
    """

    analysis: AbstractAnalysis
    table: pl.DataFrame | None
    files: Mapping[str, bytes]
    summary: Summary | None
    skip_reason: str | None
    failed: Failure | None = None
    waiting: bool = False


@readable
@dataclass(frozen=True)
class Remaining:
    """What a run has still to do; more than is known exactly is counted at its upper bound.

    Attributes:
        trainings: finished ones, and all of the study.
        measurements: finished ones, and all of the study.
        seconds: that are left, at least and at most; None before the first training is finished.
        unknown: why what is left cannot be counted; empty where it can.
        metric: of the study, before a headline names it.
    """

    trainings: tuple[int, int]
    measurements: tuple[int, int]
    seconds: tuple[float, float] | None
    unknown: str
    metric: str


@readable
@dataclass(frozen=True)
class Results:
    """A finished study, or what is finished of one that is being run.

    Attributes:
        headline: one row per variant and split, with the columns ``variant, split, metric, value, low, high, basis, n,
            learning_rate, epochs, note``. ``low`` and ``high`` are the 95 % interval, or the range where ``basis`` is
            ``range``.
        manifest: versions, device, precision, threads, seeds, hashes, data notes, networks; ``mixed`` lists what the
            parts of the study do not have in common.
        remaining: what is still to come; None of a finished study.
    """

    study: Study
    headline: pl.DataFrame
    gap: tuple[Estimate, ...]
    verdict: str
    analyses: tuple[AnalysisResult, ...]
    manifest: Mapping[str, Any]
    remaining: Remaining | None = None
