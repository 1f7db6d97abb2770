"""Rows on the mistakes of a pair of networks: over all judgements, per class, per stratum of difficulty."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.estimator import estimated
from transferscope.analyses.predictions import Judgements
from transferscope.study.columns import Column

__all__ = ["PAIR_COLUMNS", "Counts", "Strata", "consistency", "row_of", "within_row"]

Counts = npt.NDArray[np.int64]

PAIR_COLUMNS: Mapping[str, Column] = {
    "pair": Column(str, "which variants"),
    "a": Column(str, "first network, or variant"),
    "b": Column(str, "second network, or variant"),
    "variant_a": Column(str, "variant of a"),
    "seed_a": Column(int, "seed of a", "count", null="the row speaks of all seeds"),
    "variant_b": Column(str, "variant of b"),
    "seed_b": Column(int, "seed of b", "count", null="the row speaks of all seeds"),
    "examples": Column(int, "judgements: images, or image-label pairs", "count"),
    "mistakes_a": Column(int, "wrong by a", "count", "test", "the row speaks of all seeds"),
    "mistakes_b": Column(int, "wrong by b", "count", "test", "the row speaks of all seeds"),
    "common": Column(int, "wrong by both", "count", "test", "the row speaks of all seeds"),
    "only_a": Column(int, "wrong by a alone", "count", "test", "the row speaks of all seeds"),
    "only_b": Column(int, "wrong by b alone", "count", "test", "the row speaks of all seeds"),
    "jaccard": Column(float, "common / wrong by either", "1", "test",
                      "neither makes a mistake, or the row speaks of all seeds"),
    "same_wrong_label": Column(float, "share of common mistakes with the same wrong label", "1", "test",
                               "no common mistake, or the row speaks of all seeds"),
    "kappa": Column(float, "error consistency: 0 is chance, in [−1, 1]", "1", "test",
                    "both all right or all wrong, or the row speaks of all seeds"),
    "kappa_low": Column(float, "lower end of its 95 % interval over examples", "1", "test", "no interval"),
    "kappa_high": Column(float, "upper end", "1", "test", "no interval"),
    "kappa_max": Column(float, "the largest κ these two accuracies allow", "1", "test", "as kappa, or κ within strata"),
}  # fmt: skip
"""What is known of a pair, at every level."""


@dataclass(frozen=True, eq=False)
class Strata:
    """A grouping of judgements.

    Attributes:
        level: of its rows.
        codes: ``judgements``: the group of each.
        items: names of the groups, by code.
        values: ``judgements``: what the groups were made by; None where nothing was measured for it.
    """

    level: str
    codes: Counts
    items: tuple[str, ...]
    values: npt.NDArray[np.float64] | None = None

    def parts(self) -> Iterator[tuple[str, npt.NDArray[np.bool_], float | None, float | None]]:
        """Name, members, and smallest and largest value of each group that is not empty."""
        for code in np.unique(self.codes):
            inside = self.codes == code
            low, high = (None, None) if self.values is None else (self.values[inside].min(), self.values[inside].max())
            yield self.items[code], inside, low, high


def row_of(
    judgements: Judgements,
    first: Counts,
    second: Counts,
    inside: npt.NDArray[np.bool_] | None,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """Counts and κ, with its interval over examples, of a pair on some of the judgements.

    Args:
        judgements: of the split.
        first: ``judgements``, predicted by the first network.
        second: by the second.
        inside: ``judgements``, which count; None for all.
        draws: of the bootstrap.
        seed: of the draws.
    """
    from transferscope.measures.intervals import bootstrap_interval
    from transferscope.measures.mistakes import compare_mistakes, mistake_indicators, mistake_statistic

    chosen = slice(None) if inside is None else inside
    a, b, truth = first[chosen], second[chosen], judgements.truth[chosen]
    clusters = None if judgements.clusters is None else judgements.clusters[chosen]
    found = compare_mistakes(a, b, truth)
    low = high = None
    if found.kappa is not None:
        interval = bootstrap_interval(
            mistake_statistic("kappa"), [mistake_indicators(a, b, truth)], clusters, draws, seed
        )
        low, high = interval.low, interval.high
    return {
        "examples": found.examples,
        "mistakes_a": found.common + found.only_a,
        "mistakes_b": found.common + found.only_b,
        "common": found.common,
        "only_a": found.only_a,
        "only_b": found.only_b,
        "jaccard": found.jaccard,
        "same_wrong_label": found.same_label_share,
        "kappa": found.kappa,
        "kappa_low": low,
        "kappa_high": high,
        "kappa_max": found.kappa_max,
    }


def within_row(
    judgements: Judgements, first: Counts, second: Counts, strata: Strata, draws: int, seed: int
) -> dict[str, Any]:
    """As :func:`row_of` over all judgements, with κ within the strata in place of κ."""
    from transferscope.measures.intervals import bootstrap_interval
    from transferscope.measures.mistakes import mistake_indicators
    from transferscope.measures.strata import stratified_kappa

    counted = row_of(judgements, first, second, None, 1, seed)
    indicators = mistake_indicators(first, second, judgements.truth)
    found = bootstrap_interval(stratified_kappa, [indicators, strata.codes], judgements.clusters, draws, seed)
    return {
        **counted,
        "kappa": found.value,
        "kappa_low": found.low,
        "kappa_high": found.high,
        "kappa_max": None,
    }


def consistency(table: pl.DataFrame, quantity: Quantity) -> list[Estimate]:
    """κ of each kind of pair over all of its pairs of networks; over examples where there is one pair alone.

    Args:
        table: with the columns of a pair.
        quantity: of the column ``kappa``, with the kinds of pairs as coordinates.
    """
    found = {tuple(item.at.values()): item for item in estimated(table, [quantity])}
    estimates = []
    rows = table if quantity.where is None else table.filter(quantity.where)
    for place, part in rows.group_by(quantity.by, maintain_order=True):
        at: dict[str, Any] = dict(zip(quantity.by, place, strict=True))
        row = part.row(0, named=True)
        if part["kappa"].is_null().all():
            seeds = {*part["seed_a"], *part["seed_b"]}
            estimates.append(quantity.undefined("all right, or all wrong", len(seeds), **at))
        elif part.height == 1:
            known = {"value": row["kappa"], "low": row["kappa_low"], "high": row["kappa_high"], "n": row["examples"]}
            known["basis"] = None if row["kappa_low"] is None else "examples"
            why = "one pair: it speaks for these networks"
            estimates.append(quantity.at_row(known, why, flags=("too_few_seeds",), **at))
        else:
            estimates.append(found[place])
    return estimates
