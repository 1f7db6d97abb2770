"""``compare``: with or without data, shown as asked, and as a gate."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferscope.commands.comparing import of_each, pictures, progress
from transferscope.commands.printing import say
from transferscope.commands.reporting import GATE
from transferscope.commands.shared_options import DataSettings, ImageSize, Model, Which
from transferscope.errors import MeasureError, OptionError
from transferscope.streams import told

if TYPE_CHECKING:
    from transferscope.files.fail_if import Condition
    from transferscope.report.comparison import Compared
    from transferscope.specs.architecture import FileWeights

__all__ = ["Asked", "Shown", "compare"]


@dataclass(frozen=True)
class Asked:
    """What is compared, and on what.

    Attributes:
        data: labelled pictures; None compares weights alone.
        overrides: settings of the data.
        model: the architecture; None reads it from the files' metadata.
        image_size: height and width in pixels; None takes the default.
        which: of the networks in the files: one word for both, or one for each.
        old_head: a file whose head stands for that of the first network where forgetting is measured.
        fast: the path in bfloat16, its ends and maxima again in float32.
        ranks: of the changes of all matrices.
    """

    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Labelled pictures (as of init) to compare what they do; without, their weights alone are compared.",
            show_default=False,
        ),
    ] = None
    overrides: DataSettings = None
    model: Model = None
    image_size: ImageSize = None
    which: Which = None
    old_head: Annotated[
        Path | None,
        typer.Option(
            "--old-head",
            metavar="FILE",
            help="Weights whose head stands for that of A where it is measured what B has forgotten.",
            show_default=False,
        ),
    ] = None
    fast: Annotated[
        bool,
        typer.Option("--fast", help="The path in bfloat16; its ends and maxima again in float32, the difference said."),
    ] = False
    ranks: Annotated[bool, typer.Option("--ranks/--no-ranks", help="The ranks of all changes: most of the time.")] = (
        True
    )


@dataclass(frozen=True)
class Shown:
    """How the result is shown.

    Attributes:
        fail_if: the condition of a gate.
        as_json: print JSON.
        as_markdown: print Markdown.
        html: write a page.
    """

    fail_if: Annotated[
        str | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="End with exit code 3 where it holds, e.g. 'error_barrier > 0.02 or churn > 0.01'.",
            show_default=False,
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="For programs: every number under its key.")] = False
    as_markdown: Annotated[bool, typer.Option("--markdown", help="For a pull request.")] = False
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page as well.", show_default=False)
    ] = None


def compare(a: Path, b: Path, asked: Asked, shown: Shown, *, quiet: bool) -> None:
    """Print how two networks differ; end with exit code 3 where the condition of ``--fail-if`` holds.

    Args:
        a: file of weights.
        b: another.
        asked: on what.
        shown: how.
        quiet: show no progress.

    Raises:
        OptionError: options that do not go together, or a condition that cannot be read.
        TransferscopeError: what was compared went wrong, or leaves the condition open.
    """
    _check(asked, shown)
    from transferscope.report.comparison import Verdict, as_html, as_json, as_markdown, as_text

    condition = _condition(asked, shown.fail_if)
    first, second = of_each(asked.which or ())
    from transferscope.specs.architecture import FileWeights

    files = FileWeights(path=str(a), which=first), FileWeights(path=str(b), which=second)
    page, compared, left_out = (_on_weights if asked.data is None else _on_data)(files, asked, quiet=quiet)
    still_open = None
    if condition is not None:
        try:
            holds = condition.holds(compared.estimates, left_out)
            compared = replace(compared, verdict=Verdict(condition.text, holds, condition.values(compared.estimates)))
        except MeasureError as error:  # raised again, once what was found has been shown
            still_open = error
    if shown.html is not None:
        from transferscope.store.atomic import replace_file

        replace_file(shown.html, as_html(compared).encode())
    if shown.as_json or shown.as_markdown:
        say((as_json if shown.as_json else as_markdown)(compared))
    elif page is None:
        say(as_text(compared))
    else:
        say(f"{page}\n\n{as_text(replace(compared, notes=()), _ON_THE_PAGE)}")
    if still_open is not None:
        raise still_open
    if compared.verdict is not None and compared.verdict.holds:
        told(compared.verdict.sentence)
        raise typer.Exit(GATE)


_ON_THE_PAGE = (
    "metric_a", "metric_b", "error_consistency", "error_barrier", "loss_barrier", "aligned_error_barrier",
    "average_loss", "distance",
)  # fmt: skip
"""Keys whose numbers the page of a comparison on data has."""

Found = tuple[str | None, "Compared", tuple[str, ...]]
"""The page of a comparison on data, all numbers, and why some were not measured."""


def _check(asked: Asked, shown: Shown) -> None:
    if shown.as_json and shown.as_markdown:
        raise OptionError("--json and --markdown are two forms of one output", expected="one of them", got="both")
    if asked.data is not None:
        return
    given = {
        "--set": asked.overrides,
        "--model": asked.model,
        "--image-size": asked.image_size,
        "--old-head": asked.old_head,
        "--fast": asked.fast,
    }
    if lost := [name for name, value in given.items() if value]:
        raise OptionError(
            f"{', '.join(lost)} says something of data, and there are none",
            expected="--data PATH with it",
            got="no --data",
            hint="give --data, or compare weights alone without it",
        )


def _condition(asked: Asked, text: str | None) -> "Condition | None":
    if text is None:
        return None
    from transferscope.files.comparison_estimates import DATA, RANKS, WEIGHTS
    from transferscope.files.fail_if import parse_condition

    missing = {} if asked.ranks else dict.fromkeys(RANKS, "no --no-ranks")
    if asked.data is None:
        missing |= dict.fromkeys(DATA, "--data PATH (labelled pictures)")
    return parse_condition(text, {*WEIGHTS, *DATA} - missing.keys(), missing)


def _on_weights(files: "tuple[FileWeights, FileWeights]", asked: Asked, *, quiet: bool) -> Found:
    from transferscope.files.compare_weights import compare_weight_files
    from transferscope.files.comparison_estimates import weight_estimates, weight_notes
    from transferscope.report.comparison import Compared

    with progress(quiet=quiet) as (on_step, _):
        found = compare_weight_files(*files, ranks=asked.ranks, on_step=on_step)
    return None, Compared(files[0].path, files[1].path, weight_estimates(found), weight_notes(found)), ()


def _on_data(files: "tuple[FileWeights, FileWeights]", asked: Asked, *, quiet: bool) -> Found:
    from transferscope.files.compare import compare_files
    from transferscope.files.comparison_estimates import data_estimates, weight_estimates, weight_notes
    from transferscope.files.networks import FileSettings
    from transferscope.methods.compare.compare import PathGrid
    from transferscope.report.comparison import Compared
    from transferscope.specs.architecture import FileWeights

    assert asked.data is not None
    given = FileSettings(pictures(asked.data, asked.overrides or ()), asked.model, asked.image_size)
    old = None if asked.old_head is None else FileWeights(path=str(asked.old_head))
    with progress(quiet=quiet) as (on_step, on_note):
        found = compare_files(
            *files,
            given,
            old_head=old,
            ranks=asked.ranks,
            path=PathGrid(fast=asked.fast),
            on_step=on_step,
            on_note=on_note,
        )
    left_out = tuple(f"{name}: {reason}" for name, reason in found.not_measured.items())
    weights = found.weights
    of_weights = () if weights is None else weight_estimates(weights)
    notes = (*found.notes, *(() if weights is None else weight_notes(weights)))
    estimates = (*data_estimates(found), *of_weights)
    return found.text, Compared(files[0].path, files[1].path, estimates, (*notes, *left_out)), left_out
