"""One tensor put at a weighted sum of others, in place."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def mix(target: Tensor, ends: Sequence[Tensor], weights: Sequence[float]) -> None:
    """Write Σ_k weights[k]·ends[k] into ``target``; whole numbers, and a weight of 1 alone, are copied bit for bit."""
    alone = [index for index, weight in enumerate(weights) if weight != 0]
    if len(alone) == 1 and weights[alone[0]] == 1:
        target.copy_(ends[alone[0]])
    elif not target.is_floating_point():
        target.copy_(ends[0])
    elif len(alone) == 2 and math.isclose(sum(weights), 1.0, abs_tol=1e-12):
        # lerp keeps a tensor that is equal in both exactly as it is.
        first, second = alone
        torch.lerp(ends[first], ends[second], weights[second], out=target)
    else:
        torch.mul(ends[0], weights[0], out=target)
        for end, weight in zip(ends[1:], weights[1:], strict=True):
            target.add_(end, alpha=weight)
