"""Ablations: a batch against one image at a time, and their share of a training step.

    OMP_NUM_THREADS=1 python benchmarks/ablation.py [--rounds 40] [--threads 1]

First, images/s of the block shuffle of a batch (one gather) against the usual transform: for every image unfold it
into blocks, permute them, fold them back. Both take turns on the same normalised images and give the same values;
the median over rounds of the ratio of neighbouring turns is printed (>= 1.5 is asked for). Second, what each ablation
adds to one training step (forward, loss, backward, update of ``tf_efficientnet_lite0`` on batches of 32), again turn by
turn (< 3 % is asked for).
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import timm
import torch
from torch import Tensor, nn

from transferscope.data.ablation_settings import (
    Ablation,
    BlockShuffle,
    Grayscale,
    HighPass,
    LowPass,
    PhaseScramble,
    words,
)
from transferscope.data.ablations import operator_of, shuffle_index

BATCH = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def images_of(size: int, layout: str) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(BATCH, 3, size, size).contiguous(memory_format=FORMATS[layout])


def unfold_fold(images: Tensor, order: Tensor, block: int) -> Tensor:
    """The usual transform, image by image."""
    size = images.shape[-1]
    result = []
    for image in images:
        blocks = nn.functional.unfold(image[None], block, stride=block)
        result.append(nn.functional.fold(blocks[:, :, order], (size, size), block, stride=block)[0])
    return torch.stack(result)


def order_of(shuffle: BlockShuffle, size: int) -> Tensor:
    """Which block comes to each place, from where its first pixel comes from."""
    assert isinstance(shuffle.block, int)
    first = shuffle_index(shuffle, size).reshape(size, size)[:: shuffle.block, :: shuffle.block]
    return torch.from_numpy(first // size // shuffle.block * (size // shuffle.block) + first % size // shuffle.block)


def turns(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Wall-clock and CPU seconds of each, turn by turn; two rounds go first and are not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for number in range(rounds + 2):
        for name, action in actions.items():
            started = time.perf_counter(), time.process_time()
            action()
            ended = time.perf_counter(), time.process_time()
            if number > 1:
                seconds[name].append((ended[0] - started[0], ended[1] - started[1]))
    return {name: np.array(values) for name, values in seconds.items()}


def shuffles(rounds: int) -> None:
    print(
        f"block shuffle of {BATCH} images against unfold/fold per image; ratio of images/s, median of {rounds} rounds"
    )
    print(f"{'size':>5} {'block':>5} {'format':>14} {'images/s':>10} {'wall':>7} {'CPU':>7}   (>= 1.5)")
    for size in (64, 224):
        for block in (1, 8, 16, 32):
            for layout in FORMATS:
                images, shuffle = images_of(size, layout), BlockShuffle(block=block)
                ours, order = operator_of(shuffle, size, MEAN, STD), order_of(shuffle, size).reshape(-1)
                assert torch.equal(ours(images), unfold_fold(images, order, block))
                found = turns(
                    {
                        "ours": lambda ours=ours, images=images: ours(images),
                        "theirs": lambda images=images, order=order, block=block: unfold_fold(images, order, block),
                    },
                    rounds,
                )
                ratio = np.median(found["theirs"] / found["ours"], axis=0)
                rate = BATCH / np.median(found["ours"][:, 0])
                print(f"{size:5} {block:5} {layout:>14} {rate:10,.0f} {ratio[0]:7.1f} {ratio[1]:7.1f}")


def shares(rounds: int) -> None:
    print(f"\nshare of a training step (tf_efficientnet_lite0, {BATCH} images), median of {rounds} rounds, in per cent")
    print(f"{'size':>5} {'ablation':>15} {'format':>14} {'wall':>7} {'CPU':>7}   (< 3)")
    for size in (64, 224):
        cutoff = size / 8
        asked: list[Ablation] = [
            *(BlockShuffle(block=block) for block in (size // 4, size // 8, 1)), BlockShuffle(block="*"),
            PhaseScramble(), LowPass(cutoff=cutoff), HighPass(cutoff=cutoff), Grayscale(),
        ]  # fmt: skip
        for layout, kind in FORMATS.items():
            model = timm.create_model("tf_efficientnet_lite0", num_classes=2).to(memory_format=kind).train()
            optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
            images, labels = images_of(size, layout), torch.arange(BATCH) % 2

            def step(model: nn.Module = model, optimiser: torch.optim.Optimizer = optimiser, x: Tensor = images,
                     y: Tensor = labels) -> None:  # fmt: skip
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimiser.step()

            actions: dict[str, Callable[[], object]] = {"step": step}
            for item in asked:
                operator = operator_of(item, size, MEAN, STD)
                actions[words(item, size)] = lambda operator=operator, images=images: operator(images)
            found = turns(actions, rounds if size == 64 else max(5, rounds // 4))
            for name in list(actions)[1:]:
                share = 100 * np.median(found[name], axis=0) / np.median(found["step"], axis=0)
                print(f"{size:5} {name:>15} {layout:>14} {share[0]:7.2f} {share[1]:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shuffles(arguments.rounds)
    shares(arguments.rounds)


if __name__ == "__main__":
    main()
