"""Epochs per second of full training, of frozen first modules, and of frozen ones whose outputs are kept.

    OMP_NUM_THREADS=1 python benchmarks/freeze.py [--images 256] [--size 64] [--epochs 3] [--threads 1] [--stages 6 7 8]

All three train ``tf_efficientnet_lite0`` (random weights: what is computed hangs on no value) by the same recipe, in
one run, epoch by epoch in turn, so that a busy machine disturbs them alike; evaluations after each epoch are counted.
``kept`` needs one pass for each view beforehand, which is counted over the epochs of a usual fine-tuning. Stages:
conv_stem, bn1, blocks.0 to blocks.6, conv_head, bn2. Without augmentation frozen training ends with the same bits with
and without keeping, which is checked.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from transferscope.data.images import ImageSet
from transferscope.data.sources.arrays import Arrays
from transferscope.data.spec import DataSpec, Split
from transferscope.networks.modules import parts_parameters
from transferscope.specs.network import NetworkSpec, Random
from transferscope.specs.recipe import Recipe
from transferscope.training.loop import Training, train

CLASSES = 2
USUAL_EPOCHS = 10


def image_set(folder: Path, examples: int, size: int) -> ImageSet:
    rng = np.random.default_rng(0)
    np.save(folder / "pixels.npy", rng.integers(0, 256, (examples, size, size, 3), dtype=np.uint8))
    return ImageSet(
        path=folder / "pixels.npy",
        names=tuple(str(number) for number in range(examples)),
        labels=rng.integers(0, CLASSES, examples),
        classes=("0", "1"),
        groups=None,
        given_splits=None,
        fingerprint="0" * 64,
        multi_label=False,
        image_size=size,
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)


class Turns:
    """Trainings that each run in a thread of their own, one epoch at a time, one after the other."""

    def __init__(self, runs: list[str]) -> None:
        self._runs, self._at, self._turn = runs, 0, threading.Condition()
        self.seconds: dict[str, list[float]] = {run: [] for run in runs}
        self._since: dict[str, float] = {}

    def wait(self, run: str) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._runs[self._at % len(self._runs)] == run)
        self._since[run] = time.thread_time()

    def done(self, run: str) -> None:
        self.seconds[run].append(time.thread_time() - self._since[run])
        with self._turn:
            self._at += 1
            self._turn.notify_all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stages", type=int, nargs="+", default=[6, 7, 8])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    stages = list(parts_parameters(network(), "stage", "classifier"))[:-1]
    runs: dict[str, Recipe] = {}
    base = {"learning_rate": 1e-3, "epochs": arguments.epochs, "batch_size": 32, "memory_format": "channels_last"}
    base |= {"augmentation": {"flip": False, "crop_padding": 0}}
    runs["full"] = Recipe.model_validate(base)
    for k in arguments.stages:
        frozen = {**base, "module_rates": dict.fromkeys(stages[:k], 0.0)}
        runs[f"first {k} frozen"] = Recipe.model_validate(frozen)
        runs[f"first {k} frozen, kept"] = Recipe.model_validate({**frozen, "prefix_views": 1})
    turns, ended = Turns(list(runs)), dict[str, Training]()
    with tempfile.TemporaryDirectory() as place:
        folder, test = Path(place), arguments.images // 4
        images = image_set(folder, arguments.images + 2 * test, arguments.size)
        order = np.arange(len(images))
        splits: dict[Split, np.ndarray] = {
            "train": order[: arguments.images], "validation": order[arguments.images : -test], "test": order[-test:]
        }  # fmt: skip
        data = DataSpec(source=Arrays(images="pixels.npy"), fingerprint="0" * 64, image_size=arguments.size)

        def one(run: str, recipe: Recipe) -> None:
            spec = NetworkSpec(
                architecture="timm:tf_efficientnet_lite0", classes=CLASSES, start=Random(), data=data, recipe=recipe
            )

            def on_event(event: dict[str, object]) -> None:
                if event["kind"] == "epoch":
                    turns.done(run)
                    if event["epoch"] != recipe.epochs:
                        turns.wait(run)

            turns.wait(run)
            ended[run] = train(network(), images, splits, spec, folder / run, on_event=on_event)

        for run, recipe in runs.items():
            threading.Thread(target=one, args=(run, recipe), daemon=True).start()
        while len(ended) < len(runs):
            time.sleep(0.1)
    # The first epoch's turn holds the start, tracing and keeping as well.
    median = {run: float(np.median(seconds[1:])) for run, seconds in turns.seconds.items()}
    whole = {run: seconds[0] + (USUAL_EPOCHS - 1) * median[run] for run, seconds in turns.seconds.items()}
    print(
        f"{arguments.images} images of {arguments.size} px, {len(stages)} stages, {arguments.threads} threads, medians"
    )
    for run, seconds in median.items():
        gain = median["full"] / seconds
        line = f"{run:>22} {1 / seconds:7.3f} epochs per CPU second, {gain:5.2f} × full"
        use = ended[run].prefix
        if use is not None:
            line += f"; {USUAL_EPOCHS} epochs with start and keeping {whole['full'] / whole[run]:5.2f} × ({use.text})"
            plain = ended[run.removesuffix(", kept")].state
            same = all(torch.equal(value, plain[name]) for name, value in ended[run].state.items())
            line += f"; equal to the bit: {same}"
        print(line)
    print("to reach: at least 3 × with half of the stages or more frozen and kept")


if __name__ == "__main__":
    main()
