"""Freezing: which first modules may stay as pre-trained, decided on validation data and proved on test data."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.contract import AbstractAnalysis, MeasureResult, Task, analysis_of
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import columns_of
from transferscope.analyses.freeze.candidates import even, proposed_by_gradient, proposed_by_tables
from transferscope.analyses.freeze.networks import FULL, Arms, Rival, first
from transferscope.analyses.freeze.summary import QUANTITIES, decided, summary_of
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import chosen_rate
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.errors import AnalysisError
from transferscope.frozen import Once
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["FreezeAnalysis"]

_EVIDENCE = ("rewind", "criticality", "probe")
"""Analyses whose tables propose a number of modules, where the study has them."""


@final
class FreezeAnalysis(AbstractAnalysis):
    """Fine-tune with the first k modules as they were pre-trained, for a few k, and advise the largest k that costs
    nothing on validation data.

    Modules are counted in the order in which the network defines them; the head is always trained. Every network is
    trained like P-T of its seed, at P-T's rate: same head, order and number of updates. What frozen modules give is
    computed once (``prefix_views`` of a recipe), so that an epoch costs what is trained. By default that is 3 values of
    k, those that gradients and finished tables propose beside them, and two rivals: 5 to 9 trainings for each seed.

    Attributes:
        granularity: what counts as a module: ``stage``, ``block`` or ``layer``.
        k: how many first modules; None for ``steps`` evenly spaced values up to all, and what is proposed: by the
            relative gradient at the start, by the tables of ``rewind``, ``criticality`` and ``probe`` where the study
            has them.
        steps: see ``k``.
        gradient_share: the gradient proposes the most first modules that together hold at most this share of ‖g‖ / ‖θ‖.
        gradient_batches: training batches over which the relative gradient is averaged.
        views: augmented views of an image on which frozen networks are trained in turn; as many as epochs are ordinary
            augmentation. None: a view for each epoch, and frozen modules run in every update.
        rivals: what else is trained: ``lp_ft``: fine-tuning from the network whose head alone was trained;
            ``rate_decay``: all modules, each at ``decay`` × the rate of the next; ``reinit_last``: all modules, the
            last one before the head drawn anew; ``random_modules``: as many frozen ones as advised, drawn at random.
        decay: of ``rate_decay``.
        margin: loss of the metric that counts as nothing.
        n_bootstrap: bootstrap draws of intervals over examples.
    """

    granularity: Literal["stage", "block", "layer"] = "stage"
    k: Annotated[tuple[Annotated[int, Field(ge=1)], ...] | None, Once] = Field(default=None, min_length=1)
    steps: int = Field(default=3, ge=1)
    gradient_share: float = Field(default=0.1, gt=0, lt=1)
    gradient_batches: int = Field(default=4, ge=1)
    views: int | None = Field(default=4, ge=1)
    rivals: Annotated[tuple[Rival, ...], Once] = ("lp_ft", "rate_decay")
    decay: float = Field(default=0.7, gt=0, lt=1)
    margin: float = Field(default=0.005, gt=0)
    n_bootstrap: int = Field(default=2000, ge=100)
    # Applied to the table, which does not depend on it; the networks it asks for have keys of their own.
    not_identity: ClassVar[frozenset[str]] = frozenset({"margin"})

    name: ClassVar[str] = "freeze"
    title: ClassVar[str] = "Freezing"
    question: ClassVar[str] = "Which first modules may stay as pre-trained?"
    reference: ClassVar[str] = "Lee et al. 2023 (surgical fine-tuning); Kumar et al. 2022 (LP-FT)"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "gradient: of one module at the start; network: one seed; arm: mean over seeds; loss: full fine-tuning − "
            "arm; covariance: of the errors of the means of two arms; cost: of one training",
        ),
        "arm": Column(str, "full (P-T), first_3 (the first 3 frozen), lp_ft, rate_decay, reinit_last, random_3",
                      null="a module's gradient"),
        "k": Column(int, "frozen modules", "count", null="a module's gradient"),
        "other": Column(str, "the other arm", null="not a covariance"),
        "module": Column(str, "name of the module", null="not a gradient"),
        "position": Column(int, "depth of the module: 0 is the first", "count", null="not a gradient"),
        "modules": Column(int, "modules there are, the head apart", "count"),
        "seed": Column(int, "seed of the network", "count", null="the row speaks of all seeds"),
        "quantity": Column(
            str,
            "metric: final metric; ratio: ‖g‖ / ‖θ‖; seconds_per_epoch: measured, evaluations and keeping included, "
            "differs from run to run; update_megabytes: of an update beside the weights; kept_megabytes: what is kept",
        ),
        "over": Column(str, "seeds or examples", null="not a loss"),
        **columns_of("loss", "all k (one-sided 95 %)", "not a loss", "metric, 1, s or MB"),
        "diverged": Column(bool, "this run, or a run of the row, diverged and is left out"),
        "note": Column(str, "what a reader must know", null="nothing to say"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def needs(self, study: ResolvedStudy) -> Iterable[AbstractAnalysis]:
        """P-T's learning rate, and what proposes a k, where the study has it."""
        return (LearningRate(), *self._optional(study))

    def _optional(self, study: ResolvedStudy) -> tuple[AbstractAnalysis, ...]:
        if self.k is not None:
            return ()
        asked = (analysis_of(item) for item in study.settings.analyses if item.name in _EVIDENCE)
        return tuple(item for item in asked if item.skip_reason(study) is None)

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """Something must be left to freeze."""
        if not self._names(study):
            return f"the network has no {self.granularity} beside its head"
        return None

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """The gradient at the start; then all arms whose number is known; then random modules, as many as advised."""
        names = self._names(study)
        arms = Arms(study, chosen_rate("P_T", evidence), names, self.views, self.decay, self.granularity)
        start = next(iter(arms.members(FULL)))
        yield Task(members=(start,), settings={"level": "gradient", "modules": list(names)})
        if self.k is None and not evidence.has(self):
            return
        ks, proposals = self._chosen(study, evidence, names)
        compared = [FULL, *(first(k) for k in ks), *(rival for rival in self.rivals if rival != "random_modules")]
        yield self._task(arms, compared, ks, proposals)
        if "random_modules" not in self.rivals or not evidence.has(self):
            return
        advised = decided(evidence.table(self), self.margin).k
        if advised and advised < len(names):
            yield self._task(arms, [FULL, f"random_{advised}"], [], {})

    def _task(self, arms: Arms, compared: list[str], ks: list[int], proposals: Mapping[str, int]) -> Task:
        members: list[StudyNetwork] = []
        roles: list[str] = []
        for arm in compared:
            for member in arms.members(arm):
                members.append(member)
                roles.append(arm)
        modules = list(arms.names)
        settings = {"level": "arms", "roles": roles, "k": ks, "modules": modules, "proposals": dict(proposals)}
        return Task(members=tuple(members), settings=settings)

    def _names(self, study: ResolvedStudy) -> dict[str, tuple[str, ...]]:
        from transferscope.networks.transplants import rate_names_of

        return rate_names_of(study.settings.source.architecture, self.granularity)

    def _given(self, names: Mapping[str, Any]) -> list[int]:
        assert self.k is not None
        beyond = [k for k in self.k if k > len(names)]
        if beyond:
            raise AnalysisError(
                f"freeze.k names more modules than the network has: {', '.join(map(str, beyond))}",
                expected=f"1 to {len(names)}: {', '.join(names)}",
                got=", ".join(map(str, self.k)),
                hint=f"set freeze.k to numbers up to {len(names)}, or freeze.granularity to a finer one",
            )
        return sorted(self.k)

    def _chosen(
        self, study: ResolvedStudy, evidence: Evidence, names: Mapping[str, Any]
    ) -> tuple[list[int], dict[str, int]]:
        if self.k is not None:
            return self._given(names), {}
        rows = evidence.table(self).filter(pl.col("level") == "gradient").sort("position")
        ratios = dict(zip(rows["module"], rows["value"], strict=True))
        proposals = {"gradient": proposed_by_gradient(ratios, self.gradient_share)}
        tables = {item.name: evidence.table(item) for item in self._optional(study)}
        proposals |= proposed_by_tables(tables, list(names))
        return sorted({*even(len(names), self.steps), *(k for k in proposals.values() if k)}), proposals

    def extra_trainings(self, study: ResolvedStudy) -> int:
        """Values of k that the gradient and finished tables propose, and random modules."""
        proposals = 0 if self.k is not None else 1 + len(self._optional(study))
        return (proposals + ("random_modules" in self.rivals)) * len(study.seeds)

    def expected_table(self, study: ResolvedStudy) -> pl.DataFrame:
        """Gradients that are alike in all modules: they propose few of them."""
        modules = list(self._names(study))
        common = {"level": "gradient", "modules": len(modules), "quantity": "ratio", "split": "train", "n": 1}
        return self.example(
            {**common, "module": module, "position": place, "value": 1.0} for place, module in enumerate(modules)
        )

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every network sees validation and test images once."""
        return 200 if task.settings["level"] == "gradient" else 1000 * len(task.members)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Take gradients at the start; read what trained networks say, and what their training took."""
        from transferscope.analyses.freeze.rows import arm_rows, gradient_rows

        if task.settings["level"] == "gradient":
            return self.measured(gradient_rows(task, context, self.gradient_batches, self.granularity))
        return self.measured(arm_rows(task, context, self.n_bootstrap))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """The advice, what it promises, and what test data say of it."""
        return summary_of(table, self.margin, self.views)
