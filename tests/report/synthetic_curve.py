"""Tables of the analysis ``curve`` that was never run."""

import polars as pl

from tests.report.synthetic_pairs import seed_pairs
from transferscope.analyses.curve.analysis import CurveAnalysis
from transferscope.analyses.evidence import Evidence
from transferscope.study.columns import schema

_ENDS = {"P_T": (0.33, 0.15), "RI_T": (0.45, 0.23)}
_HILLS = {("P_T", "line"): 0.02, ("P_T", "curve"): 0.01, ("RI_T", "line"): 0.42, ("RI_T", "curve"): 0.03}
_LENGTHS = {("P_T", "line"): 7.5, ("P_T", "curve"): 7.9, ("RI_T", "line"): 27.0, ("RI_T", "curve"): 31.0}


def curve_table(pairs: int = 1, steps: int = 25) -> pl.DataFrame:
    rows = []
    for (variant, way), hill in _HILLS.items():
        name, length = variant.replace("_", "-"), _LENGTHS[variant, way]
        for first, second in seed_pairs(pairs):
            base = {
                "way": way, "pair": f"{name}/{name}", "a": f"{name}[{first}]", "b": f"{name}[{second}]",
                "seed_a": first, "seed_b": second, "shape": "bezier", "learning_rate": 0.03, "epochs": 10,
                "distance": _LENGTHS[variant, "line"], "examples": 656,
            }  # fmt: skip
            for split, offset in (("train", -0.12), ("test", 0.0)):
                loss, error = (value + offset for value in _ENDS[variant])
                for step in range(steps):
                    t = step / (steps - 1)
                    bump = hill * 16 * (t * (1 - t)) ** 2
                    rows.append({
                        **base, "level": "point", "split": split, "batch_norm": "recompute", "alpha": t,
                        "l2": t * length, "loss": loss + bump, "loss_se": 0.015, "error": error + 0.5 * bump,
                        "error_se": 0.013, "metric": 1 - error - 0.5 * bump, "loss_change": bump,
                        "loss_change_se": 0.01, "error_change": 0.5 * bump, "error_change_se": 0.009,
                    })  # fmt: skip
                if way == "line":
                    rows += [
                        {**base, "level": "own", "split": split, "batch_norm": "own statistics", "alpha": t,
                         "l2": t * length, "loss": loss, "loss_se": 0.015, "error": error, "error_se": 0.013,
                         "metric": 1 - error}
                        for t in (0.0, 1.0)
                    ]  # fmt: skip
                rows += [
                    {**base, "level": "barrier", "split": split, "batch_norm": "recompute", "alpha": 0.5, "l2": length,
                     "quantity": quantity, "baseline": baseline, "barrier": height, "barrier_se": 0.05 * height,
                     "low": 0.9 * height, "high": 1.1 * height, "simultaneous_low": 0.88 * height,
                     "simultaneous_high": 1.12 * height, "n_comparisons": 2, "n": 656, "midpoint_gap": height,
                     "smallest_gap": 0.0}
                    for quantity, height in (("loss", hill), ("error", 0.5 * hill))
                    for baseline in ("linear", "mean")
                ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema(CurveAnalysis.columns))


SUMMARY = CurveAnalysis().summarise(curve_table(), Evidence())
