"""Weights in several files: the index that names them, the folder they lie in, or one of them beside the others."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from transferscope.errors import WeightsError
from transferscope.networks.weight_formats import format_of, unreadable

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)(?P<end>\.\w+)")
# As the Hugging Face libraries name a network's weights, in the order in which they look for them.
_USUAL = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# What training leaves beside the weights in such a folder.
_OTHERS = ("optimizer", "scheduler", "random_states", "rng_state", "training_args", "scaler", "sampler")
_MAX_FILES = 1000
_SHOWN = 5


def parts_of(path: Path) -> dict[Path, tuple[str, ...]]:
    """The files that weights lie in, with the tensors that an index expects in each."""
    kind = format_of(path)
    if kind == "folder":
        return parts_of(_in_folder(path))
    if kind == "index":
        return _of_index(path)
    named = _PART.fullmatch(path.name)
    if named is None:
        return {path: ()}
    count = int(named["count"])
    width = len(named["number"])
    start, end = named["stem"], f"-of-{named['count']}{named['end']}"
    if not 1 <= int(named["number"]) <= count <= _MAX_FILES:
        return {path: ()}
    parts = [path.with_name(f"{start}-{number:0{width}}{end}") for number in range(1, count + 1)]
    _all_there(path, parts)
    return dict.fromkeys(parts, ())


def _of_index(path: Path) -> dict[Path, tuple[str, ...]]:
    names: dict[str, list[str]] = {}
    for tensor, part in json.loads(path.read_text(encoding="utf-8"))["weight_map"].items():
        if not isinstance(part, str) or Path(part).name != part:
            raise WeightsError(
                f"the index {path} names a part outside its folder",
                expected="names of files beside the index",
                got=repr(part)[:200],
                hint="fetch or copy the parts and their index into one folder",
            )
        names.setdefault(part, []).append(tensor)
    parts = {path.with_name(part): tuple(tensors) for part, tensors in sorted(names.items())}
    _all_there(path, parts)
    return parts


def _all_there(path: Path, parts: Iterable[Path]) -> None:
    listed = list(parts)
    missing = [part.name for part in listed if not part.is_file()]
    if missing:
        raise WeightsError(
            f"the weights {path} are not complete",
            expected=f"{len(listed)} parts in {path.parent}",
            got=f"missing: {_few(missing)}",
            hint="fetch or copy all parts into one folder",
        )
    odd = [part.name for part in listed if format_of(part) not in ("safetensors", "torch")]
    if odd:
        raise WeightsError(f"parts of the weights {path} are no files of tensors: {_few(odd)}", hint="fetch them again")


def weights_in(folder: Path) -> tuple[Path, ...]:
    """The weights in a folder, each a file, an index or one of several parts, in the order of their names.

    Those of a name that the Hugging Face libraries give stand for the whole folder; what training leaves beside weights
    is passed over.

    Raises:
        WeightsError: the folder cannot be read.
    """
    files = _files(folder)
    usual = [files[name] for name in _USUAL if name in files]
    if usual:
        return (usual[0],)
    found = [item for name, item in files.items() if item.is_file() and not name.startswith(_OTHERS) and _holds(item)]
    # The parts of one set count once.
    groups = {item.name if (part := _PART.fullmatch(item.name)) is None else part["stem"]: item for item in found}
    return tuple(groups.values())


def _files(folder: Path) -> dict[str, Path]:
    try:
        return {item.name: item for item in sorted(folder.iterdir())[:_MAX_FILES]}
    except OSError as error:
        raise unreadable(folder, error) from error


def _in_folder(folder: Path) -> Path:
    files, found = _files(folder), weights_in(folder)
    if len(found) == 1:
        return found[0]
    inside = [item.name for item in files.values() if item.is_dir() and any((item / name).exists() for name in _USUAL)]
    if ".metadata" in files:
        hint = (
            "a distributed checkpoint: convert it by python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
        )
    elif found or inside:
        hint = f"name one of: {_few([item.name for item in found] or inside)}"
    else:
        hint = "name the file of weights itself"
    raise WeightsError(
        f"the folder {folder} does not tell which weights are meant",
        expected=f"one of {', '.join(_USUAL)}, or a single file of weights",
        got=f"{len(found)} files of weights, {len(inside)} folders with weights" if found or inside else "none",
        hint=hint,
    )


def _holds(path: Path) -> bool:
    try:
        return format_of(path) != "folder"
    except WeightsError:  # a picture, a text: not what is looked for here
        return False


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
