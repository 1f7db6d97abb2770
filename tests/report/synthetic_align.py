"""Tables of the analysis ``align`` that was never run."""

import polars as pl

from tests.report.synthetic_pairs import seed_pairs
from transferscope.analyses.align.analysis import Align
from transferscope.analyses.evidence import Evidence
from transferscope.study.columns import schema

_ENDS = {"P_T": (0.33, 0.15), "RI_T": (0.45, 0.23)}
_HILLS = {
    "P_T": {"unaligned": 0.02, "activations": 0.02, "weights": 0.02},
    "RI_T": {"unaligned": 0.42, "activations": 0.11, "weights": 0.16},
}
_MOVED = {
    "P_T": {"unaligned": 0.0, "activations": 0.03, "weights": 0.01},
    "RI_T": {"unaligned": 0.0, "activations": 0.99, "weights": 0.97},
}
_LENGTHS = {
    "P_T": {"unaligned": 7.5, "activations": 7.5, "weights": 7.4},
    "RI_T": {"unaligned": 27.0, "activations": 25.8, "weights": 23.1},
}


def align_table(pairs: int = 1, steps: int = 25) -> pl.DataFrame:
    rows = []
    for variant, hills in _HILLS.items():
        name = variant.replace("_", "-")
        for first, second in seed_pairs(pairs):
            for way, hill in hills.items():
                length = _LENGTHS[variant][way]
                base = {
                    "way": way, "pair": f"{name}/{name}", "a": f"{name}[{first}]", "b": f"{name}[{second}]",
                    "seed_a": first, "seed_b": second, "distance": length, "permuted_share": _MOVED[variant][way],
                    "examples": 656,
                }  # fmt: skip
                if way != "unaligned":
                    base |= {"permutable_share": 1.0, "groups": 12, "objective_before": 0.02, "objective_after": 0.46,
                             "unchanged_to": 2e-15}  # fmt: skip
                for split, offset in (("train", -0.12), ("test", 0.0)):
                    loss, error = (value + offset for value in _ENDS[variant])
                    for step in range(steps):
                        alpha = step / (steps - 1)
                        bump = hill * 16 * (alpha * (1 - alpha)) ** 2
                        rows.append({
                            **base, "level": "point", "split": split, "batch_norm": "recompute", "alpha": alpha,
                            "l2": alpha * length, "loss": loss + bump, "loss_se": 0.015, "error": error + 0.5 * bump,
                            "error_se": 0.013, "metric": 1 - error - 0.5 * bump, "loss_change": bump,
                            "loss_change_se": 0.01, "error_change": 0.5 * bump, "error_change_se": 0.009,
                        })  # fmt: skip
                    rows += [
                        {**base, "level": "own", "split": split, "batch_norm": "own statistics", "alpha": alpha,
                         "l2": alpha * length, "loss": loss, "loss_se": 0.015, "error": error, "error_se": 0.013,
                         "metric": 1 - error}
                        for alpha in (0.0, 1.0)
                    ]  # fmt: skip
                    rows += [
                        {**base, "level": "barrier", "split": split, "batch_norm": "recompute", "alpha": 0.5,
                         "l2": length, "quantity": quantity, "baseline": baseline, "barrier": height,
                         "barrier_se": 0.05 * height, "low": 0.9 * height, "high": 1.1 * height,
                         "simultaneous_low": 0.87 * height, "simultaneous_high": 1.13 * height, "n_comparisons": 3,
                         "n": 656, "midpoint_gap": height, "smallest_gap": 0.0}
                        for quantity, height in (("loss", hill), ("error", 0.5 * hill))
                        for baseline in ("linear", "mean")
                    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema(Align.columns))


SUMMARY = Align().summarise(align_table(), Evidence())
