"""A table of rewound modules that was never measured: three seeds, six modules, two variants."""

import random
from typing import Any

import polars as pl

from transferscope.analyses.evidence import Evidence
from transferscope.analyses.rewind.analysis import Rewind, published_rows
from transferscope.study.columns import schema

MODULES = ("stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "classifier")
_FINAL = {"P_T": 0.849, "RI_T": 0.768}
_DROPS = {"P_T": (0.002, 0.0, 0.004, 0.01, 0.02, 0.05), "RI_T": (0.2, 0.09, 0.06, 0.05, 0.04, 0.03)}


def rewind_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(5)
    rows: list[dict[str, Any]] = []
    for variant, final in _FINAL.items():
        for seed in seeds:
            base = {"origin": "study", "network": f"{variant.replace('_', '-')}[{seed}]", "variant": variant,
                    "seed": seed, "split": "test", "examples": 656, "metric_name": "top1",
                    "batch_norm": "recompute"}  # fmt: skip
            rows += [{**base, "level": level, "modules": 0, "metric": final, "loss": 0.4,
                      "batch_norm": "own statistics" if level == "own" else "recompute"}
                     for level in ("own", "final")]  # fmt: skip
            values = [("initial", None, 1.0), ("random", None, 3.0), ("epoch", 2, 0.6), ("epoch", 5, 0.2)]
            for to, epoch, factor in values:
                for position, module in enumerate((*MODULES, "(last 2)", "(all)")):
                    alone = module in MODULES
                    height = _DROPS[variant][position] if alone else 0.1 * (position - 5)
                    drop = min(final, factor * height + draw.gauss(0, 0.002))
                    rows.append({
                        **base, "level": "module" if alone else "group", "module": module, "position": position,
                        "modules": 1 if alone else 2, "parameters": 1000, "target_value": to, "epoch": epoch,
                        "displacement": factor * 2.0, "metric": final - drop, "loss": 0.4 + drop, "drop": drop,
                        "loss_rise": drop, "low": drop - 0.01, "high": drop + 0.01, "simultaneous_low": drop - 0.015,
                        "simultaneous_high": drop + 0.015, "upper_one_sided": drop + 0.013,
                        "n_comparisons": 6 if alone else 1, "n": 656,
                        "verdict": "lost" if drop > 0.02 else "undecided", "evaluation": "full pass",
                    })  # fmt: skip
    own = pl.DataFrame(rows, schema=schema(Rewind.columns))
    return pl.concat([own, published_rows("chexpert", schema(Rewind.columns))])


SUMMARY = Rewind().summarise(rewind_table(), Evidence())
