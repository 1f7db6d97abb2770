"""Intervals, each with what it speaks of: training in general (seeds), or these networks (examples)."""

from transferscope.measures.equivalence import Noninferiority, noninferior
from transferscope.measures.example_intervals import (
    auc_difference_interval,
    bootstrap_interval,
    mean_difference_interval,
)
from transferscope.measures.families import bonferroni, bonferroni_confidence, holm
from transferscope.measures.interval import DIFFERENCE, MAGNITUDE, SHARE, Basis, Bounds, Interval, within
from transferscope.measures.seed_intervals import (
    fieller,
    leave_one_out_interval,
    paired_seeds_interval,
    seed_pairs_interval,
    seeds_interval,
    seeds_p_value,
)

__all__ = [
    "DIFFERENCE",
    "MAGNITUDE",
    "SHARE",
    "Basis",
    "Bounds",
    "Interval",
    "Noninferiority",
    "auc_difference_interval",
    "bonferroni",
    "bonferroni_confidence",
    "bootstrap_interval",
    "fieller",
    "holm",
    "leave_one_out_interval",
    "mean_difference_interval",
    "noninferior",
    "paired_seeds_interval",
    "seed_pairs_interval",
    "seeds_interval",
    "seeds_p_value",
    "within",
]
