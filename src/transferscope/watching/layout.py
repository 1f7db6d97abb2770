"""Names of files in the folder of a run, and its index of checkpoints."""

import json
from dataclasses import dataclass
from pathlib import Path

from transferscope.store.system_errors import translated

__all__ = ["CHECKPOINTS", "RUN", "START", "Checkpoint", "checkpoint_index", "session_name"]

RUN, START, CHECKPOINTS = "run.json", "start.safetensors", "checkpoints.json"


@dataclass(frozen=True)
class Checkpoint:
    """One kept file of weights.

    Attributes:
        file: its path from the run's folder.
        step: optimiser steps done.
        epoch: epochs done; None where the loop said none.
        reasons: the rules that keep it: ``steps``, ``log``, ``epochs``, ``last``, ``best``, ``end``.
        metric: its value under the rule ``best``.
    """

    file: str
    step: int
    epoch: float | None
    reasons: tuple[str, ...]
    metric: float | None = None


def session_name(session: int) -> str:
    """What the files of a session are called by."""
    return f"{session:03d}"


def checkpoint_index(folder: Path) -> list[Checkpoint]:
    """The kept checkpoints of a run whose files are there."""
    path = folder / CHECKPOINTS
    with translated(path, "read"):
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    found = [Checkpoint(**{**row, "reasons": tuple(row["reasons"])}) for row in rows]
    return [item for item in found if (folder / item.file).is_file()]
