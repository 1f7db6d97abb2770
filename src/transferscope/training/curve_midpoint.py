"""Training the bend of a curve between two networks, such that the loss is low all along it."""

from collections.abc import Iterable, Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from transferscope.frozen import derive_seed
from transferscope.networks.batchnorm import recompute
from transferscope.networks.copies import copied
from transferscope.networks.curve import CurveNetwork, curve_weights
from transferscope.specs.architecture import CurveShape
from transferscope.training.objective import Objective


@final
class CurveMidpoint(Objective):
    """The bend φ of a curve θ(t) from one network to another.

    Every update minimises the loss at one point, t ~ U(0, 1) drawn anew from ``derive_seed(seed, "curve", epoch,
    step)``: in expectation the mean loss over t (not over the curve's length).

    Weight decay pulls the point θ(t) towards 0, not φ: for SGD the gradient of φ is that of loss(θ(t)) + λ/2·‖θ(t)‖²,
    so φ gets λ·c(t)·θ(t) with c(t) its factor in θ(t); for AdamW the same pull is decoupled, φ ← φ − rate·λ·c(t)·θ(t).
    Modules with rate factor 0 keep their φ.

    After each epoch the network at t = ½ is measured, its running statistics recomputed: one point of the curve, so
    that a history can be drawn, not what is minimised. The running statistics of the bend itself are averages over
    points that were drawn and belong to none of them.

    Args:
        model: φ, on its device, ends up as trained.
        optimiser: over φ; its own weight decay is switched off.
        first: weights at t = 0.
        second: weights at t = 1.
        shape: ``bezier`` or ``chain``.
        statistics: batches of training images, on which running statistics are recomputed.
        seed: of the positions.

    Reference: Garipov et al. 2018, "Loss surfaces, mode connectivity, and fast ensembling of DNNs", eq. 2 and Sec. 3.2,
    and their code for the decay; Draxler et al. 2018, "Essentially no barriers in neural network energy landscape".
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        first: Mapping[str, Tensor],
        second: Mapping[str, Tensor],
        shape: CurveShape,
        statistics: Iterable[tuple[Tensor, Tensor]],
        seed: int,
    ) -> None:
        self._network = CurveNetwork(model, first, second, shape)
        self._optimiser = optimiser
        self._statistics = statistics
        self._seed = seed
        self._factor = 0.0
        self._point: dict[str, Tensor] = {}
        self._middle = copied(model).eval()
        self._decays = [group["weight_decay"] for group in optimiser.param_groups]
        for group in optimiser.param_groups:
            group["weight_decay"] = 0.0

    def logits(self, inputs: Tensor, epoch: int, step: int) -> Tensor:
        """Run the network at a point of the curve, drawn from the seed, the epoch and the update."""
        t = float(np.random.default_rng(derive_seed(self._seed, "curve", epoch, step)).random())
        point = self._network.point(t)
        self._factor = curve_weights(self._network.shape, t)[2]
        self._point = {name: value.detach() for name, value in point.items()}
        outputs: Tensor = self._network(inputs, point)
        return outputs

    @torch.no_grad()
    def before_step(self) -> None:
        """Weight decay of the point at which the gradients were taken."""
        if not any(self._decays):
            return
        decoupled = isinstance(self._optimiser, torch.optim.AdamW)
        for group, decay in zip(self._optimiser.param_groups, self._decays, strict=True):
            for name, parameter in zip(group["names"], group["params"], strict=True):
                if parameter.grad is None:
                    continue  # as the optimiser does with a parameter that no output depends on
                if decoupled:
                    parameter.sub_(self._point[name], alpha=group["lr"] * decay * self._factor)
                else:
                    parameter.grad.add_(self._point[name], alpha=decay * self._factor)

    @torch.no_grad()
    def measured(self) -> nn.Module:
        """The network at t = ½, a copy of its own, with running statistics recomputed."""
        point = self._network.point(0.5)
        for name, parameter in self._middle.named_parameters():
            parameter.copy_(point[name])
        recompute(self._middle, self._statistics)
        return self._middle
