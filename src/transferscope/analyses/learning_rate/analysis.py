"""Which learning rate suits each variant: an equal search on validation data, before everything else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.spikes import spike_facts, spike_note
from transferscope.analyses.summary import Summary
from transferscope.bounds import Flag
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.study.settings import TrainingSettings

__all__ = ["Chosen", "LearningRate", "best_rate", "choose", "chosen", "next_grid", "scores", "validation_error"]


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
    """Mean validation metric and loss per rate over the tuning seeds, best first.

    A rate at which any seed diverged comes after all others. Ties go to the lower loss, then to the lower rate;
    metrics equal up to rounding are ties. ``validation_error`` is the standard error of the mean metric: all seeds
    share the validation images, whose part does not shrink with seeds, √(SE² + s²/k) for k seeds.
    """
    return (
        table.filter(pl.col("variant") == variant)
        .group_by("learning_rate")
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


def validation_error(value: float | None, task: Task, context: "Context") -> float | None:
    """The standard error of a tuning run's validation metric over the validation images.

    Args:
        value: of the metric.
        task: with the study's ``rate_rule`` among its settings.
        context: gives the labels, their groups and the metric.

    Returns:
        None where the best rate is taken whatever the noise, or the metric is not defined.
    """
    import numpy as np

    from transferscope.measures.metric_error import metric_error

    if task.settings["rate_rule"] == "best":
        return None
    groups = context.images().groups
    clusters = None if groups is None else np.asarray(groups)[context.indices("validation")]
    return metric_error(value, context.labels("validation").numpy(), context.study.metric, clusters)


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


_RATE = Quantity("chosen_rate", "chosen rate of {variant}", "rate")


@final
class LearningRate(AbstractAnalysis):
    """Train both variants at every rate of one grid and choose on validation data.

    The grid is shared: where the best rate of either variant lies at its edge, both get the next rate. Then each
    variant gets the best rate, or the smallest that is not distinguishable from it (``training.rate_rule``).
    """

    name: ClassVar[str] = "learning_rate"
    title: ClassVar[str] = "Learning rate"
    question: ClassVar[str] = "Which learning rate suits each variant?"
    reference: ClassVar[str] = (
        "Neyshabur et al. 2020, Sec. 3.1 and Fig. 2 (rates compared); Breiman et al. 1984 (one standard error); "
        "Hanley & McNeil 1982 (of an AUC)"
    )
    version: ClassVar[int] = 3
    columns: ClassVar[Mapping[str, Column]] = {
        "variant": Column(str, "P_T or RI_T"),
        "learning_rate": Column(float, "peak learning rate", "rate"),
        "seed": Column(int, "tuning seed", "count"),
        "epochs": Column(int, "passes over the training images asked for", "count"),
        "updates": Column(int, "updates made", "count"),
        "train_metric": Column(float, "clean metric on training images at the end", "metric", "train",
                               "undefined or diverged"),
        "validation_metric": Column(float, "metric at the end", "metric", "validation", "undefined or diverged"),
        "validation_error": Column(float, "standard error of validation_metric over validation images", "metric",
                                   "validation", "rate_rule is best, undefined or diverged"),
        "validation_loss": Column(float, "loss at the end", "nat", "validation", "diverged"),
        "diverged": Column(bool, "the loss exploded or was not finite"),
        "spike_epoch": Column(int, "epoch in which the training loss rose far above its earlier level", "count",
                              "train", "it never did"),
        "spike_before": Column(float, "clean training loss until then, median of 3 epochs", "nat", "train", "no spike"),
        "spike_peak": Column(float, "highest clean training loss of it", "nat", "train", "no spike"),
        "spike_back": Column(int, "epoch in which it was down at spike_before again", "count", "train",
                             "no spike, or it never was"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = (_RATE,)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
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
                    # What is measured depends on the rule, which is no setting of this analysis but of the training.
                    settings = {"rate_rule": tuning.rate_rule}
                    yield Task(members=(StudyNetwork(variant=variant, seed=seed, spec=spec),), settings=settings)

    def grid(self, study: ResolvedStudy, evidence: Evidence) -> list[float]:
        """The rates tried so far and, where a best one lies at an edge, the next."""
        tuning = study.settings.training
        if not evidence.has(self):
            return sorted(tuning.learning_rates)
        return next_grid(evidence.table(self), tuning, TRAINED)

    def expected_table(self, study: ResolvedStudy) -> pl.DataFrame:
        """A grid whose middle rate is the best for both variants."""
        rates = sorted(study.settings.training.learning_rates)
        tuning = study.settings.training
        return self.example(
            {"variant": variant, "learning_rate": rate, "seed": seed,
             "validation_metric": float(rate == rates[len(rates) // 2])}
            for variant in TRAINED
            for rate in rates
            for seed in tuning.tuning_seeds
        )  # fmt: skip

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """Both variants, at every extension of either end of the grid."""
        tuning = study.settings.training
        if len(tuning.learning_rates) < 2:
            return 0
        return 2 * tuning.extensions * len(TRAINED) * len(tuning.tuning_seeds)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read the end of one training's history."""
        (member,) = task.members
        history = context.history(member.spec)
        last = history.row(-1, named=True)
        assert member.spec.recipe is not None
        row: dict[str, Any] = {
            "variant": member.variant,
            "learning_rate": member.spec.recipe.learning_rate,
            "seed": member.seed,
            "epochs": member.spec.recipe.epochs,
            "updates": last["updates"],
            "diverged": last["diverged"],
        }
        if not last["diverged"]:
            row |= {name: last[name] for name in ("train_metric", "validation_metric", "validation_loss")}
            row["validation_error"] = validation_error(last["validation_metric"], task, context)
            losses = dict(history.select("epoch", "train_loss").drop_nulls().iter_rows())
            row |= {f"spike_{name}": value for name, value in (spike_facts(losses) or {}).items()}
        return self.measured([row])

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """The chosen rates; whether a best one still lies at an edge, and which training losses had a spike."""
        estimates, notes, words = [], [], []
        tried = sorted(table["learning_rate"].unique().to_list())
        choices = {variant: chosen(table, variant) for variant in TRAINED}
        for variant, choice in choices.items():
            own = scores(table, variant).filter(pl.col("learning_rate") == choice.rate).row(0, named=True)
            if choice.diverged:
                note = "a run diverged at every rate: the lowest is taken"
            elif own["validation_metric"] is None:
                note = "the metric is not defined on the validation images: chosen by the loss"
            else:
                note = "; ".join(filter(None, (f"validation metric {own['validation_metric']:.3f}", choice.note)))
            aside = note if choice.diverged else choice.note
            words.append(f"{shown(variant)} {choice.rate:.3g}" + (f" ({aside})" if aside else ""))
            seeds = table.filter(pl.col("variant") == variant)["seed"].n_unique()
            edge = len(tried) > 1 and choice.best in (tried[0], tried[-1])
            wrong: dict[Flag, bool] = {"diverged": choice.diverged, "edge_of_grid": edge}
            flags = [flag for flag, holds in wrong.items() if holds]
            estimates.append(_RATE.number(choice.rate, seeds, note, flags=flags, variant=variant))
            lost = table.filter((pl.col("variant") == variant) & pl.col("diverged"))
            if len(lost):
                rates = ", ".join(f"{rate:.3g}" for rate in sorted(lost["learning_rate"].unique()))
                notes.append(f"{shown(variant)} diverged at {rates}")
        at_edge = [item.at["variant"] for item in estimates if "edge_of_grid" in item.flags]
        if len(tried) < 2:
            notes.append("one rate only: it was given, not chosen")
        elif at_edge:
            of = " and ".join(shown(str(variant)) for variant in at_edge)
            notes.append(f"the best rate of {of} still lies at the edge of the grid: the search was cut short")
        if any(choice.moved for choice in choices.values()):
            notes.append(
                "of rates whose validation metric is within one standard error of the best the smallest is taken; "
                "the setting `training.rate_rule: best` takes the best"
            )
        spikes = [
            {name.removeprefix("spike_"): value for name, value in row.items()}
            for row in table.drop_nulls("spike_epoch")
            .select("variant", "seed", "learning_rate", "spike_epoch", "spike_before", "spike_peak", "spike_back")
            .iter_rows(named=True)
        ]
        if spikes:
            notes.append(spike_note(spikes))
        facts = {
            "tried": tried,
            "at_edge": at_edge,
            "choices": {variant: vars(choice) | {"moved": choice.moved} for variant, choice in choices.items()},
            "spikes": spikes,
        }
        return Summary(
            f"Chosen on validation data out of {', '.join(f'{rate:.3g}' for rate in tried)}: {', '.join(words)}.",
            tuple(estimates),
            tuple(notes),
            facts,
        )


def _edges(table: pl.DataFrame, tried: list[float], variants: Iterable[str] = TRAINED) -> list[Literal["low", "high"]]:
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
