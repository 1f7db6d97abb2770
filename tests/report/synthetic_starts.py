"""Tables of control initialisations and transplants that were never trained."""

import random

import polars as pl

from transferscope.analyses.control.analysis import ControlAnalysis, report_rows
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import END_METRICS, EndMetric, Ends
from transferscope.analyses.learning_curves.analysis import LearningCurves
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.summary import Summary
from transferscope.analyses.transplant.analysis import SIDES, TransplantAnalysis, point_rows
from transferscope.study.columns import schema

RATES = {"P_T": 0.03, "RI_T": 0.1, "mean-var": 0.1, "permuted": 0.1, "filter-permuted": 0.03, "spectrum": 0.1}
# Share of the gain in the final metric and in speed.
SHARES = {
    "RI_T": (0.0, 0.0), "P_T": (1.0, 1.0), "mean-var": (0.08, 0.2), "permuted": (0.1, 0.25),
    "filter-permuted": (0.35, 0.5), "spectrum": (0.2, 0.45),
}  # fmt: skip
MODULES = ["conv_stem", "bn1", *(f"blocks.{stage}" for stage in range(7)), "conv_head", "bn2"]


def ends(shares: dict[str, tuple[float, float]], seeds: tuple[int, ...], gain: float = 0.08, seed: int = 8) -> Ends:
    """Values whose shares of the gain are about those given, alike in validation and test."""
    draw = random.Random(seed)
    values: dict[EndMetric, dict[str, dict[int, float]]] = {quantity: {} for quantity in END_METRICS}
    for quantity in END_METRICS:
        place, low, size = (0, 0.77, gain) if quantity[0] == "metric" else (1, 0.75, 2 * gain)
        for role, share in shares.items():
            values[quantity][role] = {
                number: low + size * share[place] + 0.01 * number + draw.gauss(0, 0.004) for number in seeds
            }
    return Ends(values)


def control_table(
    seeds: tuple[int, ...] = (0, 1, 2), gain: float = 0.08, lost: tuple[str, int] | None = None
) -> pl.DataFrame:
    found = ends(SHARES, seeds, gain)
    if lost is not None:
        found = without(found, lost)
    draw = random.Random(9)
    tuning = [
        {
            "level": "tuning", "variant": variant, "seed": 1000, "learning_rate": rate, "quantity": "metric",
            "split": "validation", "value": 0.75 - (rate != best) * 0.03 + draw.gauss(0, 0.002), "n": 1,
            "loss": 0.5, "diverged": False,
        }
        for variant, best in RATES.items() if not variant.endswith("_T") for rate in (0.003, 0.01, 0.03, 0.1, 0.3)
    ]  # fmt: skip
    networks = [(variant, seed, rate) for variant, rate in RATES.items() for seed in seeds]
    return pl.DataFrame([*tuning, *report_rows(found, networks)], schema=schema(ControlAnalysis.columns))


def transplant_table(
    seeds: tuple[int, ...] = (0, 1, 2), modules: list[str] = MODULES, lost: tuple[str, int] | None = None
) -> pl.DataFrame:
    count = len(modules)
    curve = {
        f"{side} {k}": (((k / count) ** (0.4 if side == "first" else 3)),) * 2
        for side in SIDES
        for k in range(count + 1)
    }
    found = ends(curve, seeds)
    if lost is not None:
        found = without(found, lost)
    points = [(side, k) for side in SIDES for k in range(count + 1)]
    rows = point_rows(found, modules, points, seeds, RATES["P_T"])
    return pl.DataFrame(list(rows), schema=schema(TransplantAnalysis.columns))


def without(found: Ends, lost: tuple[str, int]) -> Ends:
    """The same, as if one network had diverged."""
    kept = {
        quantity: {
            role: {seed: value for seed, value in values.items() if (role, seed) != lost}
            for role, values in roles.items()
        }
        for quantity, roles in found.values.items()
    }
    return Ends(kept, frozenset({lost}))


def evidence(rates: pl.DataFrame, curves: pl.DataFrame) -> Evidence:
    """The tables both analyses read for their sentence."""
    return Evidence({LearningRate().key: rates, LearningCurves().key: curves})


def summary(name: str, rates: pl.DataFrame, curves: pl.DataFrame, table: pl.DataFrame) -> Summary:
    kind = {"control": ControlAnalysis, "transplant": TransplantAnalysis}[name]
    return kind().summarise(table, evidence(rates, curves))
