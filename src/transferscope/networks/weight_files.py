"""Files of weights, read as plain tensors and nothing else, and written as safetensors."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from transferscope.errors import WeightsError
from transferscope.networks.pruning import plain_weights
from transferscope.networks.weight_formats import damaged, format_of, unreadable
from transferscope.networks.weight_names import NESTED, Tables, is_counter, shared_prefix
from transferscope.networks.weight_parts import parts_of
from transferscope.networks.weight_pickles import read_pickle
from transferscope.store.atomic import replacing

_WRITER = "transferscope"
_MAX_GROWTH = 64
_ROOM = 2**30  # bytes that any file may grow to


@dataclass(frozen=True)
class Content:
    """What a file of weights, or a folder of its parts, holds.

    Attributes:
        tables: tensors by name, by the dotted place of the container they lie in: empty for the top.
    """

    tables: dict[str, dict[str, Tensor]]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether :func:`write_state` wrote it: its names are then those of the network."""
        return self.metadata.get("writer") == _WRITER


def read_content(path: str | os.PathLike[str]) -> Content:
    """All tensors of a file, on the CPU.

    What the file is is told by its content, not by its name. Files of safetensors hold tensors alone. Those of
    ``torch.save`` are pickles, which can run any code when read freely: they are read by
    ``torch.load(weights_only=True)``, always, and refused where that does not suffice. Weights in several parts are
    read by their index, their folder, or one of them beside the others.
    """
    path = Path(path)
    tables: dict[str, dict[str, Tensor]] = {}
    metadata: dict[str, str] = {}
    for part, names in parts_of(path).items():
        content = _read_part(part)
        metadata |= content.metadata
        lost = sorted(set(names) - content.tables.get("", {}).keys())
        if lost:
            raise WeightsError(
                f"the weights file {part} lacks tensors that its index {path} names",
                got=", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else ""),
                hint="fetch or copy all parts and their index again",
            )
        for place, tensors in content.tables.items():
            tables.setdefault(place, {}).update(tensors)
    if not tables:
        raise WeightsError(
            f"the weights file {path} holds no tensor",
            expected="tensors by name (a state_dict), at the top or in a dictionary",
            hint="save the network's state_dict: torch.save(model.state_dict(), 'weights.pt')",
        )
    return Content(tables, metadata)


def read_file(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file that look like a network's, on the CPU, where no network is known to compare with.

    They are those under the first of ``state_dict``, ``model_state_dict``, ``model``, ``state_dict_ema``, ``model_ema``
    that the file has, else those of its largest container. Prefixes of wrappers
    (:data:`~transferscope.networks.weight_names.PREFIXES`) are taken off where all names share them, except in files
    written by :func:`write_state`, whose names are exact.
    """
    content = read_content(path)
    state = content.tables[likely_place(content.tables)]
    return state if content.exact else _unwrapped(state)


def likely_place(tables: Tables) -> str:
    """The container of a file in which a network most likely lies, where none is known to compare with."""
    usual = [place for place in (*NESTED[1:], "state_dict_ema", "model_ema") if place in tables]
    return usual[0] if usual else max(tables, key=lambda place: len(tables[place]))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What was written beside the tensors; empty for files of ``torch.save``, which have nothing there."""
    from safetensors import safe_open

    found: dict[str, str] = {}
    for part in parts_of(Path(path)):
        if format_of(part) == "safetensors":
            with reading(part), safe_open(part, framework="pt", device="cpu") as stream:
                found |= dict(stream.metadata() or {})
    return found


def _read_part(path: Path) -> Content:
    if format_of(path) == "torch":
        content = Content(dict(tables_of(read_pickle(path))))
    else:
        from safetensors import safe_open

        with reading(path), safe_open(path, framework="pt", device="cpu") as stream:
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
            content = Content({"": state} if state else {}, dict(stream.metadata() or {}))
    check_growth(path, content.tables)
    for tensors in content.tables.values():
        tensors |= plain_weights(tensors)
    return content


def check_growth(path: Path, tables: Tables) -> None:
    """Refuse a file whose tensors would take far more memory than it has bytes.

    Raises:
        WeightsError: they would.
    """
    found = [tensor for tensors in tables.values() for tensor in tensors.values()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in found if tensor.layout == torch.strided)
    # A few stored bytes can be repeated without end by their strides; every copy of them would be real.
    if size > _MAX_GROWTH * path.stat().st_size + _ROOM:
        raise damaged(path, f"its tensors would take {size:,} bytes")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a reader raises on a file into an error that says whether the file is damaged."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise damaged(path, f"{type(error).__name__}: {str(error).strip()[:300]}") from error


def tables_of(content: object) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every container with tensors, the outer before the inner; each once, however often it is named."""
    waiting: list[tuple[str, object]] = [("", {"": content} if isinstance(content, Tensor) else content)]
    seen: set[int] = set()
    while waiting:
        place, item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        named = {f"{key}": value for key, value in _items(item) if isinstance(key, str | int)}
        tensors = {}
        for name, value in named.items():
            if isinstance(value, Tensor):
                tensors[name] = value.detach()
            elif is_counter(name) and isinstance(value, int):
                tensors[name] = torch.tensor(value)
        if tensors:
            yield place, tensors
        inner = [(f"{place}.{name}" if place else name, value) for name, value in named.items()]
        waiting += [(name, value) for name, value in reversed(inner) if isinstance(value, Mapping | list | tuple)]


def _items(content: object) -> Iterable[tuple[object, object]]:
    if isinstance(content, Mapping):
        return content.items()
    return enumerate(content) if isinstance(content, list | tuple) else ()


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
        path: a name ending in ``.safetensors``; its folder is made, an existing file is replaced.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        raise WeightsError(f"weights are written as safetensors, not to {path}", expected="a name in .safetensors")
    # Clones: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={**(metadata or {}), "format": "pt", "writer": _WRITER})
        _sort_metadata(partial)


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
