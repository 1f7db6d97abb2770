"""``report RUN...``: the report of runs that were watched, or that timm's ``train.py`` left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferscope.commands.comparing import pictures, progress
from transferscope.commands.printing import say
from transferscope.commands.shared_options import Overrides
from transferscope.errors import DataError, OptionError, TransferscopeError

if TYPE_CHECKING:
    from transferscope.report.runs import RunPairs
    from transferscope.watching.reading import Run

__all__ = ["DEFAULT_OUTPUT", "RunOptions", "check_no_run_options", "report_runs"]

DEFAULT_OUTPUT = Path("transferscope-report")
"""Where the report of runs goes if nothing is said."""


@dataclass(frozen=True)
class RunOptions:
    """What the command says of runs, as options; settings may be those of a study."""

    overrides: Overrides = None
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR|FILE", help="Of runs: labelled pictures for paths and mistakes."),
    ] = None
    model: Annotated[
        str | None, typer.Option("--model", metavar="timm:NAME", help="Of runs: the architecture.", show_default=False)
    ] = None
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=8, help="Of runs: in pixels.", show_default=False)
    ] = None
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="FILE", help="Of runs of timm: what they started from.", show_default=False),
    ] = None
    repeats: Annotated[bool, typer.Option("--repeats", help="Of runs: all repeat one setting.")] = False
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The folder to write; reports/NAME in the store if not given, of runs transferscope-report.",
        ),
    ] = None


def check_no_run_options(options: RunOptions) -> None:
    """Raises an ``OptionError`` where an option of runs was given with a study."""
    if replace(options, overrides=None, output=None) != RunOptions():
        raise OptionError(
            "--data, --model, --image-size, --start and --repeats are for the report of runs",
            expected="folders of runs with them",
            got="a study file",
        )


def report_runs(folders: Sequence[Path], options: RunOptions) -> None:
    """Write the report of runs, and print where it lies.

    Args:
        folders: of runs.
        options: what else was said; without ``output`` :data:`DEFAULT_OUTPUT` is written.

    Raises:
        DataError: a folder holds no run, or the data cannot be used.
        OptionError: settings of data without data.
        TransferscopeError: what was measured went wrong.
    """
    if options.data is None and (options.overrides or options.image_size is not None):
        raise OptionError("--set and --image-size are for the data here", expected="--data with them", got="no --data")
    from transferscope.report.runs import write_runs_report

    runs = _named([_read(folder, options.start) for folder in folders])
    written = write_runs_report(runs, _pairs(runs, options), options.output or DEFAULT_OUTPUT, repeats=options.repeats)
    for run in runs:
        say(f"{run.name}: {run.status}, {len(run.checkpoints)} checkpoints")
        for note in run.notes:
            say(f"note: {run.name}: {note.text}")
    say(f"report: {written.resolve()}")


def _read(folder: Path, start: Path | None) -> "Run":
    from transferscope.watching.reading import is_run, read_watched
    from transferscope.watching.timm_output import is_timm, read_timm

    if is_run(folder):
        return read_watched(folder)
    if is_timm(folder):
        return read_timm(folder, start)
    raise DataError(
        f"{folder} is no run",
        expected="a folder that transferscope.watch wrote, or an output folder of timm's train.py",
        got="another folder" if folder.is_dir() else "a file" if folder.exists() else "nothing",
        hint="of studies one file is given: transferscope report study.yaml",
    )


def _named(runs: Sequence["Run"]) -> list["Run"]:
    """Runs of one name are told apart by their folders."""
    names = [run.name for run in runs]
    return [replace(run, name=str(run.folder)) if names.count(run.name) > 1 else run for run in runs]


def _pairs(runs: Sequence["Run"], options: RunOptions) -> "RunPairs":
    import polars as pl

    from transferscope.report.runs import RunPairs
    from transferscope.study.columns import schema
    from transferscope.watching.columns import PAIRS, PATHS
    from transferscope.watching.pairs import run_pairs, weights_row

    rows, lines = [], [pl.DataFrame(schema=schema(PATHS))]
    for a, b in run_pairs(runs):
        row = weights_row(runs, a, b)
        if options.data is not None and runs[a].last is not None and runs[b].last is not None:
            found, line = _on_data(runs[a], runs[b], options, options.data)
            row |= {**found, "note": "; ".join(filter(None, (row["note"], found.get("note")))) or None}
            lines.append(line)
        rows.append(row)
    missing = (
        "paths, barriers, mistakes and the similarity between the runs need labelled pictures: give `--data FOLDER`, "
        "and `--model timm:NAME` where the runs do not say their architecture; for other data, "
        "`transferscope.compare(a, b, loader)` on the networks of their checkpoints",
    )
    on_data = None if options.data is None else f"the test images of {options.data}"
    why_not = missing if options.data is None and len(runs) > 1 else ()
    return RunPairs(pl.DataFrame(rows, schema=schema(PAIRS)), pl.concat(lines), on_data, why_not)


def _on_data(a: "Run", b: "Run", options: RunOptions, data: Path) -> tuple[dict[str, Any], Any]:
    import polars as pl

    from transferscope.files.compare import compare_files
    from transferscope.files.networks import FileSettings
    from transferscope.specs.architecture import FileWeights
    from transferscope.study.columns import schema
    from transferscope.watching.columns import PATHS
    from transferscope.watching.pairs import compared_row, path_rows

    model = options.model or a.facts.get("architecture")
    first, second = (FileWeights(path=str(run.last)) for run in (a, b))
    try:
        with progress(quiet=True) as (on_step, on_note):
            settings = FileSettings(pictures(data, options.overrides or ()), model, options.image_size)
            compared = compare_files(first, second, settings, on_step=on_step, on_note=on_note)
    except (DataError, OptionError):
        raise  # the same for all pairs: to be corrected
    except TransferscopeError as error:
        return {"note": " ".join(str(error).split())}, pl.DataFrame(schema=schema(PATHS))
    return compared_row(compared), path_rows(compared, a.name, b.name)
