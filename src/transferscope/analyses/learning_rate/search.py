"""The search of a variant: which rates are tried how long, and which is chosen, from the table alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from transferscope.analyses.halving import Dropped, Halving, Reason, Score, Search, rungs, select
from transferscope.keys import shown

if TYPE_CHECKING:
    from transferscope.study.settings import TrainingSettings

__all__ = [
    "Chosen",
    "best_rate",
    "choose",
    "chosen",
    "dropped",
    "halving_note",
    "next_grid",
    "scores",
    "search",
    "search_rule",
]


@dataclass(frozen=True)
class Chosen:
    """The rate of a variant, and the best one.

    Attributes:
        rate: that the variant is given.
        best: that with the highest mean validation metric.
        metric: mean validation metric of ``best``; None where it is not defined.
        error: its standard error, over examples and tuning seeds; None where the best rate is taken whatever the noise.
        diverged: a run diverged at every rate.
    """

    rate: float
    best: float
    metric: float | None
    error: float | None
    diverged: bool

    @property
    def moved(self) -> bool:
        """Whether a rate below the best one was taken, as the two cannot be told apart."""
        return self.rate != self.best

    @property
    def note(self) -> str:
        """Which rate was as good; empty where the best one was taken."""
        if not self.moved:
            return ""
        return f"not distinguishable from {self.best:.3g} (validation metric {self.metric:.3f} ± {self.error:.3f})"


def scores(table: pl.DataFrame, variant: str) -> pl.DataFrame:
    """Mean validation metric and loss per rate over the tuning seeds, best first, of the longest tuning runs.

    A rate at which any seed diverged comes after all others. Ties go to the lower loss, then to the lower rate;
    metrics equal up to rounding are ties. ``validation_error`` is the standard error of the mean metric: all seeds
    share the validation images, whose part does not shrink with seeds, √(SE² + s²/k) for k seeds.
    """
    return _means(_last_rung(table, variant))


def _means(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.group_by("learning_rate")
        .agg(
            # Equal sums in another order of the seeds differ in their last digits: no reason to prefer a rate.
            pl.col("validation_metric").mean().round(12),
            pl.col("validation_loss").mean().round(12),
            pl.col("diverged").any(),
            (
                pl.col("validation_error").mean() ** 2
                + pl.col("validation_metric").var().fill_null(0) / pl.col("validation_metric").count()
            )
            .sqrt()
            .alias("validation_error"),
        )
        .sort(
            ["diverged", "validation_metric", "validation_loss", "learning_rate"],
            descending=[False, True, False, False],
            nulls_last=True,
        )
    )


def best_rate(table: pl.DataFrame, variant: str) -> float:
    """The rate with the highest mean validation metric over the tuning seeds.

    Where every rate diverged it is the lowest one: the least unstable of what was tried.
    """
    ranked = scores(table, variant)
    if ranked["diverged"].all():
        return float(min(ranked["learning_rate"].to_list()))
    return float(ranked["learning_rate"][0])


def chosen(table: pl.DataFrame, variant: str) -> Chosen:
    """The rate of a variant, with the best one and how well that is known.

    Where the table gives standard errors it is the smallest rate whose mean validation metric lies within one of them
    of the best (Breiman et al. 1984), of rates at which no run diverged; else the best. What differs by less turns out
    otherwise on another machine, and of two that are as good the smaller rate is the steadier one.

    Args:
        table: with ``variant, learning_rate, validation_metric, validation_error, validation_loss, diverged``.
        variant: whose.
    """
    ranked, best = scores(table, variant), best_rate(table, variant)
    row = ranked.filter(pl.col("learning_rate") == best).row(0, named=True)
    metric, error = row["validation_metric"], row["validation_error"]
    rate = best
    if not row["diverged"] and metric is not None and error is not None:
        as_good = ranked.filter(~pl.col("diverged") & (pl.col("validation_metric") >= metric - error))
        rate = min(as_good["learning_rate"].to_list())
    return Chosen(rate, best, metric, error, row["diverged"])


def choose(table: pl.DataFrame, variant: str) -> float:
    """The rate of a variant: see :func:`chosen`."""
    return chosen(table, variant).rate


def next_grid(table: pl.DataFrame, tuning: "TrainingSettings", variants: Iterable[str]) -> list[float]:
    """The rates tried so far and, where a best one of ``variants`` lies at an edge, the next beyond it.

    Args:
        table: as in :func:`chosen`, of ``variants`` alone.
        tuning: how often either end of the grid may be extended.
        variants: those that share the grid.
    """
    tried = sorted(table["learning_rate"].unique().to_list())
    if len(tried) < 2:
        return tried
    edges = _edges(table, tried, variants)
    below = sum(rate < min(tuning.learning_rates) for rate in tried)
    above = sum(rate > max(tuning.learning_rates) for rate in tried)
    grid = list(tried)
    if "low" in edges and below < tuning.extensions:
        grid.insert(0, _round(tried[0] ** 2 / tried[1]))
    if "high" in edges and above < tuning.extensions:
        grid.append(_round(tried[-1] ** 2 / tried[-2]))
    return grid


def search_rule(tuning: "TrainingSettings") -> Halving:
    """The rungs of a search; a grid is trained on one of them, as long as tuning runs are."""
    longest = tuning.tuning_epochs or tuning.recipe.epochs
    return Halving(rungs(longest) if tuning.search == "halving" else (longest,))


def search(table: pl.DataFrame, variant: str, rates: Iterable[float], rule: Halving) -> Search[float]:
    """How far the search of a variant is.

    Args:
        table: as in :func:`chosen`, with ``epochs``; of any variants.
        variant: whose.
        rates: that are searched.
        rule: with the rungs.
    """
    known = {(rate, rung): score for rung, own in _by_rung(table, variant).items() for rate, score in own.items()}
    return rule.search(rates, known)


def dropped(table: pl.DataFrame, variant: str) -> dict[float, Dropped]:
    """The rates of a finished search that were not trained to its last rung: after how many epochs, and why."""
    by_rung = _by_rung(table, variant)
    seen: list[Mapping[float, Score]] = []
    found: dict[float, Dropped] = {}
    for rung, longer in zip(by_rung, list(by_rung)[1:], strict=False):
        left = {rate: score for rate, score in by_rung[rung].items() if rate not in found}
        seen.append(left)
        reasons = select(seen, len(by_rung[longer]))
        found |= {rate: Dropped(rung, why) for rate, why in reasons.items() if rate not in by_rung[longer]}
    return found


_REASONS: Mapping[Reason, str] = {"diverged": "diverged", "behind": "surely behind", "no_place": "others ahead"}


def halving_note(table: pl.DataFrame, variants: Iterable[str]) -> str:
    """Which rates were dropped after how many epochs, and why, in words."""
    words = []
    for variant in variants:
        gone = dropped(table, variant).items()
        rates = ", ".join(f"{rate:.3g} after {drop.epochs} ({_REASONS[drop.reason]})" for rate, drop in sorted(gone))
        words.append(f"{shown(variant)} {rates or 'none'}")
    rungs_there = ", ".join(map(str, sorted(table["epochs"].unique())))
    return f"searched in rungs of {rungs_there} epochs; dropped after so many epochs: {'; '.join(words)}"


def _by_rung(table: pl.DataFrame, variant: str) -> dict[int, dict[float, Score]]:
    rows = table.filter(pl.col("variant") == variant)
    return {
        rung: {
            row["learning_rate"]: Score(
                row["validation_metric"], row["validation_error"] or 0.0, row["validation_loss"], row["diverged"]
            )
            for row in _means(rows.filter(pl.col("epochs") == rung)).iter_rows(named=True)
        }
        for rung in sorted(rows["epochs"].unique())
    }


def _last_rung(table: pl.DataFrame, variant: str) -> pl.DataFrame:
    """The runs of a variant that are compared: those of the most epochs, where it was searched in rungs."""
    rows = table.filter(pl.col("variant") == variant)
    return rows.filter(pl.col("epochs") == pl.col("epochs").max()) if "epochs" in rows.columns else rows


def _edges(table: pl.DataFrame, tried: list[float], variants: Iterable[str]) -> list[Literal["low", "high"]]:
    edges: list[Literal["low", "high"]] = []
    for variant in variants:
        best = best_rate(table, variant)
        if best == tried[0]:
            edges.append("low")
        elif best == tried[-1]:
            edges.append("high")
    return edges


def _round(rate: float) -> float:
    # 0.03 ** 2 / 0.01 is 0.09 only up to rounding, and a rate is part of a network's key.
    return float(f"{rate:.6g}")
