"""What a run has so far, as results, for whoever looks at it meanwhile."""

import time
from collections.abc import Callable
from dataclasses import replace

from transferscope.analyses.finished import table_of
from transferscope.context.context import Context
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.running.collect import results_of
from transferscope.running.failures import isolated
from transferscope.running.finished import Finished
from transferscope.running.plan import remaining_of
from transferscope.running.results import AnalysisResult, Results
from transferscope.running.rounds import PlannedTask, Round, expand
from transferscope.store import Store

OnResults = Callable[[Results], None]

_PAUSE_SECONDS = 30.0
_SHARE = 0.05
"""Of the time of a run that telling may take, at most; what is told when a round begins comes on top."""


class Interim:
    """Tells what a run has so far; nothing where nobody listens.

    Attributes:
        step: the round that is being done.
    """

    def __init__(
        self, study: ResolvedStudy, store: Store, finished: Finished, command: str, on_results: OnResults | None
    ) -> None:
        self.step = Round({}, {}, (), ())
        self._context = Context(store, study)
        self._finished, self._command, self._on_results = finished, command, on_results
        # An analysis that is finished stays as it is: it is summarised once.
        self._made: dict[str, AnalysisResult] = {}
        self._not_before = 0.0

    def tell_in_time(self) -> None:
        """Tell what there is, unless that was done a moment ago."""
        if time.monotonic() >= self._not_before:
            self.tell()

    def tell(self) -> None:
        """Tell what there is."""
        if self._on_results is None:
            return
        started = time.monotonic()
        self._on_results(self._results())
        ended = time.monotonic()
        self._not_before = ended + max(_PAUSE_SECONDS, (ended - started) / _SHARE)

    def _results(self) -> Results:
        study, store = self._context.study, self._context.store
        so_far = self._so_far(store)
        remaining = remaining_of(self._context, so_far.failed.keys())
        return results_of(study, store, so_far, self._command, remaining, self._made)

    def _so_far(self, store: Store) -> Finished:
        """What the run has finished, with what its running round has in the store already."""
        run, study, step = self._finished, self._context.study, self.step
        so_far = replace(
            run,
            tables=dict(run.tables),
            pieces={key: list(pieces) for key, pieces in run.pieces.items()},
            networks=run.networks
            | {key: spec for key, spec in step.networks.items() if store.entry("networks", key).exists()},
            done=set(run.done),
            failed=dict(run.failed),
        )
        new: dict[str, list[PlannedTask]] = {}
        for piece in step.pieces:
            new.setdefault(piece.analysis.key, []).append(piece)
        complete = []
        for key, pieces in new.items():
            known = {piece.key: piece for piece in (*run.pieces.get(key, ()), *pieces)}
            if key in run.failed or not all(store.entry("units", each).exists() for each in known):
                continue
            complete.append(pieces[0].analysis)
            so_far.pieces[key] = list(known.values())
            with isolated(pieces[0].analysis, "reading what it measured (see `version`)", so_far.failed):
                so_far.tables[key] = table_of(pieces[0].analysis, store, list(known))
        measured = {key: [piece.key for piece in pieces] for key, pieces in so_far.pieces.items()}
        # An analysis is finished when it names nothing new.
        following = expand(study, complete, so_far.evidence, so_far.done, measured, so_far.failed)
        so_far.done.update(analysis.key for analysis in following.finished)
        return so_far
