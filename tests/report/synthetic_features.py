"""Tables of probes, of the reuse table and of domain distance that were never measured."""

import random
from typing import Any

import polars as pl

from transferscope.analyses.domain_distance.analysis import DomainDistance
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.probe.analysis import GAPS, Probe
from transferscope.analyses.reuse.analysis import MEASUREMENTS, ReuseAnalysis
from transferscope.analyses.summary import Summary
from transferscope.networks.features import FEATURES
from transferscope.study.columns import schema

PARTS = ["stem", *(f"blocks.{stage}" for stage in range(6)), "conv_head", FEATURES]
_FACTORS = {3: (2.48, 12.6), 2: (0.5, None), 1: (None, None)}


def _interval(value: float, spread: float, seeds: int) -> dict[str, Any]:
    single, family = _FACTORS[min(seeds, 3)]
    row: dict[str, Any] = {"value": value, "n": seeds, "basis": {1: None, 2: "range"}.get(seeds, "seeds")}
    if single is not None:
        row |= {"low": value - single * spread, "high": value + single * spread}
    if family is not None:
        row |= {"simultaneous_low": value - family * spread, "simultaneous_high": value + family * spread}
    return row


def probe_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(5)
    rows: list[dict[str, Any]] = []
    for position, module in enumerate(PARTS):
        base = {"module": module, "position": position, "metric": "top1"}
        depth = position / (len(PARTS) - 1)
        tops = {
            "RI": 0.58 + 0.04 * depth,
            "P": 0.62 + 0.13 * depth,
            "RI_T": 0.6 + 0.17 * depth,
            "P_T": 0.62 + 0.23 * depth,
        }
        values = {
            variant: [top + draw.gauss(0, 0.006) for _ in (seeds if variant != "P" else seeds[:1])]
            for variant, top in tops.items()
        }
        for variant, found in values.items():
            rows += [
                {**base, "level": "network", "variant": variant, "seed": seed, "features": 40 + 40 * position,
                 "penalty": 0.01, "at_edge": False, "validation_metric": value - 0.004, "value": value, "n": 656}
                for seed, value in enumerate(found)
            ]  # fmt: skip
            row = _interval(sum(found) / len(found), 0.006, len(found))
            rows.append({**base, "level": "variant", "variant": variant}
                        | {name: row.get(name) for name in ("value", "low", "high", "basis", "n")})  # fmt: skip
        for better, worse in GAPS:
            gap = sum(values[better]) / len(values[better]) - sum(values[worse]) / len(values[worse])
            name = {"level": "gap", "variant": f"{better} − {worse}"}
            rows.append({**base, **name, **_interval(gap, 0.008, len(seeds))})
            examples = {"value": gap, "low": gap - 0.02, "high": gap + 0.02, "basis": "examples", "n": 656}
            rows.append({**base, **name, **examples})
    return pl.DataFrame(rows, schema=schema(Probe.columns))


def reuse_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for measurement in MEASUREMENTS:
        for position, module in enumerate(PARTS):
            probe = measurement.startswith("probe")
            if (module == FEATURES) != probe and module == FEATURES:
                continue
            depth = position / len(PARTS)
            value = {"similarity": 0.97 - 0.4 * depth, "distance": 0.05 + 0.2 * depth,
                     "probe_gain": 0.02 + 0.11 * depth, "probe_kept": 0.01 + 0.05 * depth,
                     "transplant_first": 0.03 - 0.02 * depth, "transplant_last": 0.02 * depth}[measurement]  # fmt: skip
            control = {"similarity": 0.9 - 0.7 * depth, "distance": 0.3 + 0.2 * depth}.get(measurement)
            row = _interval(value, 0.004, len(seeds))
            rows.append({"module": module, "position": position, "measurement": measurement, "control": control, **row})
    return pl.DataFrame(rows, schema=schema(ReuseAnalysis.columns))


def domain_distance_table(source: bool = True) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []

    def add(quantity: str, compared: str, place: str, position: int, value: float, error: float, **more: Any) -> None:
        row = {"quantity": quantity, "compared": compared, "part": place, "position": position, "value": value,
               "standard_error": error, "low": value - 1.96 * error, "high": value + 1.96 * error, "examples": 500,
               "features": 1280, **more}  # fmt: skip
        if (null := more.get("null")) is not None:
            excess = value - null
            row |= {"null_deviation": error / 2, "above_chance": excess, "above_chance_low": excess - 2 * error,
                    "above_chance_high": excess + 2 * error}  # fmt: skip
        rows.append(row)

    if source:
        for position, place in enumerate(PARTS):
            deep = position + 1
            add("frechet", "target to source", place, -1 if place == FEATURES else position, 4.0 * deep, 0.2,
                relative=1.2 / deep, null=0.4 * deep)  # fmt: skip
        add("kernel", "target to source", FEATURES, -1, 0.9, 0.05, null=0.01)
        add("proxy_a", "target to source", FEATURES, -1, 1.86, 0.04, null=0.05)
        add("colour", "target to source", "(images)", -1, 0.52, 0.02, null=0.03)
    sides = ("target", "source") if source else ("target",)
    for side in sides:
        for position, place in enumerate(("bn1", "blocks.0.bn1", "blocks.1.bn1")):
            add("batch_norm", f"{side} to statistics", place, position, 0.9 if side == "target" else 0.1, 0.02)
        add("batch_norm", f"{side} to statistics", "(all)", -1, 0.9 if side == "target" else 0.1, 0.02)
        for name in ("colour mean", "colour deviation", "colour skewness"):
            for channel, place in enumerate(("red", "green", "blue")):
                add(name, side, place, channel, 0.2 + 0.1 * channel, 0.01)
        add("spectrum slope", side, "(images)", -1, -2.1 if side == "source" else -1.4, 0.03)
    return pl.DataFrame(rows, schema=schema(DomainDistance.columns))


def summaries() -> dict[str, Summary]:
    """What the analyses say of these tables."""
    return {
        "probe": Probe().summarise(probe_table(), Evidence()),
        "reuse": ReuseAnalysis().summarise(reuse_table(), Evidence()),
        "domain_distance": DomainDistance().summarise(domain_distance_table(), Evidence()),
    }
