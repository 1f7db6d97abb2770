"""``demo``, ``run``, ``plan``, ``status``, ``report``: all that is done with a study."""

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.commands.looking import brief
from transferscope.commands.printing import (
    bytes_words,
    demo_command,
    notes,
    results_summary,
    say,
    seconds_words,
    study_command,
    table,
)
from transferscope.errors import AnalysisError, StudyError, TransferscopeError

if TYPE_CHECKING:
    from transferscope.report.sections import Drawn
    from transferscope.running.plan import StepTime
    from transferscope.running.results import Results
    from transferscope.study.settings import Study


def demo(overrides: Sequence[str], store: Path, *, quiet: bool, command: str) -> None:
    """Run the study that comes with the package."""
    from transferscope.study.file import load_study

    with as_file(files("transferscope") / "studies" / "demo.yaml") as path:
        study = load_study(path, overrides)
    from transferscope.report.folder import reports_folder

    if not quiet and not (reports_folder(store, study) / "report.html").is_file():
        from transferscope.store import Store

        Store(store)  # made, or refused, before anything else is written there
        brief(study, store, quiet=quiet)
    _run(study, store, quiet=quiet, command=command, again=demo_command(overrides, store))


def run(
    path: Path, overrides: Sequence[str], store: Path, *, quiet: bool, command: str, allow_code: bool = False
) -> None:
    """Run a study and write its report."""
    from transferscope.study.file import load_study

    study = load_study(path, overrides, allow_code=allow_code)
    again = study_command("run", path, overrides, store, allow_code=allow_code)
    _run(study, store, quiet=quiet, command=command, again=again)


def report(path: Path, overrides: Sequence[str], store: Path, output: Path | None, *, command: str) -> None:
    """Write the report of a finished study again.

    Raises:
        TransferscopeError: it is not finished.
    """
    from transferscope.factories import code_forbidden

    with code_forbidden("report", study_command("run", path, overrides, store, allow_code=True)):
        _report(path, overrides, store, output, command=command)


def _report(path: Path, overrides: Sequence[str], store: Path, output: Path | None, *, command: str) -> None:
    from transferscope.study.file import load_study

    study = load_study(path, overrides, allow_code=True)
    from transferscope.report.folder import reports_folder
    from transferscope.running.reopen import reopen

    results = reopen(study, store, study_command("run", path, overrides, store), command=command)
    again = study_command("run", path, overrides, store, allow_code=_names_code(study))
    results = _with_commands(results, again, _export_command(study, path, overrides, store))
    written, results = _write_report(results, output or reports_folder(store, study))
    say(f"report: {written}")
    _raise_failures(results)


def plan(path: Path, overrides: Sequence[str], store: Path, *, allow_code: bool = False) -> None:
    """Print what a study will take, before it is run."""
    from transferscope.study.file import load_study

    # A misspelt name is told before torch is loaded.
    study = load_study(path, overrides, allow_code=allow_code)
    from transferscope.running.plan import plan_study

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
    notes(planned.notes)
    if planned.networks:
        say("networks to train:")
        for network in planned.networks:
            say(f"  {network}")
    trainings = sum(part.trainings - part.trainings_stored for part in planned.rounds)
    say(f"trainings to do:    at most {trainings}")
    say(f"images to pass:     about {sum(part.images for part in planned.rounds):,}")
    say(f"estimated time:     {_range(planned.seconds)}{_step_words(planned.step)}")
    say(f"disk, at most:      {bytes_words(planned.disk_bytes)}")
    say(f"start it with:      {study_command('run', path, overrides, store, allow_code=allow_code)}")


def _range(seconds: tuple[float, float] | None) -> str:
    low, high = (seconds_words(bound) for bound in seconds or (None, None))
    return low if low == high else f"{low} to {high}"


def _step_words(step: "StepTime | None") -> str:
    if step is None:
        return ""
    spread = "" if step.low == step.high else f", {step.low:.3g} to {step.high:.3g}"
    where = "measured just now" if step.source == "now" else f"of {step.count} finished trainings of this study"
    return f" (a training step: {step.median:.3g} s{spread}, {where})"


def status(path: Path | None, overrides: Sequence[str], store: Path) -> None:
    """Print what is finished and what is not; of all studies run in this store where ``path`` is None.

    Raises:
        StudyError: overrides without a study.
    """
    from transferscope.factories import code_forbidden
    from transferscope.report.folder import reports_folder
    from transferscope.study.file import load_study

    if path is None:
        places = studies_in(store)
        if overrides:
            raise StudyError(
                "--set changes a study, and none is given",
                expected="the study's file before it",
                got=f"{len(places)} studies in {store}",
                hint="; ".join(study_command("status", place, overrides, store) for place in places) or None,
            )
        if not places:
            say(f"no study was run in {store} yet; one that is ready to run: {demo_command((), store)}")
            return
    else:
        places = [path]
    rows: list[tuple[object, ...]] = []
    size = None
    for place in places:
        try:
            study = load_study(place, overrides, allow_code=True)
            from transferscope.running.plan import study_status

            with code_forbidden("status", study_command("run", place, overrides, store, allow_code=True)):
                state = study_status(study, store)
        except TransferscopeError as error:
            if path is not None:
                raise
            # One study that cannot be looked at must not hide the others.
            why = f"{place} is not a study of this version" if isinstance(error, StudyError) else error.what
            rows.append((place.parent.name, why, *[None] * 5))
            continue
        size = state.disk_bytes
        pending = state.trainings_pending + state.units_pending
        written = reports_folder(store, study) / "report.html"
        rows.append(
            (
                study.name if path is not None else place.parent.name,
                "finished" if not pending else "not finished",
                state.trainings_finished,
                state.trainings_pending,
                state.units_finished,
                state.units_pending,
                written if written.exists() else None,
            )
        )
    table("", ["study", "state", "#trainings done", "#to do", "#measurements done", "#to do", "report"], rows)
    if size is not None:
        say(f"store: {bytes_words(size)} in {store}, of all studies together")


def studies_in(store: Path) -> list[Path]:
    """The files of all studies that were run in a store, as they were run."""
    from transferscope.store.system_errors import translated

    with translated(store, "read"):
        # A glob would take a folder that cannot be read for an empty one.
        reports = store / "reports"
        names = sorted(os.listdir(reports)) if reports.exists() else []
        return [place for name in names if (place := reports / name / "study.yaml").is_file()]


def _run(study: "Study", store: Path, *, quiet: bool, command: str, again: str) -> None:
    from transferscope.report.folder import asked, asked_before, reports_folder
    from transferscope.report.prescription import heading
    from transferscope.running.run import run_study
    from transferscope.running.tracking import Tracking
    from transferscope.store import Store
    from transferscope.store.atomic import replace_file
    from transferscope.study.file import dump_study

    tracking = Tracking(study, store)
    Store(store)  # made, or refused, before anything else is written there
    folder = reports_folder(store, study)
    if folder.name != study.name:
        other = asked_before(folder.with_name(study.name)) or {}
        differing = ", ".join(name for name, value in asked(study).items() if other.get(name) != value)
        say(f"{folder.with_name(study.name)} holds another study of this name ({differing} differ): it is kept,")
        say(f"and the report of this one goes to {folder}")
    replace_file(folder / "study.yaml", dump_study(study).encode())
    handed = _export_command(study, folder / "study.yaml", (), store)
    drawn: Drawn = {}
    pages: set[Path] = set()

    def on_results(so_far: "Results") -> None:
        written, _ = _write_report(_with_commands(so_far, again, handed), folder, drawn)
        if not pages and not quiet:
            say(f"report, written anew as the run goes on: {written}")
        pages.add(written)

    with tracking:
        results = run_study(study, store, quiet=quiet, command=command, tracking=tracking, on_results=on_results)
        # Written first: whoever reads what is printed may go away.
        written, results = _write_report(_with_commands(results, again, handed), folder)
        unsent = tracking.report(written.with_name(name) for name in ("report.html", "results.json"))
    results_summary(results)
    notes(unsent)
    say(f"report: {written}")
    if heading(results) is None:
        say(f"take the trained network: {handed}")
    _raise_failures(results)


def _export_command(study: "Study", path: Path, overrides: Sequence[str], store: Path) -> str:
    words = ("P_T", "--seed", str(study.seeds[0]))
    return study_command("export", path, overrides, store, *words, allow_code=_names_code(study))


def _names_code(study: "Study") -> bool:
    from transferscope.study.file import code_named

    return next(code_named(study), None) is not None


def _with_commands(results: "Results", again: str, handed: str) -> "Results":
    """The results with what a reader can do next: run the study again, take a network."""
    from transferscope.report.prescription import heading

    given = {"run": again} if heading(results) is not None else {"run": again, "export": handed}
    return replace(results, manifest={**results.manifest, **given})


def export(
    path: Path,
    overrides: Sequence[str],
    store: Path,
    variant: str,
    seed: int | None,
    output: Path,
    *,
    force: bool,
    allow_code: bool,
) -> None:
    """Write a trained network as one file, and print how it is loaded."""
    from transferscope.study.file import load_study

    study = load_study(path, overrides, allow_code=allow_code)
    from transferscope.running.export import export_network

    run = study_command("run", path, overrides, store, allow_code=allow_code)
    seed = study.seeds[0] if seed is None else seed
    exported = export_network(study, store, variant, seed, output, force=force, run=run)
    facts = exported.facts
    say(f"wrote {exported.path}: {facts['variant']} of seed {facts['seed']}, learning rate {facts['learning_rate']},")
    say(f"{facts['metric']} {facts['validation_metric']} on validation and {facts['test_metric']} on test images")
    say()
    say(exported.snippet.rstrip())


def _write_report(results: "Results", folder: Path, drawn_before: "Drawn | None" = None) -> tuple[Path, "Results"]:
    from transferscope.report.render import written_report

    written, results = written_report(results, folder, drawn_before)
    return written.resolve(), results


def _raise_failures(results: "Results") -> None:
    """Raise, once everything else is written and told, an error that names the analyses that failed, if any did."""
    failed = [(item.analysis.name, item.failed) for item in results.analyses if item.failed is not None]
    if not failed:
        return
    error = AnalysisError(
        f"{len(failed)} of {len(results.analyses)} analyses failed: {', '.join(name for name, _ in failed)}",
        got="; ".join(f"{name}: {failure.what}" for name, failure in failed),
        hint="the report has all the others; what is measured is kept, and a run after the fault is mended goes on",
    )
    for name, failure in failed:
        error.add_note(f"{name}: {failure.trace}")  # shown by --debug
    raise error
