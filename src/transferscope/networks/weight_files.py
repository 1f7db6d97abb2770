"""Files of weights, read as plain tensors and nothing else, and written as safetensors."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from transferscope.errors import StoreError, WeightsError

__all__ = ["PREFIXES", "is_counter", "read_file", "read_metadata", "shared_prefix", "write_state"]

PREFIXES = ("module.", "model.", "_orig_mod.")
"""Prefixes of wrappers (DataParallel, Lightning, torch.compile), taken off where all names share one."""

_NESTED = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_TORCH_SUFFIXES = (".pt", ".pth", ".ckpt")
_SUFFIXES = (".safetensors", *_TORCH_SUFFIXES)
_WRITER = "transferscope"


def is_counter(name: str) -> bool:
    """Whether a tensor only counts batches (``num_batches_tracked``, ``n_averaged``): outputs ignore it."""
    return name.rpartition(".")[2] in ("num_batches_tracked", "n_averaged")


def shared_prefix(names: "Mapping[str, object] | list[str]") -> str:
    """What wrappers put before every name: a chain of :data:`PREFIXES`, maybe empty.

    Example:
        >>> shared_prefix(["module.model.fc.weight", "module.model.fc.bias"])
        'module.model.'
    """
    prefix, rest = "", list(names)
    while True:
        found = next((p for p in PREFIXES if rest and all(name.startswith(p) for name in rest)), None)
        if found is None:
            return prefix
        prefix += found
        rest = [name[len(found) :] for name in rest]


def read_file(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file of weights, on the CPU.

    ``.safetensors`` files hold tensors alone. ``.pt``, ``.pth`` and ``.ckpt`` files are pickles, which can
    run any code when read freely: they are read by ``torch.load(weights_only=True)``, always, and refused
    where that does not suffice. The tensors may lie one level down, under the first of ``state_dict``,
    ``model_state_dict``, ``model``, ``state_dict_ema``, ``model_ema`` that the file has: the raw weights are
    taken where an average is stored beside them. Prefixes of wrappers (:data:`PREFIXES`) are taken off where
    all names share them, except in files written by :func:`write_state`, whose names are exact.

    Args:
        path: the file.

    Returns:
        Tensors by name, in the file's order.

    Raises:
        WeightsError: the file is missing, has another extension, is damaged, would run code, or holds
            something that is not a dense tensor.
    """
    path = Path(path)
    _check_path(path)
    if path.suffix.lower() == ".safetensors":
        state, metadata = _read_safetensors(path)
        return state if metadata.get("writer") == _WRITER else _unwrapped(state)
    return _unwrapped(_tensors(_nested(_read_torch(path), path), path))


def _check_path(path: Path) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise WeightsError(
            f"{path} is not a file of weights by its name",
            expected=f"a file ending in {', '.join(_SUFFIXES)}",
            got=path.suffix or "no ending",
        )
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "nothing there"
        near = sorted(item.name for item in path.parent.glob("*") if item.suffix.lower() in _SUFFIXES)[:5]
        raise WeightsError(
            f"the weights file {path} does not exist",
            got=kind,
            hint=f"in that folder there are: {', '.join(near)}" if near else "check the path",
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
            metadata = dict(stream.metadata() or {})
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise _damaged(path, error) from error
    if not state:
        raise WeightsError(f"the weights file {path} holds no tensor")
    return state, metadata


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # pickle, zip and tensor readers raise almost anything on damaged files
        if "weights only" in str(error).lower() or "weights_only" in str(error):
            raise WeightsError(
                f"the weights file {path} holds more than tensors, or is damaged, and was not opened",
                expected="tensors, numbers, strings and dictionaries: for safety nothing else is unpickled",
                got=_first_line(error),
                hint="where you trust its origin, save its state_dict alone: "
                "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
            ) from error
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"the weights file {path} is damaged or of another kind",
        got=f"{type(error).__name__}: {_first_line(error)} ({path.stat().st_size} bytes)",
        hint="fetch or copy it again, and compare its size and hash",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    refused = [line.strip() for line in lines if "unsupported" in line.lower() or "global" in line.lower()]
    return (refused or lines or [type(error).__name__])[0][:300]


def _nested(content: object, path: Path) -> Mapping[object, object]:
    if isinstance(content, Mapping):
        for name in _NESTED:
            if isinstance(content.get(name), Mapping):
                inner: Mapping[object, object] = content[name]
                return inner
        return content
    raise WeightsError(
        f"the weights file {path} does not hold named tensors",
        expected="a dictionary of tensors (a state_dict), maybe under `state_dict` or `model`",
        got=type(content).__name__,
    )


def _tensors(content: Mapping[object, object], path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(name, str) and is_counter(name) and isinstance(value, int):
            value = torch.tensor(value)
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"the weights file {path} holds something that is not a tensor under {name!r}",
                expected="tensors by name",
                got=type(value).__name__,
                hint="save the network's state_dict alone",
            )
        if value.layout != torch.strided or value.is_quantized:
            raise WeightsError(
                f"the weights file {path} holds a sparse or quantised tensor under {name!r}",
                expected="dense tensors",
                got=f"{value.layout}, {value.dtype}",
            )
        state[name] = value.detach()
    if not state:
        raise WeightsError(f"the weights file {path} holds no tensor", expected="a state_dict")
    return state


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # torch.optim.swa_utils.AveragedModel keeps its counter beside the wrapped network's "module." names.
    named = [name for name in state if name != "n_averaged"]
    prefix = shared_prefix(named)
    return {name[len(prefix) :]: state[name] for name in named} if prefix else state


def write_state(
    path: str | os.PathLike[str], state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as a safetensors file, complete or not at all; equal content gives equal bytes.

    Args:
        path: a name ending in ``.safetensors``; an existing file is replaced.
        state: tensors by name, on any device; values, dtypes and shapes are kept to the bit.
        metadata: for example the architecture's name and the number of classes, read by
            :func:`read_metadata`.

    Raises:
        WeightsError: the name ends otherwise.
        StoreError: the disk is full, or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise WeightsError(f"weights are written as safetensors, not to {path}", expected="a name in .safetensors")
    # Clones: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # what the user's umask allows; safetensors would keep the file to its owner
        save_file(tensors, partial, metadata={**(metadata or {}), "format": "pt", "writer": _WRITER})
        _sort_metadata(partial)
        partial.chmod(mode)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"the weights cannot be written to {path}: {error}",
            hint="check that the folder exists, may be written, and that the disk has room",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # nothing there after a rename; on a failing disk the error above tells
            partial.unlink(missing_ok=True)


def _sort_metadata(path: Path) -> None:
    """Put a file's metadata in order: safetensors writes them in another one each time, and bytes are compared."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= size, "the same words in another order"
        file.seek(8)
        file.write(text.ljust(size))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What was written beside the tensors; empty for ``.pt``, ``.pth`` and ``.ckpt`` files, which have none.

    Raises:
        WeightsError: as of :func:`read_file`.
    """
    path = Path(path)
    _check_path(path)
    if path.suffix.lower() != ".safetensors":
        return {}
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            return dict(stream.metadata() or {})
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise _damaged(path, error) from error
