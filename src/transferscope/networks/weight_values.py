"""Values that no network can work with: found before anything is trained."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from transferscope.errors import WeightsError

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class _Fault:
    """Something that is wrong with a tensor."""

    found: Callable[[str, Tensor, Tensor], str | None]
    expected: str
    hint: str


def _storage(name: str, tensor: Tensor, own: Tensor) -> str | None:
    del name, own
    if tensor.is_meta:
        return "no values (meta device)"
    return "quantised" if tensor.is_quantized else None if tensor.layout == torch.strided else str(tensor.layout)


def _kind(name: str, tensor: Tensor, own: Tensor) -> str | None:
    del name
    if own.is_floating_point() and tensor.dtype not in _FLOATS:
        return str(tensor.dtype).removeprefix("torch.")
    fractional = tensor.is_floating_point() or tensor.is_complex()
    if not own.is_floating_point() and fractional and not torch.equal(tensor.to(own.dtype).to(tensor.dtype), tensor):
        return f"{tensor.dtype} for {own.dtype}".replace("torch.", "")
    return None


def _finite(name: str, tensor: Tensor, own: Tensor) -> str | None:
    del name
    if not own.is_floating_point():
        return None
    bad = int((~torch.isfinite(tensor.to(own.dtype))).sum())
    nan = int(torch.isnan(tensor).sum())
    return f"{nan} NaN and {bad - nan} infinite of {tensor.numel()}" if bad else None


def _variance(name: str, tensor: Tensor, own: Tensor) -> str | None:
    del own
    if name.rpartition(".")[2] != "running_var" or not tensor.numel():
        return None
    least = float(tensor.min())
    return f"the variance {least:g}" if math.isfinite(least) and least < 0 else None


_FAULTS = (
    _Fault(_storage, "dense tensors with values", "save the network's dense weights (dequantised, on the CPU)"),
    _Fault(
        _kind,
        "float32, float64, bfloat16 or float16 where the network has such",
        "save the weights before quantisation: from integers, float8 or complex numbers alone they cannot be had",
    ),
    _Fault(_finite, "finite numbers", "take an epoch before the training broke, or another copy of the file"),
    _Fault(_variance, "running variances of at least 0", "take another copy or epoch: batch norm cannot work so"),
)


def check_values(state: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors with which no output is a number."""
    for fault in _FAULTS:
        found = {name: fault.found(name, tensor, own[name]) for name, tensor in state.items() if name in own}
        bad = [f"{name}: {text}" for name, text in found.items() if text is not None]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise WeightsError(
                f"{source} holds values that no network can work with",
                expected=fault.expected,
                got="; ".join(bad[:5]) + more,
                hint=fault.hint,
            )
