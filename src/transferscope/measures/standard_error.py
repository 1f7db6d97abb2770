"""Standard error of a mean over examples, or over groups of examples."""

import math

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError
from transferscope.measures.arguments import group_numbers, of_arrays

__all__ = ["standard_error"]


@of_arrays
def standard_error(values: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> float | None:
    """Standard error of the mean of ``values``, in their unit.

    Without groups s/√n. With groups √(G/(G−1) · Σ_g (Σ_{i∈g} (v_i − v̄))²) / n: examples of one patient or panel are
    not independent. With each example its own group the two are equal.

    Invariant to the order of the examples and to a constant added to all. Not invariant to repeating them.

    Args:
        values: ``examples``.
        clusters: ``examples``, the group of each.

    Returns:
        At least 0; None below two examples or two groups. NaN where a value is not finite.

    Raises:
        MeasureError: not a list of numbers, or clusters of another length.

    >>> round(standard_error([0.0, 1.0, 0.0, 1.0]), 6)
    0.288675
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise MeasureError("a standard error needs values", expected="'examples'", got=str(array.shape))
    groups = np.arange(len(array)) if clusters is None else group_numbers(clusters, len(array))
    units = int(groups.max()) + 1
    if units < 2:
        return None
    with np.errstate(invalid="ignore"):  # ∞ − ∞: the answer is then not a number, as it says
        sums = np.bincount(groups, weights=array - array.mean(), minlength=units)
        return math.sqrt(units / (units - 1) * float(sums @ sums)) / len(array)
