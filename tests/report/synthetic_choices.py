"""Tables of checkpoints and of negative transfer that were never trained."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from tests.tables import example
from transferscope.analyses.checkpoint.analysis import CheckpointAnalysis
from transferscope.analyses.checkpoint.rows import end_rows, loss_rows
from transferscope.analyses.checkpoint.scores import SCORES
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import Ends
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.negative_transfer.analysis import NegativeTransfer
from transferscope.analyses.negative_transfer.rows import CONTROL, SOURCE, Candidate, at_rate, gap_rows
from transferscope.analyses.summary import Summary
from transferscope.measures.intervals import Interval

SEEDS = tuple(range(5))


def around(value: float, size: float = 0.001, seed: int = 0) -> list[float]:
    """Values of all seeds about a mean."""
    return (value + size * np.random.default_rng(seed).standard_normal(len(SEEDS))).tolist()


FLAT_FROM_2 = {
    0: around(0.5, seed=1), 1: around(0.7, seed=2), 2: around(0.8, seed=3), 4: around(0.8, seed=4),
    8: around(0.8, seed=5),
}  # fmt: skip
"""Final metrics by checkpoint: nothing is gained after the second epoch."""
BARRIERS = {0: 0.3, 1: 0.2, 2: 0.001, 4: 0.001}


def checkpoint_ends(
    validation: Mapping[int, list[float]], test: Mapping[int, list[float]] | None = None, run: int = 7
) -> Ends:
    """Metrics of one pre-training by epoch and seed; speeds as the validation metric."""
    values = {
        split: {f"{run} {epoch}": dict(enumerate(of)) for epoch, of in one.items()}
        for split, one in (("validation", validation), ("test", test or validation))
    }
    return Ends({
        ("metric", "validation"): values["validation"], ("metric", "test"): values["test"],
        ("speed", "train"): values["validation"],
    })  # fmt: skip


def checkpoint_table(
    barriers: Mapping[int, float] = BARRIERS, runs: tuple[int, ...] = (7,), chosen: int = 2
) -> pl.DataFrame:
    """Outcomes as :data:`FLAT_FROM_2`, barriers, scores and an advice of each pre-training."""
    rows = []
    for run in runs:
        found = checkpoint_ends(FLAT_FROM_2, run=run)
        rows += [*loss_rows(found, run, list(FLAT_FROM_2))]
        rows += [*end_rows(found, [(run, epoch) for epoch in FLAT_FROM_2], list(SEEDS))]
        for epoch, values in FLAT_FROM_2.items():
            same = {"pretraining": run, "epoch": epoch, "n": 1}
            own = {"quantity": "metric", "split": "validation", "value": min(values) - 0.1}
            rows.append({**same, **own, "level": "pretraining"})
            rows += [
                {
                    **same,
                    "level": "score",
                    "quantity": score,
                    "split": "validation",
                    "value": min(values) - 0.02 * place,
                }
                for place, score in enumerate(SCORES)
            ]
            rows += [
                {**same, "level": "network", "quantity": "updates", "split": "train", "seed": seed, "threshold": 0.75,
                 "value": None if epoch == 0 else 100.0 - epoch + seed, "note": "never reached" if epoch == 0 else None}
                for seed in SEEDS
            ]  # fmt: skip
        rows += [
            {"level": "barrier", "pretraining": run, "epoch": epoch, "seed": seed, "quantity": "error_barrier",
             "split": "test", "value": value + 0.001 * seed, "low": 0.0, "high": value + 0.1, "basis": "examples",
             "n": 400}
            for epoch, value in barriers.items() for seed in SEEDS
        ]  # fmt: skip
        rows += [
            {"level": "advice", "pretraining": run, "epoch": chosen, "quantity": quantity, "split": split,
             "value": 0.002, "low": 0.0, "high": 0.004, "basis": "examples", "n": 300,
             "probability_best": 0.4 if split == "validation" else None}
            for quantity, split in (("expected_regret", "validation"), ("proved_regret", "test"))
        ]  # fmt: skip
    return example(CheckpointAnalysis, rows)


def harm_ends(**values: list[float] | tuple[float, ...]) -> Ends:
    """Metrics by variant and seed, alike on both splits."""
    found = {variant: dict(enumerate(of)) for variant, of in values.items()}
    return Ends({("metric", "validation"): found, ("metric", "test"): found})


def harm_table(
    found: Ends, candidates: list[Candidate], improving: tuple[str, ...] = (), stage: str = "first"
) -> pl.DataFrame:
    """Networks and gaps of one stage.

    Args:
        found: metrics by variant.
        candidates: in order.
        improving: variants that still improve at their end.
        stage: of all rows.
    """
    by_variant = found.values["metric", "test"]
    networks = [
        {"level": "network", "stage": stage, "variant": variant, "seed": seed, "split": split, "value": value, "n": 1,
         "learning_rate": 0.1, "improving": variant in improving}
        for variant, of in by_variant.items() for seed, value in of.items() for split in ("validation", "test")
    ]  # fmt: skip
    examples = {one.name: Interval(0.01, -0.02, 0.04, 400, "examples") for one in candidates}
    gaps = gap_rows(found, candidates, stage, dict.fromkeys(by_variant, 0.1), examples)
    return example(NegativeTransfer, [*networks, *gaps])


def negative_transfer_table() -> pl.DataFrame:
    """A source that helps, a control that hurts and is confirmed, an unstable rate."""
    candidates = [Candidate(SOURCE, "P_T"), Candidate(CONTROL, CONTROL)]
    rated = Candidate("rate 0.5", at_rate("P_T", 0.5), at_rate("RI_T", 0.5), tuned=False)
    found = harm_ends(**{
        "RI_T": around(0.7, 0.005, 1), "P_T": around(0.8, 0.005, 2), CONTROL: around(0.6, 0.005, 3),
        "RI_T_at_0.5": around(0.65, 0.005, 4), "P_T_at_0.5": around(0.5, 0.005, 5),
    })  # fmt: skip
    again = harm_ends(**{"RI_T": around(0.7, 0.005, 6), CONTROL: around(0.62, 0.005, 7)})
    first = harm_table(found, [*candidates, rated])
    return pl.concat([first, harm_table(again, [candidates[1]], stage="confirm")])


def rates_table() -> pl.DataFrame:
    """A search of one rate on two seeds."""
    values = {"P_T": (0.80, 0.81), "RI_T": (0.70, 0.73)}
    rows = [
        {"variant": variant, "learning_rate": 0.1, "seed": 1000 + place, "validation_metric": value}
        for variant, of in values.items() for place, value in enumerate(of)
    ]  # fmt: skip
    return example(LearningRate, rows)


def harm_summary(table: pl.DataFrame, **settings: object) -> Summary:
    """What is said of a table of negative transfer."""
    analysis = NegativeTransfer.model_validate(settings)
    return analysis.summarise(table, Evidence({LearningRate().key: rates_table()}))


CHOICE_SUMMARIES = {
    "checkpoint": CheckpointAnalysis().summarise(checkpoint_table(runs=(7, 8)), Evidence()),
    "negative_transfer": harm_summary(negative_transfer_table(), confirm_seeds=(10, 11, 12, 13, 14)),
}
CHOICE_TABLES = {
    "checkpoint": lambda: checkpoint_table(runs=(7, 8)),
    "negative_transfer": negative_transfer_table,
}
