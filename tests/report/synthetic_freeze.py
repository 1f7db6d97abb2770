"""A table of frozen fine-tuning that was never trained."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tests.tables import example
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import interval_columns
from transferscope.analyses.freeze.analysis import FreezeAnalysis
from transferscope.measures.families import bonferroni_confidence
from transferscope.measures.intervals import paired_seeds_interval, seeds_interval

MODULES = ["conv_stem", "bn1", *(f"blocks.{stage}" for stage in range(7)), "conv_head", "bn2"]
# Of each arm the mean loss against full fine-tuning, and how far seeds are apart.
LOSSES = {
    "first_1": (0.0005, 0.0005), "first_4": (0.001, 0.001), "first_7": (0.002, 0.001), "first_11": (0.06, 0.01),
    "lp_ft": (0.001, 0.002), "rate_decay": (-0.002, 0.002), "random_7": (0.02, 0.01),
}  # fmt: skip
EXAMPLES = 400


def freeze_table(
    losses: Mapping[str, tuple[float, float]] = LOSSES,
    seeds: Sequence[int] = (0, 1, 2),
    test_shift: float = 0.001,
    modules: Sequence[str] = MODULES,
) -> pl.DataFrame:
    """Losses as given, with seeds symmetric around them; on test data ``test_shift`` larger."""
    steps = np.linspace(-1, 1, len(seeds)) if len(seeds) > 1 else np.zeros(1)
    ks = [int(arm.rpartition("_")[2]) for arm in losses if arm.startswith("first_")]
    count, confidence = len(modules), bonferroni_confidence(len(ks), 0.90)
    rows: list[dict[str, object]] = [
        {"level": "gradient", "module": module, "position": place, "seed": seeds[0], "quantity": "ratio",
         "split": "train", "value": 0.001 * 1.6**place, "n": 4}
        for place, module in enumerate(modules)
    ]  # fmt: skip
    arms = {"full": (0.0, 0.0), **losses}
    for split, level, shift in (("validation", 0.9, 0.0), ("test", 0.89, test_shift)):
        full = [level + 0.004 * step for step in steps[::-1]]
        for arm, (loss, spread) in arms.items():
            k = int(arm.rpartition("_")[2]) if arm[-1].isdigit() else 0
            drawn = [value - loss - spread * step for value, step in zip(full, steps, strict=True)]
            values = full if arm == "full" else [value - shift for value in drawn]
            at = {"arm": arm, "k": k, "quantity": "metric", "split": split}
            for seed, value in zip(seeds, values, strict=True):
                rows.append({**at, "level": "network", "seed": seed, "value": value, "n": 1})
            rows.append({**at, "level": "arm", **interval_columns(seeds_interval(values))})
            if arm == "full":
                continue
            single, family = (paired_seeds_interval(full, values, each) for each in (0.95, confidence))
            rows.append({**at, "level": "loss", "over": "seeds", **interval_columns(single, family)})
            value = single.value or 0.0
            limits = {"value": value, "low": value - 0.012, "high": value + 0.012, "basis": "examples", "n": EXAMPLES}
            wide = {"simultaneous_low": value - 0.013, "simultaneous_high": value + 0.013}
            rows.append({**at, "level": "loss", "over": "examples", **limits, **wide})
    first = [arm for arm in arms if arm == "full" or arm.startswith("first_")]
    rows += [
        {"level": "covariance", "arm": arm, "k": 0, "other": other, "quantity": "metric", "n": EXAMPLES,
         "split": "validation", "value": 2e-4 + (2e-5 if arm == other else 0.0)}
        for arm in first for other in first
    ]  # fmt: skip
    for arm in arms:
        k = int(arm[6:]) if arm.startswith("first_") else 0
        for seed in seeds:
            at = {"level": "cost", "arm": arm, "k": k, "seed": seed, "split": "train", "n": 1}
            rows.append({**at, "quantity": "seconds_per_epoch", "value": (20 + seed) * (1 - k / (count + 1))})
            if k:
                rows.append({**at, "quantity": "kept_megabytes", "value": 20.0 / k})
        rows.append(
            {"level": "cost", "arm": arm, "k": k, "seed": seeds[0], "split": "train", "n": 1,
             "quantity": "update_megabytes", "value": 200 * (1 - k / (count + 1))}
        )  # fmt: skip
    return example(FreezeAnalysis, rows, modules=count)


FREEZE_SUMMARY = FreezeAnalysis().summarise(freeze_table(), Evidence())
