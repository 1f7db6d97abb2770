"""``look``: what the data are and what pre-training is worth, before anything is trained."""

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferscope.commands.comparing import progress
from transferscope.commands.printing import say, table
from transferscope.commands.settings import divided
from transferscope.errors import DataError, OptionError

if TYPE_CHECKING:
    from transferscope.look.result import Look
    from transferscope.study.settings import Study
    from transferscope.study.template import Found

__all__ = ["Asked", "brief", "brief_data", "look"]

_NAMED = 5
_BRIEF = 400
"""Images of a short look: seconds."""


@dataclass(frozen=True)
class Asked:
    """What is looked at, with what, and where it goes; as options."""

    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME|FILE",
            help="efficientnet-lite0, a name of timm's whose weights are on this disk, or your own file. Can be given "
            "again.",
            show_default="efficientnet-lite0",
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
            help="Read so many at most, of every class, and probe all of them.",
            show_default="all are read, 2000 probed",
        ),
    ] = None
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=8, help="Height and width in pixels.", show_default=False)
    ] = None
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto"
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PAGE.html", help="The page; FOLDER-look.html here if not given."),
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every number under its key; a page only with --output.")
    ] = False
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="target.data.NAME=VALUE",
            help="How the data are read, as in a study. Can be given again.",
            show_default=False,
        ),
    ] = None


def look(place: Path, asked: Asked, *, quiet: bool) -> None:
    """Look at a folder, print the answer and write the page.

    Args:
        place: class folders, Parquet or NumPy files.
        asked: on what, and how it is shown.
        quiet: show no progress.

    Raises:
        OptionError: the page's name does not end in ``.html``, or ``--set`` is for something else.
        TransferscopeError: data or networks cannot be used.
    """
    output, as_json, overrides = asked.output, asked.as_json, asked.overrides or ()
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise OptionError("the page has another ending", expected="--output NAME.html", got=str(output))
    data, others = divided(overrides)
    if others:
        raise OptionError("--set is for the data here", expected="settings of target.data", got=others[0])
    from transferscope.look.look import look as first_look
    from transferscope.look.settings import LookSettings
    from transferscope.report.look_words import first_words
    from transferscope.store.atomic import replace_file

    settings = LookSettings(
        tuple(asked.models or ()),
        asked.architecture,
        asked.images,
        asked.image_size,
        asked.device,
        dict(data),
        tuple(overrides),
    )
    said: list[str] = []

    def first(seen: "Look") -> None:
        if not said and not as_json:
            said.append(first_words(seen))
            say(said[0])
            sys.stdout.flush()

    start = time.monotonic()
    with progress(quiet=quiet) as (on_step, _):
        found = first_look(place, settings, first, on_step)
    if as_json:
        say(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)
    if output is not None or not as_json:
        from transferscope.report.look_page import look_page

        page = output if output is not None else Path(f"{found.name}-look.html")
        replace_file(page, look_page(found).encode())
        if not as_json:
            say(f"page: {page.resolve()} ({time.monotonic() - start:.0f} s in all)")


def brief(study: "Study", store: Path, *, quiet: bool) -> None:
    """Print what pre-training is worth on the training images of a study, before any training, within seconds.

    The images are decoded into the store, where the study finds them.

    Args:
        study: with images and weights.
        store: of its run.
        quiet: show no progress.
    """
    from transferscope.data.splits import make_splits
    from transferscope.data.store import open_images
    from transferscope.look.look import look_at_images
    from transferscope.look.settings import LookSettings
    from transferscope.report.look_words import worth_words
    from transferscope.specs.architecture import PackageWeights

    target, weights = study.target, study.source.weights
    model = weights.name if isinstance(weights, PackageWeights) else study.source.architecture.name
    settings = LookSettings((model,), images=_BRIEF, device=study.compute.device)
    with progress(quiet=quiet) as (on_step, _):
        images = open_images(target.data, target.image_size, store / "images", target.on_unreadable, decoding=target)
        inside = make_splits(images, target.splits)["train"]
        found = look_at_images(images, inside, study.name, settings, on_step)
    say(f"first look, before any training: {worth_words(found)}")


def brief_data(found: "Found", place: Path) -> None:
    """Print what a part of the images is, from one reading of them.

    Args:
        found: the data.
        place: where they lie.
    """
    from transferscope.look.look import look_at_data
    from transferscope.report.look_words import data_words

    try:
        said = data_words(look_at_data(found, place, _BRIEF))
    except DataError as error:
        # A study can be written all the same; a run says it again.
        said = str(error)
    more = shlex.join(["transferscope", "look", str(place)])
    say(f"first look: {said} All of it: {more}")


def _print(found: "Look") -> None:
    from transferscope.report.look_words import (
        conflict_lines,
        data_rows,
        model_words,
        preprocessing_rows,
        probe_rows,
        sentences,
        step_words,
    )

    say()
    for sentence in sentences(found):
        say(sentence)
    say()
    for name, value in data_rows(found):
        say(f"  {name}: {value}")
    _named("cannot be read", [f"{name}: {why}" for name, why in found.unreadable])
    _named("under several labels, or across splits", conflict_lines(found))
    _named("labels in doubt", [f"{item.name}: {item.label}, or {item.suggested}?" for item in found.suspects])
    _named("confused classes", [f"{pair.label} and {pair.rival}: {pair.count} images" for pair in found.confusions])
    for model in found.models:
        say(f"network: {model_words(model)}")
    if found.models:
        columns = ["network", "features", "read by", "#metric", "#95 % interval", "#images"]
        table("what can be read off, before any training", columns, probe_rows(found))
    if costs := preprocessing_rows(found):
        columns = ["network", "preprocessing, in place of what is used", "#probe", "#95 % interval", "#images"]
        table("", columns, costs)
    say("what next")
    for words, command in map(step_words, found.steps):
        say(f"  {words}:")
        say(f"    {command}")
    for note in found.notes if not found.steps else ():
        say(f"note: {note}")


def _named(title: str, lines: Sequence[str]) -> None:
    if lines:
        say(f"{title}:")
        for line in lines[:_NAMED]:
            say(f"  {line}")
        if len(lines) > _NAMED:
            say(f"  and {len(lines) - _NAMED} more, on the page")
