"""Tensors of files, read in pieces: of a file larger than the memory, no more than a piece is ever in it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferscope.arguments import checked_as
from transferscope.errors import WeightsError
from transferscope.networks.weight_files import check_growth, likely_place, reading, tables_of
from transferscope.networks.weight_formats import format_of
from transferscope.networks.weight_names import few, is_average
from transferscope.networks.weight_parts import parts_of
from transferscope.networks.weight_pickles import read_pickle

__all__ = ["PIECE", "StoredTensor", "StoredTensors"]

PIECE = 2**21
"""Numbers in a piece: 8 MB in single precision."""

_MAPPED = 2**25
"""Bytes of a file that are read before it is opened anew: pages of a mapped file count as memory of the process."""


class StoredTensor:
    """Shape and type of a tensor, and where its values are.

    Args:
        name: in the file.
        tensor: without its values, or with values that stay in the file until they are read.

    Attributes:
        name: as given.
        shape: of the tensor.
        dtype: as stored.
        dense: whether it has one value per entry that can be read: not sparse, quantised or without values.
    """

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name, self.shape, self.dtype = name, tuple(tensor.shape), tensor.dtype
        self.dense = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta

    @property
    def count(self) -> int:
        """Of numbers."""
        return int(torch.Size(self.shape).numel())

    @property
    def bytes(self) -> int:
        """As stored."""
        return self.count * self.dtype.itemsize


class StoredTensors:
    """The tensors of one network in a file, in several with their index or folder, or in memory.

    Files of ``torch.save`` are read by ``torch.load(weights_only=True, mmap=True)``: those of before PyTorch 1.6 whole,
    others in pieces as safetensors.

    Args:
        source: the path, or tensors by name.
        which: of a file with several networks: ``raw``, ``ema``, or the dotted place of one; None takes the usual one.

    Attributes:
        infos: shape and type by name, in the order of the file.
        source: for messages.

    Raises:
        WeightsError: a part is missing, damaged, unsafe or of another kind, or nothing lies at ``which``.
    """

    @checked_as(WeightsError)
    def __init__(self, source: str | os.PathLike[str] | Mapping[str, Any], which: str | None = None) -> None:
        self._parts: dict[str, Path] = {}
        self._place: dict[Path, str] = {}
        self._memory: Mapping[str, Tensor] = {}
        self._opened: tuple[Path | None, Mapping[str, Tensor], int] = (None, {}, 0)
        if isinstance(source, Mapping):
            # What a module keeps beside its tensors, and state_dict() gives with them, is no weight.
            self._memory = {name: value for name, value in source.items() if not name.endswith("_extra_state")}
            self.source = "tensors in memory"
            if wrong := [name for name, value in self._memory.items() if not isinstance(value, Tensor)]:
                raise WeightsError(
                    f"{few(wrong)} in these weights are no tensors",
                    expected="tensors by name",
                    got=type(self._memory[wrong[0]]).__name__,
                    hint="give the state_dict() of a network",
                )
            self.infos = {name: StoredTensor(name, tensor) for name, tensor in self._memory.items()}
            return
        self.source, self.infos = str(source), {}
        for path, names in parts_of(Path(source)).items():
            self._add(path, names, which)
        if not self.infos:
            raise WeightsError(
                f"the weights file {source} holds no tensor",
                expected="tensors by name (a state_dict), at the top or in a dictionary",
                hint="save the network's state_dict: torch.save(model.state_dict(), 'weights.pt')",
            )

    def _add(self, path: Path, names: Iterable[str], which: str | None) -> None:
        if format_of(path) == "torch":
            tables = dict(tables_of(read_pickle(path, mapped=True)))
            check_growth(path, tables)
            if not tables:
                return
            self._place[path] = _chosen(tables, which, path)
            tensors: Mapping[str, Tensor] = tables[self._place[path]]
        else:
            if which not in (None, "raw"):
                raise WeightsError(
                    f"{path} has no weights under which={which!r}",
                    expected="a file of torch.save with several networks; safetensors hold one",
                    hint="leave --which out",
                )
            tensors = _Mapped(path)
        if missing := sorted(set(names) - tensors.keys()):
            raise WeightsError(
                f"the weights file {path} lacks tensors that its index names",
                got=few(missing),
                hint="fetch or copy all parts and their index again",
            )
        self.infos |= {name: StoredTensor(name, tensor) for name, tensor in tensors.items()}
        self._parts |= dict.fromkeys(tensors, path)

    def pieces(self, name: str, numbers: int = PIECE) -> Iterator[Tensor]:
        """The values of a tensor, flat, piece by piece, as stored.

        Args:
            name: of the tensor.
            numbers: in each piece; the last one may have fewer.
        """
        info = self.infos[name]
        for start in range(0, info.count, numbers):
            yield self.piece(name, start, min(start + numbers, info.count))

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Some values of a tensor, flat, as stored; to be used before the next piece is read.

        Args:
            name: of the tensor.
            start: of the first.
            stop: behind the last.
        """
        if name in self._memory:
            return self._memory[name].detach().cpu().reshape(-1)[start:stop]
        path = self._parts[name]
        with reading(path):
            return self._open(path, (stop - start) * self.infos[name].dtype.itemsize)[name].reshape(-1)[start:stop]

    def whole(self, name: str) -> Tensor:
        """A whole tensor, in memory: for small ones."""
        return self.piece(name, 0, self.infos[name].count).reshape(self.infos[name].shape).clone()

    def _open(self, path: Path, more: int) -> Mapping[str, Tensor]:
        opened, tensors, read = self._opened
        if opened != path or read + more > _MAPPED:
            self._opened, tensors, read = (None, {}, 0), {}, 0
            if path in self._place:
                tensors = dict(tables_of(read_pickle(path, mapped=True)))[self._place[path]]
            else:
                tensors = _Mapped(path)
        self._opened = (path, tensors, read + more)
        return tensors


class _Mapped(Mapping[str, Tensor]):
    """The tensors of a file of safetensors; a value is made when it is asked for, and read when it is used."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._path = path
        with reading(path):
            file: Any = safe_open(path, framework="pt", device="cpu")
            self._file, self._names = file, dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        with reading(self._path):
            found: Tensor = self._file.get_tensor(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _chosen(tables: Mapping[str, Mapping[str, Tensor]], which: str | None, path: Path) -> str:
    def fits(place: str) -> bool:
        if which in (None, "raw", "ema"):
            return which is None or is_average(place) == (which == "ema")
        return place == which or place.startswith(f"{which}.")

    asked = {place: tensors for place, tensors in tables.items() if fits(place)}
    if not asked:
        raise WeightsError(
            f"{path} has no weights under which={which!r}",
            expected="raw, ema, or one of the places in the file",
            got=f"places with tensors: {few(place or 'the top' for place in tables)}",
            hint="leave --which out, or name one of these",
        )
    return likely_place(asked)
