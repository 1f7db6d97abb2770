"""``demo``, ``run``, ``plan``, ``status``, ``report``: all that is done with a study."""

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.commands.printing import bytes_words, results_summary, say, seconds_words, table
from transferscope.errors import StudyError, TransferscopeError

if TYPE_CHECKING:
    from transferscope.running.results import Results
    from transferscope.study import Study

__all__ = ["demo", "plan", "report", "reports_folder", "run", "status"]


def demo(overrides: Sequence[str], store: Path, *, quiet: bool, command: str) -> None:
    """Run the study that comes with the package."""
    from transferscope.study_file import load_study

    with as_file(files("transferscope") / "studies" / "demo.yaml") as path:
        study = load_study(path, overrides)
    _run(study, store, quiet=quiet, command=command)


def run(
    path: Path, overrides: Sequence[str], store: Path, *, quiet: bool, command: str, allow_code: bool = False
) -> None:
    """Run a study and write its report."""
    from transferscope.study_file import load_study

    _run(load_study(path, overrides, allow_code=allow_code), store, quiet=quiet, command=command)


def report(path: Path, overrides: Sequence[str], store: Path, output: Path | None, *, command: str) -> None:
    """Write the report of a finished study again.

    Raises:
        TransferscopeError: it is not finished.
    """
    from transferscope.factories import code_forbidden

    with code_forbidden("report"):
        _report(path, overrides, store, output, command=command)


def _report(path: Path, overrides: Sequence[str], store: Path, output: Path | None, *, command: str) -> None:
    from transferscope.running.plan import study_status
    from transferscope.running.run import run_study
    from transferscope.study_file import load_study

    study = load_study(path, overrides, allow_code=True)
    state = study_status(study, store)
    if state.trainings_pending or state.units_pending:
        raise TransferscopeError(
            f"the study {study.name!r} is not finished: there is nothing to report yet",
            expected="every training and measurement in the store",
            got=f"{state.trainings_pending} trainings and {state.units_pending} measurements to do",
            hint=f"transferscope run {path}",
        )
    results = run_study(study, store, quiet=True, command=command)
    _write_report(results, output or reports_folder(store, study.name))


def plan(path: Path, overrides: Sequence[str], store: Path, *, allow_code: bool = False) -> None:
    """Print what a study will take, before it is run."""
    from transferscope.running.plan import plan_study
    from transferscope.study_file import load_study

    study = load_study(path, overrides, allow_code=allow_code)
    planned = plan_study(study, store)
    table(
        f"{study.name}: what will be done",
        ["#round", "analyses", "#trainings", "#in store", "#measurements", "#in store", "#images", ""],
        [
            (
                number,
                ", ".join(part.analyses),
                part.trainings,
                part.trainings_stored,
                part.units,
                part.units_stored,
                f"{part.images:,}",
                "exact" if part.exact else "at most",
            )
            for number, part in enumerate(planned.rounds, start=1)
        ],
    )
    if planned.networks:
        say("networks to train:")
        for network in planned.networks:
            say(f"  {network}")
    trainings = sum(part.trainings - part.trainings_stored for part in planned.rounds)
    step = "" if planned.step_seconds is None else f" (a training step takes {planned.step_seconds:.3f} s here)"
    say(f"trainings to do:    at most {trainings}")
    say(f"images to pass:     about {sum(part.images for part in planned.rounds):,}")
    say(f"estimated time:     {seconds_words(planned.seconds)}{step}")
    say(f"disk, at most:      {bytes_words(planned.disk_bytes)}")
    consent = " --allow-code" if allow_code else ""
    say(f"start it with:      transferscope run {path}{consent}")


def status(path: Path | None, overrides: Sequence[str], store: Path) -> None:
    """Print what is finished and what is not; of all studies run in this store where ``path`` is None.

    Raises:
        StudyError: overrides without a study.
    """
    from transferscope.factories import code_forbidden
    from transferscope.running.plan import study_status
    from transferscope.study_file import load_study

    if path is None:
        if overrides:
            raise StudyError("--set changes a study, and none is given", hint="transferscope status STUDY --set ...")
        places = sorted(store.glob("reports/*/study.yaml"))
        if not places:
            say(f"no study was run in {store} yet; start one with: transferscope run STUDY")
            return
    else:
        places = [path]
    rows: list[tuple[object, ...]] = []
    for place in places:
        try:
            study = load_study(place, overrides, allow_code=True)
            with code_forbidden("status"):
                state = study_status(study, store)
        except TransferscopeError as error:
            if path is not None:
                raise
            # One study that cannot be looked at must not hide the others.
            why = f"{place} is not a study of this version" if isinstance(error, StudyError) else error.what
            rows.append((place.parent.name, why, *[None] * 6))
            continue
        pending = state.trainings_pending + state.units_pending
        written = reports_folder(store, study.name) / "report.html"
        rows.append(
            (
                study.name,
                "finished" if not pending else "not finished",
                state.trainings_finished,
                state.trainings_pending,
                state.units_finished,
                state.units_pending,
                bytes_words(state.disk_bytes),
                written if written.exists() else None,
            )
        )
    table(
        "",
        [
            "study",
            "state",
            "#trainings done",
            "#to do",
            "#measurements done",
            "#to do",
            "#store",
            "report",
        ],
        rows,
    )


def reports_folder(store: Path, name: str) -> Path:
    """Where the report of the study called ``name`` lies, with the study as it was run."""
    return store / "reports" / name


def _run(study: "Study", store: Path, *, quiet: bool, command: str) -> None:
    from transferscope.running.run import run_study
    from transferscope.store import Store
    from transferscope.store.atomic import make_folder, replace_file
    from transferscope.study_file import dump_study

    Store(store)  # made, or refused, before anything else is written there
    folder = reports_folder(store, study.name)
    make_folder(folder)
    replace_file(folder / "study.yaml", dump_study(study).encode())
    results = run_study(study, store, quiet=quiet, command=command)
    results_summary(results)
    _write_report(results, folder)


def _write_report(results: "Results", folder: Path) -> None:
    from transferscope.report.render import write_report

    written = write_report(results, folder)
    say(f"report: {written.resolve()}")
