"""Which learning rate suits each variant: an equal search on validation data, before everything else."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, final

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, Column, Measured, Member, Number, Summary, Unit, schema
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.variants import TRAINED, BoundStudy, shown
from transferscope.specs import NetworkSpec

if TYPE_CHECKING:
    from transferscope.running.context import Context
    from transferscope.study import Schooling

__all__ = ["LearningRate", "choose", "next_grid", "scores"]


def scores(table: pl.DataFrame, variant: str) -> pl.DataFrame:
    """Mean validation metric and loss per rate over the tuning seeds, best first.

    A rate at which any seed diverged comes after all others. Ties go to the lower loss, then to the lower rate;
    metrics equal up to rounding are ties.
    """
    return (
        table.filter(pl.col("variant") == variant)
        .group_by("learning_rate")
        .agg(
            # Equal sums in another order of the seeds differ in their last digits: no reason to prefer a rate.
            pl.col("validation_metric").mean().round(12),
            pl.col("validation_loss").mean().round(12),
            pl.col("diverged").any(),
        )
        .sort(
            ["diverged", "validation_metric", "validation_loss", "learning_rate"],
            descending=[False, True, False, False],
            nulls_last=True,
        )
    )


def choose(table: pl.DataFrame, variant: str) -> float:
    """The rate with the highest mean validation metric over the tuning seeds.

    Where every rate diverged it is the lowest one: the least unstable of what was tried.
    """
    ranked = scores(table, variant)
    if ranked["diverged"].all():
        return float(min(ranked["learning_rate"].to_list()))
    return float(ranked["learning_rate"][0])


def next_grid(table: pl.DataFrame, tuning: "Schooling", variants: Iterable[str]) -> list[float]:
    """The rates tried so far and, where a best one of ``variants`` lies at an edge, the next beyond it.

    Args:
        table: with ``variant, learning_rate, validation_metric, validation_loss, diverged``, of ``variants`` alone.
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


@final
class LearningRate(AbstractAnalysis):
    """Train both variants at every rate of one grid and choose on validation data.

    The grid is shared: where the best rate of either variant lies at its edge, both get the next rate.
    """

    name: ClassVar[str] = "learning_rate"
    title: ClassVar[str] = "Learning rate"
    question: ClassVar[str] = "Which learning rate suits each variant?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Sec. 3.1 and Fig. 2 (rates compared)"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "variant": Column(str, "P_T or RI_T"),
        "learning_rate": Column(float, "peak learning rate", "rate"),
        "seed": Column(int, "tuning seed", "count"),
        "epochs": Column(int, "passes over the training images asked for", "count"),
        "updates": Column(int, "updates made", "count"),
        "train_metric": Column(
            float, "clean metric on training images at the end", "metric", "train", "undefined or diverged"
        ),
        "validation_metric": Column(float, "metric at the end", "metric", "validation", "undefined or diverged"),
        "validation_loss": Column(float, "loss at the end", "nat", "validation", "diverged"),
        "diverged": Column(bool, "the loss exploded or was not finite"),
    }

    def networks(self, study: BoundStudy, evidence: Evidence) -> Iterable[NetworkSpec]:
        """Both variants at every rate of the grid."""
        return [member.spec for unit in self.units(study, evidence) for member in unit.members]

    def units(self, study: BoundStudy, evidence: Evidence) -> Iterable[Unit]:
        """One per variant, rate and tuning seed."""
        tuning = study.settings.training
        for rate in self.grid(study, evidence):
            for variant in TRAINED:
                for seed in tuning.tuning_seeds:
                    spec = study.trained(variant, seed, rate, tuning.tuning_epochs)
                    assert spec.recipe is not None
                    # Of a tuning run only the history is read, whatever the study keeps of its report runs.
                    recipe = spec.recipe.model_copy(update={"keep": "none"})
                    spec = spec.model_copy(update={"recipe": recipe})
                    yield Unit(members=(Member(variant=variant, seed=seed, spec=spec),))

    def grid(self, study: BoundStudy, evidence: Evidence) -> list[float]:
        """The rates tried so far and, where a best one lies at an edge, the next."""
        tuning = study.settings.training
        if not evidence.has(self):
            return sorted(tuning.learning_rates)
        return next_grid(evidence.table(self), tuning, TRAINED)

    def supposed(self, study: BoundStudy) -> pl.DataFrame:
        """A grid whose middle rate is the best for both variants."""
        rates = sorted(study.settings.training.learning_rates)
        rows = [
            {
                "variant": variant,
                "learning_rate": rate,
                "seed": seed,
                "epochs": 1,
                "updates": 1,
                "validation_metric": float(rate == rates[len(rates) // 2]),
                "diverged": False,
            }
            for variant in TRAINED
            for rate in rates
            for seed in study.settings.training.tuning_seeds
        ]
        return pl.DataFrame(rows, schema=schema(self.columns))

    def further(self, study: BoundStudy) -> int:
        """Both variants, at every extension of either end of the grid."""
        tuning = study.settings.training
        if len(tuning.learning_rates) < 2:
            return 0
        return 2 * tuning.extensions * len(TRAINED) * len(tuning.tuning_seeds)

    def measure(self, unit: Unit, context: "Context") -> Measured:
        """Read the end of one training's history."""
        (member,) = unit.members
        history = context.history(member.spec)
        last = history.row(-1, named=True)
        assert member.spec.recipe is not None
        return Measured(
            pl.DataFrame(
                {
                    "variant": [member.variant],
                    "learning_rate": [member.spec.recipe.learning_rate],
                    "seed": [member.seed],
                    "epochs": [member.spec.recipe.epochs],
                    "updates": [last["updates"]],
                    "train_metric": [None if last["diverged"] else last["train_metric"]],
                    "validation_metric": [None if last["diverged"] else last["validation_metric"]],
                    "validation_loss": [None if last["diverged"] else last["validation_loss"]],
                    "diverged": [last["diverged"]],
                }
            )
        )

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """The chosen rates; whether one still lies at an edge."""
        numbers, notes, words = [], [], []
        tried = sorted(table["learning_rate"].unique().to_list())
        for variant in TRAINED:
            rate = choose(table, variant)
            best = scores(table, variant).filter(pl.col("learning_rate") == rate).row(0, named=True)
            if best["diverged"]:
                note = "a run diverged at every rate: the lowest is taken"
            elif best["validation_metric"] is None:
                note = "the metric is not defined on the validation images: chosen by the loss"
            else:
                note = f"validation metric {best['validation_metric']:.3f}"
            words.append(f"{shown(variant)} {rate:.3g}" + (f" ({note})" if best["diverged"] else ""))
            seeds = table.filter(pl.col("variant") == variant)["seed"].n_unique()
            numbers.append(Number(f"chosen rate of {shown(variant)}", rate, n=seeds, unit="rate", note=note))
            lost = table.filter((pl.col("variant") == variant) & pl.col("diverged"))
            if len(lost):
                rates = ", ".join(f"{rate:.3g}" for rate in sorted(lost["learning_rate"].unique()))
                notes.append(f"{shown(variant)} diverged at {rates}")
        at_edge = [v for v in TRAINED if len(tried) > 1 and choose(table, v) in (tried[0], tried[-1])]
        if len(tried) < 2:
            notes.append("one rate only: it was given, not chosen")
        elif at_edge:
            of = " and ".join(shown(variant) for variant in at_edge)
            notes.append(f"the best rate of {of} still lies at the edge of the grid: the search was cut short")
        return Summary(
            f"Chosen on validation data out of {', '.join(f'{rate:.3g}' for rate in tried)}: {', '.join(words)}.",
            tuple(numbers),
            tuple(notes),
            {"tried": tried, "at_edge": at_edge},
        )


def _edges(table: pl.DataFrame, tried: list[float], variants: Iterable[str] = TRAINED) -> list[Literal["low", "high"]]:
    edges: list[Literal["low", "high"]] = []
    for variant in variants:
        best = choose(table, variant)
        if best == tried[0]:
            edges.append("low")
        elif best == tried[-1]:
            edges.append("high")
    return edges


def _round(rate: float) -> float:
    # 0.03 ** 2 / 0.01 is 0.09 only up to rounding, and a rate is part of a network's key.
    return float(f"{rate:.6g}")
