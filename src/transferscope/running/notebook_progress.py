"""Progress in a notebook: one piece of output that is drawn anew in its place; needs no widgets."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from transferscope.rounding import duration
from transferscope.running.progress import OnEvent, Tally

__all__ = ["in_notebook", "notebook_progress"]

_EVERY = 0.25
"""Seconds between two drawings: a notebook keeps every one on its way to the browser."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    # Ask what is there already: nobody works in a notebook without it, and importing it takes half a second.
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return type(get_ipython()).__name__ == "ZMQInteractiveShell"


@contextmanager
def notebook_progress(
    show: Callable[[str], Callable[[str], None]] | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[OnEvent]:
    """Show events while the block runs: two bars, one line for each running training, and the notes.

    Args:
        show: shows a piece of HTML and gives what replaces it; by default that of IPython.
        clock: seconds, from any zero.

    Yields:
        ``on_event``, as :func:`transferscope.running.progress.progress`.
    """
    started = clock()
    tally, notes, drawn = Tally(clock=clock), list[str](), [started]
    replace = (show or _display)(_page(tally, notes))

    def on_event(event: dict[str, Any]) -> None:
        line = tally.take(event)
        if line is not None and event["kind"] not in ("trained", "measured"):
            notes.append(line)
        elif clock() - drawn[0] < _EVERY:
            return
        drawn[0] = clock()
        replace(_page(tally, notes))

    try:
        yield on_event
    finally:
        # What no drawing has shown yet, and no line of something that runs no more.
        tally.trainings.running.clear()
        tally.units.running.clear()
        replace(_page(tally, notes, clock() - started))


def _display(html: str) -> Callable[[str], None]:
    from IPython.display import HTML, display

    handle = display(HTML(html), display_id=True)
    return lambda text: handle.update(HTML(text))


def _page(tally: Tally, notes: list[str], took: float | None = None) -> str:
    lines = []
    for name, row in (("trainings", tally.trainings), ("measurements", tally.units)):
        if row.total:
            left = "" if row.left is None or row.done >= row.total else f", {duration(row.left)} left"
            lines.append(_bar(name, row.completed / row.total, f"{row}{left}"))
    for network, share in tally.trainings.running.items():
        rate = f"{tally.positions[network]}, {tally.rates.get(network, 0.0):,.0f} images/s"
        lines.append(_bar(tally.labels[network], share, rate))
    lines += [f"<div>measuring {escape(name)}</div>" for name in tally.units.running]
    lines += [f"<div>{escape(note)}</div>" for note in notes]
    if took is not None:
        lines.append(f"<div>took {duration(took)}</div>")
    return f'<div style="font-family:monospace">{"".join(lines) or "preparing …"}</div>'


def _bar(name: str, share: float, words: str) -> str:
    return (
        f'<div><progress max="1" value="{share:.3f}" style="width:16em"></progress> '
        f"{escape(name)} {escape(words)}</div>"
    )
