"""Weight matching of two ResNet-18s against rebasin 0.0.47, in one run: seconds, and the barrier that is left.

Set-up: torchvision ResNet-18s of 10 classes, trained for a few epochs from different random starts on scikit-learn's
handwritten digits (3 x 32 x 32, three quarters of them); barriers on the other quarter, 25 values of α, running
statistics recomputed on training images at every point, for every candidate alike. The peer's permutations are random
in their order: it is run with several seeds, and so is ours.

    pip install --no-deps rebasin==0.0.47 torchview graphviz tqdm
    python benchmarks/align.py [--pairs 1] [--seeds 3] [--epochs 6] [--threads 2] [--json FILE]

Seconds are wall clock of one alignment, from two networks to an aligned copy, with the tracing of the network; ours
also checks that the function is unchanged. The peer leaves running statistics where they were and asks for them to be
recomputed: ``changed``, the largest difference of logits before and after relative to the largest, and the errors of
the ends are with recomputed statistics for all. Barriers are over the mean of the ends.
"""

import argparse
import copy
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torchvision.models import resnet18

# In the place of this folder, whose files have the names of other modules.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from transferscope.methods.alignment.align import align  # noqa: E402 - only found from the path set above
from transferscope.methods.evaluation import Evaluation  # noqa: E402 - only found from the path set above
from transferscope.methods.landscape.linear_path import alpha_grid, linear_path  # noqa: E402 - only found from the path set above
from transferscope.networks.batchnorm import recompute  # noqa: E402 - only found from the path set above

warnings.filterwarnings("ignore")

BATCH = 64
Batches = list[tuple[torch.Tensor, torch.Tensor]]


def digits() -> tuple[Batches, Batches]:
    """Training and test batches."""
    raw = load_digits()
    images = torch.as_tensor(raw.images, dtype=torch.float32)[:, None] / 8 - 1
    images = nn.functional.interpolate(images, size=(32, 32), mode="bilinear").repeat(1, 3, 1, 1)
    labels = torch.as_tensor(raw.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    cut = 3 * len(order) // 4
    train, test = (
        list(zip(images[part].split(BATCH), labels[part].split(BATCH), strict=True))
        for part in (order[:cut], order[cut:])
    )
    return train, test


def trained(seed: int, train: Batches, epochs: int) -> nn.Module:
    """A ResNet-18 from its own random start, in its own image order."""
    torch.manual_seed(seed)
    net = resnet18(num_classes=10)
    images, labels = (torch.cat(parts) for parts in zip(*train, strict=True))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    steps = epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        order = torch.randperm(len(labels))
        for part in order[: len(order) // BATCH * BATCH].split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[part]), labels[part]).backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def unaligned(_a: nn.Module, b: nn.Module, _train: Batches, _seed: int) -> nn.Module:
    return b


def ours_weights(a: nn.Module, b: nn.Module, train: Batches, seed: int) -> nn.Module:
    return align(a, b, train, method="weights", seed=seed, device="cpu").network


def ours_activations(a: nn.Module, b: nn.Module, train: Batches, _seed: int) -> nn.Module:
    return align(a, b, train[:8], method="activations", device="cpu").network


def rebasin(a: nn.Module, b: nn.Module, train: Batches, seed: int) -> nn.Module:
    from rebasin import PermutationCoordinateDescent

    # It works in place, on networks it may also leave changed.
    one, two = copy.deepcopy(a), copy.deepcopy(b)
    torch.manual_seed(seed)
    peer = PermutationCoordinateDescent(one, two, train[0][0])
    peer.rebasin()
    return two.eval()


CANDIDATES: dict[str, Callable[..., nn.Module]] = {
    "unaligned": unaligned,
    "ours weights": ours_weights,
    "ours activations": ours_activations,
    "rebasin": rebasin,
}
SEEDED = ("ours weights", "rebasin")


def measured(name: str, a: nn.Module, b: nn.Module, train: Batches, test: Batches, seed: int) -> dict[str, Any]:
    """One alignment and the line after it."""
    start = time.perf_counter()
    aligned = CANDIDATES[name](a, b, train, seed)
    seconds = time.perf_counter() - start
    recomputed = [copy.deepcopy(net) for net in (b, aligned)]
    for net in recomputed:
        recompute(net, train[:8])
    with torch.no_grad():
        before, after = (net(test[0][0]) for net in recomputed)
    path = linear_path(
        a,
        aligned,
        {"test": test},
        evaluation=Evaluation(recompute_on=train[:8], device="cpu"),
        alphas=alpha_grid(25, 0),
    )
    return {
        "candidate": name,
        "seed": seed,
        "seconds": seconds,
        "changed": float((before - after).abs().max() / before.abs().max()),
        "distance": path.distance,
        "loss_barrier": path.barrier("test", "loss").mean.value,
        "error_barrier": path.barrier("test", "error").mean.value,
        "end_errors": [float(path.points["test"][k].errors.mean()) for k in (0, -1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-rebasin", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train, test = digits()
    rows: list[dict[str, Any]] = []
    for pair in range(arguments.pairs):
        a, b = (trained(2 * pair + k, train, arguments.epochs) for k in range(2))
        for name in CANDIDATES:
            if name == "rebasin" and arguments.skip_rebasin:
                continue
            for seed in range(arguments.seeds if name in SEEDED else 1):
                row = {"pair": pair, **measured(name, a, b, train, test, seed)}
                rows.append(row)
                print(
                    f"pair {pair}  {name:17} seed {seed}  {row['seconds']:6.1f} s  changed {row['changed']:.1e}  "
                    f"distance {row['distance']:7.3f}  loss barrier {row['loss_barrier']:.4f}  "
                    f"error barrier {100 * row['error_barrier']:.2f} points  "
                    f"(errors of the ends {', '.join(f'{100 * e:.1f} %' for e in row['end_errors'])})",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
