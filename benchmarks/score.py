"""What all scores of a candidate take against its forward pass, in one run, on the same images.

``python benchmarks/score.py [--images 1000] [--size 224] [--classes 10] [--turns 3]``. Pictures are
drawn, so that reading is no part of it; the pass and the scores are those of ``transferscope score``. Goal: pass and
scores together take at most 1.2 times what a bare forward pass without hooks takes.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks._planted import drawn
from transferscope.data.batches import EvaluationBatches
from transferscope.data.decoding import BY_DEFAULT
from transferscope.data.sources.base import Listing
from transferscope.look.data import read_images
from transferscope.look.probes import Input, examples_of, network_tables
from transferscope.scores.candidates import find_candidates, load_network
from transferscope.scores.measure import Pass, score_pass

T = TypeVar("T")


def clocked(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main(images: int, size: int, classes: int, model: str, turns: int) -> None:
    listing = Listing(
        tuple(str(k) for k in range(images)),
        np.arange(images) % classes,
        tuple(f"class{k}" for k in range(classes)),
        lambda k: drawn(k % 8, k, 64),
    )
    (candidate,) = find_candidates([model], None)
    loaded = load_network(candidate)
    declared = candidate.model.declared
    given, device = Input(declared.mean, declared.std), torch.device("cpu")
    with tempfile.TemporaryDirectory(prefix="transferscope-") as folder:
        decoded, _ = read_images(listing, size, Path(folder), BY_DEFAULT)
        examples = examples_of(decoded, np.arange(images), images)
        network = loaded.network.to(memory_format=torch.channels_last)
        batch = max(4, min(64, 64 * 96**2 // size**2))

        def forward() -> None:
            made = EvaluationBatches(
                decoded, examples.chosen, declared.mean, declared.std, batch, device, "channels_last"
            )
            with torch.no_grad():
                for x, _ in made:
                    network(x)

        def features() -> Mapping[str, torch.Tensor]:
            pair = (loaded.network, loaded.head)
            return network_tables(pair, decoded, examples.chosen, given, device, outputs=loaded.sources is not None)

        # Taking turns, so that other work on the machine hits all alike; CPU seconds, the least of them.
        bare, whole, scores = [], [], []
        for _ in range(turns):
            bare.append(clocked(forward)[0])
            seconds, tables = clocked(features)
            whole.append(seconds)
            scores.append(clocked(partial(score_pass, Pass(model, tables, loaded.no_sources), examples))[0])
    together = min(whole) + min(scores)
    print(
        f"{model}, {images} images of {size} px, {classes} classes, {torch.get_num_threads()} thread(s), load "
        f"{os.getloadavg()[0]:.1f}: forward {min(bare):.2f} s, pass with features and logits {min(whole):.2f} s, all "
        f"scores with intervals {min(scores):.2f} s; together {together / min(bare):.2f} times the forward pass"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    main(asked.images, asked.size, asked.classes, asked.model, asked.turns)
