"""Which checkpoint of a pre-training to start from (paper Fig. 7)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

import polars as pl

from transferscope.analyses.checkpoint.rows import barrier_rows, outcome_rows
from transferscope.analyses.checkpoint.scores import SCORES, score_rows
from transferscope.analyses.checkpoint.settings import CheckpointSettings
from transferscope.analyses.checkpoint.summary import QUANTITIES, summary_of
from transferscope.analyses.checkpoints import chosen_epochs, missing_epochs, too_few
from transferscope.analyses.contract import MeasureResult, Task
from transferscope.analyses.estimates import Quantity
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.final_metrics import columns_of
from transferscope.analyses.summary import Summary
from transferscope.analyses.tuned import chosen_rate
from transferscope.context.resolved_study import ResolvedStudy
from transferscope.context.study_network import StudyNetwork
from transferscope.specs.network import Checkpoint, NetworkSpec
from transferscope.study.columns import Column
from transferscope.study.other_source import OtherSource

if TYPE_CHECKING:
    from transferscope.context.context import Context
    from transferscope.specs.pretraining import Pretraining, VariantRecipe
    from transferscope.study.settings import Study

__all__ = ["CheckpointAnalysis"]

_PLACE = "source.pretrain.recipe"


@final
class CheckpointAnalysis(CheckpointSettings):
    """Fine-tune from checkpoints along the source's pre-training, and advise the cheapest that is as good as the last.

    All networks are trained at P-T's rate. The advice is decided on validation data, promises an expected regret, and
    is proved on test data.
    """

    name: ClassVar[str] = "checkpoint"
    title: ClassVar[str] = "Which checkpoint to start from"
    question: ClassVar[str] = "How much of the pre-training does the target need?"
    reference: ClassVar[str] = "Neyshabur et al. 2020, Fig. 7; Vigna 2015 (weighted τ)"
    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "level": Column(
            str,
            "network: one fine-tuned network; checkpoint: mean over seeds; loss: last checkpoint − this one, paired by "
            "seed; barrier: between the networks of one seed from this checkpoint and from the last; pretraining: the "
            "checkpoint on its own task; score: the frozen checkpoint on the target; advice: of a pre-training",
        ),
        "pretraining": Column(int, "seed of the pre-training", "count"),
        "epoch": Column(int, "of the pre-training; of an advice the one that is advised", "count"),
        "seed": Column(int, "seed of the fine-tuned network", "count", null="the row speaks of all seeds, or of none"),
        "quantity": Column(
            str,
            "metric: final metric; speed: mean clean training metric over the epochs from 1; updates: until the "
            f"threshold; error_barrier; {', '.join(SCORES)}; expected_regret (promised), proved_regret",
        ),
        **columns_of("loss", "all earlier checkpoints, one-sided", unit="metric; count of updates; as the score"),
        "basis": Column(str, "seeds, examples, or range (of two seeds)", null="one run, or no interval"),
        "n": Column(int, "how many seeds, or examples (groups of them where the data names groups)", "count"),
        "threshold": Column(float, "common clean training metric", "metric", "train", "no row of updates"),
        "probability_best": Column(float, "that no other checkpoint is better, on validation data", "1", "validation",
                                   "no promise"),
        "diverged": Column(bool, "this run, or a run of the row, diverged and is left out"),
        "note": Column(str, "why there is no value or no interval", null="nothing to say"),
    }  # fmt: skip

    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES

    def check_study(self, study: "Study") -> str | None:
        """Epochs that the pre-training does not keep, and seeds of pre-trainings that are none of their own."""
        own = study.source.pretrain
        if own is None:
            return None
        used = {own.seed, *study.seeds, *study.training.tuning_seeds}
        if twice := sorted(used & set(self.pretrain_seeds)):
            return f"pretrain_seeds: {twice[0]} is also the seed of source.pretrain, or one of the target"
        return missing_epochs(_recipe(own), self.epochs, place=_PLACE)

    def skip_reason(self, study: ResolvedStudy) -> str | None:
        """The source must be pre-trained by the study, and keep an epoch between its start and its end."""
        own = study.settings.source.pretrain
        if own is None:
            return (
                "the source's weights are given: checkpoints along a pre-training need source.pretrain, a data set "
                "and a recipe, in place of source.weights"
            )
        return too_few(_recipe(own), place=_PLACE)

    def other_sources(self, study: "Study") -> Iterable[OtherSource]:
        """The further pre-trainings."""
        own = study.source.pretrain
        return () if own is None else (_again(own, seed) for seed in self.pretrain_seeds)

    def starts(self, study: ResolvedStudy) -> list[tuple[int, int, Checkpoint]]:
        """Seed of the pre-training, epoch and start of every checkpoint."""
        own = study.settings.source.pretrain
        assert own is not None
        first = study.pretrained
        runs = [first, *(study.other(_again(own, seed)) for seed in self.pretrain_seeds)]
        epochs = chosen_epochs(_recipe(own), self.epochs, self.max_epochs)
        found = []
        for run in runs:
            assert isinstance(run, Checkpoint)
            for epoch in epochs:
                # P by the name it has in the study: P-T is then the very network of the other analyses.
                ends = epoch == own.recipe.epochs and run.epoch == "last"
                found.append((run.of.seed, epoch, run.model_copy(update={"epoch": "last" if ends else epoch})))
        return found

    def tasks(self, study: ResolvedStudy, evidence: Evidence) -> Iterable[Task]:
        """One for all outcomes, which have common thresholds; one for each checkpoint's barriers, and its scores."""
        networks = self._networks(study, chosen_rate("P_T", evidence))
        places = list(networks)
        last = max(epoch for _, epoch in places)
        yield _task("outcome", [(place, member) for place, of in networks.items() for member in of])
        for pretraining, epoch in places:
            mine = networks[pretraining, epoch]
            if epoch != last:
                pairs = zip(mine, networks[pretraining, last], strict=True)
                ends = [((pretraining, at), one) for pair in pairs for at, one in zip((epoch, last), pair, strict=True)]
                yield _task("barrier", ends)
        for pretraining, epoch, start in self.starts(study):
            spec = study.untrained("P", study.seeds[0]).model_copy(update={"start": start})
            member = StudyNetwork(variant=f"P_{pretraining}_{epoch}", seed=study.seeds[0], spec=spec)
            yield _task("score", [((pretraining, epoch), member)])

    def _networks(self, study: ResolvedStudy, rate: float) -> dict[tuple[int, int], list[StudyNetwork]]:
        """The fine-tuned networks of every checkpoint."""
        return {
            (pretraining, epoch): [
                StudyNetwork(variant=_variant(study, pretraining, epoch, spec), seed=seed, spec=spec)
                for seed in self.seeds(study)
                for spec in [study.trained_from(start, seed, rate)]
            ]
            for pretraining, epoch, start in self.starts(study)
        }

    def forward_passes(self, task: Task, study: ResolvedStudy) -> int:
        """Every point of every line; every image once for scores."""
        match task.settings["part"]:
            case "barrier":
                return self.points * self.per_point * (len(task.members) // 2)
            case "score":
                return 3000
        return 2000 * len(task.members)

    def measure(self, task: Task, context: "Context") -> MeasureResult:
        """Read histories and answers; walk lines; fit probes."""
        return self.measured(self._rows(task, context))

    def _rows(self, task: Task, context: "Context") -> Iterator[dict[str, Any]]:
        match task.settings["part"]:
            case "barrier":
                return barrier_rows(task, context, self)
            case "score":
                return score_rows(task, context, self)
        return outcome_rows(task, context, self)

    def summarise(self, table: pl.DataFrame, evidence: Evidence) -> Summary:
        """Which checkpoint is advised, with promise and proof; and which are linearly connected to the last."""
        return summary_of(table, self.margin)


def _task(part: str, networks: list[tuple[tuple[int, int], StudyNetwork]]) -> Task:
    places = [list(place) for place, _ in networks]
    return Task(members=tuple(member for _, member in networks), settings={"part": part, "places": places})


def _variant(study: ResolvedStudy, pretraining: int, epoch: int, spec: NetworkSpec) -> str:
    return "P_T" if spec.start == study.pretrained else f"P_{pretraining}_{epoch}_T"


def _again(own: "Pretraining", seed: int) -> OtherSource:
    """The same pre-training from another seed."""
    return OtherSource(pretrain=own.model_copy(update={"seed": seed}))


def _recipe(own: "Pretraining") -> "VariantRecipe":
    """Of the pre-training; the epoch that is P is kept in any case."""
    keep = own.recipe.keep
    if keep == "all" or not isinstance(own.checkpoint, int):
        return own.recipe
    listed = () if keep == "none" else keep
    return own.recipe.model_copy(update={"keep": tuple(sorted({*listed, own.checkpoint}))})
