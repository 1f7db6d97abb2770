"""Tables of the analysis ``curve`` that was never run."""

import polars as pl

from tests.tables import example, seed_pairs, straight_lines
from transferscope.analyses.curve.analysis import CurveAnalysis
from transferscope.analyses.evidence import Evidence

_ENDS = {"P_T": (0.33, 0.15), "RI_T": (0.45, 0.23)}
_HILLS = {("P_T", "line"): 0.02, ("P_T", "curve"): 0.01, ("RI_T", "line"): 0.42, ("RI_T", "curve"): 0.03}
_LENGTHS = {("P_T", "line"): 7.5, ("P_T", "curve"): 7.9, ("RI_T", "line"): 27.0, ("RI_T", "curve"): 31.0}


def curve_table(pairs: int = 1, steps: int = 25) -> pl.DataFrame:
    rows = []
    for (variant, way), hill in _HILLS.items():
        for first, second in seed_pairs(pairs):
            facts = {
                "way": way, "variant_a": variant, "seed_a": first, "variant_b": variant, "seed_b": second,
                "distance": _LENGTHS[variant, "line"],
            }  # fmt: skip
            length = _LENGTHS[variant, way]
            rows += straight_lines(_ENDS[variant], hill, length, (0.12, 2), steps, own=way == "line", **facts)
    return example(CurveAnalysis, rows, examples=656, shape="bezier", learning_rate=0.03, epochs=10)


SUMMARY = CurveAnalysis().summarise(curve_table(), Evidence())
