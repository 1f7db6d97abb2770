"""Runs read again: those of a watch, finished or killed, and the folders of timm's ``train.py``."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from transferscope.arguments import checked_as
from transferscope.errors import DataError
from transferscope.store.system_errors import translated
from transferscope.study.columns import schema
from transferscope.watching.columns import TABLES
from transferscope.watching.layout import RUN, START, Checkpoint, checkpoint_index

__all__ = ["Run", "RunNote", "empty_tables", "is_run", "read_watched"]


@dataclass(frozen=True)
class RunNote:
    """What a reader of a run must know.

    Attributes:
        kind: key: ``failure``, ``left_out``, ``own_start``, ``changed``, ``not_compared``, ``damaged``, ``loop``, ...
        text: in words.
        step: at which it was noted.
    """

    kind: str
    text: str
    step: int


@dataclass(frozen=True)
class Run:
    """A training that was watched, or left checkpoints.

    Attributes:
        folder: where it lies.
        name: in reports.
        group: what it repeats; None for nothing.
        kind: ``watch`` or ``timm``.
        status: ``finished``, ``failed``, ``left``, or ``unfinished``: killed, or still running.
        facts: of its folder.
        tables: ``steps``, ``metrics``, ``similarity`` in their declared columns, one row for each step and module.
        checkpoints: whose files are there, in order of steps.
        start: file of what it started from; None where it is not known.
        notes: what a reader must know.
    """

    folder: Path
    name: str
    group: str | None
    kind: str
    status: str
    facts: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame]
    checkpoints: tuple[Checkpoint, ...]
    start: Path | None
    notes: tuple[RunNote, ...]

    @property
    def last(self) -> Path | None:
        """The last weights; None where no checkpoint is there."""
        return self.folder / self.checkpoints[-1].file if self.checkpoints else None


def is_run(folder: Path) -> bool:
    """Whether a watch wrote this folder."""
    return (folder / RUN).is_file()


def empty_tables() -> dict[str, pl.DataFrame]:
    """Tables without rows."""
    return {name: pl.DataFrame(schema=schema(columns)) for name, columns in TABLES.items()}


@checked_as(DataError)
def read_watched(folder: str | Path) -> Run:
    """The run that a watch wrote; of one that was killed, all that had been written.

    A session that went back to an earlier step replaces what sessions before it recorded from there on.

    Args:
        folder: the ``out`` of the watch.

    Raises:
        DataError: no run lies there.
        StoreError: it cannot be read.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise DataError(
            f"{folder} is no run",
            expected=f"a folder with {RUN}, as transferscope.watch writes it",
            got="a folder without it" if folder.is_dir() else "no folder",
        )
    with translated(folder, "read"):
        facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
        notes = list(_notes(folder / "notes.jsonl"))
        tables = {name: _table(folder, name, notes) for name in TABLES}
        began = sorted(folder.glob("session-[0-9][0-9][0-9].json"))
        end = began[-1].with_name(f"{began[-1].stem}-end.json") if began else None
        ended = json.loads(end.read_text(encoding="utf-8")) if end is not None and end.is_file() else {}
    start = folder / START
    return Run(
        folder=folder,
        name=facts["name"],
        group=facts["group"],
        kind="watch",
        status=ended.get("status", "unfinished"),
        facts=facts | {"error": ended.get("error"), "every": ended.get("every")},
        tables=tables,
        checkpoints=tuple(checkpoint_index(folder)),
        start=start if start.is_file() else None,
        notes=tuple(notes),
    )


def _notes(path: Path) -> Iterator[RunNote]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            row = None  # the line at which a process died
        if isinstance(row, dict):
            yield RunNote(row["kind"], row["text"], row["step"])


def _table(folder: Path, table: str, notes: list[RunNote]) -> pl.DataFrame:
    columns = schema(TABLES[table])
    parts: dict[str, list[Path]] = {}
    for path in sorted((folder / "records").glob(f"{table}-*.parquet")):
        parts.setdefault(path.stem.split("-")[1], []).append(path)
    frames = [pl.DataFrame(schema=columns)]
    for paths in parts.values():
        # Joined parts hold all of their session; a process that died while it joined them left both.
        whole = [path for path in paths if path.stem.count("-") == 1]
        for path in whole or paths:
            try:
                frames.append(pl.read_parquet(path).select(list(columns)).cast(columns))  # type: ignore[arg-type]
            except (pl.exceptions.PolarsError, OSError) as error:
                notes.append(RunNote("damaged", f"{path.name} cannot be read: {error}", 0))
    rows = pl.concat(frames)
    first = rows.group_by("session").agg(pl.col("step").min().alias("from"))
    for session, start in first.sort("session").iter_rows():
        rows = rows.filter((pl.col("session") >= session) | (pl.col("step") < start))
    return rows.sort("step", maintain_order=True)
