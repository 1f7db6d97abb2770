"""``compare``: two files of weights, on the user's data."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from transferscope.commands.printing import say
from transferscope.streams import Lasting

__all__ = ["compare", "progress"]


def compare(
    a: Path, b: Path, model: str | None, data: Path, image_size: int | None, *, fast: bool, quiet: bool
) -> None:
    """Print how two networks differ.

    Args:
        a: file of weights.
        b: another of the same architecture.
        model: the architecture; None reads it from the files' metadata.
        data: folder of labelled pictures.
        image_size: height and width in pixels; None takes the default.
        fast: the path in bfloat16, its ends and maxima again in float32.
        quiet: show no progress.
    """
    from transferscope.running.compare_files import compare_files

    with progress(quiet=quiet) as on_step:
        found = compare_files(a, b, model=model, data=data, image_size=image_size, fast=fast, on_step=on_step)
    say(found.text)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """One line that tells what is being done; on a terminal alone.

    Args:
        quiet: show none.
    """
    from rich.console import Console

    console = Console(file=cast("TextIO", Lasting(sys.stderr)), quiet=quiet or not sys.stderr.isatty())
    with console.status("images and networks") as line:
        yield lambda step, done, most: line.update(f"{step}: {done} of at most {most} points" if most else step)
