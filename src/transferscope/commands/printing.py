"""Tables and lines on the terminal."""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transferscope.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

    from transferscope.running.results import Results

from transferscope.streams import printing

DEFAULT_STORE = Path("transferscope-runs")
"""The folder of results where none is named."""
_NOTES = 12


def console() -> "Console":
    """Standard output; 120 columns where it is no terminal, so that tables in files and pipes are whole."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Console(width=width, highlight=False, markup=False, emoji=False)


def say(text: str = "") -> None:
    """One line on standard output, or several."""
    with printing():
        print(printable(text, keep="\n\t"))


def notes(lines: Sequence[str]) -> None:
    """What a reader must know of the data, one ``note:`` line each."""
    for line in lines[:_NOTES]:
        say(f"note: {line}")
    if len(lines) > _NOTES:
        say(f"note: and {len(lines) - _NOTES} more, all of them in the report")


def study_command(
    verb: str, path: Path, overrides: Sequence[str], store: Path, *words: str, allow_code: bool = False
) -> str:
    """A command for the study as it was called, quoted for a shell: what is printed can be pasted.

    >>> study_command("run", Path("my study.yaml"), ["seeds=[0, 1]"], DEFAULT_STORE)
    "transferscope run 'my study.yaml' --set 'seeds=[0, 1]'"
    """
    return shlex.join(["transferscope", verb, str(path), *words, *_options(overrides, store, allow_code=allow_code)])


def demo_command(overrides: Sequence[str], store: Path) -> str:
    """The study of the package as it was called, quoted for a shell.

    >>> demo_command(["seeds=[0, 1]"], Path("runs"))
    "transferscope demo --set 'seeds=[0, 1]' --store runs"
    """
    return shlex.join(["transferscope", "demo", *_options(overrides, store, allow_code=False)])


def _options(overrides: Sequence[str], store: Path, *, allow_code: bool) -> list[str]:
    settings = [word for text in overrides for word in ("--set", text)]
    place = [] if store == DEFAULT_STORE else ["--store", str(store)]
    return [*settings, *place, *(["--allow-code"] if allow_code else [])]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table.

    Args:
        title: above it; empty for none.
        columns: headings; those that begin with ``#`` are right-aligned numbers.
        rows: one value per column; None is shown as ``–``.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith("#")
        shown.add_column(
            Text(column.removeprefix("#")), justify="right" if right else "left", overflow="fold", no_wrap=right
        )
    for row in rows:
        shown.add_row(*(Text("–" if value is None else printable(str(value), keep="\n")) for value in row))
    with printing():
        screen = console()
        # On a narrow terminal lines break: a number without its last digits would be another number.
        screen.width = max(screen.width, screen.measure(shown, options=screen.options.update(width=1000)).minimum)
        screen.print(shown)


def results_summary(results: "Results") -> None:
    """The answer in plain words and what limits it, the variants, the gap, one verdict per analysis, what to do."""
    import polars as pl

    from transferscope.keys import shown
    from transferscope.report.answer import answer
    from transferscope.report.next_steps import choices, next_steps
    from transferscope.report.numbers import basis_words, metric_words, points_words, span_words, value_words
    from transferscope.report.prescription import heading, prescription
    from transferscope.report.sections import NAMES, clauses, metric_of

    if heading(results) is not None:
        for line in prescription(results):
            say(line)
        notes(results.manifest.get("notes", ()))
        return
    found, metric = answer(results), metric_of(results)
    say(f"{found.sentence} {found.advice}")
    say("; ".join(f"{name}: {meaning}" for name, meaning in NAMES))
    for caveat in found.caveats:
        say(f"- {caveat}")
    say(results.verdict)
    notes(results.manifest.get("notes", ()))
    headline = results.headline
    if "test" in headline["split"]:
        headline = headline.filter(pl.col("split") == "test")
    table(
        f"{results.study.name}: the four networks",
        ["network", "split", "metric", "#value", "interval or range", "over", "#learning rate", "note"],
        [
            (
                shown(row["variant"]),
                row["split"],
                row["metric"],
                metric_words(row["value"], metric),
                span_words(metric_words(row["low"], metric), metric_words(row["high"], metric)),
                basis_words(row["basis"], row["n"], short=True),
                None if row["learning_rate"] is None else value_words(row["learning_rate"], "rate"),
                row["note"],
            )
            for row in headline.iter_rows(named=True)
        ],
    )
    table(
        "",
        ["gap", "#value", "interval or range", "over", "note"],
        [
            (
                f"{shown(str(item.at['variant']))} − {shown(str(item.at['rival']))}",
                points_words(item.value, metric),
                span_words(points_words(item.low, metric, unit=False), points_words(item.high, metric, unit=False)),
                basis_words(item.basis, item.n, short=True),
                item.note,
            )
            for item in results.gap
        ],
    )
    table(
        "",
        ["analysis", "verdict"],
        [
            (
                item.analysis.title,
                _verdict(clauses(item.summary.verdict))
                if item.summary is not None
                else f"not applicable: {item.skip_reason}"
                if item.failed is None
                else f"failed: {item.failed.what}",
            )
            for item in results.analyses
            if item.summary is None or item.analysis.name != "outcome"  # its verdict is the study's: it stands above
        ],
    )
    # Not a table, whose folded lines would tear commands apart.
    say("what to do")
    for choice in choices(results):
        say(f"  {choice.topic}: {choice.text.replace('`', '')}")
    say()
    for step in next_steps(results):
        say(f"- {step}")


def _verdict(parts: Sequence[str]) -> str:
    """The first part of a long verdict; the report has all."""
    return parts[0] if len(parts) == 1 else f"{parts[0]} … (all of it in the report)"


def seconds_words(seconds: float | None) -> str:
    """A duration for people.

    >>> seconds_words(42), seconds_words(170), seconds_words(7300), seconds_words(None)
    ('42 s', '3 min', '2.0 h', 'unknown')
    """
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bytes_words(count: float) -> str:
    """A size for people.

    >>> bytes_words(900), bytes_words(12_345_678)
    ('900 B', '12.3 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"
