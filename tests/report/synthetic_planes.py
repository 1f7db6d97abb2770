"""Tables of basins and planes that were never measured, made with the measures themselves from made-up valleys."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from tests.report.synthetic_pairs import seed_pairs
from transferscope.analyses.basin.analysis import Basins, published_rows
from transferscope.analyses.basin.rows import rows_of
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.plane.analysis import PlaneAnalysis
from transferscope.analyses.summary import Summary
from transferscope.measures.basin import basin, delta_grid, rise
from transferscope.measures.plane import coarse_to_fine, triangle
from transferscope.measures.simplex import half_normal_quadrature, segment_quadrature
from transferscope.methods.landscape.basin import NetworkBasin
from transferscope.study.columns import schema

_EXAMPLES = 400


def _errors(rng: np.random.Generator, shares: np.ndarray, losses: bool) -> np.ndarray:
    """``… examples`` whose means are about ``shares``: the same examples are hard everywhere."""
    hard = rng.uniform(size=_EXAMPLES)
    wrong = (hard < np.asarray(shares)[..., None]).astype(float)
    return 0.1 + 3 * wrong + 0.2 * hard if losses else wrong


def basin_table(published: str = "clipart", pairs: int = 1) -> pl.DataFrame:
    rows = []
    sets = [
        (f"segment {variant}/{variant}", (f"{variant}[{a}], {variant}[{b}]", a, b), hill, length)
        for variant, hill, length in (("P-T", 0.004, 12.0), ("RI-T", 0.3, 40.0))
        for a, b in seed_pairs(pairs)
    ]
    sets.append(("hull of P-T", ("P-T[0], P-T[1], P-T[2]", 0, 2), 0.006, 12.0))
    for place, (name, (networks, seed_a, seed_b), hill, length) in enumerate(sets):
        rng = np.random.default_rng(place)
        alphas, weights = segment_quadrature(25)
        _, shares = half_normal_quadrature(4)
        deltas = delta_grid(length)
        within = 0.15 + 4 * hill * alphas * (1 - alphas)
        climb = 0.15 + 0.5 * (1 - np.exp(-((np.array(deltas) / 14) ** 2)))
        hull = name.startswith("hull")
        found = {}
        heights = {}
        for quantity in ("error", "loss"):
            losses = quantity == "loss"
            inside = _errors(np.random.default_rng(place), within, losses)
            noise = _errors(np.random.default_rng(place), climb[:, None] + rng.normal(0, 0.004, 4), losses)
            out = _errors(np.random.default_rng(place), climb[:, None] + rng.normal(0, 0.004, 4), losses)
            found[quantity] = basin(
                inside, noise, out, deltas,
                interior_weights=None if hull else weights, outward_weights=None if hull else shares,
            )  # fmt: skip
            heights[quantity] = rise(inside, [0, 24])
        corners = 3 if hull else 2
        tested = NetworkBasin(
            shape="hull" if hull else "segment",
            distances=length * (1 - np.eye(corners)),
            parameters=3_400_000,
            batch_norm="recompute",
            points=25,
            draws=4,
            found=dict.fromkeys(("train", "test"), found),
            rise=dict.fromkeys(("train", "test"), heights),
        )
        facts = {"origin": "study", "set": name, "networks": networks, "seed_a": seed_a, "seed_b": seed_b}
        rows += [{**facts, **row} for split in ("train", "test") for row in rows_of(tested, split, _EXAMPLES, 0.02)]
    own = pl.DataFrame(rows, schema=schema(Basins.columns))
    return own if published == "none" else pl.concat([own, published_rows(published, own.schema)])


def plane_table(resolution: int = 9) -> pl.DataFrame:
    rows = []
    planes = {
        ("P[0]", "P-T[0]", "P-T[1]"): triangle([[0, 9, 9], [9, 0, 12], [9, 12, 0]]),
        ("P-T[0]", "P-T[1]", "RI-T[0]"): triangle([[0, 12, 40], [12, 0, 41], [40, 41, 0]]),
        ("P-T[0]",): np.zeros((1, 2)),
        ("RI-T[0]",): np.zeros((1, 2)),
    }
    for names, corners in planes.items():
        three = len(names) == 3
        low, high = (corners.min(0), corners.max(0)) if three else (np.array([-30, -31]), np.array([30, 31]))
        air = 0.25 * (high - low).max() if three else 0
        x, y = ((np.linspace(low[axis] - air, high[axis] + air, resolution)) for axis in (0, 1))

        def error(place, corners=corners, names=names) -> float:
            near = [
                (0.12 if "T[" in name else 0.6) + 0.5 * (1 - math.exp(-(np.sum((place - corner) ** 2)) / 90))
                for name, corner in zip(names, corners, strict=True)
            ]
            return min(0.75, *near)

        surface = coarse_to_fine(lambda r, c, x=x, y=y, f=error: [f(np.array([x[c], y[r]]))], resolution, 0.03)
        for split, harder in (("train", 0.0), ("test", 0.03)):
            facts = {
                "plane": ", ".join(names) if three else f"around {names[0]}",
                "kind": "networks" if three else "random directions", "split": split, "examples": 512,
                "cosine": 0.0 if three else 0.004,
            }  # fmt: skip
            for row in range(resolution):
                for column in range(resolution):
                    value = float(surface.values[row, column, 0]) + harder
                    rows.append({
                        **facts, "level": "point", "x": float(x[column]), "y": float(y[row]),
                        "grid_level": int(surface.level[row, column]), "batch_norm": "recompute",
                        "interpolated": bool(surface.interpolated[row, column]),
                        "loss": 0.05 + 6 * value**2, "error": value,
                    })  # fmt: skip
            for name, corner in zip(names, corners.tolist(), strict=True):
                for policy in ("recompute", "own statistics"):
                    value = error(np.array(corner)) + harder
                    rows.append({
                        **facts, "level": "mark", "network": name, "x": corner[0], "y": corner[1],
                        "interpolated": False, "batch_norm": policy, "loss": 0.05 + 6 * value**2, "loss_se": 0.03,
                        "error": value, "error_se": 0.015, "metric": 1 - value,
                    })  # fmt: skip
    return pl.DataFrame(rows, schema=schema(PlaneAnalysis.columns))


TABLES: Mapping[str, Callable[[], pl.DataFrame]] = {"plane": plane_table, "basin": basin_table}
SUMMARIES: Mapping[str, Summary] = {
    "plane": PlaneAnalysis().summarise(plane_table(), Evidence()),
    "basin": Basins().summarise(basin_table(), Evidence()),
}
