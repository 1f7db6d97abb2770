"""One number over several studies: a random-effects mean, how much studies differ, and what a new one would find."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from transferscope.errors import MeasureError
from transferscope.measures.arguments import of_arrays
from transferscope.measures.interval import check_confidence, equal, finite

__all__ = ["RandomEffects", "random_effects"]

Weights = Literal["equal", "inverse_variance"]


@dataclass(frozen=True)
class RandomEffects:
    """The mean effect over studies.

    Attributes:
        value: the mean.
        low: lower end of its interval; None for fewer than three clusters, or where the clusters show no spread.
        high: upper end.
        tau: standard deviation of the true effects between clusters, in the unit of the values.
        i_squared: share of the variance between clusters that is not that of their own errors, in [0, 1].
        prediction_low: lower end of the interval in which a new cluster with errors like these would be measured; None
            for fewer than three.
        prediction_high: upper end.
        n: how many clusters.
        studies: how many studies.
        leave_one_out: smallest and largest mean when one cluster is left out; None for one.
        confidence: of both intervals, two-sided.
    """

    value: float
    low: float | None
    high: float | None
    tau: float
    i_squared: float
    prediction_low: float | None
    prediction_high: float | None
    n: int
    studies: int
    leave_one_out: tuple[float, float] | None
    confidence: float


@of_arrays
def random_effects(
    values: Sequence[float] | npt.NDArray[np.float64],
    errors: Sequence[float] | npt.NDArray[np.float64],
    clusters: Sequence[Hashable] | None = None,
    weights: Weights = "equal",
    confidence: float = 0.95,
) -> RandomEffects:
    r"""Random-effects mean of the effects of several studies, with the interval of Hartung and Knapp.

    Effects of one cluster (a pre-trained network, a data set) are not independent. They become one: their mean, whose
    error is the mean of their errors, as if they were perfectly correlated (Borenstein et al. 2009, ch. 24): never too
    small. For the k cluster effects y with errors s and weights w, the mean is μ = Σ w y / Σ w, its variance Σ w (y −
    μ)² / ((k − 1) Σ w), and t has k − 1 degrees of freedom. The variance is taken as it is where weights are equal;
    with inverse variances, not below 1 / Σ w (Röver et al. 2015).

    *Equal* weights are the default: errors that come from three seeds are too uncertain to weigh studies by, and a
    study that by chance shows little spread would decide alone. The interval is then Student's over clusters, and τ² is
    max(0, variance of y − mean s²) (Hedges & Olkin 1985). With *inverse variances*, w = 1 / (s² + τ²), and τ² is of
    Paule and Mandel (1982): Σ w (y − μ)² = k − 1. Prediction: μ ± t of k − 1 degrees of freedom times √(τ² + mean s² +
    error²), the effect that a new cluster with such errors would show; of its true effect (without mean s²) the usual
    interval covers only 89 % for 8 clusters of three seeds, because τ is then hardly known.

    Shifts and scales with the values (errors scaled alike); not changed by the order of the studies, nor by one study
    that stands twice in one cluster.

    Args:
        values: ``studies`` effects, finite.
        errors: ``studies`` standard errors, 0 or more; with inverse variances above 0.
        clusters: ``studies``, what each shares with others; every study its own where None.
        weights: ``equal`` or ``inverse_variance``.

    Raises:
        MeasureError: lengths that differ, an error below 0, a number that is not finite, or unknown weights.

    Reference: Hartung & Knapp (2001), "A refined method for the meta-analysis of controlled clinical trials".

    >>> found = random_effects([0.1, 0.2, 0.3, 0.2], [0.05, 0.05, 0.05, 0.05])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3), found.n
    (0.2, 0.07, 0.33, 4)
    """
    y, s = finite("effects", values), finite("errors", errors)
    check_confidence(confidence)
    names = list(range(len(y))) if clusters is None else list(clusters)
    if not len(y) == len(s) == len(names):
        raise MeasureError(
            "every study needs an effect, an error and a cluster",
            expected=f"{len(y)} of each",
            got=f"{len(s)} errors, {len(names)} clusters",
        )
    if weights not in ("equal", "inverse_variance"):
        raise MeasureError("unknown weights", expected="equal or inverse_variance", got=repr(weights))
    if s.min() < 0 or (weights == "inverse_variance" and s.min() == 0):
        raise MeasureError(
            "an error is a standard error", expected="0 or more; above 0 to weigh by it", got=str(s.min())
        )
    places = [[i for i, each in enumerate(names) if each == name] for name in dict.fromkeys(names)]
    y, s = np.array([y[each].mean() for each in places]), np.array([s[each].mean() for each in places])
    value, error, tau = _fitted(y, s, weights)
    k = len(y)
    noise, total = float((s**2).mean()), float(y.var(ddof=1)) if k > 1 else 0.0
    low = high = prediction_low = prediction_high = None
    if k > 2 and not equal(y):
        half = float(stats.t.ppf((1 + confidence) / 2, k - 1)) * error
        low, high = value - half, value + half
        wide = half / error * math.sqrt(tau**2 + noise + error**2)
        prediction_low, prediction_high = value - wide, value + wide
    left = [_fitted(np.delete(y, i), np.delete(s, i), weights)[0] for i in range(k)] if k > 1 else []
    return RandomEffects(
        value, low, high, tau, max(0.0, 1 - noise / total) if total else 0.0,
        prediction_low, prediction_high, k, len(names), (min(left), max(left)) if left else None, confidence,
    )  # fmt: skip


def _fitted(y: npt.NDArray[np.float64], s: npt.NDArray[np.float64], weights: Weights) -> tuple[float, float, float]:
    """Mean, its standard error and τ."""
    k = len(y)
    if k == 1:
        return float(y[0]), 0.0, 0.0
    if weights == "equal":
        tau = math.sqrt(max(0.0, float(y.var(ddof=1) - (s**2).mean())))
        return float(y.mean()), float(y.std(ddof=1)) / math.sqrt(k), tau

    def at(tau_squared: float) -> tuple[float, float, float]:
        w = 1 / (s**2 + tau_squared)
        mean = float((w * y).sum() / w.sum())
        return mean, float((w * (y - mean) ** 2).sum()), float(w.sum())

    squared = 0.0
    if at(0.0)[1] > k - 1:
        # Q falls with τ², and is below k − 1 where τ² exceeds the sum of squares.
        top = float(((y - y.mean()) ** 2).sum())
        squared = float(optimize.brentq(lambda tau_squared: at(tau_squared)[1] - (k - 1), 0.0, top, xtol=1e-14))
    mean, q, w = at(squared)
    return mean, math.sqrt(max(q / (k - 1), 1.0) / w), math.sqrt(squared)
