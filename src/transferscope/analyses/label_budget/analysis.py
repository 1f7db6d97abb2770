"""What more labels would bring, how many are needed, and how many labels pre-training is worth (R3.1)."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field, field_validator

from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.label_budget.summary import QUANTITIES, summary_of
from transferscope.analyses.learning_rate.analysis import LearningRate, chosen, next_grid, validation_error
from transferscope.analyses.summary import Summary
from transferscope.analyses.training_parts import part_network
from transferscope.analyses.tuned import AbstractTuned, OnSeeds, chosen_rate
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["LabelBudget"]


@final
class LabelBudget(AbstractTuned, OnSeeds):
    """Train P-T and RI-T on nested, stratified parts of the training images, and extrapolate their curves.

    Each seed draws its own parts; all are trained for equally many updates. By default that takes 4 budgets below the
    whole × 2 variants × 3 seeds = 24 trainings; ``rates: search`` adds for each of these budgets both variants at
    every rate of the study, with every tuning seed.

    Attributes:
        fractions: shares of the study's training images; the whole is always among them.
        rates: take the rates that the study chose on all images, or ``search`` anew at each budget, with the rates the
            study searched.
        share: of the metric at the plateau, for which the number of labels is told.
        target: a value of the metric for which it is told in place of a share of the plateau.
        factor: how many times the labels the gain is told for.
        n_bootstrap: draws of the limits.
    """

    fractions: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    rates: Literal["study", "search"] = "study"
    max_seeds: int | None = Field(default=3, ge=1)
    share: float = Field(default=0.95, gt=0, lt=1)
    target: float | None = Field(default=None, gt=0, lt=1)
    factor: float = Field(default=2.0, gt=1)
    n_bootstrap: int = Field(default=400, ge=100)

    # What follows from the table alone.
    not_identity: ClassVar[frozenset[str]] = frozenset({"share", "target", "factor", "n_bootstrap"})
    name: ClassVar[str] = "label_budget"
    title: ClassVar[str] = "Label budget"
    question: ClassVar[str] = "What would more labels bring, and how many labels is pre-training worth?"
    reference: ClassVar[str] = (
        "Alabdulmohsin et al. 2022 (M4, choice by extrapolation); Lin et al. 2024 (rectified law)"
    )
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "tuning: a run of the rate search of a budget; network: a report run"),
        "variant": Column(str, "P_T or RI_T"),
        "seed": Column(int, "seed of the network, which draws its part", "count"),
        "fraction": Column(float, "share of the study's training images"),
        "images": Column(int, "training images of the budget", "count"),
        "labels": Column(int, "training and validation images together: all labels that were used", "count"),
        "learning_rate": Column(float, "peak learning rate", "rate"),
        "updates": Column(int, "updates made", "count"),
        "split": Column(str, "validation or test"),
        "metric": Column(str, "top1, top5 or auc"),
        "value": Column(float, "the metric at the end", "metric", "row", "undefined or diverged"),
        "loss": Column(float, "loss at the end", "nat", "row", "diverged"),
        "validation_error": Column(float, "standard error of the value of a tuning run over validation images",
                                   "metric", "validation",
                                   "not a tuning run, training.rate_rule is best, undefined or diverged"),
        "diverged": Column(bool, "the loss exploded or was not finite"),
    }  # fmt: skip
    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    @field_validator("fractions")
    @classmethod
    def _budgets(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share <= 1 for share in value) or len(set(value)) != len(value):
            raise ValueError("fractions are different shares above 0 and up to 1")
        if len({*value, 1.0}) < 2:
            raise ValueError("one budget makes no curve: name at least one fraction below 1, better four")
        return tuple(sorted({*value, 1.0}))

    def budgets(self, study: ResolvedStudy) -> dict[float, int]:
        """About how many training images each fraction has; of fractions that come to the same the largest."""
        sizes = {share: _images(study, share) for share in self.fractions}
        return {share: size for share, size in sizes.items() if size not in [sizes[s] for s in sizes if s > share]}

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """All fractions come to the same images."""
        if len(self.budgets(study)) > 1:
            return None
        return (
            f"every one of its fractions comes to all {study.training_images} training images, as each class keeps at "
            "least one: give more images, or larger steps in `fractions`"
        )

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One per tuning run; of each budget one for all report runs, once its search has ended."""
        for share, images in self.budgets(study).items():
            settled = True
            if share < 1 and self.rates == "search":
                tried = _search(evidence.table(self) if evidence.has(self) else self.measured().table, share)
                grid = self._grid(study, evidence, tried)
                settled = sorted(set(tried["learning_rate"])) == grid
                yield from self._tuning(study, share, images, grid)
            if settled:
                members = [
                    self._member(study, variant, seed, share, images, self._rate(evidence, variant, share))
                    for variant in TRAINED
                    for seed in self.seeds(study)
                ]
                yield Task(members=tuple(members), settings={"level": "network", "fraction": share})

    def _tuning(self, study: ResolvedStudy, share: float, images: int, grid: Iterable[float]) -> Iterable[Task]:
        training = study.settings.training
        for rate in grid:
            for variant in TRAINED:
                for seed in training.tuning_seeds:
                    member = self._member(study, variant, seed, share, images, rate, training.tuning_epochs)
                    settings = {"level": "tuning", "fraction": share, "rate_rule": training.rate_rule}
                    yield Task(members=(member,), settings=settings)

    def _grid(self, study: ResolvedStudy, evidence: Evidence, tried: pl.DataFrame) -> list[float]:
        if tried.is_empty():
            return sorted(evidence.table(LearningRate())["learning_rate"].unique().to_list())
        return next_grid(tried, study.settings.training, TRAINED)

    def _rate(self, evidence: Evidence, variant: str, share: float) -> float:
        if share == 1 or self.rates == "study":
            return chosen_rate(variant, evidence)
        return chosen(_search(evidence.table(self), share), variant).rate

    def _member(
        self, study: ResolvedStudy, variant: str, seed: int, share: float, images: int, rate: float,
        epochs: int | None = None,
    ) -> StudyNetwork:  # fmt: skip
        spec = study.trained(variant, seed, rate, epochs)
        if share == 1:
            return StudyNetwork(variant=variant, seed=seed, spec=spec)
        part = {"fraction": share * study.data.fraction}
        return part_network(study, spec, variant, images, f"{share:g}", part)

    def expected_table(self, study: ResolvedStudy) -> pl.DataFrame:
        """Searches whose middle rate is the best at every budget."""
        training = study.settings.training
        rates = sorted(training.learning_rates)
        return self.example(
            {"level": "tuning", "variant": variant, "seed": seed, "fraction": share, "learning_rate": rate,
             "split": "validation", "value": float(rate == rates[len(rates) // 2])}
            for share in self.budgets(study)
            for variant in TRAINED
            for rate in rates
            for seed in training.tuning_seeds
            if share < 1 and self.rates == "search"
        )  # fmt: skip

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """With a search the extensions of its grid at either end, at every budget below the whole."""
        training = study.settings.training
        if self.rates == "study" or len(training.learning_rates) < 2:
            return 0
        parts = len(self.budgets(study)) - 1
        extensions = 2 * training.extensions * len(training.tuning_seeds)
        return parts * len(TRAINED) * (extensions + len(self.seeds(study)))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read the ends of histories: no network is run."""
        validation = len(context.labels("validation"))
        rows: list[dict[str, Any]] = []
        level, share = task.settings["level"], task.settings["fraction"]
        for member in task.members:
            spec = member.spec
            assert spec.recipe is not None
            assert spec.data is not None
            last = context.history(spec).row(-1, named=True)
            images = len(context.splits(spec.data)["train"]) // spec.data.repeats
            row = {
                "level": level,
                "variant": member.variant.removesuffix(f"_{share:g}"),
                "seed": member.seed,
                "fraction": share,
                "images": images,
                "labels": images + validation,
                "learning_rate": spec.recipe.learning_rate,
                "updates": last["updates"],
                "metric": context.study.metric,
                "diverged": last["diverged"],
            }
            for split in ("validation",) if level == "tuning" else ("validation", "test"):
                ends: dict[str, Any] = {}
                if not last["diverged"]:
                    ends = {"value": last[f"{split}_metric"], "loss": last[f"{split}_loss"]}
                    if level == "tuning":
                        ends["validation_error"] = validation_error(ends["value"], task, context)
                rows.append({**row, "split": split, **ends})
        return self.measured(rows)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Gain with more labels, labels needed, label multipliers: from validation data, proved on test data."""
        goal = (self.share, None) if self.target is None else (None, self.target)
        edge = {
            share: [variant for variant in TRAINED if _at_edge(_search(table, share), variant)]
            for share in sorted(table.filter(pl.col("level") == "tuning")["fraction"].unique())
        }
        return summary_of(table, self.factor, goal, self.n_bootstrap, edge)


def _images(study: ResolvedStudy, share: float) -> int:
    """About how many training images a fraction of the study's has: each class keeps at least one."""
    if share == 1:
        return study.training_images
    if study.multi_label:
        return max(1, math.floor(study.training_images * share + 0.5))
    return sum(max(1, math.floor(count * share + 0.5)) for count in study.class_counts if count)


def _search(table: pl.DataFrame, share: float) -> pl.DataFrame:
    """The tuning runs of a budget in the columns of ``learning_rate``."""
    own = (pl.col("level") == "tuning") & (pl.col("fraction") == share)
    return table.filter(own).select(
        "variant", "learning_rate", "diverged", "validation_error", validation_metric="value", validation_loss="loss"
    )


def _at_edge(tried: pl.DataFrame, variant: str) -> bool:
    rates = tried["learning_rate"]
    return rates.n_unique() > 1 and chosen(tried, variant).best in (rates.min(), rates.max())
