"""Tables of the analysis ``average`` that was never run."""

from itertools import combinations
from typing import Any

import polars as pl

from transferscope.analyses.average.analysis import AverageAnalysis
from transferscope.analyses.evidence import Evidence

_N = {"validation": 400, "test": 800}


def _gain(value: float, half: float, n: int) -> dict[str, Any]:
    return {"quantity": "gain", "value": value, "low": value - half, "high": value + half, "n": n}


def average_table(seeds: int = 4) -> pl.DataFrame:
    """Seeds of P-T average well, rates less so, those of RI-T lie behind a barrier; a run gains a little."""
    rows: list[dict[str, Any]] = []

    def answer(base: dict[str, Any], regret: float, proved: float, **said: Any) -> None:
        limits = {"low": 0.0, "high": 2 * regret, "probability_best": 0.6, "n": 400}
        rows.append(
            {**base, **said, "level": "answer", "quantity": "regret", "split": "validation", "value": regret, **limits}
        )
        rows.append(
            {**base, **said, "level": "answer", "quantity": "regret", "split": "test", "value": proved, "n": 800}
        )

    def average(base: dict[str, Any], method: str, members: int, verdict: str, validation: float, test: float) -> None:
        own = {**base, "level": "average", "method": method, "members": members}
        rows.append({**own, "split": "validation", "verdict": verdict, **_gain(validation, 0.015, 400)})
        rows.append({**own, "split": "test", **_gain(test, 0.01, 800)})

    good = {"variant": "P_T", "set": "seeds"}
    answer(good, 0.002, 0.001, verdict="yes", reason="as_good", needs="re-estimation", method="uniform", members=seeds)
    for seed in range(seeds):
        own = {**good, "level": "network", "network": f"P-T[{seed}]"}
        rows += [
            {**own, "split": split, "quantity": "metric", "value": 0.9 + 0.002 * seed, "n": n}
            for split, n in _N.items()
        ]
        if seed:
            rows.append({**own, "split": "validation", "quantity": "barrier", "value": 0.002, "low": 0.0, "high": 0.01,
                         "n": 400, "verdict": "stable"})  # fmt: skip
        rows.append({**good, "level": "left_out", "network": f"P-T[{seed}]", "method": "uniform", "members": seeds - 1,
                     "split": "test", "quantity": "gain", "value": 0.01 + 0.002 * seed, "n": 800})  # fmt: skip
    average(good, "uniform", seeds, "kept", 0.018, 0.015)
    average(good, "greedy", seeds - 1, "kept", 0.015, 0.012)
    average(good, "stock", seeds, "undecided", 0.01, 0.009)
    rows.append({**good, "level": "ensemble", "split": "test", **_gain(0.02, 0.01, 800)})
    for number, (a, b) in enumerate(combinations(range(seeds), 2)):
        own = {**good, "level": "pair", "seed_a": a, "seed_b": b}
        rows.append({**own, "split": "validation", "quantity": "disagreement", "value": 0.05 + 0.01 * number, "n": 400})
        rows += [
            {**own, "split": split, "quantity": "gain", "value": 0.002 * number, "n": n} for split, n in _N.items()
        ]
    rates = {"variant": "P_T", "set": "rates"}
    answer(rates, 0.006, 0.004, verdict="no", reason="undecided")
    average(rates, "uniform", 3, "undecided", 0.001, 0.002)
    run = {"variant": "P_T", "set": "run", "run": 0}
    answer(run, 0.001, 0.0, verdict="yes", reason="as_good", method="last", members=3)
    average(run, "last", 3, "kept", 0.004, 0.003)
    bad = {"variant": "RI_T", "set": "seeds"}
    rows.append({**bad, "level": "answer", "quantity": "regret", "split": "validation", "verdict": "no", "n": 400,
                 "reason": "barrier", "modules": "blocks.2.0, conv_stem"})  # fmt: skip
    rows.append({**bad, "level": "answer", "quantity": "regret", "split": "test", "verdict": "no", "reason": "barrier",
                 "value": 0.0, "n": 800})  # fmt: skip
    for quantity, height in (("barrier", 0.42), ("aligned_barrier", 0.2)):
        own = {**bad, "level": "network", "network": "RI-T[1]", "split": "validation", "verdict": "unstable", "n": 400}
        rows.append({**own, "quantity": quantity, "value": height, "low": height - 0.1, "high": height + 0.1})
    rows.append({**bad, "level": "ensemble", "split": "test", **_gain(0.03, 0.012, 800)})
    return AverageAnalysis().example(rows)


SUMMARY = AverageAnalysis().summarise(average_table(), Evidence())
