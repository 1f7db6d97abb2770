"""What a training is asked for: checked before anything runs, and its identity."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from transferscope.data.images import ImageSet
from transferscope.data.spec import DataSpec, Split
from transferscope.errors import DataError, StudyError
from transferscope.frozen import content_key
from transferscope.specs.network import NetworkSpec
from transferscope.specs.recipe import Recipe
from transferscope.training.loss import Task

__all__ = ["recipe_and_data", "training_examples", "training_identity"]


def recipe_and_data(spec: NetworkSpec) -> tuple[Recipe, DataSpec]:
    """The settings of the training.

    Args:
        spec: the network.

    Raises:
        StudyError: the network is not a trained one.
    """
    if spec.recipe is None or spec.data is None:
        raise StudyError(
            "this network is not a trained one: there is nothing to train it with",
            expected="a network with data and recipe",
            got="neither",
        )
    return spec.recipe, spec.data


def training_examples(
    images: ImageSet, splits: Mapping[Split, np.ndarray], spec: NetworkSpec, task: Task
) -> np.ndarray:
    """The positions of the training images, once the labels are known to fit.

    Args:
        images: all examples.
        splits: positions by split.
        spec: gives the number of classes.
        task: ``single`` or ``multi``.

    Returns:
        int64 (examples,).

    Raises:
        DataError: there is no training split, it has fewer than two images, or the labels fit neither the
        task nor the head.
    """
    if "train" not in splits:
        raise DataError("there is no training split", expected="splits['train']", got=f"splits {sorted(splits)}")
    examples = np.asarray(splits["train"], dtype=np.int64)
    if len(examples) < 2:
        raise DataError(
            "too few training images",
            expected="at least 2",
            got=str(len(examples)),
            hint="give more images, or a larger `fraction`",
        )
    labels = np.asarray(images.labels)
    if (labels.ndim == 2) != (task == "multi"):
        raise DataError(
            f"the labels do not fit task = {task!r}",
            expected="one label per image for single, a row of 0 and 1 for multi",
            got=f"labels of shape {labels.shape}",
            hint="set the task to " + ("multi" if labels.ndim == 2 else "single"),
        )
    fits = labels.shape[1] == spec.classes if labels.ndim == 2 else _in_range(labels, spec.classes)
    if not fits:
        raise DataError(
            f"the labels do not fit a head of {spec.classes} classes",
            expected=f"labels 0 to {spec.classes - 1}" if labels.ndim == 1 else f"{spec.classes} labels",
            got=f"{labels.shape[1]} labels" if labels.ndim == 2 else f"{labels.min()} to {labels.max()}",
            hint="set the network's classes to those of the data",
        )
    return examples


def _in_range(labels: np.ndarray, classes: int) -> bool:
    return len(labels) == 0 or (int(labels.min()) >= 0 and int(labels.max()) < classes)


def training_identity(spec: NetworkSpec, splits: Mapping[Split, np.ndarray], options: Sequence[object]) -> str:
    """What a partial training must agree in to be resumed.

    Args:
        spec: the network.
        splits: positions by split.
        options: further arguments that change the history (JSON values).
    """
    drawn = {
        name: hashlib.sha256(np.ascontiguousarray(indices, dtype=np.int64).tobytes()).hexdigest()
        for name, indices in splits.items()
    }
    return content_key([spec.key, drawn, options])
