"""Tables of label budgets and long tails that were never trained."""

import random
from collections.abc import Iterable

import numpy as np
import polars as pl

from tests.tables import example
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.imbalance.analysis import Imbalance, macro_rows
from transferscope.analyses.imbalance.class_sizes import class_order, tail_sizes
from transferscope.analyses.label_budget.analysis import LabelBudget
from transferscope.analyses.predictions import Judgements

BUDGETS = (20, 60, 200, 600, 2000)
LAWS = {"P_T": (1.0, 0.4, 0.06), "RI_T": (1.74, 0.4, 0.06)}
"""Factor, exponent, floor: a label of P-T is worth 1.74^(1/0.4) = 4 of RI-T."""


def label_budget_table(
    seeds: Iterable[int] = (0, 1, 2),
    budgets: Iterable[int] = BUDGETS,
    laws: dict[str, tuple[float, float, float]] = LAWS,
    lost: Iterable[tuple[str, int, int]] = (),
    noise: float = 0.02,
    metric: str = "top1",
) -> pl.DataFrame:
    """Errors on power laws with a floor; ``lost``: variant, seed and budget of runs that diverged."""
    draw = random.Random(4)
    sizes = sorted(budgets)
    gone = set(lost)
    rows = []
    for variant, (a, b, c) in laws.items():
        for seed in seeds:
            for size in sizes:
                for split, more in (("validation", 0.0), ("test", 0.01)):
                    error = (a * size**-b + c) * (1 + draw.gauss(0, noise)) + more
                    diverged = (variant, seed, size) in gone
                    rows.append(
                        {
                            "level": "network", "variant": variant, "seed": seed, "fraction": size / sizes[-1],
                            "images": size, "labels": size + 350, "learning_rate": 0.03, "updates": 1890,
                            "split": split, "metric": metric, "value": None if diverged else 1 - error,
                            "loss": None if diverged else 2 * error, "diverged": diverged,
                        }
                    )  # fmt: skip
    return example(LabelBudget, rows)


def imbalance_table(seeds: Iterable[int] = (0, 1, 2), lost: Iterable[tuple[str, int, float]] = ()) -> pl.DataFrame:
    """Recall that falls with the rank, more for RI-T; ``lost``: variant, seed and ratio of runs that diverged."""
    generator = np.random.default_rng(6)
    names = tuple(f"class {number}" for number in range(6))
    labels = np.repeat(np.arange(6), 60)
    rows = []
    for ratio in (1.0, 10.0, 50.0):
        sizes = tail_sizes([300] * 6, names, ratio, 50.0)
        for variant, weight in (("P_T", 0.06), ("RI_T", 0.12)):
            for seed in seeds:
                order = class_order(6, seed)
                ranks = [order.index(item) for item in range(6)]
                diverged = (variant, seed, ratio) in set(lost)
                for split in ("validation", "test"):
                    chance = 0.1 + weight * np.log10(ratio) * np.asarray(ranks)[labels]
                    wrong = generator.random(len(labels)) < np.clip(chance, 0, 0.95)
                    said = np.where(wrong, (labels + 1) % 6, labels)
                    judgements = Judgements.made(labels, names, None)
                    same = {"variant": variant, "seed": seed, "ratio": ratio, "split": split, "diverged": diverged}
                    own = [sizes[rank] for rank in ranks]
                    rows += [{**same, **row} for row in macro_rows(judgements, None if diverged else said, own, ranks)]
    return example(Imbalance, rows)


TABLES = {"label_budget": label_budget_table, "imbalance": imbalance_table}
SUMMARIES = {
    "label_budget": LabelBudget(n_bootstrap=100).summarise(label_budget_table(), Evidence()),
    "imbalance": Imbalance().summarise(imbalance_table(), Evidence()),
}
