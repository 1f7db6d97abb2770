"""A table of input ablations that was never measured."""

import random
from typing import Any

import polars as pl

from transferscope.analyses.block_shuffle.analysis import InputAblations, published_rows, sides
from transferscope.analyses.block_shuffle.differences import Run, difference_row, gap_row, mean_row
from transferscope.data.ablation_settings import seeded, words
from transferscope.study.columns import schema

SIZE = 64
SETTINGS = InputAblations(phase_scramble=True, low_pass=(8.0,), grayscale=True, published="quickdraw")
# Final test metric and speed of P-T and of RI-T.
LEVELS = {
    "whole images": ((0.85, 0.9), (0.78, 0.74)), "blocks of 16": ((0.8, 0.88), (0.745, 0.72)),
    "blocks of 8": ((0.77, 0.85), (0.72, 0.68)), "single pixels": ((0.68, 0.74), (0.66, 0.58)),
    "all values": ((0.6, 0.7), (0.592, 0.55)), "phase scramble": ((0.71, 0.8), (0.68, 0.6)),
    "low-pass 8": ((0.81, 0.87), (0.76, 0.7)), "grayscale": ((0.845, 0.89), (0.776, 0.735)),
}  # fmt: skip


def ablation_table(
    seeds: tuple[int, ...] = (0, 1, 2), metric: str = "top1", settings: InputAblations = SETTINGS
) -> pl.DataFrame:
    draw = random.Random(6)
    asked = settings.ablations(SIZE)
    rows: list[dict[str, Any]] = []
    plain: tuple[dict[Any, Run], dict[Any, Run]] | None = None
    for place, item in enumerate(asked):
        label = words(item, SIZE)
        facts: dict[str, Any] = {
            "origin": "study", "ablation": item.kind, "label": label, "order": place, "chance": 0.5, "metric": metric,
            **sides(getattr(item, "block", None), SIZE), "cutoff": getattr(item, "cutoff", None), "diverged": False,
        }  # fmt: skip
        pair = []
        for variant, (test, speed) in zip(("P_T", "RI_T"), LEVELS[label], strict=True):
            runs: dict[Any, Run] = {}
            for seed in seeds:
                order = getattr(seeded(item, seed), "seed", None) if place else None
                runs[seed, order] = run = Run(test + draw.gauss(0, 0.008), speed + draw.gauss(0, 0.005))
                rows.append({
                    "level": "network", "variant": variant, "seed": seed, "permutation_seed": order, "epochs": 10,
                    "learning_rate": 0.03, "train_metric": run.speed, "validation_metric": run.test - 0.01,
                    "test_metric": run.test, "speed": run.speed, "n": 1, "improving": False,
                    "network": f"{variant}{seed}{place}", **facts,
                })  # fmt: skip
            rows.append({"level": "variant", "variant": variant, **facts, **mean_row(runs)})
            pair.append(runs)
        common = {"variant": "P_T − RI_T", **facts}
        gap = gap_row(pair[0], pair[1], metric, 0.5, len(asked))
        assert gap is not None
        rows.append({"level": "gap", **common, **gap})
        rows.append({"level": "gap", **common, "test_metric": gap["test_metric"], "basis": "examples", "n": 656,
                     "test_low": gap["test_metric"] - 0.03, "test_high": gap["test_metric"] + 0.03})  # fmt: skip
        if plain is None:
            plain = (pair[0], pair[1])
        else:
            difference = difference_row((pair[0], pair[1]), plain, len(asked) - 1)
            assert difference is not None
            rows.append({"level": "difference", **common, **difference})
    columns = schema(settings.columns)
    parts = [pl.DataFrame(rows, schema=columns)]
    if settings.published != "none":
        parts.append(published_rows(settings.published, columns))
    return pl.concat(parts)
