"""A table of a search over starts that was never run."""

import polars as pl

from tests.tables import example
from transferscope.analyses.start.analysis import StartAnalysis

NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
RATES = (0.003, 0.01, 0.03, 0.1)


def _level(candidate: str, start: str, rate: float, epochs: int) -> float:
    best = 0.03 if start == "pretrained" else 0.1
    height = {"pretrained": 0.86, "random": 0.74}[start] + 0.01 * NETWORKS.index(candidate)
    return round(height - 0.02 * abs(RATES.index(rate) - RATES.index(best)) - 0.3 / epochs, 4)


def start_table(proved: bool = True) -> pl.DataFrame:
    arms = [(candidate, start, rate) for candidate in NETWORKS for start in ("pretrained", "random") for rate in RATES]
    rows = []
    for epochs, places in ((2, 16), (4, 6), (10, 2)):
        arms = sorted(arms, key=lambda arm: -_level(*arm, 2))[:places]
        rows += [
            {"level": "run", "candidate": candidate, "start": start, "learning_rate": rate, "seed": 1000,
             "epochs": epochs, "updates": 60 * epochs, "quantity": "metric", "split": "validation",
             "value": _level(candidate, start, rate, epochs), "error": 0.017, "loss": 0.5, "n": 320}
            for candidate, start, rate in arms
        ]  # fmt: skip
    if not proved:
        return example(StartAnalysis, rows)
    finals = [(NETWORKS[1], 0.03, "finalist"), (NETWORKS[0], 0.03, "finalist"), (NETWORKS[0], 0.01, "default")]
    for split in ("validation", "test"):
        rows += [
            {"level": "arm", "candidate": candidate, "start": "pretrained", "learning_rate": rate, "role": role,
             "epochs": 10, "quantity": "metric", "split": split, "error": 0.014, "n": 3,
             "value": _level(candidate, "pretrained", rate, 10) - 0.01 * (split == "test")}
            for candidate, rate, role in finals
        ]  # fmt: skip
    chosen = {"level": "choice", "candidate": NETWORKS[1], "start": "pretrained", "learning_rate": 0.03,
              "role": "finalist", "epochs": 10}  # fmt: skip
    told = (
        ("expected_regret", "validation", 0.003, 0.0, 0.011, "examples", 320),
        ("probability_best", "validation", 0.71, None, None, None, 320),
        ("proved_regret", "test", 0.0, 0.0, 0.008, "examples", 656),
        ("gain_over_default", "test", 0.021, 0.006, 0.036, "seeds", 3),
    )
    names = ("quantity", "split", "value", "low", "high", "basis", "n")
    return example(StartAnalysis, [*rows, *({**chosen, **dict(zip(names, each, strict=True))} for each in told)])
