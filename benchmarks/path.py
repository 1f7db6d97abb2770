"""The path between two networks against loss-landscape-3d 0.1.3, in one run: CPU seconds, and how far the two differ.

Set-up: two torchvision ResNet-18s of 10 classes, 200 images 3 x 64 x 64 in batches of 100, 50 values of α from 0 to 1,
float32, running statistics interpolated as the peer does (no recomputation), one thread. The networks are trained for
a few steps from two random starts, so that there is a barrier to be located. The peer computes the mean loss; ours also
the error, the metric and every example's loss.

    pip install --no-deps loss-landscape-3d==0.1.3
    OMP_NUM_THREADS=1 python benchmarks/path.py [--repeats 3] [--json FILE]

``located`` starts from 13 points and halves intervals until the maxima of loss and error are bracketed by 1/48, as on
an even grid of 49; ``fast`` is bfloat16 and channels_last, with the ends and maxima again in float32. CPU seconds are
of the process, medians over repeats in which the candidates take turns.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet18

# In the place of this folder, whose files have the names of other modules.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from transferscope.methods.evaluation import Evaluation  # noqa: E402 - only found from the path set above
from transferscope.methods.landscape.linear_path import LinearPath, alpha_grid, linear_path  # noqa: E402 - only found from the path set above

POINTS, IMAGES, SIZE, BATCH, CLASSES = 50, 200, 64, 100, 10
COARSE, TOLERANCE = 13, 1 / 48
warnings.filterwarnings("ignore")

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def data() -> Batches:
    """Pictures of class k have a pattern of their own, on noise."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(CLASSES, 3, 4, 4, generator=generator).repeat_interleave(16, 2).repeat_interleave(16, 3)
    labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
    images = 0.5 * patterns[labels] + torch.randn(IMAGES, 3, SIZE, SIZE, generator=generator)
    return list(zip(images.split(BATCH), labels.split(BATCH), strict=True))


def networks(batches: Batches, steps: int) -> list[nn.Module]:
    made = []
    for seed in range(2):
        torch.manual_seed(seed)
        net = resnet18(weights=None, num_classes=CLASSES)
        optimiser = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
        for step in range(steps):
            images, labels = batches[step % len(batches)]
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            optimiser.step()
        made.append(net.eval())
    return made


def ours(nets: list[nn.Module], batches: Batches, **options: Any) -> LinearPath:
    grid = alpha_grid(COARSE if "refine" in options else POINTS, 0)
    return linear_path(
        *nets, {"x": batches}, evaluation=Evaluation(batch_norm="interpolate", device="cpu"), alphas=grid, **options
    )


def located(nets: list[nn.Module], batches: Batches) -> LinearPath:
    return ours(nets, batches, refine=TOLERANCE)


def fast(nets: list[nn.Module], batches: Batches) -> LinearPath:
    return ours(nets, batches, fast=True)


def fast_located(nets: list[nn.Module], batches: Batches) -> LinearPath:
    return ours(nets, batches, fast=True, refine=TOLERANCE)


def peer(nets: list[nn.Module], batches: Batches) -> np.ndarray:
    calculator = importlib.import_module("loss_landscape_3d.calculator").LossLandscapeCalculator(
        nets[0], batches, nn.CrossEntropyLoss(), device="cpu"
    )
    # Copies: it loads each point into the network whose own tensors it would otherwise read as an end of the line.
    states = [{name: tensor.clone() for name, tensor in net.state_dict().items()} for net in nets]
    return calculator.calculate_1d_path(alpha_grid(POINTS, 0), *states)


CANDIDATES = {"peer": peer, "ours": ours, "located": located, "fast": fast, "fast_located": fast_located}


def losses(path: LinearPath) -> np.ndarray:
    return path.values("x", "loss").mean(axis=1)


def describe(name: str, path: LinearPath, dense: LinearPath) -> dict[str, float]:
    """How far what it says is from the dense path in float32."""
    found, wanted = path.barrier("x", "loss").mean, dense.barrier("x", "loss").mean
    error, true = path.barrier("x", "error").mean, dense.barrier("x", "error").mean
    print(
        f"{name:14} {len(path.alphas)} points; loss barrier {found.value:.4f} at {found.alpha:.3f} (dense: "
        f"{wanted.value:.4f} at {wanted.alpha:.3f}); error barrier {error.value:.4f} at {error.alpha:.3f} (dense: "
        f"{true.value:.4f} at {true.alpha:.3f})"
    )
    if path.resolution is not None:
        print(f"{'':14} {path.resolution.text}")
    if path.recheck is not None:
        print(
            f"{'':14} float32 again at {len(path.recheck.alphas)} points: largest difference of the loss "
            f"{path.recheck.loss:.1e}, of the error {path.recheck.error:.4f}"
        )
    return {
        "points": len(path.alphas),
        "loss_barrier": found.value,
        "error_barrier": error.value,
        "dense_loss_barrier": wanted.value,
        "dense_error_barrier": true.value,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="of training, before; 0 for random weights")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    batches = data()
    nets = networks(batches, arguments.steps)
    found: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    with torch.inference_mode():
        nets[0](batches[0][0])  # libraries are loaded before anything is timed
    for _ in range(arguments.repeats):
        for name, candidate in CANDIDATES.items():
            start = time.process_time()
            found[name] = candidate(nets, batches)
            seconds[name].append(time.process_time() - start)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{'':14}{'CPU s':>9}{'of the peer':>13}   all CPU s")
    for name in CANDIDATES:
        print(f"{name:14}{median[name]:9.2f}{median[name] / median['peer']:13.3f}   {np.round(seconds[name], 2)}")
    apart = float(np.abs(found["peer"] - losses(found["ours"])).max())
    print(f"\nlargest difference of a loss, ours and the peer's: {apart:.1e}")
    said = {name: describe(name, found[name], found["ours"]) for name in ("located", "fast", "fast_located")}
    if arguments.json:
        result = {"torch": torch.__version__, "cpu_seconds": seconds, "difference": apart, "found": said}
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
