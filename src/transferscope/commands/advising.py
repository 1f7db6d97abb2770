"""``advise``: which network to start from and at which rate, within a budget of time; proved, and to take away."""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferscope.commands.printing import notes, say, seconds_words
from transferscope.commands.settings import divided
from transferscope.errors import AnalysisError, OptionError, StopRequested, TransferscopeError, counted

if TYPE_CHECKING:
    from transferscope.running.results import Results
    from transferscope.study.settings import Study
    from transferscope.study.template import Model

__all__ = ["Asked", "advise"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Asked:
    """Between which networks, for how long, and where it goes; as options."""

    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME|FILE",
            help="A name of timm's, efficientnet-lite0 (works offline), or your own file of weights. Can be given "
            "again; the first is what the others are compared with.",
            show_default="efficientnet-lite0",
        ),
    ] = None
    architectures: Annotated[
        list[str] | None,
        typer.Option(
            "--architecture", metavar="NAME", help="Of each file of weights, in their order.", show_default=False
        ),
    ] = None
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="How long it may take: 90s, 30m, 2h.")] = "30m"
    name: Annotated[str | None, typer.Option("--name", help="Of the study; from FOLDER if not given.")] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="What can be taken away; NAME-advice if not given."),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="For programs: every number under its key.")] = False


def seconds_of(text: str) -> float:
    """A time as it is written after ``--budget``.

    >>> seconds_of("30m"), seconds_of("90s"), seconds_of("1.5h")
    (1800.0, 90.0, 5400.0)

    Raises:
        OptionError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip().lower())
    if found is None or not float(found[1]):
        raise OptionError(f"--budget {text} is no time", expected="a number with s, m or h, as 30m", got=text)
    return float(found[1]) * _UNITS[found[2]]


@dataclass
class _Run:
    """A search that is run within a budget, and told of round by round.

    Attributes:
        store: where results are kept.
        command: as it was called.
        quiet: show nothing meanwhile.
        ends: when the budget is used up, by the monotonic clock.
        said: what was told last.
    """

    store: Path
    command: str
    quiet: bool
    ends: float
    said: tuple[str, ...] = field(default=())

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.ends - time.monotonic()

    def run(self, study: "Study") -> "tuple[Results, StopRequested | None, Path]":
        """The results, or those so far with why it was stopped; and the page.

        Raises:
            StopRequested: before there was anything to tell.
        """
        from transferscope.report.folder import reports_folder
        from transferscope.report.render import written_report
        from transferscope.running.run import run_study
        from transferscope.store import Store
        from transferscope.store.atomic import replace_file
        from transferscope.study.file import dump_study

        Store(self.store)  # made, or refused, before anything else is written there
        folder = reports_folder(self.store, study)
        replace_file(folder / "study.yaml", dump_study(study).encode())
        so_far: list[Results] = []

        def on_results(results: "Results") -> None:
            so_far[:] = [results]
            written_report(results, folder)
            self._tell(results)
            if self.left <= 0:
                raise StopRequested("the budget is used up", hint="run the same command again: it goes on from there")

        try:
            results = run_study(study, self.store, quiet=self.quiet, command=self.command, on_results=on_results)
        except StopRequested as stop:
            if not so_far:
                raise
            return so_far[0], stop, (folder / "report.html").resolve()
        page, results = written_report(results, folder)
        return results, None, page.resolve()

    def _tell(self, results: "Results") -> None:
        from transferscope.report.prescription import prescription

        lines = prescription(results)
        if not self.quiet and lines != self.said:
            say(lines[0])
        self.said = lines


def advise(
    place: Path, asked: Asked, overrides: Sequence[str], store: Path, *, quiet: bool, command: str, allow_code: bool
) -> None:
    """Search, prove, print the prescription, and write what can be taken away.

    Args:
        place: pictures, or a study file with the analysis ``start``.
        asked: see :class:`Asked`.
        overrides: as after ``--set``.
        store: where results are kept.
        quiet: show no progress.
        command: as it was called.
        allow_code: run functions that the study or ``--architecture`` names.

    Raises:
        OptionError: options do not fit, or the budget is too small for any search.
        StopRequested: stopped; the best answer so far is printed and written first.
        TransferscopeError: data or networks cannot be used.
    """
    quiet = quiet or asked.as_json
    ends = time.monotonic() + seconds_of(asked.budget)
    left_out: tuple[str, ...] = ()
    if place.suffix.lower() in (".yaml", ".yml"):
        study = _given(place, asked, overrides, allow_code=allow_code)
    else:
        study, left_out = _made(place, asked, overrides, store, allow_code=allow_code, quiet=quiet)
    from transferscope.running.advice import affordable, following

    run = _Run(store, command, quiet, ends)
    results, stopped, page = run.run(study)
    further: list[Results] = []
    unmeasured: Sequence[str] = following()
    if stopped is None:
        more, unmeasured = affordable(results, store, run.left)
        further = [] if more is None else [run.run(more)[0]]
    _told(results, further, (*left_out, *_questions(unmeasured)), asked, store, page)
    if stopped is not None and run.left > 0:
        raise stopped
    if failed := next((item.failed for item in results.analyses if item.failed is not None), None):
        raise AnalysisError(
            "an analysis failed; the answer above is without it",
            got=failed.what,
            hint="the report shows where; the same command measures it again, and nothing else",
        )


def _told(
    results: "Results", further: "Sequence[Results]", left_out: Sequence[str], asked: Asked, store: Path, page: Path
) -> None:
    """Write what can be taken away, and print the prescription."""
    from transferscope.report.prescription import heading, prescription
    from transferscope.running.advice import start_of
    from transferscope.running.takeaway import write_takeaway

    summary = start_of(results).summary
    facts = {} if summary is None else summary.facts
    files, folder = "", asked.output if asked.output is not None else Path(f"{results.study.name}-advice")
    if facts.get("chosen") is not None:
        written = write_takeaway(results.study, store, facts, folder)
        files = f"{folder}: {', '.join(written.files)}"
    lines = prescription(results, further, left_out, files)
    if asked.as_json:
        numbers = [each.row() for each in summary.estimates] if summary is not None else []
        content = {"prescription": lines, "facts": facts, "estimates": numbers, "undecided": list(left_out),
                   "further": [_verdicts(each) for each in further], "folder": str(folder),
                   "report": str(page)}  # fmt: skip
        say(json.dumps(content, indent=1, ensure_ascii=False, default=str))
        return
    say()
    for line in lines:
        say(line)
    if heading(results) is not None:
        say()
    say(f"report: {page}")


def _verdicts(results: "Results") -> dict[str, str]:
    return {item.analysis.name: item.summary.verdict for item in results.analyses if item.summary is not None}


def _questions(names: Sequence[str]) -> list[str]:
    """What analyses would have decided."""
    from transferscope.study.registry import analysis_type

    return [analysis_type(name).question.rstrip("?").lower() for name in names]


def _given(place: Path, asked: Asked, overrides: Sequence[str], *, allow_code: bool) -> "Study":
    from transferscope.study.file import load_study

    if asked.models or asked.architectures or asked.name:
        raise OptionError(
            "a study names its own networks",
            expected=f"transferscope advise {place} without --model, --architecture and --name",
            hint="candidates stand in the study, under analyses: - start: {candidates: [...]}",
        )
    study = load_study(place, overrides, allow_code=allow_code)
    if not any(analysis.name == "start" for analysis in study.analyses):
        raise OptionError(
            f"{place} asks for no advice",
            expected="the analysis start among its analyses",
            got=", ".join(analysis.name for analysis in study.analyses),
            hint="--set 'analyses=[start]'",
        )
    return study


def _made(
    place: Path, asked: Asked, overrides: Sequence[str], store: Path, *, allow_code: bool, quiet: bool
) -> "tuple[Study, tuple[str, ...]]":
    """The study of a folder, as long as the budget allows; and what it leaves undecided."""
    from transferscope.running.advice import fitted_to
    from transferscope.study.file import parse_study
    from transferscope.study.template import check_division, find_data, starter_study, study_name
    from transferscope.study.yaml import write_flow

    data, others = divided(overrides)
    found = find_data(place, data)
    first, *more = _networks(asked, allow_code=allow_code)
    name = asked.name or study_name(place)
    text, file = starter_study(name, found, first, Path()), Path(f"{name}.yaml")
    size = _own_size(first, parse_study(text, file, others).target.image_size)
    usual = [] if size is None else [f"target.image_size={size}"]
    target_size = parse_study(text, file, [*usual, *others]).target.image_size
    start: dict[str, Any] = {"candidates": [_candidate(each, target_size) for each in more]}

    def study_of(given: Sequence[str], **of_start: Any) -> "Study":
        analyses = f"analyses={write_flow([{'start': {**start, **of_start}}])}"
        return parse_study(text, file, [*usual, *given, analyses, *others])

    study = study_of(())
    check_division(found, study.target.splits)
    # Of the whole budget and of steps that were timed once: the same command asks for the same study again.
    fits = fitted_to(study, store, seconds_of(asked.budget))
    effort = fits.effort
    changes = [f"{name}={write_flow(value)}" for name, value in effort.settings.items()]
    study = study_of(changes, random_starts=effort.random_starts, finalists=effort.finalists)
    if not quiet:
        say(
            f"plan: {counted(len(more) + 1, 'network')}, trainings of up to {counted(effort.epochs, 'epoch')}, "
            f"{counted(effort.seeds, 'seed')} of the best {effort.finalists} and of the default: about "
            f"{seconds_words(fits.seconds)} of {asked.budget}"
        )
        if not more:
            say("note: one network: there is nothing to choose but its rate, and a random start")
        notes(found.notes)
    return study, fits.left_out


def _networks(asked: Asked, *, allow_code: bool) -> "list[Model]":
    from transferscope.specs.architecture import Architecture
    from transferscope.study.template import find_model, is_weights_path

    names = list(dict.fromkeys(asked.models or ["efficientnet-lite0"]))
    architectures = list(asked.architectures or ())
    code = [each for each in architectures if Architecture(name=each).code is not None]
    if code and not allow_code:
        raise OptionError(f"{code[0]} is a function of your own", expected="--allow-code, to run it; look at it first")
    found = []
    for name in names:
        file = bool(architectures) and is_weights_path(name, named=True)
        found.append(find_model(name, architectures.pop(0) if file else None))
    if architectures:
        raise OptionError(
            "--architecture is of a file of weights", expected="one for each file among --model", got=architectures[0]
        )
    return found


def _own_size(model: "Model", size: int) -> int | None:
    """The size of images that a network declares, where it takes no other than that; None where it takes ``size``."""
    from transferscope.networks.architectures import check_image_size, input_size
    from transferscope.specs.architecture import Architecture

    architecture = Architecture(name=model.architecture)
    declared = input_size(architecture)
    try:
        check_image_size(architecture, size)
    except TransferscopeError:
        if declared is None or declared == size:
            raise
        check_image_size(architecture, declared)
        return declared
    return None


def _candidate(model: "Model", size: int) -> dict[str, Any]:
    weights = model.weights if model.which is None else {"kind": "file", "path": model.weights, "which": model.which}
    own = _own_size(model, size)
    return {"architecture": model.architecture, "weights": weights} | ({} if own is None else {"image_size": own})
