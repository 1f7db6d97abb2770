"""What the first updates of a training show: the relative gradient of each module, and the memory of an update."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from transferscope.networks.evaluate import autocast, preserved
from transferscope.specs.recipe import Recipe
from transferscope.training.loss import Task, training_loss
from transferscope.training.optimisers import build_optimiser, training_mode
from transferscope.training.randomness import seeded

Batch = tuple[Tensor, Tensor]


def gradient_ratios(
    model: nn.Module, batches: Iterable[Batch], parts: Mapping[str, Sequence[str]], recipe: Recipe, task: Task
) -> dict[str, float]:
    """‖g‖ / ‖θ‖ of each part, the mean over batches: the relative gradient norm of surgical fine-tuning.

    No update is made; the network is left as it was. A part whose weights are all 0 has ratio 0.

    Args:
        model: at its start, on its device.
        batches: of training images and labels.
        parts: names of the parameters of each.
        recipe: of the training.
        task: ``multi`` where several labels hold at once.

    Reference: Lee et al. (2023), Surgical fine-tuning improves adaptation to distribution shifts, ICLR, Sec. 4.
    """
    sums = dict.fromkeys(parts, 0.0)
    count = 0
    with preserved(model), training_mode(model, recipe):
        known = dict(model.named_parameters())
        for inputs, labels in batches:
            count += 1
            with seeded(0, inputs.device):
                _backward(model, inputs, labels, recipe, task)
            for part, names in parts.items():
                gradients = [known[name].grad for name in names]
                square = sum(float(one.double().square().sum()) for one in gradients if one is not None)
                size = sum(float(known[name].detach().double().square().sum()) for name in names)
                sums[part] += (square / size) ** 0.5 if size else 0.0
    return {part: total / count for part, total in sums.items()}


def update_bytes(model: nn.Module, inputs: Tensor, labels: Tensor, recipe: Recipe, task: Task) -> int:
    """Memory that an update takes beside the weights: what its backward pass needs, gradients, optimiser state.

    Args:
        model: at its start, on its device; left as it was.
        inputs: one batch.
        labels: of it.
        recipe: says which modules are frozen.
        task: ``multi`` where several labels hold at once.
    """
    storages: dict[int, int] = {}
    held: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # so that no other tensor gets its place
        return tensor

    with preserved(model), training_mode(model, recipe), seeded(0, inputs.device):
        own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        optimiser = build_optimiser(model, recipe)
        trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            _backward(model, inputs, labels, recipe, task)
    slots = 2 if recipe.optimiser == "adamw" else int(recipe.momentum > 0)
    weights: int = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    kept = sum(size for place, size in storages.items() if place not in own)
    return kept + (1 + slots) * weights


def _backward(model: nn.Module, inputs: Tensor, labels: Tensor, recipe: Recipe, task: Task) -> None:
    model.zero_grad(set_to_none=True)
    with autocast(inputs.device, recipe.precision):
        loss = training_loss(model(inputs), labels, task, recipe.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call] # torch's own stub
