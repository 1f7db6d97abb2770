"""What a fine-tuned network stored in a file can do without: what ``transferscope modules`` does."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from transferscope.files.images import image_size_of, stored_images
from transferscope.files.networks import (
    FileSettings,
    architecture_of,
    check_classes,
    check_size,
    classes_of,
    facts_of,
    network_of,
    start_of,
)
from transferscope.methods.compare.compare import OnStep
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.modules.choices import ChoiceData, ModuleWork, module_choices, module_work
from transferscope.methods.modules.choices_result import ModuleChoices
from transferscope.networks.copies import copied
from transferscope.networks.evaluate import resolve_device
from transferscope.networks.modules import Granularity
from transferscope.specs.architecture import FileWeights, Weights

_TRAIN_IMAGES = 512
_NOISY_IMAGES = 128


def module_files(
    finetuned: FileWeights,
    pretrained: Weights,
    given: FileSettings,
    *,
    granularity: Granularity = "block",
    margin: float = 0.005,
    batch_norm: Literal["recompute", "none"] = "recompute",
    train_images: int = _TRAIN_IMAGES,
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
    on_plan: Callable[[ModuleWork, float], None] | None = None,
) -> ModuleChoices:
    """Put the modules of a fine-tuned network back to their pre-trained values, on the images of a folder.

    Images are divided as in a study (by that of the fine-tuned network, where its metadata name it): validation images
    choose, test images judge. A pre-trained head for other classes is left out.

    Args:
        on_plan: told, before anything is evaluated, what will be done at most, and in how many seconds at most: by the
            time of one batch.
    """
    file = Path(finetuned.path)
    facts = facts_of(file, file, given.image_size)
    architecture = architecture_of(file, file, given.model, facts)
    network, remarks = network_of(finetuned, architecture)
    classes = classes_of(network, architecture)
    start = start_of(pretrained, architecture, classes)
    new_head = None if start.own_head else start.head
    remarks += start.remarks
    if on_note is not None:
        for remark in remarks:
            on_note(remark)
    size = image_size_of(architecture, facts, given.image_size)
    check_size(network, architecture, size)
    where = resolve_device(given.device)
    with stored_images(given.data, size, architecture, facts, file, where, on_note) as found:
        check_classes(found.images, classes)
        validation, test, train, noisy = (
            found.batches("validation"),
            found.batches("test"),
            found.batches("train", train_images),
            found.batches("train", min(train_images, _NOISY_IMAGES)),
        )
        if on_plan is not None:
            work = module_work(
                network,
                len(validation.indices),
                len(test.indices),
                train=len(train.indices),
                noisy=len(noisy.indices),
                new_head=new_head,
                head=start.head,
                granularity=granularity,
                batch_norm=batch_norm,
            )
            on_plan(work, work.images * _seconds_per_image(network, next(iter(validation))[0], where))
        choices = module_choices(
            start.network,
            network,
            ChoiceData(validation, test, noisy, found.clusters("test")),
            Evaluation(recompute_on=train, batch_norm=batch_norm, metric=found.metric, device=where),
            new_head=new_head,
            head=start.head,
            granularity=granularity,
            margin=margin,
            on_step=on_step,
        )
        return replace(choices, notes=(*found.notes("test"), *remarks))


def _seconds_per_image(network: nn.Module, images: Tensor, device: torch.device) -> float:
    """Estimate seconds from the fastest of a few passes of one batch: the first warms up, others may be disturbed."""
    moved, taken = copied(network).to(device).eval(), []
    with torch.inference_mode():
        for _ in range(4):
            begun = time.perf_counter()
            moved(images.to(device)).cpu()  # waits for the device
            taken.append(time.perf_counter() - begun)
    return min(taken) / len(images)
