"""Rules that choose a pre-trained network for a target from what was seen on other targets, and what they lose.

A table of accuracies (percent) has a row for each target and a column for each model. A rule ranks the models for a
target that it has not seen; the first k of its ranking are then trained and the best of them is taken.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = [
    "PARAMETERS", "RULES", "Distribution", "Promise", "RuleResult", "by_mean_accuracy", "by_mean_rank", "evaluated",
    "jackknife", "promised", "regret_of_order", "regret_of_random", "rules_for",
]  # fmt: skip

Array = npt.NDArray[np.float64]

PARAMETERS: Mapping[str, int] = {
    "densenet121": 7_978_856, "densenet169": 14_149_480, "densenet201": 20_013_928, "googlenet": 6_624_904,
    "inception_v3": 27_161_264, "mnasnet1_0": 4_383_312, "mobilenet_v2": 3_504_872, "resnet34": 21_797_672,
    "resnet50": 25_557_032, "resnet101": 44_549_160, "resnet152": 60_192_808,
}  # fmt: skip
"""Parameters with the ImageNet head: ``num_params`` in the metadata of torchvision's weights, which a test compares."""


@dataclass(frozen=True)
class Distribution:
    """Regrets a rule may have on one target; a rule that draws nothing has one.

    Attributes:
        values: of the regret, in points, ascending.
        weights: their probabilities.
    """

    values: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The expected regret."""
        return math.fsum(value * weight for value, weight in zip(self.values, self.weights, strict=True))

    def below(self, limit: float) -> float:
        """The probability of a regret of at most ``limit``."""
        return math.fsum(w for value, w in zip(self.values, self.weights, strict=True) if value <= limit)


@dataclass(frozen=True)
class Promise:
    """What is said of a regret before it is seen.

    Attributes:
        expected: mean over the targets that were seen.
        limit: the regret is at most this with probability 0.9; None where so few targets allow no such limit.
    """

    expected: float
    limit: float | None


@dataclass(frozen=True)
class RuleResult:
    """How a rule did, target by target, each left out in turn.

    Attributes:
        regrets: expected regret on each target.
        interval: of their mean: value, lower and upper 95 % limit.
        promises: made for each target from all others.
        kept: probability that the regret on each target is within its limit; None where there was none.
    """

    regrets: tuple[float, ...]
    interval: tuple[float, float, float]
    promises: tuple[Promise, ...]
    kept: tuple[float | None, ...]


def by_mean_rank(others: Array) -> list[int]:
    """Models by their mean rank on other targets, ties by mean accuracy, then by column.

    Args:
        others: accuracies, ``targets models``.
    """
    ranks = stats.rankdata(-others, axis=1).mean(axis=0).round(9)
    means = others.mean(axis=0).round(9)
    return sorted(range(others.shape[1]), key=lambda model: (ranks[model], -means[model], model))


def by_mean_accuracy(others: Array) -> list[int]:
    """Models by their mean accuracy on other targets, ties by column.

    Args:
        others: accuracies, ``targets models``.
    """
    means = others.mean(axis=0).round(9)
    return sorted(range(others.shape[1]), key=lambda model: (-means[model], model))


def regret_of_order(accuracies: Array, order: Sequence[int], k: int) -> Distribution:
    """The best accuracy on a target, less the best among the first k of a ranking.

    Args:
        accuracies: of all models on the target.
        order: models, best guess first.
        k: how many are trained.
    """
    return Distribution((float(accuracies.max() - accuracies[list(order[:k])].max()),), (1.0,))


def regret_of_random(accuracies: Array, k: int) -> Distribution:
    """The regret of the best of k models drawn without replacement, exactly.

    The best of them is the j-th best of m with probability C(m − j, k − 1) / C(m, k).

    Args:
        accuracies: of all models on the target.
        k: how many are trained.
    """
    ordered = np.sort(accuracies)[::-1]
    m = len(ordered)
    places = range(1, m - k + 2)
    weights = tuple(math.comb(m - place, k - 1) / math.comb(m, k) for place in places)
    return Distribution(tuple(float(ordered[0] - ordered[place - 1]) for place in places), weights)


def promised(seen: Sequence[Distribution], probability: float = 0.9) -> Promise:
    """What is promised of the regret on a further target, exchangeable with those that were seen.

    Each of n seen targets weighs 1/(n + 1), and so does a regret beyond all limits: the limit is the smallest one that
    reaches the probability. For regrets without chance it is their ⌈p·(n + 1)⌉-th smallest.

    Args:
        seen: the rule's regret on each seen target.
        probability: with which the regret is within the limit.

    Reference: Vovk, Gammerman & Shafer (2005), "Algorithmic learning in a random world" (conformal prediction).
    """
    share = 1 / (len(seen) + 1)
    atoms = sorted((value, w * share) for of in seen for value, w in zip(of.values, of.weights, strict=True))
    limit, total = None, 0.0
    for value, weight in atoms:
        total += weight
        if total >= probability - 1e-12:
            limit = value
            break
    return Promise(math.fsum(of.mean for of in seen) / len(seen), limit)


Ranked = Callable[[Array], Sequence[int] | None]
"""A rule: a ranking of models from their accuracies on other targets; None draws at random."""


def _regrets(table: Array, rule: Ranked, k: int) -> list[Distribution]:
    """Of each target, from all others."""
    found = []
    for place, accuracies in enumerate(table):
        order = rule(np.delete(table, place, axis=0))
        found.append(regret_of_random(accuracies, k) if order is None else regret_of_order(accuracies, order, k))
    return found


def jackknife(value: float, left_out: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """A statistic of n targets with limits from leaving each of them out: θ ± t_{n−1} √((n−1)/n Σ(θ₍₋ᵢ₎ − θ̄)²).

    Of a mean these are Student's limits. The lower one is at least 0: a regret is never below.

    Args:
        value: of all targets.
        left_out: the statistic computed anew without each target.
        confidence: two-sided.
    """
    n = len(left_out)
    around = np.asarray(left_out) - np.mean(left_out)
    error = math.sqrt((n - 1) / n * float((around**2).sum()))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return value, max(0.0, value - half), value + half


def evaluated(table: Array, rule: Ranked, k: int) -> RuleResult:
    """How a rule does on targets that it has not seen, and how its promises do.

    The promise for a target is made of the others alone: for each of them the rule sees neither it nor the target.

    Args:
        table: accuracies, ``targets models``, at least 3 targets.
        rule: ranks models.
        k: how many of them are trained.
    """
    regrets = _regrets(table, rule, k)
    # What a rule would have given had a target never been measured: also the basis of the promise for that target.
    without = [_regrets(np.delete(table, place, axis=0), rule, k) for place in range(len(table))]
    promises = [promised(of) for of in without]
    kept = [None if p.limit is None else regret.below(p.limit) for regret, p in zip(regrets, promises, strict=True)]
    means = [regret.mean for regret in regrets]
    interval = jackknife(math.fsum(means) / len(means), [promise.expected for promise in promises])
    return RuleResult(tuple(means), interval, tuple(promises), tuple(kept))


def _largest(sizes: Sequence[int]) -> Ranked:
    order = sorted(range(len(sizes)), key=lambda model: (-sizes[model], model))
    return lambda _: order


def rules_for(models: Sequence[str]) -> Mapping[str, Ranked]:
    """The rules that a zoo allows, by their key.

    Args:
        models: of the columns; ``largest`` needs the size of each, and sizes that differ.
    """
    sizes = [PARAMETERS.get(model) for model in models]
    rules: dict[str, Ranked] = {"mean_rank": by_mean_rank, "mean_accuracy": by_mean_accuracy}
    if None not in sizes:
        rules["largest"] = _largest([size for size in sizes if size is not None])
    return {**rules, "random": lambda _: None}


RULES: Mapping[str, str] = {
    "mean_rank": "best mean rank on the other targets",
    "mean_accuracy": "best mean accuracy on the other targets",
    "largest": "most parameters",
    "random": "drawn at random",
}
"""What readers see of each rule."""
