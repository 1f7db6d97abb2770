"""Negative transfer: is a pre-trained start worse than a random one (R2.2a, R3.1)."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import columns_of
from transferscope.analyses.learning_rate.analysis import LearningRate, chosen
from transferscope.analyses.negative_transfer.rows import (
    CONTROL,
    SOURCE,
    Candidate,
    at_rate,
    harmful,
    report_rows,
)
from transferscope.analyses.negative_transfer.summary import QUANTITIES, summary_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import SEARCH_COLUMNS, chosen_rate, searched, tried_rates, tuning_row, tuning_tasks
from transferscope.context.resolved_study import TRAINED, ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.frozen import Once
from transferscope.specs.network import NetworkSpec
from transferscope.study.columns import Column
from transferscope.study.other_source import OtherSource

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.study.settings import Study

__all__ = ["NegativeTransfer"]

_RESERVED = {SOURCE, CONTROL, *TRAINED}
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]


@final
class NegativeTransfer(AbstractAnalysis):
    """The error of networks from a pre-trained start minus that of RI-T: of the source, and of candidates for harm.

    Candidates are named before anything is measured. Each has a search over learning rates of its own, on the rates
    that P-T and RI-T searched. All are listed, whichever way they went.

    Attributes:
        candidates: further pre-trained networks that may hurt, by a name: a source of another domain, say, or one that
            was taught permuted labels (``pretrain: {labels: permuted, ...}``).
        control: whether the source's own pre-training is repeated with permuted labels, as a positive control; it takes
            a source that is pre-trained by the study.
        equal_rates: learning rates at which P-T and RI-T are compared as well: at one rate for both, which is
            instability and not harm.
        confirm_seeds: further seeds, on which candidates that seem to hurt are trained anew: those with more error than
            RI-T on validation data over the study's seeds. The verdict on them then rests on these seeds alone.
        n_bootstrap: draws of the intervals over examples.
    """

    candidates: dict[Name, OtherSource] = Field(default_factory=dict)
    control: bool = True
    equal_rates: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Once] = ()
    confirm_seeds: Annotated[tuple[int, ...], Once] = ()
    n_bootstrap: int = Field(default=2000, ge=100)

    name: ClassVar[str] = "negative_transfer"
    title: ClassVar[str] = "Negative transfer"
    question: ClassVar[str] = "Does a pre-trained start hurt, at its best rate or at an equal one?"
    reference: ClassVar[str] = "Wang et al. 2019 (negative transfer gap); Zhang et al. 2017 (permuted labels)"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(str, "tuning: a run of a rate search; network: a report run; gap: error of the candidate − "
                             "error of RI-T, paired by seed"),
        "stage": Column(str, "first: the study's seeds; confirm: seeds that confirm harm", null="a tuning run"),
        "candidate": Column(str, "of a gap: source, permuted_labels, a name of the settings, or a rate",
                            null="not a gap"),
        "variant": Column(str, "P_T, RI_T, a candidate, or one of the first two at a given rate"),
        "tuned": Column(bool, "both at their own best rate; else both at one rate", null="not a gap"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "learning_rate": Column(float, "peak learning rate of the variant"),
        **columns_of("gap", "all candidates of a stage", unit="metric"),
        "basis": Column(str, "seeds, examples (networks as trained), or range (of two seeds)",
                        null="one run, or no interval"),
        "n": Column(int, "how many seeds, or examples (groups of them where the data names groups)", "count"),
        "improving": Column(bool, "the validation metric still rises at the end",
                            null="not a report run, diverged, or too few epochs to tell"),
        **SEARCH_COLUMNS,
        "diverged": Column(bool, "this run, or a run of the row, diverged and is left out"),
        "note": Column(str, "why there is no value or no interval", null="nothing to say"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def check_study(self, study: "Study") -> str | None:
        """Names that are taken, seeds that are not new, and candidates that start where RI starts."""
        if taken := sorted(_RESERVED & set(self.candidates)):
            return f"candidates: {taken[0]} is the name of another row; give it another name"
        used = {*study.seeds, *study.training.tuning_seeds}
        if twice := sorted(used & set(self.confirm_seeds)):
            return (
                f"confirm_seeds: {twice[0]} is also a seed of the study or of its search; what it chose cannot confirm"
            )
        seeds = {*used, *self.confirm_seeds}
        for name, other in self.candidates.items():
            if other.pretrain is not None and other.pretrain.seed in seeds:
                return f"candidates.{name}.pretrain.seed: {other.pretrain.seed} is also a seed of the target"
            if other.pretrain is None and other.weights == study.source.weights:
                return f"candidates.{name}.weights: these are the source's own"
        if study.source.pretrain is not None and study.source.pretrain.seed in self.confirm_seeds:
            return f"confirm_seeds: {study.source.pretrain.seed} is also the seed of source.pretrain"
        return None

    def starts(self, study: "Study") -> dict[str, OtherSource]:
        """The pre-trained networks beside the source's, by the name of their candidate; the control first."""
        own = study.source.pretrain
        controls = {}
        if self.control and own is not None and own.labels == "given":
            # The same start, order and rate: the labels alone differ.
            controls[CONTROL] = OtherSource(pretrain=own.model_copy(update={"labels": "permuted"}))
        return {**controls, **self.candidates}

    def other_sources(self, study: "Study") -> Iterable[OtherSource]:
        """The control and the candidates."""
        return self.starts(study).values()

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """The rates P-T and RI-T searched."""
        return (LearningRate(),)

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """Searches; then all report runs; then those that confirm harm seen on validation data."""
        settled = True
        for name in self.starts(study.settings):
            tried = self._tuned(evidence, name)
            grid = tried_rates(study, evidence, tried)
            settled = settled and sorted(set(tried["learning_rate"])) == grid
            yield from tuning_tasks(study, name, grid, partial(self._from, study, name))
        if not settled:
            return
        yield self._report("first", self.named(study), study.seeds, study, evidence)
        gaps = self._own(evidence).filter(
            (pl.col("level") == "gap") & (pl.col("stage") == "first") & (pl.col("split") == "validation")
        )
        chosen_names = harmful(gaps.iter_rows(named=True))
        confirmed = [one for one in self.named(study) if one.name in chosen_names]
        if self.confirm_seeds and confirmed:
            yield self._report("confirm", confirmed, self.confirm_seeds, study, evidence)

    def named(self, study: ResolvedStudy) -> list[Candidate]:
        """All candidates, in the order of the table."""
        tuned = [Candidate(SOURCE, "P_T"), *(Candidate(name, name) for name in self.starts(study.settings))]
        rated = [
            Candidate(f"rate {rate:g}", at_rate("P_T", rate), at_rate("RI_T", rate), tuned=False)
            for rate in self.equal_rates
        ]
        return [*tuned, *rated]

    def _own(self, evidence: Evidence) -> pl.DataFrame:
        return evidence.table(self) if evidence.has(self) else self.measured().table

    def _tuned(self, evidence: Evidence, name: str) -> pl.DataFrame:
        return searched(self._own(evidence), name)

    def _report(
        self, stage: str, candidates: list[Candidate], seeds: Iterable[int], study: ResolvedStudy, evidence: Evidence
    ) -> Task:
        variants = dict.fromkeys(name for one in candidates for name in (one.rival, one.variant))
        members = tuple(
            StudyNetwork(variant=variant, seed=seed, spec=self._network(study, variant, seed, evidence))
            for variant in variants
            for seed in seeds
        )
        return Task(members=members, settings={"stage": stage, "candidates": [one.name for one in candidates]})

    def _network(self, study: ResolvedStudy, variant: str, seed: int, evidence: Evidence) -> NetworkSpec:
        for rate in self.equal_rates:
            for trained in TRAINED:
                if variant == at_rate(trained, rate):
                    return study.trained(trained, seed, rate)
        if variant in TRAINED:
            return study.trained(variant, seed, chosen_rate(variant, evidence))
        return self._from(study, variant, seed, chosen(self._tuned(evidence, variant), variant).rate, None)

    def _from(self, study: ResolvedStudy, name: str, seed: int, rate: float, epochs: int | None) -> NetworkSpec:
        """A candidate, trained like P-T of the same seed: same head, order and augmentation."""
        return study.trained_from(study.other(self.starts(study.settings)[name]), seed, rate, epochs)

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """The report runs, the extensions of the candidates' grids, and at most all runs that confirm."""
        tuning, starts = study.settings.training, len(self.starts(study.settings))
        extensions = 0 if len(tuning.learning_rates) < 2 else 2 * tuning.extensions * len(tuning.tuning_seeds)
        runs = len(TRAINED) * (1 + len(self.equal_rates)) + starts
        first = runs * len(study.seeds) if starts else 0  # without a search they are in the first expansion
        return starts * extensions + first + runs * len(self.confirm_seeds)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read histories, and the answers of report runs on test images."""
        if task.settings.get("level") == "tuning":
            return self.measured([tuning_row(task, context)])
        candidates = [one for one in self.named(context.study) if one.name in task.settings["candidates"]]
        return self.measured(self._rows(task, context, candidates))

    def _rows(self, task: Task, context: "Context", candidates: list[Candidate]) -> Iterator[dict[str, Any]]:
        return report_rows(task, context, candidates, self.n_bootstrap)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Whether each candidate helps or hurts on test data, by the interval over seeds."""
        return summary_of(table, evidence.table(LearningRate()), bool(self.confirm_seeds))
