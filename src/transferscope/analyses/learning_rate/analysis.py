"""Which learning rate suits each variant: an equal search on validation data, before everything else."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.estimates import Estimate, Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.search import (
    Chosen,
    best_rate,
    choose,
    chosen,
    dropped,
    halving_note,
    next_grid,
    scores,
    search,
    search_rule,
)
from transferscope.analyses.spikes import spike_facts, spike_note
from transferscope.analyses.summary import Summary
from transferscope.bounds import Flag
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.keys import shown
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["Chosen", "LearningRate", "best_rate", "choose", "chosen", "next_grid", "scores", "validation_error"]


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


_RATE = Quantity("chosen_rate", "chosen rate of {variant}", "rate")
_DROPPED = Quantity("dropped_after", "epochs after which {variant} at {learning_rate} was dropped", "count")
_UPDATES = Quantity("search_updates", "updates of the search of {variant}", "count")


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

    quantities: ClassVar[tuple[Quantity, ...]] = (_RATE, _DROPPED, _UPDATES)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per variant, rate, length and tuning seed: of a grid all at once, of a search in rungs those of now."""
        tuning = study.settings.training
        rule, rates = search_rule(tuning), self.grid(study, evidence)
        table = evidence.table(self) if evidence.has(self) else self.measured().table
        asked = {variant: search(table, variant, rates, rule).asked for variant in TRAINED}
        for rung in rule.rungs:
            for rate in rates:
                for variant in TRAINED:
                    if rate in asked[variant].get(rung, ()):
                        for seed in tuning.tuning_seeds:
                            member = StudyNetwork(
                                variant=variant, seed=seed, spec=_tuned(study, variant, seed, rate, rung)
                            )
                            # What is measured depends on the rule, which is no setting of this analysis but of the
                            # training.
                            yield Task(members=(member,), settings={"rate_rule": tuning.rate_rule})

    def grid(self, study: ResolvedStudy, evidence: Evidence) -> list[float]:
        """The rates tried so far and, where a best one lies at an edge, the next."""
        tuning = study.settings.training
        if not evidence.has(self):
            return sorted(tuning.learning_rates)
        return next_grid(evidence.table(self), tuning, TRAINED)

    def expected_table(self, study: ResolvedStudy) -> pl.DataFrame:
        """A grid whose middle rate is the best for both variants, after the first rung."""
        rates = sorted(study.settings.training.learning_rates)
        tuning = study.settings.training
        return self.example(
            {"variant": variant, "learning_rate": rate, "seed": seed, "epochs": search_rule(tuning).rungs[0],
             "validation_metric": float(rate == rates[len(rates) // 2])}
            for variant in TRAINED
            for rate in rates
            for seed in tuning.tuning_seeds
        )  # fmt: skip

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """Both variants, at every extension of either end of the grid and in every rung."""
        return len(list(self.extra_networks(study)))

    def extra_networks(self, study: ResolvedStudy) -> Iterable[NetworkSpec]:
        """As many of each length as both variants train at most: rates beyond the grid, and longer rungs."""
        tuning = study.settings.training
        first, beyond = len(tuning.learning_rates), 2 * tuning.extensions if len(tuning.learning_rates) > 1 else 0
        rates = sorted(tuning.learning_rates)
        for rung, arms in search_rule(tuning).most(first, beyond).items():
            for variant in TRAINED:
                for seed in tuning.tuning_seeds:
                    yield from [_tuned(study, variant, seed, rates[0], rung)] * arms

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
        if table["epochs"].n_unique() > 1:
            estimates += self._cost(table)
            notes.append(halving_note(table, TRAINED))
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
            "dropped": [{**item.at, "epochs": item.value, "reason": item.verdict} for item in estimates
                        if item.quantity == _DROPPED.key],
        }  # fmt: skip
        return Summary(
            f"Chosen on validation data out of {', '.join(f'{rate:.3g}' for rate in tried)}: {', '.join(words)}.",
            tuple(estimates),
            tuple(notes),
            facts,
        )

    def _cost(self, table: pl.DataFrame) -> list[Estimate]:
        """What a search in rungs took, and which rates it gave up when and why."""
        found = []
        for variant in TRAINED:
            own = table.filter(pl.col("variant") == variant)
            seeds = own["seed"].n_unique()
            found.append(_UPDATES.number(float(own["updates"].sum()), seeds, variant=variant))
            found += [
                _DROPPED.number(drop.epochs, seeds, variant=variant, learning_rate=rate, verdict=drop.reason)
                for rate, drop in dropped(table, variant).items()
            ]
        return found


def _tuned(study: ResolvedStudy, variant: str, seed: int, rate: float, epochs: int) -> NetworkSpec:
    """A tuning run; one as long as the report runs has exactly their recipe."""
    tuning = study.settings.training
    spec = study.trained(
        variant, seed, rate, None if epochs == tuning.recipe.epochs and tuning.tuning_epochs is None else epochs
    )
    assert spec.recipe is not None
    # Of a tuning run only the history is read, whatever the study keeps of its report runs.
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"keep": "none"})})
