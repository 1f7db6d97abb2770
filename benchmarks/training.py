"""Images/s of the training loop against a bare PyTorch loop over the same tensors, already in memory.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--repeats 5] [--batches 12] [--threads 1]

Both train ``tf_efficientnet_lite0`` (random weights, 64 × 64, batches of 32, channels_last, SGD with Nesterov momentum).
The bare loop is forward, loss, backward, step over a list of ready float batches; ours also reads uint8 images from the
store, draws, augments, normalises, sets the rate and watches for divergence. They run in turn, and the medians of images per
CPU second (which a shared machine disturbs less) and per second are compared. The share of the data work is the time of
iterating our training batches alone over the time of training on them.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from transferscope.data.batches import training_batches
from transferscope.data.images import ImageSet
from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import DataSpec
from transferscope.specs import NetworkSpec, Random
from transferscope.training.loop import train
from transferscope.training.recipe import Recipe

SIZE, BATCH, CLASSES = 64, 32, 2
CPU = torch.device("cpu")


def image_set(folder: Path, examples: int) -> ImageSet:
    rng = np.random.default_rng(0)
    np.save(folder / "pixels.npy", rng.integers(0, 256, (examples, SIZE, SIZE, 3), dtype=np.uint8))
    return ImageSet(
        path=folder / "pixels.npy",
        names=tuple(str(number) for number in range(examples)),
        labels=rng.integers(0, CLASSES, examples),
        classes=("0", "1"),
        groups=None,
        given_splits=None,
        fingerprint="0" * 64,
        multi_label=False,
        image_size=SIZE,
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES).to(memory_format=torch.channels_last)


def bare(model: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], recipe: Recipe) -> None:
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    model.train()
    for images, labels in batches:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()


def clocked(action: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    examples = BATCH * arguments.batches
    recipe = Recipe(learning_rate=1e-3, epochs=1, batch_size=BATCH, memory_format="channels_last")
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": [], "data": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = image_set(folder, examples)
        data = DataSpec(source=Arrays(images="pixels.npy"), fingerprint="0" * 64, image_size=SIZE)
        spec = NetworkSpec(
            architecture="timm:tf_efficientnet_lite0", classes=CLASSES, start=Random(), data=data, recipe=recipe
        )
        splits = {"train": np.arange(examples)}
        ready = list(training_batches(images, splits["train"], data.mean, data.std, recipe, 0, 1, CPU))
        reference, model = network(), network()
        epochs: list[tuple[float, float]] = []

        def ours(repeat: int) -> None:
            # The clean evaluation after the epoch is not part of the loop's rate: the clock stops at the last update.
            marks: list[tuple[float, float]] = []

            def at_update() -> bool:
                marks.append((time.perf_counter(), time.process_time()))
                return False

            train(
                model,
                images,
                splits,
                spec,
                folder / f"work-{repeat}",
                device=CPU,
                tests=False,
                train_evaluation=2,
                stop_requested=at_update,
            )
            # From the first update to the last: one batch fewer, its data work included.
            steps = len(marks) - 1
            scale = arguments.batches / steps
            epochs.append(tuple((b - a) * scale for a, b in zip(marks[0], marks[-1], strict=True)))

        bare(reference, ready[:3], recipe)
        for repeat in range(arguments.repeats):
            seconds["bare"].append(clocked(lambda: bare(reference, ready, recipe)))
            ours(repeat)
            seconds["data"].append(
                clocked(
                    lambda: [
                        None
                        for _ in training_batches(
                            images, splits["train"], data.mean, data.std, recipe, 0, 1, CPU
                        )
                    ]
                )
            )
        seconds["ours"] = epochs
    print(f"{arguments.batches} batches of {BATCH}, {arguments.repeats} repeats, {arguments.threads} thread(s)")
    for clock, name in enumerate(("images/s", "images/CPU s")):
        rates = {kind: statistics.median(examples / pair[clock] for pair in seconds[kind]) for kind in seconds}
        pairs = [a[clock] / b[clock] for a, b in zip(seconds["bare"], seconds["ours"], strict=True)]
        shares = [a[clock] / b[clock] for a, b in zip(seconds["data"], seconds["ours"], strict=True)]
        print(
            f"{name:>13}: ours {rates['ours']:7.1f}  bare {rates['bare']:7.1f}  "
            f"ratio {statistics.median(pairs):.3f} (target >= 0.95)  "
            f"data work {100 * statistics.median(shares):.1f} % of a step (target < 5 %)"
        )


if __name__ == "__main__":
    main()
