"""Clean loss and metric of the splits: evaluation transform, eval mode."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from transferscope.data.batches import EvaluationBatches
from transferscope.data.images import ImageSet
from transferscope.data.spec import DataSpec, Split
from transferscope.data.splits import nested_subset
from transferscope.measures.metrics import metric as metric_of
from transferscope.measures.metrics import per_example_loss
from transferscope.networks.cuts.prefix import KeptPrefix, prefix_logits
from transferscope.networks.evaluate import logits
from transferscope.specs.recipe import Recipe
from transferscope.training.loss import Task


@dataclass(frozen=True)
class EpochEvaluation:
    """What is measured of a network after each epoch. All of it is part of a training's identity, in this order.

    Attributes:
        train_examples: at most so many training images, a stratified subset that is the same for every network trained
            on the same examples; None for the recipe's number, or all where it names none.
    """

    task: Task = "single"
    metric: str | None = None
    batch_size: int = 256
    tests: bool = True
    train_examples: int | None = None


@dataclass(frozen=True)
class Clean:
    """Clean values of one state of the network.

    Attributes:
        values: ``train_loss``, ``train_metric``, ``validation_loss`` … of the measured splits; None where the logits
            are not finite or the metric not defined.
        finite: the logits of the training and validation splits are finite. Test data decides nothing.
    """

    values: Mapping[str, Any]
    finite: bool


class CleanEvaluation:
    """Measures a network on the splits, always on the same examples and in the same order.

    Attributes:
        kept: what lies before a cut of the network and never changes, where it is known: run once for all epochs.
    """

    def __init__(
        self,
        images: ImageSet,
        splits: Mapping[Split, np.ndarray],
        data: DataSpec,
        recipe: Recipe,
        device: torch.device,
        measured: EpochEvaluation,
    ) -> None:
        self._task, self._recipe, self._device = measured.task, recipe, device
        self._metric = measured.metric or recipe.metric
        self.kept: KeptPrefix | None = None
        train_examples = measured.train_examples
        self._batches: dict[Split, EvaluationBatches] = {}
        names: tuple[Split, ...] = ("train", "validation", "test") if measured.tests else ("train", "validation")
        for name in names:
            indices = splits.get(name)
            if indices is None or len(indices) == 0:
                continue
            if name == "train" and train_examples is not None and train_examples < len(indices):
                indices = nested_subset(images.labels, indices, train_examples / len(indices), 0)
            self._batches[name] = EvaluationBatches(
                images,
                indices,
                data.mean,
                data.std,
                measured.batch_size,
                device,
                recipe.memory_format,
                ablation=data.ablation,
            )

    def __call__(self, model: nn.Module) -> Clean:
        """Measure the network as it is now; it is left unchanged."""
        values: dict[str, float | None] = {}
        finite = True
        for name, batches in self._batches.items():
            loss, value = self._measure(model, name, batches)
            finite &= loss is not None or name == "test"
            values[f"{name}_loss"], values[f"{name}_metric"] = loss, value
        return Clean(values, finite)

    def _measure(self, model: nn.Module, name: str, batches: EvaluationBatches) -> tuple[float | None, float | None]:
        precision, memory_format = self._recipe.precision, self._recipe.memory_format
        if self.kept is None:
            outputs, labels = logits(model, batches, self._device, precision, memory_format)
        else:
            outputs, labels = prefix_logits(model, self.kept, name, batches, precision, memory_format)
        if not bool(torch.isfinite(outputs).all()):
            return None, None
        loss = float(per_example_loss(outputs, labels, self._task).mean())
        return loss, metric_of(outputs, labels, self._metric)
