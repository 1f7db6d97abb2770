"""Which mistakes two networks share.

All statistics of a pair follow from five counts over the examples: both wrong, only the first wrong, only the second
wrong, both right, and both wrong with the same label. They are written for a matrix of weights, so that a bootstrap
over examples is one matrix product.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from transferscope.arguments import checked
from transferscope.errors import MeasureError, nearest
from transferscope.measures.arguments import check_axes, of_arrays
from transferscope.measures.bootstrap import Statistic

__all__ = [
    "MISTAKE_STATISTICS",
    "Mistakes",
    "compare_mistakes",
    "difficulty",
    "ensemble_entropy",
    "mistake_indicators",
    "mistake_statistic",
    "mistakes_by_group",
    "mistakes_by_label",
    "weighted_mistakes",
]

MistakeStatistic = Literal["accuracy_a", "accuracy_b", "jaccard", "same_label_share", "kappa", "kappa_max"]
MISTAKE_STATISTICS: tuple[MistakeStatistic, ...] = (
    "accuracy_a",
    "accuracy_b",
    "jaccard",
    "same_label_share",
    "kappa",
    "kappa_max",
)


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of a pair of networks on the same examples.

    Attributes:
        examples: how many were judged.
        common: wrong by both.
        only_a: wrong by the first alone.
        only_b: wrong by the second alone.
        same_label: common mistakes with the same wrong label.
        accuracy_a: of the first, in [0, 1]; None without examples.
        accuracy_b: of the second.
        jaccard: common / (common + only_a + only_b), in [0, 1]; None if neither makes a mistake.
        same_label_share: same_label / common; None without common mistakes. With two classes it is always 1.
        kappa: error consistency, in [−1, 1]; 0 is what independent mistakes give; None if both accuracies are 0 or both
            are 1 (or without examples).
        kappa_max: the largest kappa that these two accuracies allow; None as ``kappa``.
    """

    examples: int
    common: int
    only_a: int
    only_b: int
    same_label: int
    accuracy_a: float | None
    accuracy_b: float | None
    jaccard: float | None
    same_label_share: float | None
    kappa: float | None
    kappa_max: float | None


@of_arrays
def compare_mistakes(predicted_a: npt.ArrayLike, predicted_b: npt.ArrayLike, labels: npt.ArrayLike) -> Mistakes:
    """Counts and agreement of the mistakes of two networks.

    With p_k the accuracies, c_obs the share of examples that both get right or both get wrong and c_exp = p₁p₂ +
    (1−p₁)(1−p₂): κ = (c_obs − c_exp) / (1 − c_exp), κ_max = (1 − |p₁−p₂| − c_exp) / (1 − c_exp). Unequal accuracies cap
    κ: read it against κ_max.

    Symmetric in the two networks (``only_a`` and ``only_b`` change places). Invariant to the order of the examples and
    to renaming the classes; κ is not invariant to adding examples that both get right.

    Args:
        predicted_a: ``examples`` classes predicted by the first network; −1 is no prediction, always wrong, and never
            the same wrong label.
        predicted_b: ``examples``, by the second.
        labels: ``examples``, the true classes.

    Returns:
        The counts and statistics.

    Raises:
        MeasureError: arrays of different shapes, or not one label per example.

    Reference: Geirhos, Meding & Wichmann (2020), "Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and
    humans by measuring error consistency", eqs. 1–3 and appendix.

    >>> pair = compare_mistakes([0, 1, 1, 1], [0, 2, 1, 0], [0, 0, 0, 0])
    >>> pair.common, pair.only_a, pair.only_b, pair.same_label, pair.kappa
    (2, 1, 0, 1, 0.5)
    """
    indicators = mistake_indicators(predicted_a, predicted_b, labels)
    common, only_a, only_b, right, same = (int(count) for count in indicators.sum(axis=0))
    values = {
        name: None if np.isnan(value[0]) else float(value[0])
        for name, value in weighted_mistakes(np.ones((1, len(indicators))), indicators).items()
    }
    examples = common + only_a + only_b + right
    return Mistakes(examples, common, only_a, only_b, same, **values)


@of_arrays
def mistake_indicators(
    predicted_a: npt.ArrayLike, predicted_b: npt.ArrayLike, labels: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Which of the five kinds each example is: what :func:`weighted_mistakes` sums.

    Args:
        predicted_a: ``examples``, −1 is no prediction.
        predicted_b: ``examples``.
        labels: ``examples``.

    Returns:
        ``examples 5`` of 0 and 1: both wrong, only a wrong, only b wrong, both right, both wrong with the same label.

    Raises:
        MeasureError: arrays of different shapes, or not one label per example.
    """
    a, b, y = np.asarray(predicted_a), np.asarray(predicted_b), np.asarray(labels)
    if y.ndim != 1 or a.shape != y.shape or b.shape != y.shape:
        raise MeasureError(
            "predictions and labels do not fit",
            expected="three arrays of shape 'examples'",
            got=f"{a.shape}, {b.shape}, {y.shape}",
            hint="several labels per example: mistakes_by_label",
        )
    wrong_a, wrong_b = (a != y) | (a < 0), (b != y) | (b < 0)
    both = wrong_a & wrong_b
    kinds = [both, wrong_a & ~wrong_b, wrong_b & ~wrong_a, ~wrong_a & ~wrong_b, both & (a == b) & (a >= 0)]
    return np.stack(kinds, axis=1).astype(np.float64)


@of_arrays
def weighted_mistakes(
    weights: npt.NDArray[np.float64], indicators: npt.NDArray[np.float64]
) -> dict[MistakeStatistic, npt.NDArray[np.float64]]:
    """The statistics of a pair under each row of weights.

    Args:
        weights: ``draws examples``, at least 0 (bootstrap counts, or 0 and 1 for a stratum).
        indicators: ``examples 5`` of :func:`mistake_indicators`.

    Returns:
        ``draws`` for each name of :data:`MISTAKE_STATISTICS`; NaN where it is not defined (callers turn it into a named
        null).
    """
    # A stratum may be empty: its statistics are not defined.
    if np.shape(indicators) != (0, 5):
        check_axes("indicators", indicators, None, 5)
    if np.ndim(weights) != 2 or np.shape(weights)[1] != len(indicators):
        check_axes("weights", weights, None, len(indicators))
    common, only_a, only_b, right, same = (weights @ indicators).T
    total = common + only_a + only_b + right
    right_a, right_b = right + only_b, right + only_a
    wrong_a, wrong_b = common + only_a, common + only_b
    # total²·(1 − c_exp), exactly 0 only where both accuracies are 0 or both are 1; κ in counts is then free
    # of the cancellation in c_obs − c_exp.
    disagreement = right_a * wrong_b + right_b * wrong_a
    return {
        "accuracy_a": _ratio(right_a, total),
        "accuracy_b": _ratio(right_b, total),
        "jaccard": _ratio(common, common + only_a + only_b),
        "same_label_share": _ratio(same, common),
        "kappa": _ratio(2 * (common * right - only_a * only_b), disagreement),
        "kappa_max": _ratio(disagreement - np.abs(right_a - right_b) * total, disagreement),
    }


@checked
def mistake_statistic(name: str) -> Statistic:
    """One statistic as a function of weights and indicators, for ``bootstrap_interval``.

    Args:
        name: one of :data:`MISTAKE_STATISTICS`.

    Returns:
        ``(weights, indicators) -> [draws]``.

    Raises:
        MeasureError: an unknown name.

    >>> indicators = mistake_indicators([0, 1, 1, 1], [0, 2, 1, 0], [0, 0, 0, 0])
    >>> mistake_statistic("kappa")(np.ones((1, 4)), indicators).tolist()
    [0.5]
    """
    for known in MISTAKE_STATISTICS:
        if known == name:
            return lambda weights, indicators: weighted_mistakes(weights, indicators)[known]
    raise MeasureError(f"there is no statistic of mistakes {name!r}", hint=nearest(name, MISTAKE_STATISTICS), got=name)


@of_arrays
def mistakes_by_group(
    predicted_a: npt.ArrayLike, predicted_b: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike
) -> dict[int, Mistakes]:
    """The mistakes of a pair within each group of examples: per class (``groups=labels``), per difficulty stratum.

    Args:
        predicted_a: ``examples``.
        predicted_b: ``examples``.
        labels: ``examples``.
        groups: ``examples`` integers.

    Returns:
        By group, in ascending order; the counts of the groups add up to those of all examples, κ does not.

    Raises:
        MeasureError: as :func:`compare_mistakes`, or groups of another length.
    """
    a, b, y, group = (np.asarray(array) for array in (predicted_a, predicted_b, labels, groups))
    if group.shape != y.shape:
        raise MeasureError("groups must name the group of each example", expected=str(y.shape), got=str(group.shape))
    if group.dtype.kind not in "biu":
        raise MeasureError("groups are whole numbers", expected="the number of each group", got=str(group.dtype))
    mistake_indicators(a, b, y)  # for its checks
    return {
        int(name): compare_mistakes(a[group == name], b[group == name], y[group == name]) for name in np.unique(group)
    }


@of_arrays
def mistakes_by_label(
    predicted_a: npt.ArrayLike, predicted_b: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[Mistakes, ...]:
    """The mistakes of a pair for each label of a multi-label target.

    Args:
        predicted_a: ``examples labels`` of 0 and 1 at probability ≥ ½ (see ``metrics.predictions``); −1 is none.
        predicted_b: ``examples labels``.
        labels: ``examples labels``.

    Returns:
        One for each label. A label is right or wrong by itself, so ``same_label_share`` is 1 wherever defined.

    Raises:
        MeasureError: arrays of different shapes, or not several labels per example.
    """
    a, b, y = np.asarray(predicted_a), np.asarray(predicted_b), np.asarray(labels)
    if y.ndim != 2 or a.shape != y.shape or b.shape != y.shape:
        raise MeasureError(
            "predictions and labels do not fit",
            expected="three arrays of shape 'examples labels'",
            got=f"{a.shape}, {b.shape}, {y.shape}",
            hint="one label per example: compare_mistakes",
        )
    return tuple(compare_mistakes(a[:, i], b[:, i], y[:, i]) for i in range(y.shape[1]))


@of_arrays
def difficulty(wrong: npt.ArrayLike, pair: tuple[int, int]) -> npt.NDArray[np.float64] | None:
    """How hard each example is for the networks outside a pair.

    The pair itself is left out: strata made from its own mistakes would force it to agree within them.

    Args:
        wrong: ``networks examples``, true where the network is wrong.
        pair: rows of the two networks that are compared.

    Returns:
        ``examples``: the share of the other networks that are wrong; None if there is no other network.

    Raises:
        MeasureError: ``wrong`` is not a table, or the pair is not in it.
    """
    table = np.asarray(wrong, dtype=np.float64)
    if table.ndim != 2 or not all(0 <= row < len(table) for row in pair):
        raise MeasureError(
            "difficulty needs the mistakes of all networks",
            expected="'networks examples', and two of its rows",
            got=f"shape {table.shape}, rows {pair}",
        )
    outside = np.delete(table, list(set(pair)), axis=0)
    return outside.mean(axis=0) if len(outside) else None


@of_arrays
def ensemble_entropy(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Entropy of the mean prediction of several networks: −Σ_c p̄_c log p̄_c.

    Args:
        probabilities: ``networks examples classes``, summing to 1 over classes.

    Returns:
        ``examples``, nats, from 0 to log(classes).

    Raises:
        MeasureError: another shape, or rows that are no probabilities.

    >>> ensemble_entropy([[[1.0, 0.0]], [[0.0, 1.0]]]).round(6).tolist()
    [0.693147]
    """
    table = np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 3 or 0 in table.shape or not np.allclose(table.sum(axis=2), 1, atol=1e-4) or table.min() < 0:
        raise MeasureError(
            "ensemble entropy needs probabilities",
            expected="'networks examples classes', at least 0, summing to 1",
            got=f"shape {table.shape}",
        )
    mean = table.mean(axis=0)
    logarithm = np.log(mean, out=np.zeros_like(mean), where=mean > 0)
    entropy: npt.NDArray[np.float64] = np.abs((mean * logarithm).sum(axis=1))
    return entropy


def _ratio(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return result
