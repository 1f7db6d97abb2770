"""The training loss (cross-entropy or binary, smoothing, mixup), and when it is too large."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from transferscope.training.mixup import Mixed

__all__ = ["Task", "divergence_limit", "mixed_loss", "training_loss"]

Task = Literal["single", "multi"]


def training_loss(logits: Tensor, labels: Tensor, task: Task, smoothing: float = 0.0) -> Tensor:
    """Mean loss of a batch, in float32.

    Single-label: cross-entropy against (1 − s)·onehot(y) + s/classes (Szegedy et al., arXiv 1512.00567).
    Multi-label: binary cross-entropy, mean over labels, against (1 − s)·y + s/2.

    Args:
        logits: (examples, classes).
        labels: int64 (examples,), or 0/1 (examples, classes) for ``multi``.
        task: ``single`` or ``multi``.
        smoothing: s in [0, 1).

    Returns:
        A scalar.
    """
    logits = logits.float()
    if task == "single":
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    targets = labels.to(logits.dtype)
    if smoothing:
        targets = targets * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, targets)


def mixed_loss(logits: Tensor, mixed: Mixed, task: Task, smoothing: float = 0.0) -> Tensor:
    """λ·loss(y) + (1 − λ)·loss(y[permutation]) of a batch blended by mixup.

    Args:
        logits: of ``mixed.images``, (examples, classes).
        mixed: the blended batch.
        task: ``single`` or ``multi``.
        smoothing: as in :func:`training_loss`.
    """
    return torch.lerp(
        training_loss(logits, mixed.others, task, smoothing),
        training_loss(logits, mixed.labels, task, smoothing),
        mixed.share,
    )


def divergence_limit(initial_loss: float, multiple: float, classes: int, task: Task) -> float:
    """The mean training loss of an epoch above which a run counts as diverged.

    ``multiple`` × max(loss at the start, loss of the uniform guess): without the floor, a start that already
    fits the data (loss near 0) would be called diverged by an ordinary wobble.

    >>> round(divergence_limit(0.001, 20.0, classes=2, task="single"), 3)
    13.863

    Args:
        initial_loss: clean training loss at epoch 0.
        multiple: ``Recipe.divergence_loss``.
        classes: outputs of the head.
        task: ``single`` or ``multi``.
    """
    guess = math.log(max(classes, 2)) if task == "single" else math.log(2)
    return multiple * max(initial_loss, guess)
