"""Record validation metrics of whole grids (start × rate) at several lengths: what searches are judged on in the tests.

    python -m tools.rate_curves DATA STORE OUTPUT

Real images, real trainings, one thread; a few minutes on one core. ``DATA`` holds ``cifar10/`` and ``emoji/`` (see
``examples/studies/cifar-emoji-flat.yaml``); ELPV comes from its package. ``STORE`` may be stopped and gone on with.
Each row is one training of its own with the whole schedule, but those with ``epoch`` below ``epochs``: they stand
within the longest one, where the rate is not annealed yet.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.measures.metric_error import metric_error
from transferscope.running.work import TrainJob, do
from transferscope.specs.network import Checkpoint, Control, NetworkSpec, Random, Start
from transferscope.store import Store
from transferscope.study.settings import Study

LENGTHS = (1, 3, 9)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SEEDS = (1000,)
TARGETS: dict[str, dict[str, Any]] = {
    "elpv": {"data": {"kind": "elpv"}, "metric": "auc", "fraction": 0.6},
    "emoji-flat": {"data": {"kind": "parquet", "path": "emoji/fluentflat"}, "metric": "top1"},
}
SIZE = 24


def small_network(num_classes: int) -> nn.Module:
    """Four convolutions with batch norm: a training of minutes takes seconds."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))


def study(target: str, data: Path) -> Study:
    """The pre-training and the target; nothing is searched by it."""
    given = {**TARGETS[target], "image_size": SIZE, "duplicates": "ignore"}
    if "path" in given["data"]:
        given["data"] = {**given["data"], "path": str(data / given["data"]["path"])}
    pretrain = {
        "data": {"kind": "parquet", "path": str(data / "cifar10")}, "image_size": SIZE, "learning_rate": 0.1,
        "recipe": {"epochs": 4, "batch_size": 64, "schedule": "one_cycle", "train_evaluation": 500, "keep": [1],
                   "memory_format": "contiguous"},
    }  # fmt: skip
    architecture = "tools.rate_curves:small_network"
    recipe = {"epochs": max(LENGTHS), "batch_size": 32, "schedule": "one_cycle", "train_evaluation": 64,
              "memory_format": "contiguous", "augmentation": {"flip": False, "crop_padding": 0}}  # fmt: skip
    return Study.model_validate({
        "name": target, "source": {"architecture": architecture, "pretrain": pretrain}, "target": given,
        "training": {"recipe": recipe, "tuning_seeds": SEEDS}, "compute": {"device": "cpu", "threads": 1},
    })  # fmt: skip


def rows(target: str, data: Path, root: Path) -> Iterator[dict[str, Any]]:
    """Every training of a target."""
    store = Store(root)
    bound = resolve(study(target, data), store)
    context = Context(store, bound)
    source = bound.pretrained
    assert isinstance(source, Checkpoint)
    do(TrainJob(root, bound, source.of, "pre-training"), _silent)
    starts: dict[str, Start] = {
        "random": Random(), "cifar": source, "cifar-epoch-1": source.model_copy(update={"epoch": 1}),
        "cifar-statistics": Control(of=source, method="mean-var"),
    }  # fmt: skip
    labels = context.labels("validation").numpy()
    for name, start in starts.items():
        for rate in RATES:
            for seed in SEEDS:
                for epochs in LENGTHS:
                    spec = bound.trained_from(start, seed, rate, epochs)
                    do(TrainJob(root, bound, spec, name), _silent)
                    known = {"target": target, "start": name, "learning_rate": rate, "seed": seed, "epochs": epochs}
                    for row in _history(context, spec, epochs):
                        error = metric_error(row["validation_metric"], labels, bound.metric)
                        yield {**known, **row, "validation_error": error}
        print(target, name, flush=True)


def _history(context: Context, spec: NetworkSpec, epochs: int) -> Iterator[dict[str, Any]]:
    history = context.history(spec)
    for row in history.iter_rows(named=True):
        if row["epoch"] and (row["epoch"] == history["epoch"].max() or epochs == max(LENGTHS)):
            yield {name: row[name] for name in ("epoch", "updates", "validation_metric", "validation_loss", "diverged")}


def _silent(event: dict[str, Any]) -> None:
    """Nobody watches."""


def main() -> None:
    """Record all targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    found = [row for target in TARGETS for row in rows(target, given.data, given.store)]
    pl.DataFrame(found).write_csv(given.output, float_precision=5)


if __name__ == "__main__":
    main()
