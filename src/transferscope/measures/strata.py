"""Examples grouped by how hard they are, and agreement of mistakes beyond that."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays

__all__ = ["DIFFICULTIES", "QUARTERS", "difficulty_strata", "quarter_strata", "stratified_kappa"]

DIFFICULTIES: Final[Sequence[str]] = ("none wrong", "up to half wrong", "more than half wrong", "all wrong")
"""Names of the strata of :func:`difficulty_strata`."""

QUARTERS: Final[Sequence[str]] = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
"""Names of the strata of :func:`quarter_strata`."""


@of_arrays
def difficulty_strata(shares: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Strata of difficulty from the share of networks that are wrong: 0, up to ½, above ½, 1.

    The ends have strata of their own, whatever the number of networks: images that nobody else gets wrong, and those
    that everybody does.

    Args:
        shares: ``examples``, in [0, 1], as in :func:`transferscope.measures.mistakes.difficulty`.

    Returns:
        ``examples``: places in :data:`DIFFICULTIES`.

    Raises:
        MeasureError: not a list of shares.

    >>> difficulty_strata([0.0, 0.25, 0.5, 0.75, 1.0]).tolist()
    [0, 1, 1, 2, 3]
    """
    values = np.asarray(shares, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise MeasureError("difficulty is a share of networks", expected="'examples' in [0, 1]", got=_told(values))
    strata: npt.NDArray[np.int64] = (values > 0).astype(np.int64) + (values > 0.5) + (values == 1)
    return strata


@of_arrays
def quarter_strata(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Quarters of the examples by a value, the lowest first; equal values are never torn apart.

    So a quarter can hold more than a fourth, and another none, where many values are equal.
    Invariant to increasing affine maps of the values.

    Args:
        values: ``examples``, finite, at least one.

    Returns:
        ``examples``: places in :data:`QUARTERS`.

    Raises:
        MeasureError: no values, or one that is not finite.

    >>> quarter_strata([0.1, 0.9, 0.2, 0.3]).tolist()
    [0, 3, 1, 2]
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise MeasureError("quarters need values", expected="'examples', finite, at least one", got=_told(found))
    edges = np.quantile(found, [0.25, 0.5, 0.75])
    return np.searchsorted(edges, found, side="left").astype(np.int64)


@of_arrays
def stratified_kappa(
    weights: npt.NDArray[np.float64], indicators: npt.NDArray[np.float64], strata: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Error consistency beyond what accuracies *within each stratum* give.

    κ = Σ_s n_s (c_obs − c_exp)_s / Σ_s n_s (1 − c_exp)_s, the chance agreement taken stratum by stratum. With one
    stratum it is κ; with strata of difficulty it is what is left of κ once hard images are expected to be hard for
    everybody. In [−1, 1]; invariant to the names of the strata and to strata in which both networks are always right
    or both always wrong.

    Args:
        weights: ``draws examples``, at least 0.
        indicators: ``examples 5`` of :func:`transferscope.measures.mistakes.mistake_indicators`.
        strata: ``examples``.

    Returns:
        ``draws``; NaN where the denominator is 0.

    Reference: Barlow, Lai & Azen (1991), "A comparison of methods for calculating a stratified kappa"; here strata
    weigh n_s (1 − c_exp), which is defined whatever a stratum holds.

    >>> from transferscope.measures.mistakes import mistake_indicators
    >>> table = mistake_indicators([0, 1, 1, 1], [0, 2, 1, 0], [0, 0, 0, 0])
    >>> stratified_kappa(np.ones((1, 4)), table, np.zeros(4, dtype=np.int64)).tolist()
    [0.5]
    """
    above, below = np.zeros(len(weights)), np.zeros(len(weights))
    for stratum in np.unique(strata):
        inside = strata == stratum
        common, only_a, only_b, right, _ = (weights[:, inside] @ indicators[inside]).T
        total = common + only_a + only_b + right
        # Times n: n (c_obs − c_exp) and n (1 − c_exp) in counts; a stratum that was not drawn adds nothing.
        share = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        above += 2 * (common * right - only_a * only_b) * share
        below += ((right + only_b) * (common + only_b) + (right + only_a) * (common + only_a)) * share
    found: npt.NDArray[np.float64] = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return found


def _told(values: npt.NDArray[np.float64]) -> str:
    span = f", from {values.min()} to {values.max()}" if values.size else ""
    return f"shape {values.shape}{span}"
