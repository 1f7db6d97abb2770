"""Means over pairs of networks, by the pseudo-values of leaving one seed out."""

import statistics
from collections.abc import Mapping

from scipy.stats import t


def leave_one_seed_out(values: Mapping[tuple[int, int], float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean, lower and upper limit: Student's interval of the jackknife's pseudo-values, one for each seed."""
    seeds = sorted({seed for pair in values for seed in pair})
    k, mean = len(seeds), statistics.mean(values.values())
    pseudo = [
        k * mean - (k - 1) * statistics.mean(value for pair, value in values.items() if seed not in pair)
        for seed in seeds
    ]
    half = float(t.ppf((1 + confidence) / 2, k - 1)) * statistics.stdev(pseudo) / k**0.5
    return mean, mean - half, mean + half
