"""Run a study: round after round, until every analysis is a table; what the store has is not done again."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from transferscope.analyses.contract import AbstractAnalysis
from transferscope.analyses.finished import table_of
from transferscope.arguments import checked
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.threads import limited
from transferscope.errors import CorruptEntryError, StopRequested, StoreError
from transferscope.frozen import content_key
from transferscope.running.collect import results_of
from transferscope.running.executors import processes, serial
from transferscope.running.failures import ESSENTIAL, Failure, isolated
from transferscope.running.finished import Finished
from transferscope.running.interim import Interim, OnResults
from transferscope.running.notebook_progress import in_notebook, notebook_progress
from transferscope.running.progress import progress
from transferscope.running.results import Results
from transferscope.running.rounds import PlannedTask, Round, asked_of, expand, with_needs
from transferscope.running.tracking import Tracking
from transferscope.running.work import Job, MeasureJob, TrainJob, do, forget
from transferscope.store import Store
from transferscope.store.system_errors import translated
from transferscope.study.settings import Study

OnEvent = Callable[[dict[str, Any]], None]


@checked
def run_study(
    study: Study,
    store_root: Path,
    *,
    quiet: bool = False,
    command: str = "",
    tracking: Tracking | None = None,
    on_results: OnResults | None = None,
) -> Results:
    """Train, measure and summarise everything a study asks for.

    Every finished training and unit lies in the store at once; a run that was stopped, at any moment, goes on from
    there, within a training at its last epoch. A damaged entry is set aside, which is said, and made anew.

    A store that cannot be written can still be read: a finished study has its results.

    Args:
        study: what is asked for.
        store_root: folder of the store.
        quiet: show no progress.
        command: how to run it again, for the manifest.
        tracking: the trackers, which stay open; None opens those of the study and closes them.
        on_results: given what is finished, with what is still to come in ``remaining``, as long as something is left to
            do: when a round begins, when its trainings are done, and meanwhile about every half minute. What
            :func:`write_report` makes of it is a page.

    Returns:
        Tables, files and summaries, as the report takes them.

    Raises:
        StoreBusyError: the same study is running already.
        StopRequested: Ctrl-C; what was finished is kept.
        StoreError: the store cannot be read or written, or something was removed from it meanwhile.
        MissingExtraError: the package of a tracker is not installed.
        TransferscopeError: bad input, each named.
    """
    # Not study.key: two studies that differ only in where their weights lie are two studies.
    name = content_key(study.model_dump(mode="json", exclude={"trackers"}))
    if tracking is None:
        with Tracking(study, store_root) as opened:
            return run_study(study, store_root, quiet=quiet, command=command, tracking=opened, on_results=on_results)
    try:
        store = Store(Path(store_root))
        lock = store.lock(f"study-{name}", wait=0, what="this study")
        with translated(None, "use"), limited(study.compute.threads), lock:
            return _mended(study, store, command, quiet, tracking, on_results)
    except KeyboardInterrupt as stop:
        raise StopRequested(
            "stopped; what was finished is kept",
            hint="run the same command again: it goes on at the last epoch of the running training",
        ) from stop


def _mended(
    study: Study, store: Store, command: str, quiet: bool, tracking: Tracking, on_results: OnResults | None
) -> Results:
    """The results, however many damaged entries have to be set aside and made anew on the way."""
    aside: dict[tuple[str, str], str] = {}
    while True:
        finished = Finished(())
        try:
            shown = notebook_progress if in_notebook() else progress
            with nullcontext(_silent) if quiet else shown() as on_event:
                for text in aside.values():
                    on_event({"kind": "note", "text": text})
                bound = resolve(study, store)
                finished.notes = tuple(aside.values())
                tracking.begin(bound, store, on_event)
                interim = Interim(bound, store, finished, command, on_results)
                _rounds(bound, store, finished, on_event, tracking, interim)
                return tracking.results(results_of(bound, store, finished, command))
        except CorruptEntryError as error:
            _check_all_there(store, finished)
            # The same one again: this disk does not keep what is written to it.
            if error.entry is None or error.entry in aside or not store.writable:
                raise
            place = store.discard(*error.entry)
            aside[error.entry] = f"{error.what}: set aside in {place}, and made anew"
            forget()
        except StoreError:
            _check_all_there(store, finished)
            raise


def _check_all_there(store: Store, finished: Finished) -> None:
    """Raise an error that says so where what was in the store a moment ago is there no more."""
    store.require()
    known = {("networks", key): finished.labels[key] for key in finished.stored}
    known |= {("units", piece.key): piece.analysis.title for pieces in finished.pieces.values() for piece in pieces}
    gone = [f"{label} ({kind} {key})" for (kind, key), label in known.items() if not store.entry(kind, key).there()]
    if gone:
        raise StoreError(
            f"it was there and is gone: {', '.join(gone[:3])}"
            + (f" and {len(gone) - 3} more" if len(gone) > 3 else ""),
            expected="a store from which nothing is removed while a study runs",
            got=f"{len(gone)} of {len(known)} results that this run had found or made are no more in {store.root}",
            hint="run the same command again: what is gone is made anew",
        )


def _rounds(
    study: ResolvedStudy, store: Store, finished: Finished, on_event: OnEvent, tracking: Tracking, interim: Interim
) -> None:
    analyses = finished.analyses = with_needs(study, asked_of(study), finished.failed)
    context = Context(store, study)
    images = context.images()
    finished.notes += (*images.notes, *(f"left out: {name}: {why}" for name, why in images.skipped))
    report = context.loaded(study.untrained("P", study.seeds[0]))
    if report is not None:
        note = f"pre-trained weights: {report}"
        on_event({"kind": "note", "text": note})
        finished.notes = (*finished.notes, note)
    finished.examples = {split: len(indices) for split, indices in context.splits().items()}
    told: set[str] = set()
    while any(analysis.key not in finished.done and analysis.key not in finished.failed for analysis in analyses):
        measured = {key: [piece.key for piece in pieces] for key, pieces in finished.pieces.items()}
        step = expand(study, analyses, finished.evidence, finished.done, measured, finished.failed)
        finished.failed.update(step.failed)
        finished.done.update(analysis.key for analysis in step.finished)
        for analysis in step.finished:
            # One that names nothing at all has an empty table, not none.
            finished.tables.setdefault(analysis.key, table_of(analysis, store, ()))
            finished.pieces.setdefault(analysis.key, [])
        finished.labels.update(step.labels)
        tracking.expect(step, study)
        interim.step = step
        _train(study, store, step, finished, on_event, tracking, interim)
        pieces = [piece for piece in step.pieces if piece.analysis.key not in finished.failed]
        _measure(study, store, pieces, finished, on_event, interim)
        if any(failure.missing for failure in finished.failed.values()):
            _check_all_there(store, finished)
        for analysis in {piece.analysis.key: piece.analysis for piece in pieces}.values():
            if analysis.key not in finished.failed:
                with isolated(analysis, "reading what it measured (see `version`)", finished.failed):
                    keys = [piece.key for piece in finished.pieces[analysis.key]]
                    finished.tables[analysis.key] = table_of(analysis, store, keys)
        for analysis in (*asked_of(study), *analyses):
            if analysis.key in finished.failed and analysis.key not in told:
                told.add(analysis.key)
                text = f"{analysis.title} failed, the others go on: {finished.failed[analysis.key].what}"
                on_event({"kind": "note", "text": text})


def _train(
    study: ResolvedStudy,
    store: Store,
    step: Round,
    finished: Finished,
    on_event: OnEvent,
    tracking: Tracking,
    interim: Interim,
) -> None:
    missing = {key: spec for key, spec in step.networks.items() if not store.entry("networks", key).exists()}
    stored = [key for key in step.networks if key not in missing]
    finished.stored.update(stored)
    tracking.trained(*stored)
    on_event({"kind": "round", "trainings": len(missing), "units": 0})
    essential = {analysis.key for analysis in finished.analyses if isinstance(analysis, ESSENTIAL)}
    lost: dict[str, Failure] = {}
    if missing:
        interim.tell()
    while missing:
        # A network is ready when its trained parents are in the store: generation after generation.
        ready = [spec for spec in missing.values() if all(parent.key not in missing for parent in spec.ancestors)]
        jobs: list[Job] = [
            TrainJob(store.root, study, spec, step.labels[spec.key], not essential & step.asked_by[spec.key])
            for spec in ready
        ]
        failures = _execute(study, jobs, on_event, interim=interim, on_done=tracking.trained)
        for index, spec in enumerate(ready):
            del missing[spec.key]
            if index in failures:
                lost[spec.key] = failures[index]
            else:
                finished.stored.add(spec.key)
        for key, spec in list(missing.items()):
            if parents := [parent.key for parent in spec.ancestors if parent.key in lost]:
                lost[key] = lost[parents[0]]
                del missing[key]
    finished.networks.update({key: spec for key, spec in step.networks.items() if key not in lost})
    for key, failure in lost.items():
        for analysis in step.asked_by[key]:
            finished.failed.setdefault(analysis, failure)


def _measure(
    study: ResolvedStudy,
    store: Store,
    pieces: Sequence[PlannedTask],
    finished: Finished,
    on_event: OnEvent,
    interim: Interim,
) -> None:
    missing = [piece for piece in pieces if not store.entry("units", piece.key).exists()]
    on_event({"kind": "round", "trainings": 0, "units": len(missing)})
    if missing:
        interim.tell()
    # Units that run no network take less than the start of a worker: they are done here.
    light = [piece for piece in missing if not piece.images]
    heavy = [piece for piece in missing if piece.images]
    unmeasured: set[tuple[str, str]] = set()
    for some, here in ((light, True), (heavy, False)):
        jobs = [_job(study, store, piece) for piece in some]
        for index, failure in _execute(study, jobs, on_event, interim=interim, here=here).items():
            finished.failed.setdefault(some[index].analysis.key, failure)
            unmeasured.add((some[index].analysis.key, some[index].key))
    # Of an analysis that failed as well: what is measured stays, for the run after the fault is mended.
    for piece in pieces:
        if (piece.analysis.key, piece.key) not in unmeasured:
            finished.pieces.setdefault(piece.analysis.key, []).append(piece)


def _job(study: ResolvedStudy, store: Store, piece: PlannedTask) -> Job:
    shown = ", ".join(member.label for member in piece.task.members[:2])
    label = f"{piece.analysis.title}: {shown}"
    return MeasureJob(store.root, study, analysis_text(piece.analysis), piece.task, label)


def _execute(
    study: ResolvedStudy,
    jobs: Sequence[Job],
    on_event: OnEvent,
    *,
    interim: Interim,
    here: bool = False,
    on_done: Callable[[str], None] | None = None,
) -> dict[int, Failure]:
    """Do the jobs; what went wrong in those that only their own analyses need, by the index of the job.

    ``on_done`` is told, in this process, the key of each result as it comes.
    """
    compute = study.settings.compute
    if compute.executor == "serial":
        results = serial(do, jobs, threads=compute.threads, on_event=on_event, affinity=_affinity)
    else:
        threads = compute.threads or 1
        if here or len(jobs) < 2:
            # Not worth a process of its own; as many threads as there, so that the bytes are the same.
            results = serial(do, jobs, threads=threads, on_event=on_event, affinity=_affinity)
        else:
            workers = compute.workers
            results = processes(do, jobs, workers=workers, threads=threads, on_event=on_event, affinity=_affinity)
    # Closing stops the workers, also where this loop is left by an error or Ctrl-C.
    failures: dict[int, Failure] = {}
    with closing(results):
        for index, result in results:
            if isinstance(result, Failure):
                failures[index] = result
            elif on_done is not None:
                on_done(result)
            interim.tell_in_time()
    return failures


def _affinity(job: Job) -> str:
    """Jobs of one network stay together: what was loaded for one serves the next."""
    if isinstance(job, TrainJob):
        return job.spec.key
    return job.task.members[0].spec.key if job.task.members else ""


def analysis_text(analysis: AbstractAnalysis) -> str:
    """An analysis as JSON text, read back by ``parse_analysis``."""
    return json.dumps({analysis.name: analysis.model_dump(mode="json")}, sort_keys=True)


def _silent(event: dict[str, Any]) -> None:
    del event
