"""Random directions in parameter space, normalised filter by filter."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.frozen import derive_seed

OneDimensional = Literal["zero", "normalise"]
"""What a direction holds for biases and the parameters of norms: nothing, or one filter for each tensor."""


def moved_names(parameters: Mapping[str, Tensor], one_dimensional: OneDimensional = "zero") -> tuple[str, ...]:
    """The parameters that a direction moves: those of at least two axes, or all with ``normalise``.

    >>> moved_names({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)})
    ('weight',)
    """
    return tuple(name for name, value in parameters.items() if value.ndim >= 2 or one_dimensional == "normalise")


def filter_normalised(
    parameters: Mapping[str, Tensor], seed: int, one_dimensional: OneDimensional = "zero"
) -> dict[str, Tensor]:
    """A Gaussian direction d whose every filter has the norm of the network's own: d_f ← d_f · ‖θ_f‖ / ‖d_f‖.

    A filter is one slice along a tensor's first axis: an output channel of a convolution, a row of a linear layer, of
    an embedding; of a *transposed* convolution it is an input channel. Biases and the parameters of norms, which have
    one axis, do not move (as in the reference's code), or are one filter per tensor with ``normalise``.

    The draws depend on the seed, on a parameter's name and on its shape alone, so networks of one architecture get the
    same draws, each scaled to its own filters. Where a filter is scaled, its part of the direction scales with it; the
    others stay: so a step means the same in networks that differ by such scales alone, which batch norm takes out
    again. Not invariant to permuting channels (another draw meets each filter). ‖d‖₂ = ‖θ‖₂ over the parameters that
    move.

    Args:
        parameters: of a network by name, frozen ones included; not changed.

    Returns:
        By name, in the order, shape, dtype and device of the parameters that move. A filter of zeros does not move.

    Reference: Li, Xu, Taylor, Studer & Goldstein (2018), "Visualizing the loss landscape of neural nets", Sec. 4.

    >>> direction = filter_normalised({"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}, seed=0)
    >>> [round(float(row.norm()), 5) for row in direction["weight"]]
    [5.0, 0.0]
    """
    direction = {
        name: _filters(name, parameters[name], derive_seed(seed, "direction", name))
        for name in moved_names(parameters, one_dimensional)
    }
    if not any(bool(part.any()) for part in direction.values()):
        raise MeasureError(
            "there is no direction: no parameter that would move is other than zero",
            expected="a network with weights of at least two axes",
            got=f"{len(direction)} of {len(parameters)} parameters, all zero" if direction else "none",
            hint="" if one_dimensional == "normalise" else "one_dimensional='normalise' moves tensors of one axis too",
        )
    return direction


def direction_norm(tensors: Iterable[Tensor]) -> float:
    """‖·‖₂ over all tensors, summed in float64 on the CPU.

    >>> direction_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    5.0
    """
    return math.sqrt(math.fsum(float(tensor.detach().cpu().double().square().sum()) for tensor in tensors))


def _filters(name: str, parameter: Tensor, seed: int) -> Tensor:
    value = parameter.detach().cpu().double()
    if not parameter.is_floating_point() or not bool(torch.isfinite(value).all()):
        raise MeasureError(
            f"there is no direction at the parameter {name!r}",
            expected="finite numbers in floating point",
            got=f"{parameter.dtype}" if not parameter.is_floating_point() else "NaN or infinite values",
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    if not value.numel():
        return parameter.detach().clone()
    rows = (len(value), -1) if value.ndim >= 2 else (1, -1)
    flat, own = drawn.reshape(rows), value.reshape(rows)
    scaled: Tensor = flat * (own.norm(dim=1, keepdim=True) / flat.norm(dim=1, keepdim=True))
    return scaled.reshape(value.shape).to(parameter.dtype).to(parameter.device)
