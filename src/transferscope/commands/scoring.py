"""``score``: candidates for fine-tuning ranked on the user's images, without fine-tuning."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferscope.commands.comparing import progress
from transferscope.commands.printing import DEFAULT_STORE, notes, say, study_command, table
from transferscope.commands.settings import divided
from transferscope.errors import OptionError, StudyError

if TYPE_CHECKING:
    from transferscope.scores.result import Scores

__all__ = ["Asked", "score"]


@dataclass(frozen=True)
class Asked:
    """What is scored, and how it is shown; as options."""

    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME|FILE|FOLDER",
            help="A candidate: efficientnet-lite0, a name of timm's whose weights are on this disk, a file or folder "
            "of weights, random, or random:ARCHITECTURE. Once for each.",
            show_default=False,
        ),
    ] = None
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture",
            metavar="NAME",
            help="Of files of weights: timm:NAME, torchvision:NAME or package.module:function.",
            show_default=False,
        ),
    ] = None
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            min=10,
            metavar="N",
            help="Read so many at most, of every class.",
            show_default="all are read, 2000 scored",
        ),
    ] = None
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            min=8,
            help="Height and width in pixels for all candidates.",
            show_default="what each declares",
        ),
    ] = None
    source_accuracy: Annotated[
        list[str] | None,
        typer.Option(
            "--source-accuracy",
            metavar="MODEL=SHARE",
            help="What you know of a candidate's accuracy on its source, 0 to 1. Shown beside the scores.",
            show_default=False,
        ),
    ] = None
    confirm: Annotated[
        int | None,
        typer.Option(
            "--confirm",
            min=1,
            metavar="K",
            help="Write the study that fine-tunes the first K, and say what that is expected to lose.",
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="STUDY.yaml", help="That study; FOLDER-confirm.yaml if not given."),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Overwrite the study.")] = False
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto"
    as_json: Annotated[bool, typer.Option("--json", help="Print every number under its key.")] = False
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="target.data.NAME=VALUE",
            help="How the data are read, as in a study. Can be given again.",
            show_default=False,
        ),
    ] = None


def score(place: Path, asked: Asked, *, quiet: bool) -> None:
    """Rank candidates and print the table.

    Args:
        place: class folders, Parquet or NumPy files.
        asked: which candidates, and how it is shown.
        quiet: show no progress.

    Raises:
        OptionError: an option that cannot be read.
        TransferscopeError: data or candidates cannot be used.
    """
    data, others = divided(asked.overrides or ())
    if others:
        raise OptionError("--set is for the data here", expected="settings of target.data", got=others[0])
    accuracies = _accuracies(asked.source_accuracy or ())
    from transferscope.scores.score import ScoreSettings, score_candidates

    settings = ScoreSettings(
        tuple(asked.models or ()),
        asked.architecture,
        asked.images,
        asked.image_size,
        asked.device,
        accuracies,
        asked.confirm,
        dict(data),
    )
    path = _study_file(place, asked)
    with progress(quiet=quiet) as (on_step, _):
        found = score_candidates(place, settings, on_step)
    if asked.as_json:
        say(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)
    if path is not None and asked.confirm is not None:
        _confirm(found, asked.confirm, path, data, quiet=asked.as_json)


def _study_file(place: Path, asked: Asked) -> Path | None:
    """Where the confirming study goes: an error before anything is scored, not after."""
    if asked.confirm is None:
        if asked.output is not None or asked.force:
            raise OptionError("there is no study to write", expected="--confirm K", got="--output or --force")
        return None
    from transferscope.study.template import study_name

    path = asked.output if asked.output is not None else Path(f"{study_name(place)}-confirm.yaml")
    if path.exists() and not asked.force:
        raise StudyError(f"{path} exists already", hint="--output FILE names another, --force overwrites it")
    return path


def _confirm(found: "Scores", count: int, path: Path, data: Mapping[str, Any], *, quiet: bool) -> None:
    from transferscope.scores.confirm import confirming_study
    from transferscope.store.atomic import replace_file
    from transferscope.study.template import find_data

    replace_file(path, confirming_study(found, count, find_data(Path(found.place), data), path).encode())
    if quiet:
        return
    code = any(one.facts.architecture.partition(":")[0] not in ("timm", "torchvision") for one in found.candidates)
    say(f"wrote {path}: the first {count} fine-tuned, decided on validation images, proved on test images")
    say(f"what it will take:  {study_command('plan', path, (), DEFAULT_STORE, allow_code=code)}")
    say(f"run it:             {study_command('run', path, (), DEFAULT_STORE, allow_code=code)}")


def _accuracies(words: Sequence[str]) -> dict[str, float]:
    found = {}
    for word in words:
        name, _, value = word.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            name = ""
        if not name:
            raise OptionError(
                "--source-accuracy cannot be read",
                expected="MODEL=SHARE, for example efficientnet-lite0=0.75",
                got=word,
            )
    return found


def _print(found: "Scores") -> None:
    from transferscope.report.score_words import missing_lines, preparation_lines, sentences, table_of

    for sentence in sentences(found):
        say(sentence)
    table("", *table_of(found))
    for line in (*preparation_lines(found), *missing_lines(found)):
        say(line)
    notes(found.notes)
