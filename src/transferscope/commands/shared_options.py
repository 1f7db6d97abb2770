"""Options and arguments that several commands take, as typer reads them."""

from pathlib import Path
from typing import Annotated

import typer

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting, e.g. target.image_size=96 or seeds.0=7. Can be given again.",
        show_default=False,
    ),
]
Store = Annotated[
    Path,
    typer.Option(
        "--store",
        metavar="DIR",
        envvar="TRANSFERSCOPE_STORE",
        help="Where results are kept; what lies there is not computed again.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", help="Run functions (package.module:function) that the study names; look at them first."
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Labelled pictures: class folders, Parquet (file or folder) or NumPy files.",
        show_default=False,
    ),
]
DataSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="target.data.NAME=VALUE",
        help="How the data are read, as in a study. Can be given again.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="timm:NAME",
        help="The architecture; from the files' metadata if not given.",
        show_default=False,
    ),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=8, help="Height and width in pixels.", show_default=False)
]
Which = Annotated[
    list[str] | None,
    typer.Option(
        "--which",
        metavar="raw|ema|PLACE",
        help="Of files with several networks: the weights, their average, or where one lies; twice for A and B.",
        show_default=False,
    ),
]
