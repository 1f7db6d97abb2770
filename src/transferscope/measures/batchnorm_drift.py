"""How far the running statistics of batch norm have moved between two networks."""

import math
from dataclasses import dataclass

from torch import Tensor

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_tensors

__all__ = ["BatchNormDrift", "batchnorm_drift"]

_EPSILON = 1e-5
"""As in ``nn.BatchNorm2d``: channels that are all but constant do not count without end."""


@dataclass(frozen=True)
class BatchNormDrift:
    """Drift of running statistics, over channels.

    Attributes:
        mean: √mean((μ_b − μ_a)² / (σ_a² + ε)): how many standard deviations of a its means moved.
        scale: √mean((½ ln((σ_b² + ε)/(σ_a² + ε)))²): by which factor, as a logarithm, its standard deviations did.
        channels: how many there are.
    """

    mean: float
    scale: float
    channels: int


@of_tensors
def batchnorm_drift(
    mean_a: Tensor, variance_a: Tensor, mean_b: Tensor, variance_b: Tensor, epsilon: float = _EPSILON
) -> BatchNormDrift:
    """The drift from the statistics of a to those of b.

    ``scale`` is symmetric in a and b, ``mean`` is not; both are 0 for equal statistics only, and invariant (ε apart) to
    scaling a channel in both.

    Args:
        mean_a: ``channels``, running means of a.
        variance_a: ``channels``, running variances of a, at least 0.
        mean_b: of b.
        variance_b: of b.
        epsilon: added to variances.

    Raises:
        MeasureError: shapes differ, or a value is not finite or a negative variance.

    Example:
        >>> import torch
        >>> one = torch.ones(2)
        >>> batchnorm_drift(0 * one, one, 3 * one, one, epsilon=0.0)
        BatchNormDrift(mean=3.0, scale=0.0, channels=2)
    """
    sides = [side.detach().cpu().double().reshape(-1) for side in (mean_a, variance_a, mean_b, variance_b)]
    if len({side.shape for side in sides}) != 1 or not sides[0].numel():
        raise MeasureError(
            "running statistics have one value per channel",
            expected="four vectors of one length",
            got=str([tuple(s.shape) for s in sides]),
        )
    if not all(bool(side.isfinite().all()) for side in sides) or min(float(sides[1].min()), float(sides[3].min())) < 0:
        raise MeasureError("running statistics that no network has", expected="finite means, variances of at least 0")
    means_a, variances_a, means_b, variances_b = sides
    moved = (means_b - means_a).square() / (variances_a + epsilon)
    scaled = ((variances_b + epsilon) / (variances_a + epsilon)).log() / 2
    return BatchNormDrift(math.sqrt(float(moved.mean())), math.sqrt(float(scaled.square().mean())), len(moved))
