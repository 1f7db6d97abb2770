"""What ``compare`` and ``modules`` share: the user's data, options for two files, progress."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from transferscope.commands.settings import divided
from transferscope.errors import OptionError
from transferscope.streams import Lasting

if TYPE_CHECKING:
    from transferscope.data.sources import AbstractSource

_OnStep = Callable[[str, int, int], None]
_OnNote = Callable[[str], None]


def pictures(data: Path, overrides: Sequence[str]) -> "Path | AbstractSource":
    """The data of ``--data`` with settings as of a study."""
    if not overrides:
        return data
    from transferscope.study.template import find_data

    asked, others = divided(overrides)
    if others:
        raise OptionError("--set is for the data here", expected="settings of target.data", got=others[0])
    return find_data(data, asked).source


def of_each(which: Sequence[str]) -> tuple[str | None, str | None]:
    """What ``--which`` says of two files."""
    if len(which) > 2:
        raise OptionError("--which was given too often", expected="once, or once for each file", got=str(len(which)))
    return (which[0], which[-1]) if which else (None, None)


@contextmanager
def progress(*, quiet: bool) -> Iterator[tuple[_OnStep, _OnNote]]:
    """Tell what is being done: in one line on a terminal, else in a line for each step and each quarter of it.

    Returns:
        What to call with each step, and with what a reader must know.
    """
    from rich.console import Console

    terminal = sys.stderr.isatty()
    file = cast("TextIO", Lasting(sys.stderr))
    console = Console(file=file, quiet=quiet or not terminal, markup=False, highlight=False)
    told: set[tuple[str, int]] = set()

    def note(text: str) -> None:
        if terminal:
            console.print(text, soft_wrap=True)
        elif not quiet:
            print(text, file=file, flush=True)

    with console.status("images and networks") as line:

        def step(name: str, done: int, most: int) -> None:
            text = f"{name}: {done} of at most {most} points" if most else name
            line.update(text)
            quarter = (name, 4 * done // most if most else 0)
            if not terminal and quarter not in told:
                told.add(quarter)
                note(text)

        yield step, note
