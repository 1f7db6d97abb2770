"""Tables of one-module paths and of paths in training, made of images that were never seen."""

import functools
import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import polars as pl

from transferscope.analyses.evidence import Evidence
from transferscope.analyses.module_path.analysis import ALL, TRUNK, ModulePath
from transferscope.analyses.path_in_training.analysis import PathInTraining
from transferscope.analyses.path_rows import barrier_rows, point_rows
from transferscope.methods.landscape.landscape import LandscapePoint
from transferscope.study.columns import schema

PARTS = ("stem", "blocks.0.0", "blocks.1.0", "blocks.1.1", "blocks.2.0", "conv_head", "classifier")
EPOCHS = (0, 1, 2, 4, 7, 10)
ALPHAS = tuple(step / 8 for step in range(9))
IMAGES = 120


def _line(seed: int, ends: tuple[float, float], hill: float) -> list[LandscapePoint]:
    """Images that go wrong where their threshold is below the error; losses that follow."""
    draw = np.random.default_rng(seed)
    thresholds, noise = draw.permutation(IMAGES) / IMAGES, draw.normal(0, 0.02, IMAGES)
    points = []
    for alpha in ALPHAS:
        error = min(1.0, (1 - alpha) * ends[0] + alpha * ends[1] + 4 * hill * alpha * (1 - alpha))
        wrong = (thresholds < error).astype(float)
        points.append(LandscapePoint(2 * error + 0.5 * wrong + noise, wrong, 1 - float(wrong.mean())))
    return points


@functools.cache
def module_path_table(seeds: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    rows = []
    for variant, height in (("P-T", 0.01), ("RI-T", 0.12)):
        for first, second in combinations(seeds, 2):
            base = {
                "pair": f"{variant}/{variant}", "a": f"{variant}[{first}]", "seed_a": first,
                "b": f"{variant}[{second}]", "seed_b": second,
            }  # fmt: skip
            for side, rest in enumerate((base["a"], base["b"])):
                for place, module in enumerate((ALL, TRUNK, *PARTS), -2):
                    share = 4 - place if place < 0 else math.sin(math.pi * (place + 1) / 8)
                    similar = 1 - (0.02 if variant == "P-T" else 0.09) * (place + 1)
                    for split in ("train", "test"):
                        points = _line(
                            97 * (place + 2) + 7 * first + 13 * (second - first - 1) + side,
                            (0.15, 0.15 + height * share),
                            height * share,
                        )
                        facts = {
                            **base, "rest": rest, "module": module, "position": place, "head": module == PARTS[-1],
                            "parameters": 100 * (place + 3), "split": split, "batch_norm": "recompute",
                        }  # fmt: skip
                        length = 3.0 * (place + 3)
                        rows += [
                            {"level": "point", "l2": length * row["alpha"], **facts, **row}
                            for row in point_rows(ALPHAS, points, None)
                        ]
                        beside = {"relative": 0.1 * (place + 3), "cka": None if place < 0 else similar}
                        rows += [
                            {"level": "barrier", "l2": length, **facts, **beside, **row}
                            for row in barrier_rows(ALPHAS, points, None, 1 if place < 0 else 2 * len(PARTS))
                        ]
    return pl.DataFrame(rows, schema=schema(ModulePath.columns))


@functools.cache
def path_in_training_table(seeds: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    rows = []

    def add(kind: str, variant: str, pair: str, runs: tuple[int, int], epochs: tuple[int, int], at: int,
            ends: tuple[float, float], hill: float) -> None:  # fmt: skip
        name = variant.replace("_", "-")
        facts = {
            "line": kind, "variant": variant, "pair": pair, "a": f"{name}[{runs[0]}]", "seed_a": runs[0],
            "epoch_a": epochs[0], "b": f"{name}[{runs[1]}]", "seed_b": runs[1], "epoch_b": epochs[1], "epoch": at,
            "batch_norm": "recompute",
        }  # fmt: skip
        for split in ("train", "test"):
            points = _line(31 * at + runs[0] + 13 * max(0, runs[1] - runs[0] - 1) + len(kind), ends, hill)
            facts["split"] = split
            rows.extend(
                {"level": "point", "l2": 5 * row["alpha"], **facts, **row} for row in point_rows(ALPHAS, points, None)
            )
            rows.extend(
                {"level": "barrier", "l2": 5.0, **facts, **row} for row in barrier_rows(ALPHAS, points, None, 6)
            )

    for variant, height in (("P_T", 0.01), ("RI_T", 0.25)):
        name = variant.replace("_", "-")
        for epoch in EPOCHS:
            error, last = (0.15 + 0.4 * math.exp(-when / 3) for when in (epoch, EPOCHS[-1]))
            for first, second in combinations(seeds, 2):
                hill = height * (1 - math.exp(-epoch / 3))
                add("across", variant, f"{name}/{name}", (first, second), (epoch, epoch), epoch, (error, error), hill)
            for seed in seeds:
                if epoch != EPOCHS[-1]:
                    hill = 2 * height * math.exp(-epoch / 2)
                    add("end", variant, f"{name} to its end", (seed, seed), (epoch, EPOCHS[-1]), epoch, (error, last),
                        hill)  # fmt: skip
                if epoch:
                    pair = f"{name.removesuffix('-T')}/{name}"
                    add("start", variant, pair, (seed, seed), (0, epoch), epoch, (0.55, error), 0.02)
    return pl.DataFrame(rows, schema=schema(PathInTraining.columns))


TABLES: dict[str, Callable[[], pl.DataFrame]] = {
    "module_path": module_path_table,
    "path_in_training": path_in_training_table,
}
SUMMARIES = {
    "module_path": ModulePath().summarise(module_path_table(), Evidence()),
    "path_in_training": PathInTraining().summarise(path_in_training_table(), Evidence()),
}
