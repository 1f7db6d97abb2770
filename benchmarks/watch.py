"""What watching costs: a training step alone and one with a watch, alternating in one process."""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

import transferscope


class MiniLM(nn.Module):
    """A transformer of MiniLM-L6's size: 6 layers, width 384, 12 heads, a vocabulary of 30,522."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(30522, 384), nn.Embedding(512, 384)
        layer = nn.TransformerEncoderLayer(384, 12, 1536, 0.1, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(384, 2)

    def forward(self, ids: Tensor) -> Tensor:
        out = self.encoder(self.tokens(ids) + self.places(torch.arange(ids.shape[1])))
        return self.head(out[:, 0])


def cases() -> dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int]]:
    return {
        "ResNet-18, 128 images 32 px": (
            lambda: timm.create_model("resnet18", num_classes=10), lambda: torch.randn(128, 3, 32, 32), 10,
        ),
        "ResNet-18, 16 images 224 px": (
            lambda: timm.create_model("resnet18", num_classes=10), lambda: torch.randn(16, 3, 224, 224), 10,
        ),
        "MiniLM size, 16 texts of 64 tokens": (MiniLM, lambda: torch.randint(30522, (16, 64)), 2),
    }  # fmt: skip


class Loop:
    def __init__(self, model: nn.Module, inputs: Tensor, classes: int) -> None:
        self.model, self.inputs = model, inputs
        self.labels = torch.arange(len(inputs)) % classes
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(self) -> None:
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(self.inputs), self.labels).backward()
        self.optimizer.step()


def seconds(act: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    act()
    return clock() - begun


def measured(name: str, steps: int, folder: Path) -> dict[str, float]:
    """The whole cost of a watch over many steps: every call of ``step`` (records, writing) beside the steps themselves.

    A record costs far less than the noise of a step on a busy machine: what the watch does is timed by itself, in CPU
    seconds and in the same process, between the steps it is divided by.
    """
    make, draw, classes = cases()[name]
    torch.manual_seed(0)
    model = make()
    alone, watched = (Loop(each, draw(), classes) for each in (model, copy.deepcopy(model)))
    plain: list[float] = []
    with_watch: list[float] = []
    calls: list[float] = []
    with transferscope.watch(watched.model, out=folder / "run") as w:
        for _ in range(steps):
            plain.append(seconds(alone.step, time.process_time))
            step = seconds(watched.step, time.process_time)
            calls.append(seconds(w.step, time.process_time))
            with_watch.append(step + calls[-1])
        every = w.every
    records = sorted(calls)[-max(3, steps // every) :]
    return {
        "step": statistics.median(plain),
        "watched": statistics.median(with_watch),
        "record": statistics.median(records),
        "every": every,
        "lasting": 100 * statistics.median(records) / every / statistics.median(plain),
        "whole": 100 * sum(calls[3:]) / sum(plain[3:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("CPU seconds, one thread; the step alone and with a watch, alternating")
    print(
        "| step | alone (s) | with watch (s) | ratio of medians | a record (ms) | every | per step | all, from step 4 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in cases():
        if asked.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = measured(name, asked.steps, Path(folder))
        print(  # as a table for docs/watch.md
            f"| {name} | {found['step']:.3f} | {found['watched']:.3f} | "
            f"{found['watched'] / found['step']:.4f} | "
            f"{1000 * found['record']:.1f} | {found['every']:.0f} | {found['lasting']:.2f} % | "
            f"{found['whole']:.2f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
