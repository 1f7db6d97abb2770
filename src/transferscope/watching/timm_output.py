"""The folder that timm's ``train.py`` writes, read as a run: ``summary.csv``, ``args.yaml`` and its checkpoints."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from torch import nn

from transferscope.errors import DataError, TransferscopeError, WeightsError
from transferscope.networks.architectures import build
from transferscope.networks.heads import head_name
from transferscope.networks.weight_files import read_file
from transferscope.networks.weight_pickles import read_pickle
from transferscope.specs.architecture import Architecture
from transferscope.store.system_errors import translated
from transferscope.study.columns import schema
from transferscope.watching.columns import TABLES, WHOLE
from transferscope.watching.layout import Checkpoint
from transferscope.watching.movement import Movement
from transferscope.watching.reading import Run, RunNote, empty_tables

__all__ = ["is_timm", "read_timm"]

_SUMMARY, _ARGUMENTS = "summary.csv", "args.yaml"
_NUMBERED = re.compile(r"checkpoint-(\d+)\.pth\.tar")


def is_timm(folder: Path) -> bool:
    """Whether timm's ``train.py`` wrote this folder."""
    return (folder / _SUMMARY).is_file() or any(folder.glob("*.pth.tar"))


def read_timm(folder: Path, start: Path | None = None) -> Run:
    """A run of timm's ``train.py``: metrics of every epoch, and the distance of every kept checkpoint from the start.

    timm counts epochs, not steps: ``step`` holds the epochs done.

    Args:
        folder: with ``summary.csv``, ``args.yaml`` and ``*.pth.tar``.
        start: file of what it came from; without it there are no distances, and a note says so.

    Raises:
        DataError: nothing of timm's lies there, or ``summary.csv`` cannot be read.
        WeightsError: ``start`` cannot be read.
    """
    if not is_timm(folder):
        raise DataError(
            f"{folder} is no output of timm's train.py",
            expected=f"{_SUMMARY}, {_ARGUMENTS} and *.pth.tar",
            got="a folder without them" if folder.is_dir() else "no folder",
        )
    notes: list[RunNote] = []
    arguments = _arguments(folder / _ARGUMENTS, notes)
    checkpoints = tuple(_checkpoints(folder, notes))
    tables = empty_tables() | {"metrics": _metrics(folder / _SUMMARY, notes)}
    if start is None:
        text = "what it started from is not in its folder: without it there are no distances (--start FILE)"
        notes.append(RunNote("no_start", text, 0))
    elif checkpoints:
        tables["steps"] = _distances(folder, checkpoints, start, arguments, notes)
    model = arguments.get("model")
    return Run(
        folder=folder,
        name=folder.name,
        group=None,
        kind="timm",
        status="unfinished" if _fewer(tables["metrics"], arguments) else "finished",
        facts={"architecture": f"timm:{model}" if model else None, "arguments": arguments},
        tables=tables,
        checkpoints=checkpoints,
        start=start,
        notes=tuple(notes),
    )


def _arguments(path: Path, notes: list[RunNote]) -> Mapping[str, Any]:
    with translated(path, "read"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        notes.append(RunNote("damaged", f"{path.name} cannot be read: {error}", 0))
        found = {}
    return found if isinstance(found, dict) else {}


def _fewer(metrics: pl.DataFrame, arguments: Mapping[str, Any]) -> bool:
    planned = arguments.get("epochs")
    done = metrics["step"].max() if metrics.height else 0
    return isinstance(planned, int) and isinstance(done, int) and done < planned


def _checkpoints(folder: Path, notes: list[RunNote]) -> Iterator[Checkpoint]:
    found: dict[int, tuple[Path, list[str]]] = {}
    for path in folder.glob("*.pth.tar"):
        numbered = _NUMBERED.fullmatch(path.name)
        if numbered is not None:
            epoch: int | None = int(numbered[1])
        else:
            epoch = _epoch(path, notes)
        reason = {"last.pth.tar": "last", "model_best.pth.tar": "best"}.get(path.name, "epochs")
        if epoch is None:
            continue
        # The same weights lie under several names: that with the number goes first.
        kept, reasons = found.get(epoch, (path, []))
        found[epoch] = (path if numbered else kept, [*reasons, reason])
    for epoch, (path, reasons) in sorted(found.items()):
        yield Checkpoint(path.name, epoch + 1, epoch + 1.0, tuple(sorted(reasons)))


def _epoch(path: Path, notes: list[RunNote]) -> int | None:
    try:
        content = read_pickle(path)
    except WeightsError as error:
        notes.append(RunNote("damaged", error.what, 0))
        return None
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    return epoch if isinstance(epoch, int) else None


def _metrics(path: Path, notes: list[RunNote]) -> pl.DataFrame:
    columns = schema(TABLES["metrics"])
    if not path.is_file():
        notes.append(RunNote("no_summary", f"there is no {path.name}: no metrics", 0))
        return pl.DataFrame(schema=columns)
    try:
        with translated(path, "read"):
            table = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True)
        # train.py writes another header where a resumed run has other metrics, and may die within a line.
        table = table.with_columns(pl.all().cast(pl.Float64, strict=False)).drop_nulls("epoch")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read as a table", expected="timm's summary", got=str(error)[:200]) from error
    long = table.unpivot(index="epoch", variable_name="name", value_name="value").drop_nulls("value")
    long = long.with_columns(
        session=pl.lit(0), step=pl.col("epoch").cast(pl.Int64) + 1, epoch=pl.col("epoch") + 1,
        value=pl.when(pl.col("value").is_finite()).then("value"),
    )  # fmt: skip
    # A resumed run writes an epoch again: the later line counts.
    long = long.unique(["step", "name"], keep="last", maintain_order=True)
    return long.select(list(columns)).cast(columns).sort("step", maintain_order=True)  # type: ignore[arg-type]


def _distances(
    folder: Path, checkpoints: tuple[Checkpoint, ...], start: Path, arguments: Mapping[str, Any], notes: list[RunNote]
) -> pl.DataFrame:
    started, rows = read_file(start), []
    network: nn.Module | None = None
    for item in checkpoints:
        try:
            state = read_file(folder / item.file)
            if network is None:
                architecture = Architecture(name=f"timm:{arguments['model']}")
                head = head_name(build(architecture, 2, 0), architecture)
                classes = next(value.shape[0] for name, value in state.items() if name.startswith(f"{head}."))
                network = build(architecture, classes, 0)
            network.load_state_dict(state)
        except (TransferscopeError, RuntimeError, KeyError, StopIteration) as error:
            notes.append(RunNote("damaged", f"{item.file} is left out: {type(error).__name__}: {error}", item.step))
            continue
        movement = Movement(network, started, "block", updates=False, own_start=False)
        observed = movement.observe()
        place = {"session": 0, "step": item.step, "epoch": item.epoch, "update_steps": None}
        rows += [{**place, **vars(shown)} for shown in observed.shown(observed.sums, WHOLE)]
        if movement.left_out and not any(note.kind == "left_out" for note in notes):
            names = ", ".join(list(movement.left_out)[:5])
            text = f"not in the start with this name and shape, so without a distance: {names}"
            notes.append(RunNote("left_out", text, item.step))
    return pl.DataFrame(rows, schema=schema(TABLES["steps"]), orient="row")
