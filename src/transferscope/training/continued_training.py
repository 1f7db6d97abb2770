"""A finished run trained on for one more epoch at a small rate: the network a ruler of paths must call connected."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from transferscope.data.batches import training_batches
from transferscope.frozen import derive_seed
from transferscope.training.loss import training_loss
from transferscope.training.optimisers import build_optimiser, set_rate, training_mode
from transferscope.training.randomness import deterministic_kernels, seeded

if TYPE_CHECKING:
    import torch

    from transferscope.data.images import ImageSet
    from transferscope.specs.network import NetworkSpec

__all__ = ["continue_training"]


def continue_training(
    model: nn.Module,
    spec: "NetworkSpec",
    images: "ImageSet",
    examples: npt.NDArray[np.int64],
    rate: float,
    device: "torch.device",
) -> nn.Module:
    """Train a network, in place, for the epoch after its last: the same recipe and seed, without mixup and clipping.

    Args:
        model: the network of ``spec`` at its end.
        spec: a trained network.
        images: the data set it was trained on.
        examples: positions of the training images of this epoch.
        rate: constant learning rate, as a share of the recipe's.
        device: where ``model`` is.

    Returns:
        ``model``, in the modes it had.
    """
    assert spec.recipe is not None
    assert spec.data is not None
    recipe, data, epoch = spec.recipe, spec.data, spec.recipe.epochs + 1
    task: Literal["single", "multi"] = "multi" if images.multi_label else "single"
    with (
        training_mode(model, recipe),
        deterministic_kernels(),
        seeded(derive_seed(spec.seed, "dropout", epoch), device),
    ):
        optimiser = build_optimiser(model, recipe)
        set_rate(optimiser, rate * recipe.learning_rate)
        batches = training_batches(
            images, examples, data.mean, data.std, recipe, spec.seed, epoch, device, ablation=data.ablation
        )
        for inputs, labels in batches:
            optimiser.zero_grad(set_to_none=True)
            loss = training_loss(model(inputs), labels, task, recipe.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call] # torch's own stub
            optimiser.step()
    return model
