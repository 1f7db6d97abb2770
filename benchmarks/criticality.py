"""Module criticality: what lies before a module run once, against full forward passes; and the search for μ alone.

    OMP_NUM_THREADS=1 python benchmarks/criticality.py [--images 128] [--growth FILE.svg]

A ResNet-18 trained for a moment on scikit-learn's digits (64 px); all its blocks, 11 α × 5 σ, one noise draw. In one
run: full passes written out by hand, then the same grid from kept prefixes (float32: equal to the last bit, CPU time
<= 0.52 × is asked for; bfloat16 autocast with channels_last: <= 0.33 ×, the largest difference is printed), then μ by
search (<= 0.25 × in the median over modules, the same μ). Batch norm's statistics are kept. ``--growth`` measures time
against the blocks examined in one network of 16 (no more than linear is asked for), the blocks of networks of which all
are examined (m of them cost (m + 1)/2m of full passes: less than the square), images and grid points, and draws it.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl
import timm
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from transferscope.frozen import derive_seed
from transferscope.measures.criticality import evaluate_grid, search_grid
from transferscope.measures.metrics import per_example_loss
from transferscope.methods.evaluation import Evaluation
from transferscope.methods.landscape.landscape import Landscape
from transferscope.methods.modules.criticality import ALPHAS, SIGMAS, path_weights
from transferscope.networks.modules import parts_parameters

Batch = tuple[Tensor, Tensor]


def digits(count: int) -> Batch:
    data = load_digits()
    images = torch.from_numpy(data.images[:count]).float()[:, None] / 8 - 1
    return nn.functional.interpolate(images, size=64, mode="bilinear").repeat(1, 3, 1, 1), torch.from_numpy(
        data.target[:count]
    ).long()


def trained(model: nn.Module, steps: int = 40) -> nn.Module:
    images, labels = digits(512)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    model.train()
    for step in range(steps):
        at = slice(step * 32 % 512, step * 32 % 512 + 32)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[at]), labels[at]).backward()
        optimiser.step()
    return model.eval()


def pair(name: str = "resnet18", **options: object) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    initial = timm.create_model(name, num_classes=10, **options).eval()
    final = timm.create_model(name, num_classes=10, **options)
    final.load_state_dict(initial.state_dict())
    return initial, trained(final)


def noise_of(name: str, parameters: dict[str, nn.Parameter], names: Sequence[str]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(derive_seed(0, "noise", name, 0))
    return {key: torch.randn(parameters[key].shape, generator=generator) for key in names}


def naive(initial: nn.Module, final: nn.Module, batches: list[Batch], parts: dict[str, list[str]]) -> dict:
    """The grid as one writes it: set the weights, run the network."""
    first = {key: value.detach().clone() for key, value in initial.named_parameters()}
    last = {key: value.detach().clone() for key, value in final.named_parameters()}
    live = dict(final.named_parameters())
    table = {}
    with torch.inference_mode(False), torch.no_grad():
        for name, names in parts.items():
            noise = noise_of(name, live, names)
            for place, alpha in enumerate(ALPHAS):
                for sigma in SIGMAS:
                    for key in names:
                        value = torch.lerp(last[key], first[key], 1 - alpha)
                        live[key].copy_({0.0: first[key], 1.0: last[key]}.get(alpha, value)).add_(
                            noise[key], alpha=sigma
                        )
                    # The loss of each example and their mean as the package takes them: what is compared is the passes.
                    losses = [per_example_loss(final(images), labels, "single") for images, labels in batches]
                    table[name, place, sigma] = float(torch.cat(losses).numpy().mean())
            for key in names:
                live[key].copy_(last[key])
    return table


class Kept:
    """The grid from kept prefixes."""

    def __init__(self, initial: nn.Module, final: nn.Module, batches: list[Batch], fast: bool = False) -> None:
        self.land = Landscape(
            (final, initial),
            {"train": batches},
            evaluation=Evaluation(
                batch_norm="none",
                device="cpu",
                memory_format="channels_last" if fast else "contiguous",
                precision="bfloat16" if fast else "float32",
            ),
        )
        self.weights = path_weights("direct", ALPHAS, 0)
        self.evaluations = 0

    def start(self, name: str, names: list[str]) -> None:
        self.names = names
        self.noise = noise_of(name, self.land.parameters, names)
        self.squared = [alpha**2 * self.land.distance(0, 1, only=set(names)) ** 2 for alpha in ALPHAS]
        self.land.combine((1.0, 0.0))
        self.land.focus(names, memory=2048)

    def at(self, place: int, sigma: float) -> tuple[float, float]:
        self.land.combine(self.weights[place], only=self.names)
        self.land.shift(self.noise, sigma)
        self.evaluations += 1
        return float(self.land.evaluate()["train"].losses.mean()), 0.0

    def grid(self, parts: dict[str, list[str]]) -> dict:
        table = {}
        for name, names in parts.items():
            self.start(name, names)
            for place in range(len(ALPHAS)):
                for sigma in SIGMAS:
                    table[name, place, sigma] = self.at(place, sigma)[0]
        return table


def seconds(action) -> tuple[float, object]:
    started = time.process_time()
    result = action()
    return time.process_time() - started, result


def compare(count: int) -> None:
    initial, final = pair()
    images, labels = digits(count)
    batches = list(zip(images.split(64), labels.split(64), strict=True))
    parts = parts_parameters(final, "block")
    full, wanted = seconds(lambda: naive(initial, final, batches, parts))
    kept, found = seconds(lambda: Kept(initial, final, batches).grid(parts))
    fast, rough = seconds(lambda: Kept(initial, final, batches, fast=True).grid(parts))
    points = len(ALPHAS) * len(SIGMAS)
    print(f"ResNet-18, {len(parts)} modules, {points} points each, {count} images 3x64x64, CPU seconds")
    print(f"full passes            {full:8.1f}")
    print(f"kept prefixes          {kept:8.1f}   {kept / full:5.2f} x   (<= 0.52)   equal bits: {found == wanted}")
    apart = max(abs(rough[key] - wanted[key]) for key in wanted if wanted[key] < 10)
    print(f"bfloat16, channels_last{fast:8.1f}   {fast / full:5.2f} x   (<= 0.33)   largest difference {apart:.2e} nat")
    final_loss = float(per_example_loss(final(images).detach(), labels, "single").mean())
    epsilon = final_loss + 0.05
    shares, same = [], True
    for name, names in parts.items():
        whole, searched = Kept(initial, final, batches), Kept(initial, final, batches)
        whole.start(name, names)
        a, grid = seconds(lambda w=whole: evaluate_grid(
            lambda p, c: w.at(p, SIGMAS[c]), w.squared, SIGMAS, epsilon, final_loss))  # fmt: skip
        searched.start(name, names)
        b, search = seconds(lambda w=searched: search_grid(
            lambda p, c: w.at(p, SIGMAS[c]), w.squared, SIGMAS, epsilon, final_loss))  # fmt: skip
        same = same and grid.mu == search.mu
        shares.append((b / a, searched.evaluations / points))
        print(f"  {name:10} μ {grid.mu if grid.mu is None else round(grid.mu, 3)!s:>12} "
              f"search {b / a:5.2f} x time, {searched.evaluations} of {points} points")  # fmt: skip
    print(f"search, median         {statistics.median(s for s, _ in shares):13.2f} x time, "
          f"{statistics.median(p for _, p in shares):.2f} x points   (<= 0.25)   same μ: {same}")  # fmt: skip


def growth(target: Path) -> None:
    """Time against what a user can ask for, one thing at a time; lines that fit, and a picture."""
    rows = []

    def add(what: str, value: int, spent: float) -> None:
        rows.append({"what": what, "value": value, "seconds": spent})
        print(f"  {what:38} {value:5} {spent:7.2f} s {spent / value:8.4f} s each")

    def run(depth: int, blocks: int, count: int, places: int) -> float:
        initial, final = pair("vit_tiny_patch16_224", img_size=64, depth=depth, embed_dim=96, num_heads=3)
        images, labels = digits(count)
        batches = list(zip(images.split(64), labels.split(64), strict=True))
        parts = {name: names for name, names in parts_parameters(final, "block").items() if name.startswith("blocks.")}
        # The middle of each of so many equal stretches: as much lies before the blocks, whatever their number.
        asked = [f"blocks.{int((index + 0.5) * depth / blocks)}" for index in range(blocks)]
        grids = Kept(initial, final, batches)

        def work() -> None:
            for name in asked:
                grids.start(name, parts[name])
                for place in range(places):
                    grids.at(place % len(ALPHAS), SIGMAS[place // len(ALPHAS)])

        return min(seconds(work)[0] for _ in range(3))

    print("growth, ViT with blocks of width 96, CPU seconds (the least of 3)")
    run(4, 4, 64, 11)
    for blocks in (1, 2, 4, 8, 16):
        add("blocks examined, network of 16", blocks, run(16, blocks, 128, 11))
    for depth in (2, 4, 8, 16):
        add("blocks of the network, all examined", depth, run(depth, depth, 128, 11))
    for count in (64, 128, 256, 512):
        add("images", count, run(8, 8, count, 11))
    for places in (11, 22, 33, 55):
        add("points of the grid", places, run(8, 8, 128, places))
    table = pl.DataFrame(rows)
    for what in table["what"].unique(maintain_order=True):
        # Above 1: it grows faster than a straight line through the origin and the first value.
        part = table.filter(pl.col("what") == what)
        power = np.polyfit(np.log(part["value"].to_numpy()), np.log(part["seconds"].to_numpy()), 1)[0]
        print(f"time grows with the power {power:.2f} of: {what}")
    lines = (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(alt.X("value:Q", title="count").scale(zero=True), alt.Y("seconds:Q", title="CPU time (s)"))
        .properties(width=220, height=180)
        .facet(alt.Facet("what:N", title=None, sort=None), columns=2)
        .resolve_scale(x="independent", y="independent")
    )
    lines.save(target)
    print(f"drawn: {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--growth", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.growth:
        growth(arguments.growth)
    else:
        compare(arguments.images)


if __name__ == "__main__":
    main()
