"""The folder of one run: write-once parts of records, notes, checkpoints; readable whenever the process dies."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from transferscope.errors import OptionError
from transferscope.networks.weight_files import write_state
from transferscope.store.atomic import make_folder, replace_file, replacing
from transferscope.store.system_errors import translated
from transferscope.study.columns import schema
from transferscope.watching.columns import TABLES
from transferscope.watching.layout import CHECKPOINTS, RUN, START, Checkpoint, checkpoint_index, session_name

__all__ = ["RunFolder"]

_DIGITS = 8


class RunFolder:
    """Writes a run: every file appears whole, and none is changed but the index of checkpoints.

    Args:
        folder: made if it is not there.
        facts: of the run, written once.
        resume: continue the run that lies there; its facts stay.

    Attributes:
        session: number of this process among those that wrote the run.
        resumed: whether a run was there.

    Raises:
        OptionError: a run lies there and ``resume`` is False, or something else lies there.
        StoreError: it cannot be written.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
        self.path = folder
        with translated(folder, "make"):
            there = (folder / RUN).exists()
            if there and not resume:
                raise OptionError(
                    f"{folder} holds a run already",
                    expected="a folder of its own for every run",
                    hint="give another out, or resume=True to continue that run",
                )
            if not there and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise OptionError(
                    f"{folder} is no folder of a run, and not empty",
                    expected="a new or empty folder",
                    hint="give another out",
                )
            make_folder(folder / "records")
        self.resumed = there
        if not there:
            replace_file(folder / RUN, _json(facts))
        taken = [int(path.name[8:11]) for path in folder.glob("session-[0-9][0-9][0-9].json")]
        self.session = max(taken, default=-1) + 1
        self._parts: dict[str, list[Path]] = {}
        self._lock = threading.Lock()
        self.checkpoints = checkpoint_index(folder)

    @property
    def start(self) -> Path:
        """The file of the start."""
        return self.path / START

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Note who records this session, and with which settings."""
        replace_file(self.path / f"session-{session_name(self.session)}.json", _json(facts))

    def end(self, facts: Mapping[str, Any]) -> None:
        """Note how the session ended, and join its parts: a run that was killed keeps them as they are."""
        for table, parts in self._parts.items():
            if len(parts) > 1:
                whole = pl.concat([pl.read_parquet(part) for part in parts])
                with replacing(self._part(table)) as place:
                    whole.write_parquet(place)
                for part in parts:
                    part.unlink(missing_ok=True)
        replace_file(self.path / f"session-{session_name(self.session)}-end.json", _json(facts))

    def add(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows of a table as a new part.

        Args:
            table: ``steps``, ``metrics`` or ``similarity``.
            rows: in the declared columns, without ``session``.
        """
        if not rows:
            return
        columns = TABLES[table]
        full = [{"session": self.session, **row} for row in rows]
        with self._lock:
            parts = self._parts.setdefault(table, [])
            path = self._part(table, len(parts))
            with replacing(path) as place:
                pl.DataFrame(full, schema=schema(columns), orient="row").write_parquet(place)
            parts.append(path)

    def note(self, kind: str, text: str, step: int) -> None:
        """Add a line to the notes: what a reader must know."""
        line = json.dumps({"session": self.session, "step": step, "kind": kind, "text": text}, ensure_ascii=False)
        with translated(self.path / "notes.jsonl", "write"), (self.path / "notes.jsonl").open("ab") as file:
            # A line that a dead process left unfinished must not swallow this one.
            file.write(f"\n{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def keep(self, state: Mapping[str, Tensor], made: Checkpoint, metadata: Mapping[str, str]) -> None:
        """Write a checkpoint, or give one of the same step another reason."""
        known = next((item for item in self.checkpoints if item.file == made.file), None)
        if known is None or made.step != known.step:
            write_state(self.path / made.file, state, metadata)
        reasons = tuple(dict.fromkeys((*(known.reasons if known else ()), *made.reasons)))
        metric = made.metric if made.metric is not None else (known.metric if known else None)
        others = [item for item in self.checkpoints if item is not known]
        self._index([*others, Checkpoint(made.file, made.step, made.epoch, reasons, metric)])

    def release(self, reason: str, *, but: Sequence[str]) -> None:
        """Take a reason from all checkpoints but some; those that have no other are removed.

        Args:
            reason: of a rule.
            but: files that keep it.
        """
        left, gone = [], []
        for item in self.checkpoints:
            reasons = tuple(each for each in item.reasons if each != reason or item.file in but)
            if reasons:
                left.append(Checkpoint(item.file, item.step, item.epoch, reasons, item.metric))
            else:
                gone.append(item)
        if left != self.checkpoints:
            self._index(left)
        for item in gone:
            (self.path / item.file).unlink(missing_ok=True)

    def _index(self, items: Sequence[Checkpoint]) -> None:
        ordered = sorted(items, key=lambda item: (item.step, item.file))
        replace_file(self.path / CHECKPOINTS, _json([asdict(item) for item in ordered]))
        self.checkpoints = ordered

    def _part(self, table: str, part: int | None = None) -> Path:
        ending = "" if part is None else f"-{part:0{_DIGITS}d}"
        return self.path / "records" / f"{table}-{session_name(self.session)}{ending}.parquet"


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
