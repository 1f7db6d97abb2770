"""A table of spectra that was never measured: a narrow network of eight weights."""

import math
import random
from typing import Any

import polars as pl

from transferscope.analyses.evidence import Evidence
from transferscope.analyses.spectrum.analysis import SpectrumAnalysis
from transferscope.analyses.spectrum.rows import COMPARISONS, SUMMARIES
from transferscope.keys import shown
from transferscope.study.columns import schema

# Name, map of the layer, kind, singular values.
OPERATORS = (
    ("stem", 64, "convolution", 27648),
    *((f"blocks.{index}.conv", 32 >> index // 2, "convolution", 16384 >> index // 2) for index in range(6)),
    ("head", None, "linear", 2),
)
VARIANTS = {"RI": 1.0, "P": 0.45, "RI_T": 0.8, "P_T": 0.4, "RI_T_wd0": 0.9, "P_T_wd0": 0.43}
_FACTORS = {1: (None, None), 2: (0.8, None), 3: (2.48, 6.9)}


def spectrum_table(seeds: tuple[int, ...] = (0, 1, 2)) -> pl.DataFrame:
    draw = random.Random(9)
    single, family = _FACTORS[min(len(seeds), 3)]
    basis = {1: None, 2: "range"}.get(len(seeds), "seeds")
    rows: list[dict[str, Any]] = []
    for position, (name, pixels, kind, count) in enumerate(OPERATORS):
        size = None if pixels is None else f"{pixels} × {pixels}"
        base = {"operator": name, "position": position, "kind": kind, "map": size, "periodic_map": size, "count": count}
        for variant, level in VARIANTS.items():
            told = _told(level * (1 - 0.05 * position), count)
            for seed in seeds:
                rows += [
                    {**base, "level": "network", "variant": variant, "seed": seed, "quantity": quantity, "n": 1,
                     "value": told[quantity] * math.exp(draw.gauss(0, 0.03))}
                    for quantity in SUMMARIES
                ]  # fmt: skip
            one = variant == "P"
            rows += [
                {**base, "level": "variant", "variant": variant, "quantity": quantity, "value": told[quantity],
                 "n": 1 if one else len(seeds), "basis": None if one else basis,
                 "low": None if one or single is None else told[quantity] * (1 - 0.03 * single),
                 "high": None if one or single is None else told[quantity] * (1 + 0.03 * single)}
                for quantity in SUMMARIES
            ]  # fmt: skip
            ranks = sorted({1, 2, *(round(count ** (step / 20)) for step in range(21))} & set(range(1, count + 1)))
            rows += [
                {**base, "level": "curve", "variant": variant, "seed": seeds[0], "quantity": "singular_value", "n": 1,
                 "rank": rank, "value": told["largest"] * (1 - rank / (count + 1)) ** (1 / level)}
                for rank in ranks
            ]  # fmt: skip
        for above, below in COMPARISONS:
            ratio = VARIANTS[above] / VARIANTS[below] * math.exp(0.1 * (position - 3))
            row = {**base, "level": "ratio", "variant": f"{shown(above)} / {shown(below)}", "n": len(seeds)}
            limits = {"value": ratio, "basis": basis}
            for half, ends in ((single, ("low", "high")), (family, ("simultaneous_low", "simultaneous_high"))):
                if half is not None:
                    limits |= dict(
                        zip(ends, (ratio * math.exp(-0.03 * half), ratio * math.exp(0.03 * half)), strict=True)
                    )
            rows += [{**row, "quantity": quantity, **limits} for quantity in SUMMARIES]
        if pixels is not None:
            rows += [
                {**base, "level": "circular", "variant": "P_T", "seed": seeds[0], "quantity": f"difference_{what}",
                 "value": value, "n": 1, "note": "on a map of 4 × 4"}
                for what, value in (("largest", 0.03), ("any", 0.12))
            ]  # fmt: skip
    rows.append({"level": "skipped", "operator": "head.bias", "position": -1, "note": "a bias"})
    return pl.DataFrame(rows, schema=schema(SpectrumAnalysis.columns))


def _told(level: float, count: int) -> dict[str, float]:
    return {
        "largest": 1.6 / level,
        "frobenius": math.sqrt(count) / 2,
        "stable_rank": max(1.0, 0.3 * level * count),
        "effective_rank": max(1.0, 0.6 * level * count),
        "energy": min(1.0, 0.2 / level),
    }


SUMMARY = SpectrumAnalysis().summarise(spectrum_table(), Evidence())
