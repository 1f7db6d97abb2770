"""Whether two classifiers are right equally often, example by example: McNemar's test for any number of seeds."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from transferscope.errors import MeasureError
from transferscope.measures.arguments import group_numbers, of_arrays

__all__ = ["sign_flip_p_value"]

_EXACT_STEPS: Final = 50_000_000
"""Additions up to which the distribution is counted out; beyond it the normal one is used."""


@of_arrays
def sign_flip_p_value(differences: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> float:
    """Two-sided p of the hypothesis that a and b could change places on every example.

    With d_i whole numbers (how many seeds of a are right on example i, minus how many of b) every d_i could as well
    have been −d_i. p is the share of all sign patterns with |Σ ±d_i| ≥ |Σ d_i|, counted out exactly; where that would
    take more than 5·10⁷ additions, by the normal distribution of the same variance with continuity correction. It
    speaks for these trained networks. With one network a side it is McNemar's exact test.

    Invariant to a common factor, to examples with difference 0, to changing a and b.

    Args:
        differences: ``examples`` integers.
        clusters: ``examples``, the group of each: the sum of a group changes its sign as a whole.

    Returns:
        In [0, 1]; 1 where every difference is 0; 0 only where it is below the smallest double.

    Raises:
        MeasureError: no examples, differences that are not whole numbers, or clusters of another length.

    Reference: McNemar (1947), "Note on the sampling error of the difference between correlated proportions"; Fisher's
    randomisation test.

    >>> sign_flip_p_value([1, 1, 1, 1, 1, -1])
    0.21875
    """
    values = np.asarray(differences)
    if values.ndim != 1 or not len(values) or not (values == np.round(values)).all():
        raise MeasureError(
            "a sign-flip test needs whole differences",
            expected="'examples' integers, at least one",
            got=f"shape {values.shape}",
        )
    whole = np.round(values).astype(np.int64)
    if clusters is not None:
        whole = np.bincount(group_numbers(clusters, len(whole)), weights=whole).round().astype(np.int64)
    sizes = np.abs(whole[whole != 0])
    if not len(sizes):
        return 1.0
    step = math.gcd(*sizes.tolist())
    sizes, observed = sizes // step, abs(int(whole.sum())) // step
    total = int(sizes.sum())
    if len(sizes) * total > _EXACT_STEPS:
        # Sums lie 2 apart: half of that is the correction for continuity.
        z = max(0.0, observed - 1) / math.sqrt(float((sizes.astype(np.float64) ** 2).sum()))
        return min(1.0, float(2 * stats.norm.sf(z)))
    # Chances of Σ of the sizes with a plus sign; the sum itself is twice that minus the total.
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    reached = 0
    for size in sizes.tolist():
        moved = chances[: reached + 1] * 0.5
        chances[: reached + 1] = moved
        chances[size : size + reached + 1] += moved
        reached += size
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chances[sums >= observed].sum()))
