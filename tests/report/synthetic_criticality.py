"""A table of module criticality that was never measured: two seeds, four modules, the whole grid for pictures."""

from typing import Any

import polars as pl

from transferscope.analyses.criticality.analysis import CriticalityAnalysis
from transferscope.analyses.criticality.summary import summary_of
from transferscope.analyses.summary import Summary
from transferscope.study.columns import schema

MODULES = ("stem", "blocks.0", "blocks.1", "classifier")
_HEIGHTS = {"P_T": (0.0, 0.0, 0.4, 0.6), "RI_T": (0.5, 0.3, 0.4, 0.2)}
_PLACES = (0.0, 0.5, 1.0)
_SIGMAS = (1e-3, 1e-2, 1e-1)


def criticality_table(seeds: tuple[int, ...] = (0, 1)) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for variant, heights in _HEIGHTS.items():
        for seed in seeds:
            base = {"network": f"{variant.replace('_', '-')}[{seed}]", "variant": variant, "seed": seed,
                    "quantity": "error", "batch_norm": "recompute", "examples": 256, "unreachable": False,
                    "at_largest_sigma": False}  # fmt: skip
            rows.append({**base, "level": "final", "value": 0.05})
            for position, (module, height) in enumerate(zip(MODULES, heights, strict=True)):
                moved = 2.0 + position
                of = {**base, "view": "direct", "module": module, "position": position, "parameters": 1000,
                      "displacement": moved}  # fmt: skip
                for place, alpha in enumerate(_PLACES):
                    for sigma in _SIGMAS:
                        value = 0.05 + height * (1 - alpha) ** 2 + sigma * (0.5 + seed)
                        rows.append({**of, "level": "point", "step": place, "distance": alpha * moved, "sigma": sigma,
                                     "objective": (alpha * moved / sigma) ** 2, "value": value,
                                     "value_se": 0.001})  # fmt: skip
                mu = 0.0 if height == 0 else (moved / _SIGMAS[1]) ** 2
                lost = variant == "RI_T" and module == "stem" and seed == 1
                rows += [
                    {**of, "level": "module", "limit": limit, "epsilon": 0.06,
                     "step": None if lost else 0 if mu == 0 else 2,
                     "distance": None if lost else 0.0 if mu == 0 else moved, "sigma": None if lost else 1e-2,
                     "mu": None if lost else mu, "mu_low": None if lost else mu, "unreachable": lost, "evaluated": 9,
                     "grid_points": 9, "evaluation": "full pass"}
                    for limit in ("own", "common")
                ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema(CriticalityAnalysis.columns))


SUMMARY: Summary = summary_of(criticality_table(), 0.01)
