"""A curve between two networks, bent by a third: a quadratic Bézier curve, or two straight pieces."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from transferscope.errors import ArchitectureError, MeasureError
from transferscope.specs.architecture import CurveShape


def curve_weights(shape: CurveShape, t: float) -> tuple[float, float, float]:
    """How much of each network is in θ(t): of the first end, of the second end, of the bend φ.

        bezier: θ(t) = (1−t)²·θ₁ + t²·θ₂ + 2t(1−t)·φ,
        chain:  θ(t) = (1−2t)·θ₁ + 2t·φ for t ≤ ½, (2−2t)·φ + (2t−1)·θ₂ beyond.

    They sum to 1; at t = 0 and t = 1 they are exactly those of an end alone. A chain passes through φ at t = ½, a
    Bézier curve is pulled towards it: θ(½) = ¼θ₁ + ¼θ₂ + ½φ.

    Reference: Garipov et al. 2018, "Loss surfaces, mode connectivity, and fast ensembling of DNNs", Sec. 3.2.

    >>> curve_weights("bezier", 0.5), curve_weights("chain", 0.75)
    ((0.25, 0.25, 0.5), (0.0, 0.5, 0.5))

    Args:
        shape: ``bezier`` or ``chain``.
        t: position, in [0, 1].
    """
    if not 0 <= t <= 1:
        raise MeasureError("a curve runs from its first end to its second", expected="t in [0, 1]", got=f"t = {t:g}")
    if shape == "bezier":
        return (1 - t) ** 2, t**2, 2 * t * (1 - t)
    return max(0.0, 1 - 2 * t), max(0.0, 2 * t - 1), 1 - abs(1 - 2 * t)


@final
class CurveNetwork(nn.Module):
    """The networks on a curve between two ends, as functions of its bend.

    Its parameters are those of the bend φ, which it holds and does not copy; gradients of what is computed at θ(t)
    reach φ with the factor that φ has there. The ends are fixed. Batch norm in train mode updates the running
    statistics of the bend, which then belong to no point of the curve: recompute them at the point that is evaluated.

    Args:
        first: parameters of the first end by name; other tensors are left aside. Copied to the bend's device.
    """

    def __init__(
        self, bend: nn.Module, first: Mapping[str, Tensor], second: Mapping[str, Tensor], shape: CurveShape
    ) -> None:
        super().__init__()
        self.bend = bend
        self.shape = shape
        # No buffers: they are no part of what is trained or stored.
        self._ends = tuple(_fixed(bend, state, word) for state, word in ((first, "first"), (second, "second")))

    def point(self, t: float) -> dict[str, Tensor]:
        """The parameters of θ(t) by the names of the architecture; an end's are its own, bit for bit."""
        of_first, of_second, of_bend = curve_weights(self.shape, t)
        first, second = self._ends
        found = {}
        for name, bend in self.bend.named_parameters():
            if of_bend == 0:
                found[name] = first[name] if of_first else second[name]
                continue
            with torch.no_grad():
                fixed = torch.add(first[name] * of_first, second[name], alpha=of_second)
            found[name] = torch.add(fixed, bend, alpha=of_bend)
        return found

    def forward(self, images: Tensor, point: Mapping[str, Tensor]) -> Tensor:
        """What the network at a point of the curve gives, with the modes and buffers of the bend.

        Args:
            images: ``examples channels height width``.
        """
        outputs: Tensor = functional_call(self.bend, dict(point), (images,))
        return outputs


def _fixed(bend: nn.Module, state: Mapping[str, Tensor], word: str) -> dict[str, Tensor]:
    found = {}
    for name, parameter in bend.named_parameters():
        if name not in state or state[name].shape != parameter.shape:
            raise ArchitectureError(
                f"the {word} end of the curve is of another architecture than its bend",
                expected=f"{name!r} of shape {tuple(parameter.shape)}",
                got="no such parameter" if name not in state else f"shape {tuple(state[name].shape)}",
            )
        # empty_like keeps the device and memory format of the bend: no update pays for a conversion.
        found[name] = torch.empty_like(parameter, requires_grad=False).copy_(state[name].detach())
    return found
