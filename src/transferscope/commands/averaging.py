"""``average``: whether networks can be averaged into one, on the user's data, and the file of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from transferscope.commands.comparing import pictures, progress
from transferscope.commands.printing import say
from transferscope.commands.reporting import GATE
from transferscope.commands.shared_options import Data, DataSettings, ImageSize, Model
from transferscope.errors import OptionError
from transferscope.streams import told

if TYPE_CHECKING:
    from transferscope.files.average import AverageOfFiles
    from transferscope.specs.architecture import Weights

__all__ = ["Asked", "average"]

_FORMAT = 1  # of the JSON document


@dataclass(frozen=True)
class Asked:
    """What is averaged, how, and on what.

    Attributes:
        data: labelled pictures.
        overrides: settings of the data.
        model: the architecture; None reads it from the files' metadata.
        image_size: height and width in pixels; None takes the default.
        which: of the networks in the files: one word for all, or one for each.
        output: the file to write; None writes none.
        method: None tries all that apply.
        start: what the networks were fine-tuned from.
        margin: loss of the metric that counts as none.
        force: write an average also where the answer is no.
        as_json: print JSON.
    """

    data: Data
    overrides: DataSettings = None
    model: Model = None
    image_size: ImageSize = None
    which: Annotated[
        list[str] | None,
        typer.Option(
            "--which",
            metavar="raw|ema|PLACE",
            help="Of files with several networks: once for all, or once for each.",
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it, as .safetensors.", show_default=False),
    ] = None
    method: Annotated[
        Literal["uniform", "greedy", "stock", "wise"] | None,
        typer.Option("--method", help="How; all that apply if not given, the best on validation.", show_default=False),
    ] = None
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="P",
            help="What they were fine-tuned from, for stock and wise: a file, `timm` or `package:NAME`.",
            show_default=False,
        ),
    ] = None
    margin: Annotated[
        float, typer.Option("--margin", min=0.0001, max=1.0, help="Loss of the metric that counts as none.")
    ] = 0.005
    force: Annotated[bool, typer.Option("--force", help="Write it also where the answer is no, marked.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="For programs: every number under its key.")] = False


def average(networks: Sequence[Path], asked: Asked, *, quiet: bool) -> None:
    """Print whether networks can be averaged, and write the average; end with exit code 3 where the answer is no.

    Args:
        networks: files of weights.
        asked: how.
        quiet: show no progress.

    Raises:
        OptionError: options that do not go together.
        TransferscopeError: the networks do not correspond, or what was measured went wrong.
    """
    _check(networks, asked)
    from transferscope.files.average import average_files
    from transferscope.files.networks import FileSettings
    from transferscope.specs.architecture import FileWeights, weights_from_text

    which: list[str | None] = [*(asked.which or (None,))]
    named = which * len(networks) if len(which) == 1 else which
    start = None if asked.start is None else cast("Weights", weights_from_text(asked.start))
    with progress(quiet=quiet) as (on_step, on_note):
        found = average_files(
            [FileWeights(path=str(path), which=word) for path, word in zip(networks, named, strict=True)],
            FileSettings(pictures(asked.data, asked.overrides or ()), asked.model, asked.image_size),
            start=start,
            methods=None if asked.method is None else (asked.method,),
            margin=asked.margin,
            force=asked.force,
            on_step=on_step,
            on_note=on_note,
        )
    written = asked.output is not None and found.write(asked.output)
    say(_document(found, asked.output if written else None) if asked.as_json else found.advice.text)
    if written:
        marked = ", forced: its metadata say so" if found.advice.chosen is None else ""
        (told if asked.as_json else say)(f"wrote {asked.output}{marked}")
    if found.advice.answer == "no" and not asked.force:
        left = "" if asked.output is None else f"; {asked.output} was not written (--force writes it, marked)"
        told(f"{found.advice.sentence}{left}")
        raise typer.Exit(GATE)


def _check(networks: Sequence[Path], asked: Asked) -> None:
    if len(networks) < 2 and asked.method != "wise":
        raise OptionError(
            "there is nothing to average", expected="two files or more; one with --method wise", got=str(networks[0])
        )
    if asked.which is not None and len(asked.which) not in (1, len(networks)):
        raise OptionError(
            "--which fits neither all files nor each",
            expected=f"once, or {len(networks)} times",
            got=f"{len(asked.which)} times",
        )
    if asked.method in ("stock", "wise") and asked.start is None:
        raise OptionError(
            f"--method {asked.method} needs the weights that the networks were fine-tuned from",
            expected="--start FILE, --start timm or --start package:NAME",
            got="no --start",
        )
    if asked.force and asked.output is None:
        raise OptionError("--force writes a file, and none is named", expected="--output FILE", got="no --output")
    if asked.output is None:
        return
    if asked.output.suffix.lower() != ".safetensors":
        raise OptionError(
            "the average is written as safetensors", expected="a name in .safetensors", got=repr(asked.output.name)
        )
    if asked.output.resolve() in {path.resolve() for path in networks}:
        raise OptionError(
            "the average would take the place of one of the networks it is made of",
            expected="another name",
            got=str(asked.output),
        )


def _document(found: "AverageOfFiles", written: Path | None) -> str:
    from transferscope.files.average_estimates import average_estimates
    from transferscope.report.results_file import estimates_as_json

    advice = found.advice
    made = advice.made
    return json.dumps(
        {
            "format": _FORMAT,
            "answer": advice.answer,
            "reason": advice.reason,
            "needs": list(advice.needs),
            "method": None if made is None else made.average.method,
            "shares": {}
            if made is None
            else {member.name: share for member, share in zip(advice.members, made.average.shares, strict=True)},
            "best_single": advice.members[advice.best].name,
            "blocking": list(advice.blocking),
            "forced": advice.forced is not None,
            "written": None if written is None else str(written),
            "decided_on": {"split": "validation", "examples": advice.examples["validation"]},
            "proved_on": {"split": "test", "examples": advice.examples["test"]},
            "not_tried": dict(advice.not_tried),
            "notes": list(advice.notes),
            "estimates": estimates_as_json(average_estimates(advice)),
        },
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )
