"""Tables of the analysis ``align`` that was never run."""

import polars as pl

from tests.tables import example, seed_pairs, straight_lines
from transferscope.analyses.align.analysis import Align
from transferscope.analyses.evidence import Evidence

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
    found = {
        "permutable_share": 1.0,
        "groups": 12,
        "objective_before": 0.02,
        "objective_after": 0.46,
        "unchanged_to": 2e-15,
    }
    for variant, hills in _HILLS.items():
        for first, second in seed_pairs(pairs):
            for way, hill in hills.items():
                length = _LENGTHS[variant][way]
                facts = {
                    "way": way, "variant_a": variant, "seed_a": first, "variant_b": variant, "seed_b": second,
                    "distance": length, "permuted_share": _MOVED[variant][way], **(found if way != "unaligned" else {}),
                }  # fmt: skip
                rows += straight_lines(_ENDS[variant], hill, length, (0.13, 3), steps, **facts)
    return example(Align, rows, examples=656)


SUMMARY = Align().summarise(align_table(), Evidence())
