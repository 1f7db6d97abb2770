"""All singular values of the convolutions of a ResNet-18 at 224 px, against numpy's fft2 + svd in double precision.

    OMP_NUM_THREADS=1 python benchmarks/spectra.py [--repeats 3] [--size 224] [--json FILE]

One thread, CPU seconds of the process, medians over repeats in which the candidates take turns layer by layer. What is
decomposed: the twenty convolutions of timm's resnet18 with its random weights, each on the map it sees.

- ``numpy``: conv-sv's way (Sedghi, Gupta & Long 2019): ``numpy.fft.fft2`` of the kernel on the whole plane, then
  ``numpy.linalg.svd`` of every frequency, in double precision. conv-sv itself ignores strides; here the blocks of a
  strided layer are put side by side, so that both sides compute the same operator.
- ``numpy, closed``: the same where 1 x 1 convolutions are one matrix: what a careful user of numpy would do.
- ``double`` and ``single``: ours. Asked for: at most 0.5 and 0.35 of ``numpy``.

The error is the largest difference of a singular value over the exact one (``double``), or over the largest one of its
layer (``single``). Values below 1e-9 of the largest are left out of the first: they are the zeros of 1 x 1 layers with
a stride. In the end: the peak of memory for the two extremes, in processes of their own, and how the time of one matrix
grows with its size, by numpy's LAPACK and by torch's.
"""

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from transferscope.measures.spectra import Spectrum, convolution_spectrum
from transferscope.networks.operators import Operator, operators

EXTREMES = {"512x512x3x3 at 7x7": (512, 7), "64x64x3x3 at 112x112": (64, 112)}


def layers(size: int) -> list[Operator]:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18")
    return [one for one in operators(model, torch.zeros(1, 3, size, size)).found if one.kind == "convolution"]


def plane(layer: Operator) -> np.ndarray:
    """The blocks of all frequencies: ``frequencies outputs inputs``."""
    kernel = np.ascontiguousarray(layer.weight.double().numpy().transpose(2, 3, 0, 1))
    found = np.fft.fft2(kernel, layer.size, axes=(0, 1))
    (high, wide), (down, across) = layer.size, layer.stride
    if (down, across) == (1, 1):
        return found.reshape(-1, *found.shape[2:])
    rows, columns = high // down, wide // across
    parts = found.reshape(down, rows, across, columns, *found.shape[2:])
    side = parts.transpose(1, 3, 4, 0, 2, 5).reshape(rows * columns, found.shape[2], -1)
    return side / np.sqrt(down * across)


def by_numpy(layer: Operator) -> np.ndarray:
    return np.linalg.svd(plane(layer), compute_uv=False)


def by_numpy_closed(layer: Operator) -> np.ndarray:
    copies = layer.size[0] // layer.stride[0] * (layer.size[1] // layer.stride[1])
    return np.tile(np.linalg.svd(layer.weight.double().numpy()[:, :, 0, 0], compute_uv=False), copies)


def ours(layer: Operator, precision: str) -> Spectrum:
    return convolution_spectrum(layer.weight, layer.size, stride=layer.stride, precision=precision)


CANDIDATES: dict[str, Callable[[Operator], object]] = {
    "numpy": by_numpy,
    "numpy, closed": by_numpy_closed,
    "double": lambda layer: ours(layer, "double"),
    "single": lambda layer: ours(layer, "single"),
}


def seconds(action: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    found = action()
    return time.process_time() - start, found


def listed(found: object, length: int) -> np.ndarray:
    if isinstance(found, Spectrum):
        values = np.repeat(found.values.numpy(), found.multiplicity.numpy())
    else:
        values = np.sort(np.asarray(found).ravel())[::-1]
    return np.pad(values, (0, length - len(values)))


def errors(found: dict[str, object]) -> dict[str, float]:
    exact = listed(found["numpy"], np.asarray(found["numpy"]).size)
    double, single = (listed(found[name], len(exact)) for name in ("double", "single"))
    known = exact > 1e-9 * exact[0]
    return {
        "double": float((np.abs(double - exact)[known] / exact[known]).max()),
        "single": float(np.abs(single - exact).max() / exact[0]),
        "smallest": float(exact[known][-1] / exact[0]),
    }


def peak(name: str) -> float:
    """MB by which the resident maximum grows, in a process of its own."""
    command = [sys.executable, __file__, "--peak", name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def measure_peak(name: str) -> None:
    channels, size = EXTREMES[name]
    weight = torch.randn(channels, channels, 3, 3)
    # Libraries are loaded and threads started before memory is measured.
    convolution_spectrum(torch.randn(128, 128, 3, 3), (4, 4))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convolution_spectrum(weight, (size, size))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def growth(repeats: int) -> list[dict[str, float]]:
    """Milliseconds for one complex matrix, by numpy's LAPACK and by torch's."""
    rows = []
    for channels in (32, 64, 128, 256, 512):
        count = max(1, 2**18 // channels**2)
        draw = np.random.default_rng(channels)
        matrices = draw.standard_normal((count, channels, channels, 2)).view(np.complex128)[..., 0]
        tensors = torch.from_numpy(matrices)
        runs: dict[str, list[float]] = {"numpy": [], "torch": []}
        for _ in range(repeats):
            runs["numpy"].append(seconds(lambda m=matrices: np.linalg.svd(m, compute_uv=False))[0])
            runs["torch"].append(seconds(lambda t=tensors: torch.linalg.svdvals(t))[0])
        rows.append({"channels": channels} | {k: 1e3 * statistics.median(v) / count for k, v in runs.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", choices=EXTREMES)
    arguments = parser.parse_args()
    if arguments.size % 32 or arguments.size < 96:
        parser.error("--size: a multiple of 32 from 96 on; fft2 cuts off a kernel that is longer than its map")
    torch.set_num_threads(1)
    if arguments.peak:
        measure_peak(arguments.peak)
        return
    peaks = {name: peak(name) for name in EXTREMES}
    total: dict[str, list[float]] = {name: [0.0] * arguments.repeats for name in CANDIDATES}
    worst = {"double": 0.0, "single": 0.0, "smallest": 1.0}
    rows: list[dict[str, Any]] = []
    print(f"{'layer':24}{'weight':>16}{'map':>6}{'s':>3}" + "".join(f"{name:>15}" for name in CANDIDATES))
    for layer in layers(arguments.size):
        runs: dict[str, list[float]] = {name: [] for name in CANDIDATES}
        found: dict[str, object] = {}
        for repeat in range(arguments.repeats):
            for name, candidate in CANDIDATES.items():
                if name == "numpy, closed" and layer.weight.shape[-1] > 1:
                    spent = runs["numpy"][repeat]
                else:
                    spent, found[name] = seconds(functools.partial(candidate, layer))
                runs[name].append(spent)
                total[name][repeat] += spent
        error = errors(found)
        worst = {name: (min if name == "smallest" else max)(worst[name], error[name]) for name in worst}
        shape = "x".join(map(str, layer.weight.shape))
        medians = {name: statistics.median(values) for name, values in runs.items()}
        print(
            f"{layer.name:24}{shape:>16}{layer.size[0]:6}{layer.stride[0]:3}"
            + "".join(f"{medians[name]:9.3f} {medians[name] / medians['numpy']:5.2f}" for name in CANDIDATES),
            flush=True,
        )
        facts = {"layer": layer.name, "weight": shape, "size": layer.size[0], "stride": layer.stride[0]}
        rows.append({**facts, "cpu_seconds": runs, "error": error})
    print("\nall convolutions: CPU seconds, and share of numpy's")
    for name, values in total.items():
        ratios = [value / base for value, base in zip(values, total["numpy"], strict=True)]
        spent = [round(value, 2) for value in values]
        print(f"{name:16}{statistics.median(values):9.2f}{statistics.median(ratios):8.3f}   {spent}")
    # Where conv-sv computes the same operator by itself.
    plain = [row for row in rows if row["stride"] == 1]
    sums = {name: sum(statistics.median(row["cpu_seconds"][name]) for row in plain) for name in CANDIDATES}
    shares = ", ".join(f"{name} {value:.2f} s ({value / sums['numpy']:.3f})" for name, value in sums.items())
    print(f"the {len(plain)} with stride 1 alone: {shares}")
    smallest = f"smallest value {worst['smallest']:.1e} of its layer's largest"
    print(f"\nlargest relative error, double: {worst['double']:.1e} ({smallest})")
    print(f"largest error over the largest value, single: {worst['single']:.1e}")
    print("\npeak memory beyond the weight, MB: " + ", ".join(f"{name}: {value:.0f}" for name, value in peaks.items()))
    grown = growth(arguments.repeats)
    print("\none complex matrix in double precision, CPU ms: channels, numpy, torch")
    for row in grown:
        print(f"{row['channels']:6} {row['numpy']:10.3f} {row['torch']:10.3f}")
    if arguments.json:
        result = {"total": total, "layers": rows, "error": worst, "peak_mb": peaks, "growth": grown}
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "numpy": np.__version__, **result}, indent=2))


if __name__ == "__main__":
    main()
