"""CKA of all layers along training: every epoch against every other, of several networks.

    pip install --no-deps pytorch-cka==1.1.3
    pip install tqdm
    OMP_NUM_THREADS=1 python benchmarks/cka_training.py [--networks 4] [--epochs 10] [--pairs 4]

Checkpoints of torchvision ResNet-18s lie in files (weights that drift from a random start); 18 modules, 256 images
3 x 64 x 64 in batches of 64, one thread. Printed: how often each file is read, CPU seconds, by how much the resident
set's maximum grows in a process of its own (asked for: bounded, and stated beforehand), and the same with a budget that
holds half of the modules. The peer compares two networks at a time: its time for so many pairs is measured, and every
pair has to load and run both. Where values differ it is the peer that is off: see ``cka.py``, with a float64 reference.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

# In the place of this folder, whose file `cka.py` would hide the peer of that name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

IMAGES, SIZE, BATCH = 256, 64, 64
warnings.filterwarnings("ignore")


def write_checkpoints(folder: Path, networks: int, epochs: int) -> dict[str, Path]:
    files = {}
    for network in range(networks):
        torch.manual_seed(network)
        state = {name: value.clone() for name, value in resnet18(num_classes=10).state_dict().items()}
        for epoch in range(epochs):
            for value in state.values():
                if value.dim() > 1:
                    value += 0.3 * value.std() * torch.randn_like(value)
            files[f"{network}@{epoch}"] = folder / f"{network}-{epoch}.safetensors"
            save_file(state, files[f"{network}@{epoch}"])
    return files


def images() -> Tensor:
    return torch.randn(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def loaded(path: Path, reads: Counter[str] | None = None) -> nn.Module:
    if reads is not None:
        reads[path.name] += 1
    model = resnet18(num_classes=10)
    model.load_state_dict(load_file(path))
    return model.eval()


def ours(files: dict[str, Path], reads: Counter[str], memory: int):
    from transferscope.methods.similarity.cka_states import cka_states

    makers: dict[str, Callable[[], nn.Module]] = {
        label: lambda path=path: loaded(path, reads) for label, path in files.items()
    }
    return cka_states(makers, images().split(BATCH), granularity="block", device="cpu", memory=memory)


def peak(arguments: argparse.Namespace, folder: Path, memory: int) -> float:
    """MB by which the resident maximum grows, in a process of its own."""
    command = [sys.executable, __file__, "--networks", str(arguments.networks), "--epochs", str(arguments.epochs),
               "--peak", str(memory), "--folder", str(folder)]  # fmt: skip
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def measure_peak(files: dict[str, Path], memory: int) -> None:
    # A first pass loads the libraries and takes what one network and one batch take.
    ours(dict([next(iter(files.items()))]), Counter(), 2**40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours(files, Counter(), memory)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    files = write_checkpoints(folder, arguments.networks, arguments.epochs)
    pairs = list(combinations(files, 2))
    print(f"{len(files)} checkpoints, {len(pairs)} pairs, {IMAGES} images 3x{SIZE}x{SIZE}, CPU seconds of one thread")
    whole = 0
    for words, share in (("all modules at once", 1.0), ("a budget for half of them", 0.5)):
        memory = 2**40 if share == 1.0 else int(whole * share)
        reads: Counter[str] = Counter()
        started = time.process_time()
        found = ours(files, reads, memory)
        spent = time.process_time() - started
        if share == 1.0:
            whole, first, seconds = found.gram_bytes, found, spent
        grown = peak(arguments, folder, memory)
        print(f"{words:26} {spent:7.1f} s, each file read {min(reads.values())} to {max(reads.values())} times, "
              f"Gram matrices {found.gram_bytes / 1e6:.1f} MB, resident maximum + {grown:.1f} MB, "
              f"same values: {np.array_equal(found.values, first.values)}")  # fmt: skip
    from cka import compute_cka

    loader = DataLoader(TensorDataset(images(), torch.zeros(IMAGES)), batch_size=BATCH)
    asked = pairs[:: max(1, len(pairs) // arguments.pairs)][: arguments.pairs]
    labels, apart = list(files), 0.0
    started = time.process_time()
    theirs = []
    for a, b in asked:
        (values,) = compute_cka(loaded(files[a]), loaded(files[b]), loader, layers=list(first.modules), device="cpu",
                                progress=False)  # fmt: skip
        theirs.append(np.diagonal(values.numpy()))
    each = (time.process_time() - started) / len(asked)
    for (a, b), values in zip(asked, theirs, strict=True):
        apart = max(apart, float(np.abs(values - first.values[:, labels.index(a), labels.index(b)]).max()))
    every = each * len(pairs)
    print(f"pytorch-cka                {each:7.2f} s a pair, {every:.0f} s for all {len(pairs)}, each file read "
          f"{len(files) - 1} times; ours {seconds / every:.3f} x; largest difference {apart:.1e}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak is not None:
        labels = [f"{n}@{e}" for n in range(arguments.networks) for e in range(arguments.epochs)]
        measure_peak({label: arguments.folder / f"{label.replace('@', '-')}.safetensors" for label in labels},
                     arguments.peak)  # fmt: skip
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
