"""Whether networks that a study has anyway, of other seeds, rates and epochs, can be averaged into one (R3.2, R4.7)."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

import polars as pl
from pydantic import Field

from transferscope.analyses.average.summary import QUANTITIES, summary
from transferscope.analyses.checkpoints import kept_epochs
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import AbstractTuned, OnSeeds, finite
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.frozen import Once
from transferscope.study.columns import Column

if TYPE_CHECKING:
    from transferscope.context.context import Context

__all__ = ["AverageAnalysis"]

_LOCATED = 512  # validation images on which barriers are measured, for the plan


@final
class AverageAnalysis(AbstractTuned, OnSeeds):
    """Average the weights of trained networks that are there anyway: nothing is trained.

    Three sets of each variant: the report seeds; the tuning runs at other rates (with the report seeds, where both are
    trained as long); the kept epochs of one run. Decided on validation data, proved on test data.

    Attributes:
        variants: whose networks.
        sets: ``seeds``, ``rates``, ``run``.
        batch_norm_images: training images on which batch norm's statistics are estimated anew.
        max_epochs: at most so many kept epochs of a run, the last ones.
        margin: loss of the metric, against the best single network, that counts as none.
    """

    variants: Annotated[tuple[Literal["P_T", "RI_T"], ...], Once] = Field(default=("P_T", "RI_T"), min_length=1)
    sets: Annotated[tuple[Literal["seeds", "rates", "run"], ...], Once] = Field(
        default=("seeds", "rates", "run"), min_length=1
    )
    batch_norm_images: int = Field(default=512, ge=2)
    max_epochs: int = Field(default=6, ge=2)
    margin: float = Field(default=0.005, gt=0)

    name: ClassVar[str] = "average"
    title: ClassVar[str] = "Averages of networks"
    question: ClassVar[str] = "Can networks that are there anyway be averaged into a better one?"
    reference: ClassVar[str] = (
        "Wortsman et al. 2022 (soups; WiSE-FT); Jang et al. 2024 (Model Stock); Izmailov et al. 2018 and Kaddour 2022 "
        "(along one run); Ainsworth et al. 2023 (matching)"
    )
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "variant": Column(str, "P_T or RI_T"),
        "set": Column(str, "seeds, rates or run: which networks are averaged"),
        "run": Column(int, "seed of the run whose epochs are averaged", "count", null="networks of several runs"),
        "level": Column(str, "answer: one for a set; network: a single one; average: one that was tried; ensemble: "
                             "logits of all averaged; pair: of two seeds; left_out: the average without one seed"),
        "network": Column(str, "the single one, or the one left out", null="not of one network"),
        "method": Column(str, "uniform, greedy, stock, wise; last, ema along a run", null="no average"),
        "members": Column(int, "networks with a share in the average", "count", null="no average"),
        "seed_a": Column(int, "first of a pair", "count", null="no pair"),
        "seed_b": Column(int, "second of a pair", "count", null="no pair"),
        "split": Column(str, "validation: where it is decided; test: where it is proved"),
        "quantity": Column(str, "metric, loss; gain: metric less that of the best single network of the set; barrier, "
                                "aligned_barrier: of the error, to the best one; disagreement: share of examples that "
                                "two tell apart; regret: promised on validation, proved on test"),
        "value": Column(float, "of the quantity", "metric", "row", "not defined"),
        "low": Column(float, "lower limit over examples; of a gain on validation for all averages at once", "metric",
                      "row", "no limits"),
        "high": Column(float, "upper limit", "metric", "row", "no limits"),
        "n": Column(int, "examples, or groups of them", "count"),
        "verdict": Column(str, "yes or no of an answer; kept, lost, undecided of a gain; stable, unstable, undecided "
                               "of a barrier", null="nothing is decided by the row"),
        "reason": Column(str, "as_good, barrier, no_better, worse or undecided", null="not an answer"),
        "needs": Column(str, "alignment, re-estimation: what the average needs", null="nothing, or not an answer"),
        "modules": Column(str, "that block the way to a network, the highest barrier first", null="none is known"),
        "probability_best": Column(float, "that nothing that was tried is better than the answer", "1", "validation",
                                   "not an answer, or no average"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for each set of two networks or more."""
        for variant in self.variants:
            seeds = self.members(study, evidence, (variant,))
            for kind in self.sets:
                if kind == "run":
                    epochs = self._epochs(study)
                    if len(epochs) > 1:
                        for member in seeds:
                            yield Task(members=(member,), settings={"set": kind, "epochs": list(epochs)})
                    continue
                members = seeds if kind == "seeds" else _rates(variant, seeds, study, evidence)
                if len(members) > 1:
                    yield Task(members=tuple(members), settings={"set": kind})

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """There must be two networks of one variant."""
        several = ("seeds" in self.sets and len(self.seeds(study)) > 1) or "rates" in self.sets
        if several or ("run" in self.sets and len(self._epochs(study)) > 1):
            return None
        return "no two networks of one variant are there: give more seeds, or keep epochs (training.recipe.keep)"

    def _epochs(self, study: ResolvedStudy) -> tuple[int, ...]:
        """The last kept epochs after the start."""
        kept = kept_epochs(study.settings.training.recipe, start=False)
        return tuple(epoch for epoch in kept if epoch > 0)[-self.max_epochs :]

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Each network, about twice as many averages, and the barriers."""
        networks = max(len(task.members), len(task.settings.get("epochs", ())))
        return networks * (9 * (2 * self.batch_norm_images + _LOCATED) + 3 * (3000 + 2 * self.batch_norm_images))

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Barriers, averages, and what is said of them."""
        from transferscope.analyses.average.rows import rows_of

        members = finite(task, context)
        if len(members) < 2 and task.settings["set"] != "run":
            return self.measured()
        if not members:
            return self.measured()
        return self.measured(rows_of(members, task.settings, context, self.batch_norm_images, self.margin))

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """What each set says, promise and proof."""
        return summary(table, self.margin)


def _rates(variant: str, seeds: Iterable[StudyNetwork], study: ResolvedStudy, evidence: Evidence) -> list[StudyNetwork]:
    """The tuning runs of the greatest length, at every rate; with the report runs, where those are as long."""
    runs = [
        member for task in LearningRate().tasks(study, evidence) for member in task.members if member.variant == variant
    ]
    lengths = [member.spec.recipe.epochs for member in runs if member.spec.recipe is not None]
    longest = max(lengths, default=0)
    return [
        member for member in (*seeds, *runs) if member.spec.recipe is not None and member.spec.recipe.epochs == longest
    ]
