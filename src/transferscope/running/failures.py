"""What goes wrong in one analysis stays with it: it is named, and the others are finished and reported."""

import sys
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.outcome.analysis import Outcome
from transferscope.errors import (
    AnalysisError,
    MissingEntryError,
    StopRequested,
    StoreError,
    TransferscopeError,
    WorkerError,
)

ESSENTIAL = (Outcome, LearningRate, LearningCurves)
"""The headline and what it needs: without it there is no report, so what goes wrong in these stops the run."""

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Failure:
    """Why an analysis could not be finished."""

    what: str
    trace: str = ""
    missing: bool = False


def failure_of(error: Exception, doing: str, analysis: AbstractAnalysis | None = None) -> Failure | None:
    """The failure of one analysis, or None where an error concerns the whole run.

    Disks that are full, entries that are damaged and workers that die are nobody's fault here; an error of the
    operating system is the analysis's own where its own file asked for what failed.
    """
    frames = traceback.extract_tb(error.__traceback__)
    module = None if analysis is None else sys.modules[type(analysis).__module__].__file__
    own = max((index for index, frame in enumerate(frames) if frame.filename == module), default=None)
    if isinstance(error, OSError):
        beyond = frames if own is None else frames[own + 1 :]
        if own is None or any(_PACKAGE in Path(frame.filename).parents for frame in beyond):
            return None
    missing = isinstance(error, MissingEntryError)
    if (isinstance(error, (StoreError, StopRequested, WorkerError)) and not missing) or isinstance(analysis, ESSENTIAL):
        return None
    text = str(error) if isinstance(error, TransferscopeError) else f"{type(error).__name__}: {error}"
    if frames and not isinstance(error, AnalysisError):
        frame = frames[-1 if own is None else own]
        text += f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"
    return Failure(f"{doing}: {text}", "".join(traceback.format_exception(error)), missing)


@contextmanager
def isolated(
    analysis: AbstractAnalysis, doing: str, failed: MutableMapping[str, Failure] | None = None
) -> Iterator[None]:
    """Note what goes wrong meanwhile as the failure of ``analysis``; what concerns the whole run is raised as it is."""
    try:
        yield
    except Exception as error:
        failure = failure_of(error, doing, analysis)
        if failure is None or (failed is None and isinstance(error, TransferscopeError)):
            raise
        if failed is None:
            raise AnalysisError(f"the analysis {analysis.name!r} failed", got=failure.what) from error
        failed.setdefault(analysis.key, failure)
