"""The table of flatness of networks that were never trained."""

import random
from collections.abc import Callable

import polars as pl

from transferscope.analyses.contract import checked
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.flatness.analysis import Flatness
from transferscope.study.columns import schema

RULERS = {
    "equal": {"P_T": 40.0, "RI_T": 40.0},
    "relative": {"P_T": 41.0, "RI_T": 28.0},
    "moved": {"P_T": 6.0, "RI_T": 21.0},
}
CURVATURE = {"P_T": 1.0, "RI_T": 2.2}


def flatness_table(
    seeds: tuple[int, ...] = (0, 1, 2),
    settings: Flatness | None = None,
    rise: Callable[[str, str, float], float | None] | None = None,
    hessian: Callable[[str, str], float | None] | None = None,
    lost: tuple[str, int] | None = None,
) -> pl.DataFrame:
    """``rise``: of variant, normalisation and share; ``hessian``: of variant and level; ``lost``: one that diverged."""
    asked = settings or Flatness()
    draw = random.Random(3)
    rows = []
    for variant in ("RI_T", "P_T"):
        for seed in seeds:
            if (variant, seed) == lost:
                continue
            noise = 1 + draw.gauss(0, 0.03)
            base = {
                "network": f"{variant.replace('_', '-')}[{seed}]", "variant": variant, "seed": seed,
                "batch_norm": "recompute", "examples": 512, "parameters": 3_000_000, "norm": 40.0,
            }  # fmt: skip
            for split in asked.splits:
                for normalisation, lengths in RULERS.items():
                    shares = asked.moved_shares if normalisation == "moved" else asked.shares
                    for share in (0.0, *shares) if shares else ():
                        l2 = share * lengths[variant]
                        own = 0.02 * CURVATURE[variant] * l2**2 * noise
                        given = own if rise is None else rise(variant, normalisation, share)
                        climb = 0.0 if share == 0 else given if rise is None or given is None else given * noise
                        rows.append({
                            **base, "level": "radius", "split": split, "normalisation": normalisation,
                            "length": lengths[variant],
                            "share": share, "l2": l2, "directions": 5, "loss": None if climb is None else 0.3 + climb,
                            "loss_se": None if climb is None else 0.05 * climb, "loss_rise": climb,
                            "loss_rise_se": None if climb is None else 0.02, "error": min(0.9, 0.1 + 0.001 * l2**2),
                            "error_se": 0.01, "error_rise": min(0.8, 0.001 * l2**2), "error_rise_se": 0.01,
                        })  # fmt: skip
            if not asked.hessian:
                continue
            for level, size in (("eigenvalue", 30.0), ("trace", 400.0)):
                value = size * CURVATURE[variant] * noise if hessian is None else hessian(variant, level)
                if hessian is not None and value is not None and variant == "P_T":
                    value *= 1 + 0.001 * seed  # seeds that differ by nothing prove nothing
                rows.append({
                    **base, "level": level, "split": "train", "rank": 1 if level == "eigenvalue" else None,
                    "value": value, "value_se": 0.05 * size if level == "trace" and value is not None else None,
                    "scaled": None if value is None else value * 1600.0,
                    "residual": 0.01 if level == "eigenvalue" and value is not None else None,
                    "converged": value is not None, "products": 60,
                    "note": "not converged after 60 products with the Hessian" if value is None else None,
                })  # fmt: skip
    return checked(asked, pl.DataFrame(rows, schema=schema(Flatness.columns)))


SUMMARY = Flatness().summarise(flatness_table(), Evidence())
