"""Images/s of the training loop against a bare PyTorch loop over the same tensors, already in memory.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--updates 100] [--threads 1]

Both train ``tf_efficientnet_lite0`` (random weights, 64 × 64, batches of 32, channels_last, SGD with Nesterov
momentum). The bare loop is forward, loss, backward, step over ready float batches; ours also reads uint8 images
from the store, augments, normalises, sets the rate and watches for divergence. They take turns update by update
(the bare loops run inside our loop's ``stop_requested``, whose time is not counted as ours), so that a busy
machine disturbs them alike; the medians over updates, in wall-clock and in CPU time, are compared. The share of
the data work is that of making our training batches.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from transferscope.data.batches import TrainingBatches
from transferscope.data.images import ImageSet
from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import DataSpec
from transferscope.specs.network import NetworkSpec, Random
from transferscope.specs.recipe import Recipe
from transferscope.training.evaluation import EpochEvaluation
from transferscope.training.loop import train

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


class Bare:
    """The bare loop, one update at a time."""

    def __init__(self, batches: list[tuple[torch.Tensor, torch.Tensor]], recipe: Recipe, fused: bool) -> None:
        self.model = network().train()
        self.batches = itertools.cycle(batches)
        self.optimiser = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay,
            fused=fused,
        )

    def update(self) -> None:
        images, labels = next(self.batches)
        self.optimiser.zero_grad()
        loss = nn.functional.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimiser.step()


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    examples = BATCH * arguments.updates
    recipe = Recipe(learning_rate=1e-3, epochs=1, batch_size=BATCH, memory_format="channels_last")
    seconds: dict[str, list[np.ndarray]] = {"bare": [], "bare, fused": [], "ours": [], "data work": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = image_set(folder, examples)
        data = DataSpec(source=Arrays(images="pixels.npy"), fingerprint="0" * 64, image_size=SIZE)
        spec = NetworkSpec(
            architecture="timm:tf_efficientnet_lite0", classes=CLASSES, start=Random(), data=data, recipe=recipe
        )
        splits = {"train": np.arange(examples)}

        def epoch() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            return iter(TrainingBatches(images, splits["train"], data.mean, data.std, recipe, 0, 1, CPU))

        ready = list(itertools.islice(epoch(), 20))
        rivals = {"bare": Bare(ready, recipe, fused=False), "bare, fused": Bare(ready, recipe, fused=True)}
        alone = epoch()
        since: list[np.ndarray] = []

        def between_updates() -> bool:
            now = clocks()
            if since:
                seconds["ours"].append(now - since[0])
            for name, action in [
                *((name, rival.update) for name, rival in rivals.items()),
                ("data work", lambda: next(alone)),
            ]:
                started = clocks()
                action()
                seconds[name].append(clocks() - started)
            since[:] = [clocks()]
            return False

        train(
            network(),
            images,
            splits,
            spec,
            folder / "work",
            device=CPU,
            measured=EpochEvaluation(tests=False, train_examples=2),
            stop_requested=between_updates,
        )
    # The first update allocates gradients and momentum: left out for all alike.
    median = {name: np.median(np.stack(values[1:]), axis=0) for name, values in seconds.items()}
    print(f"{arguments.updates} updates of {BATCH} images, {arguments.threads} thread(s), medians")
    for clock, unit in enumerate(("images/s", "images/CPU s")):
        for name in ("bare", "bare, fused", "ours"):
            ratio = median[name][clock] / median["ours"][clock]
            print(f"{name:>12} {BATCH / median[name][clock]:8.1f} {unit:<13} ours is {ratio:.3f} of it (>= 0.95)")
        share = 100 * median["data work"][clock] / median["ours"][clock]
        print(f"{'data work':>12} {share:8.2f} % of a step (< 5 %)")


if __name__ == "__main__":
    main()
