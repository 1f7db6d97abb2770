"""CKA against pytorch-cka 1.1.3 and torch-cka 0.21, in one run: CPU seconds, peak memory, error against float64.

Set-up: random-weight torchvision ResNet-18s, 51 points each, 1,000 images 3 x 64 x 64 in batches of 100, one
thread. The points are all leaf modules but ``avgpool`` (which only pools the last ReLU); peers keep the last call of
a module that is called twice, so the same call (``relu#2``) is asked for here.

    pip install --no-deps pytorch-cka==1.1.3 torch-cka==0.21
    pip install tqdm matplotlib
    OMP_NUM_THREADS=1 python benchmarks/cka.py [--repeats 3] [--skip-torch-cka] [--json FILE]

CPU seconds are of the process, medians over repeats in which the candidates take turns; peak memory is the growth of
the resident set's maximum in a process of its own, over what models and images already take.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

# In the place of this folder, whose file `cka.py` would hide the peer of that name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

IMAGES, SIZE, BATCH = 1000, 64, 100
warnings.filterwarnings("ignore")


def networks(count: int) -> dict[str, nn.Module]:
    made = {}
    for index in range(count):
        torch.manual_seed(index)
        made[f"net{index}"] = resnet18(weights=None).eval()
    return made


def data() -> DataLoader:
    images = torch.randn(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, torch.zeros(IMAGES)), batch_size=BATCH)


def modules() -> list[str]:
    return [
        name
        for name, module in resnet18(weights=None).named_modules()
        if not list(module.children()) and name != "avgpool"
    ]


def points() -> list[str]:
    """The last call of each module, which is what the peers keep: a block's ReLU is called twice."""
    return [f"{name}#2" if name.startswith("layer") and name.endswith("relu") else name for name in modules()]


def forward_only(nets: dict[str, nn.Module], loader: DataLoader) -> None:
    with torch.no_grad():
        for x, _ in loader:
            for net in nets.values():
                net(x)


def ours(nets: dict[str, nn.Module], loader: DataLoader, **options: str) -> np.ndarray:
    from transferscope.methods.evaluation import Execution
    from transferscope.methods.similarity.cka import cka_networks

    return cka_networks(nets, loader, modules=points(), execution=Execution(device="cpu", **options)).values


def ours_fast(nets: dict[str, nn.Module], loader: DataLoader) -> np.ndarray:
    return ours(nets, loader, precision="bfloat16", memory_format="channels_last")


def pytorch_cka(nets: dict[str, nn.Module], loader: DataLoader) -> dict[tuple[str, str], np.ndarray]:
    from cka import compute_cka

    found = {}
    for a, b in combinations(nets, 2):
        (values,) = compute_cka(nets[a], nets[b], loader, layers=modules(), device="cpu", progress=False)
        found[a, b] = values.numpy()
    return found


def torch_cka(nets: dict[str, nn.Module], loader: DataLoader) -> dict[tuple[str, str], np.ndarray]:
    from torch_cka import CKA

    found = {}
    for a, b in combinations(nets, 2):
        peer = CKA(nets[a], nets[b], model1_layers=modules(), model2_layers=modules(), device="cpu")
        with torch.no_grad():
            peer.compare(loader)
        found[a, b] = peer.hsic_matrix.numpy()
        # It leaves its hooks on the networks.
        for net in (nets[a], nets[b]):
            for module in net.modules():
                module._forward_hooks.clear()
    return found


def reference(nets: dict[str, nn.Module], loader: DataLoader) -> np.ndarray:
    """The float64 brute force of tests/reference on the float32 features of the same forward passes."""
    from tests.reference.cka_reference import gram, hsic1
    from transferscope.networks.activations import ActivationRecorder

    names = points()
    total = len(names) * len(nets)
    sums = np.zeros((total, total))
    for x, _ in loader:
        grams = []
        for net in nets.values():
            kept: dict[str, np.ndarray] = {}

            def receive(name: str, output: torch.Tensor, kept: dict[str, np.ndarray] = kept) -> None:
                kept[name] = gram(output.numpy())

            with ActivationRecorder(net, names, receive) as recorder:
                recorder.run(x)
            grams += [kept[name] for name in names]
        for i in range(total):
            for j in range(i, total):
                sums[i, j] += hsic1(grams[i], grams[j])
                sums[j, i] = sums[i, j]
    return sums / np.sqrt(np.outer(np.diagonal(sums), np.diagonal(sums)))


CANDIDATES = {
    "forward": forward_only,
    "ours": ours,
    "ours_fast": ours_fast,
    "pytorch_cka": pytorch_cka,
    "torch_cka": torch_cka,
}


def cpu_seconds(candidate, nets: dict[str, nn.Module], loader: DataLoader) -> float:
    start = time.process_time()
    candidate(nets, loader)
    return time.process_time() - start


def peak(name: str, count: int) -> float:
    """MB by which the resident maximum grows, in a process of its own."""
    command = [sys.executable, __file__, "--peak", name, "--networks", str(count)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(output.strip().splitlines()[-1])


def measure_peak(name: str, count: int) -> None:
    nets, loader = networks(count), data()
    # A first look loads the libraries, which are not the candidate's memory.
    import cka  # noqa: F401 - loaded before memory is measured
    import torch_cka  # noqa: F401 - loaded before memory is measured

    import transferscope.methods.similarity.cka  # noqa: F401 - loaded before memory is measured

    with torch.no_grad():
        nets["net0"](torch.zeros(1, 3, SIZE, SIZE))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    CANDIDATES[name](nets, loader)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-torch-cka", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", choices=CANDIDATES)
    parser.add_argument("--networks", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        measure_peak(arguments.peak, arguments.networks)
        return

    result: dict[str, object] = {"torch": torch.__version__, "points": len(points())}
    chosen = ["forward", "ours", "ours_fast", "pytorch_cka"]
    slow = [] if arguments.skip_torch_cka else ["torch_cka"]
    # First: a child's maximum starts at what its parent has reached so far.
    peaks = {count: {name: peak(name, count) for name in chosen + slow * (count == 2)} for count in (2, 4)}
    loader = data()
    ours_seconds = 0.0
    for count in (2, 4):
        nets = networks(count)
        forward_only({"warm": nets["net0"]}, loader)
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(arguments.repeats):
            for name in chosen:
                seconds[name].append(cpu_seconds(CANDIDATES[name], nets, loader))
        median = {name: statistics.median(times) for name, times in seconds.items()}
        ours_seconds = ours_seconds or median["ours"]
        print(f"\n{count} networks, {count * (count - 1) // 2} pair(s), {len(points())} points each")
        print(f"{'':14}{'CPU s':>9}{'of pytorch-cka':>16}{'peak MB':>10}{'of pytorch-cka':>16}   all CPU s")
        for name in chosen:
            print(
                f"{name:14}{median[name]:9.2f}{median[name] / median['pytorch_cka']:16.3f}{peaks[count][name]:10.0f}"
                f"{peaks[count][name] / peaks[count]['pytorch_cka']:16.3f}   {[round(s, 2) for s in seconds[name]]}",
                flush=True,
            )
        result[f"networks_{count}"] = {"cpu_seconds": seconds, "peak_mb": peaks[count]}

    nets = networks(2)
    exact = reference(nets, loader)
    size = len(points())
    cross = exact[:size, size:]
    found = {"ours": ours(nets, loader), "ours_fast": ours_fast(nets, loader)}
    errors = {name: float(np.abs(values - exact).max()) for name, values in found.items()}
    errors["ours_diagonal"] = float(np.abs(np.diagonal(found["ours"]) - 1).max())
    errors["pytorch_cka"] = float(np.abs(pytorch_cka(nets, loader)["net0", "net1"] - cross).max())
    print("\nlargest error against the float64 brute force")
    for name, error in errors.items():
        print(f"{name:14}{error:12.1e}", flush=True)
    if slow:
        start = time.process_time()  # once: seven times slower than the rest
        values = torch_cka(nets, loader)["net0", "net1"]
        spent = time.process_time() - start
        errors["torch_cka"] = float(np.abs(values - cross).max())
        print(
            f"\ntorch-cka: {spent:.2f} CPU s, {spent / ours_seconds:.1f} times ours; "
            f"peak {peaks[2]['torch_cka']:.0f} MB; error {errors['torch_cka']:.1e}"
        )
        result["torch_cka_cpu_seconds"] = spent
    result["error"] = errors
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
