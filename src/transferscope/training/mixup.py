"""Mixup: a batch blended with a permutation of itself."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferscope.frozen import derive_seed


@dataclass(frozen=True)
class Mixed:
    """A blended batch.

    Attributes:
        images: λ·x + (1 − λ)·x[permutation], (examples, channels, height, width).
        others: y[permutation], of weight 1 − λ.
        share: λ in [0, 1].
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float


class Mixup:
    """Draws one λ ~ Beta(α, α) and one permutation per batch (Zhang et al., arXiv 1710.09412).

    The draws of an epoch depend on the seed and the epoch alone, so networks of one seed share them.

    Args:
        alpha: of the Beta distribution, above 0.
    """

    def __init__(self, alpha: float, seed: int, epoch: int) -> None:
        self._alpha = alpha
        self._draws = np.random.default_rng(derive_seed(seed, "mixup", epoch))

    def __call__(self, images: Tensor, labels: Tensor) -> Mixed:
        """Blend the next batch of the epoch."""
        share = float(self._draws.beta(self._alpha, self._alpha))
        order = torch.from_numpy(self._draws.permutation(len(images))).to(images.device)
        return Mixed(images.lerp(images[order], 1 - share), labels, labels[order], share)
