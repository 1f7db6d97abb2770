"""Low-rank adapters (LoRA) as they are stored, not merged: ΔW = s·BA, never formed for more than some rows."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferscope.errors import WeightsError
from transferscope.networks.stored_tensors import StoredTensors
from transferscope.networks.weight_names import few

__all__ = ["Adapter", "LowRank", "is_adapter", "read_adapter"]

_CONFIG = "adapter_config.json"
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_FACTOR = re.compile(
    r"(?P<module>.+)\.(?P<factor>lora_(?:embedding_)?[AB]|lora_(?:down|up))(?:\.(?!weight)\w+)?(?:\.weight)?"
)
_PREFIX = "base_model.model."
_MAX_CONFIG = 2**20
_UNKNOWN = ("lora_magnitude_vector", "lora_bias")


@dataclass(frozen=True)
class LowRank:
    """One change of low rank: ΔW = up · down, the scale in it.

    Attributes:
        up: float32 ``rows rank``, scaled.
        down: float32 ``rank columns``.
        transposed: whether the weight is stored inputs first (GPT-2's ``Conv1D``): ΔW is then (up · down)ᵀ.
    """

    up: Tensor
    down: Tensor
    transposed: bool = False

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """``rows rank`` and ``rank columns`` of the weight as it is stored."""
        return (self.down.T, self.up.T) if self.transposed else (self.up, self.down)

    @property
    def values(self) -> Tensor:
        """The singular values of ΔW, all but the zeros, float64."""
        up, down = (factor.double() for factor in self.factors)
        values: Tensor = torch.linalg.svdvals(torch.linalg.qr(up).R @ torch.linalg.qr(down.T).R.T)
        return values


@dataclass(frozen=True)
class Adapter:
    """What an adapter changes.

    Attributes:
        changes: by the name of the module's weight.
        tensors: of the file: those of ``modules_to_save`` are whole, under :attr:`saved`.
        saved: tensors that take the place of the base's: the base's names with those of the file.
        source: for messages.
    """

    changes: Mapping[str, LowRank]
    tensors: StoredTensors
    saved: Mapping[str, str]
    source: str


def is_adapter(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is that of a PEFT adapter, or a file one of its, or of LoRA's factors."""
    path = Path(path)
    if path.is_dir():
        return (path / _CONFIG).is_file() and any((path / name).is_file() for name in _FILES)
    return path.name in _FILES


def read_adapter(source: str | os.PathLike[str] | StoredTensors, which: str | None = None) -> Adapter | None:
    """Read an adapter; None where the tensors are not those of one.

    Args:
        source: a folder of PEFT's, its file of tensors, or tensors that were opened. The configuration lies beside
            them; where there is none, ``alpha`` tensors in the file say the scale.
        which: as in :class:`StoredTensors`.

    Raises:
        WeightsError: the configuration is missing or damaged, names no ``lora_alpha``, or asks for another kind of
            adapter; factors do not fit each other.
    """
    if isinstance(source, StoredTensors):
        tensors, folder = source, Path(source.source).parent
    else:
        path = Path(source)
        folder = path if path.is_dir() else path.parent
        file = next((path / name for name in _FILES if (path / name).is_file()), path) if path.is_dir() else path
        tensors = StoredTensors(file, which)
    factors = {name: found for name in tensors.infos if (found := _FACTOR.fullmatch(name)) is not None}
    if not factors:
        return None
    modules: dict[str, dict[str, str]] = {}
    for name, found in factors.items():
        modules.setdefault(found["module"], {})[found["factor"]] = name
    config = _read_config(folder / _CONFIG)
    rest = [name for name in tensors.infos if name not in factors and not name.endswith(".alpha")]
    if strange := [name for name in rest if any(word in name for word in _UNKNOWN)]:
        raise _unsupported(tensors.source, few(strange))
    changes = {
        f"{module.removeprefix(_PREFIX)}.weight": _low_rank(module, names, tensors, config)
        for module, names in modules.items()
    }
    saved = {
        name.removeprefix(_PREFIX).replace(".modules_to_save", "").replace(".base_layer", ""): name for name in rest
    }
    if both := sorted(changes.keys() & saved.keys()):
        raise WeightsError(
            f"{tensors.source} holds an adapter and its base in one file",
            expected="the base in one file, the adapter in another",
            got=few(both),
            hint="save them apart (PEFT's save_pretrained does), or merge them: merge_and_unload()",
        )
    return Adapter(changes, tensors, saved, tensors.source)


def _plain(name: str) -> str:
    """The base's name of a tensor that PEFT wraps."""
    return name.removeprefix(_PREFIX).replace(".modules_to_save", "").replace(".base_layer", "")


def _unsupported(source: str, got: str) -> WeightsError:
    return WeightsError(
        f"the adapter {source} is no plain LoRA",
        expected="changes of the form s·BA",
        got=got,
        hint="merge it into its base (PEFT: merge_and_unload(), then save_pretrained) and compare the merged weights",
    )


def _read_config(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError("no object")
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is damaged",
            expected="JSON settings, as PEFT writes them",
            got=str(error)[:200],
            hint="fetch or copy it again",
        ) from error
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or config.get("use_dora") or config.get("lora_bias"):
        raise _unsupported(str(path), f"peft_type {kind!r}, use_dora {config.get('use_dora')!r}")
    return config


def _low_rank(
    module: str, names: Mapping[str, str], tensors: StoredTensors, config: Mapping[str, Any] | None
) -> LowRank:
    keys = next((pair for pair in _PAIRS if set(pair) <= names.keys()), None)
    if keys is None:
        raise WeightsError(
            f"the adapter {tensors.source} has one factor of {module} without the other",
            expected="lora_A and lora_B, or lora_down and lora_up",
            got=", ".join(names.values()),
            hint="fetch or copy the adapter again",
        )
    down, up = (tensors.whole(names[key]).float() for key in keys)
    # Of an embedding A is rank × rows and B columns × rank, of a weight rows × columns: ΔW = (BA)ᵀ.
    embedding = keys[0] == "lora_embedding_A"
    rank = down.shape[0] if down.ndim else 0
    if down.ndim < 2 or up.ndim < 2 or up.shape[1] != rank or up[0].numel() != rank:
        raise WeightsError(
            f"the factors of {module} in the adapter {tensors.source} do not fit each other",
            expected="A of rank × inputs, B of outputs × rank",
            got=f"A {list(down.shape)}, B {list(up.shape)}",
        )
    scale = _scale(module, rank, tensors, config)
    transposed = embedding or bool((config or {}).get("fan_in_fan_out"))
    return LowRank(up.reshape(len(up), rank) * scale, down.reshape(rank, -1), transposed)


_PAIRS = (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"), ("lora_down", "lora_up"))


def _scale(module: str, rank: int, tensors: StoredTensors, config: Mapping[str, Any] | None) -> float:
    """α/r, or α/√r where the configuration says so."""
    own = f"{module}.alpha"
    if own in tensors.infos:
        alpha: object = float(tensors.whole(own))
    elif config is None:
        raise WeightsError(
            f"nothing tells the scale of the adapter {tensors.source}: ΔW = (α/r)·BA",
            expected=f"{_CONFIG} beside the file, or tensors named MODULE.alpha in it",
            got="neither",
            hint=f'write {_CONFIG} beside it: {{"peft_type": "LORA", "r": {rank}, "lora_alpha": ...}}',
        )
    else:
        alpha = _of_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"))
        said = _of_pattern(config.get("rank_pattern"), module, config.get("r", rank))
        if said != rank:
            raise WeightsError(
                f"the adapter {tensors.source} and its {_CONFIG} do not belong together",
                expected=f"factors of {module} of rank {said}",
                got=f"rank {rank}",
                hint="copy the tensors and the configuration of one adapter into one folder",
            )
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise WeightsError(
            f"{_CONFIG} of the adapter {tensors.source} names no lora_alpha: its changes have no scale (α/r)",
            expected="a number lora_alpha",
            got=repr(alpha),
            hint="write it into that file (PEFT takes 8 where nothing is said)",
        )
    return float(alpha) / (math.sqrt(rank) if (config or {}).get("use_rslora") else rank)


def _of_pattern(pattern: object, module: str, default: object) -> object:
    """What PEFT's patterns give a module: they name it, or its end behind a dot."""
    name = module.removeprefix(_PREFIX)
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        plain = str(key).removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not re.fullmatch(r"[\w.-]+", plain):  # an expression from a file could take for ever
            raise WeightsError(
                f"{_CONFIG} has a pattern of ranks or scales that is not read",
                expected="names of modules, or the ends of names",
                got=repr(key)[:200],
                hint="write the names in full, or merge the adapter into its base and compare that",
            )
        if name == plain or name.endswith(f".{plain}"):
            return value
    return default
